//! What a server counts, as Prometheus reads it. Names of llama.cpp's server where it has one.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::agent::Receipt;
use crate::service::IdleSum;

/// Counters since the start. They are read one by one: a sum may be a request ahead of another.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Responses by the first digit of their status.
    statuses: [AtomicU64; 6],
    /// Replies that are being made.
    running: AtomicUsize,
    /// Replies that were begun.
    replies: AtomicU64,
    /// Replies whose client went away before the end.
    left: AtomicU64,
    /// Tokens that were in the slot.
    kept: AtomicU64,
    /// Tokens that came from disk.
    restored: AtomicU64,
    /// Tokens that were evaluated.
    evaluated: AtomicU64,
    /// Tokens that had never been decoded before.
    appended: AtomicU64,
    /// Tokens that were sampled.
    generated: AtomicU64,
    /// Calls in which more was evaluated than was new.
    misses: AtomicU64,
    /// Milliseconds of restoring and evaluating.
    prompt_ms: AtomicU64,
    /// Milliseconds of decoding replies.
    decode_ms: AtomicU64,
}

/// A reply that is being made, until it is dropped.
#[derive(Debug)]
pub struct ReplyGuard(std::sync::Arc<Metrics>);

impl Drop for ReplyGuard {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}

impl Metrics {
    /// A response was sent.
    pub fn responded(&self, status: u16) {
        let class = usize::from(status / 100).min(5);
        add(&self.statuses[class], 1);
    }

    /// A reply begins.
    pub fn begin(self: &std::sync::Arc<Metrics>) -> ReplyGuard {
        add(&self.replies, 1);
        self.running.fetch_add(1, Ordering::Relaxed);
        ReplyGuard(self.clone())
    }

    /// A client went away before the end of its reply.
    pub fn left(&self) {
        add(&self.left, 1);
    }

    /// What a model call cost.
    pub fn count(&self, receipt: &Receipt) {
        add(&self.kept, receipt.kept);
        add(&self.restored, receipt.restored);
        add(&self.evaluated, receipt.evaluated);
        add(&self.appended, receipt.appended);
        add(&self.generated, receipt.generated);
        add(&self.misses, usize::from(receipt.miss.is_some()));
        let (prompt, decode) = (&self.prompt_ms, &self.decode_ms);
        prompt.fetch_add(receipt.ms.restore + receipt.ms.prefill, Ordering::Relaxed);
        decode.fetch_add(receipt.ms.decode, Ordering::Relaxed);
    }

    /// The text that Prometheus reads; `waiting` model calls wait for the slot, `sessions` are open.
    pub fn text(&self, waiting: usize, sessions: usize) -> String {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let seconds = |counter: &AtomicU64| get(counter) as f64 / 1000.0;
        let mut text = String::new();
        let mut one = |name: &str, kind: &str, help: &str, value: String| {
            let _ = writeln!(
                text,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
            );
        };
        let counters = [
            (
                "npast_tokens_kept_total",
                "Prompt tokens that were in the slot.",
                get(&self.kept),
            ),
            (
                "npast_tokens_restored_total",
                "Prompt tokens that came from disk.",
                get(&self.restored),
            ),
            (
                "npast_tokens_evaluated_total",
                "Prompt tokens that were evaluated.",
                get(&self.evaluated),
            ),
            (
                "npast_tokens_appended_total",
                "Prompt tokens that no session had decoded before.",
                get(&self.appended),
            ),
            (
                "npast_misses_total",
                "Calls in which more was evaluated than was new.",
                get(&self.misses),
            ),
            (
                "npast_replies_total",
                "Replies that were begun.",
                get(&self.replies),
            ),
            (
                "npast_replies_left_total",
                "Replies whose client went away.",
                get(&self.left),
            ),
            (
                "llamacpp:prompt_tokens_total",
                "Number of prompt tokens processed.",
                get(&self.evaluated),
            ),
            (
                "llamacpp:tokens_predicted_total",
                "Number of generation tokens processed.",
                get(&self.generated),
            ),
        ];
        for (name, help, value) in counters {
            one(name, "counter", help, value.to_string());
        }
        let times = [
            (
                "llamacpp:prompt_seconds_total",
                "Prompt process time",
                seconds(&self.prompt_ms),
            ),
            (
                "llamacpp:tokens_predicted_seconds_total",
                "Predict process time",
                seconds(&self.decode_ms),
            ),
        ];
        for (name, help, value) in times {
            one(name, "counter", help, value.to_string());
        }
        let running = self.running.load(Ordering::Relaxed);
        let gauges = [
            ("npast_sessions_open", "Sessions that are open.", sessions),
            (
                "llamacpp:requests_processing",
                "Number of requests processing.",
                running.saturating_sub(waiting),
            ),
            (
                "llamacpp:requests_deferred",
                "Number of requests deferred.",
                waiting,
            ),
        ];
        for (name, help, value) in gauges {
            one(name, "gauge", help, value.to_string());
        }
        let name = "npast_responses_total";
        let _ = writeln!(text, "# HELP {name} HTTP responses.\n# TYPE {name} counter");
        for (class, counter) in self.statuses.iter().enumerate().skip(2) {
            let _ = writeln!(text, "{name}{{status=\"{class}xx\"}} {}", get(counter));
        }
        text
    }
}

/// What was done while nobody waited, as Prometheus reads it: each work by its name.
pub fn idle(sums: &BTreeMap<String, IdleSum>) -> String {
    type Of = fn(&IdleSum) -> u64;
    let counters: [(&str, &str, Of); 4] = [
        ("npast_idle_jobs_total", "Work done in idle time.", |s| {
            s.jobs
        }),
        (
            "npast_idle_tokens_evaluated_total",
            "Tokens that idle work evaluated.",
            |s| s.evaluated,
        ),
        (
            "npast_idle_tokens_generated_total",
            "Tokens that idle work sampled.",
            |s| s.generated,
        ),
        (
            "npast_idle_milliseconds_total",
            "Milliseconds of idle work.",
            |s| s.ms,
        ),
    ];
    let mut text = String::new();
    for (name, help, of) in counters {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
        for (job, sum) in sums {
            let _ = writeln!(text, "{name}{{job=\"{job}\"}} {}", of(sum));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn idle_work_is_counted_by_its_name() {
        let sum = IdleSum {
            jobs: 2,
            evaluated: 70,
            generated: 11,
            bytes: 0,
            ms: 40,
        };
        let text = idle(&BTreeMap::from([("title".to_owned(), sum)]));
        for line in [
            "npast_idle_jobs_total{job=\"title\"} 2",
            "npast_idle_tokens_evaluated_total{job=\"title\"} 70",
            "npast_idle_tokens_generated_total{job=\"title\"} 11",
            "npast_idle_milliseconds_total{job=\"title\"} 40",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
    }

    #[test]
    fn counters_are_written_as_prometheus_reads_them() {
        let metrics = Arc::new(Metrics::default());
        metrics.responded(200);
        metrics.responded(404);
        let running = metrics.begin();
        let text = metrics.text(0, 3);
        for line in [
            "npast_responses_total{status=\"2xx\"} 1",
            "npast_responses_total{status=\"4xx\"} 1",
            "npast_responses_total{status=\"5xx\"} 0",
            "npast_replies_total 1",
            "npast_sessions_open 3",
            "llamacpp:requests_processing 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        drop(running);
        assert!(
            metrics
                .text(0, 0)
                .contains("\nllamacpp:requests_processing 0\n")
        );
    }
}
