//! What numbers say: a text's perplexity before and after a restore, and how far another machine's
//! logits are.

use std::process::Command;
use std::sync::{Arc, Mutex};

use npast::ledger::Token;
use npast::llama::{CacheType, Model};

use super::{Case, Line, line, yes};
use crate::rig::{Rows, Settings};

/// The slot's bound for another machine's numbers.
const BOUND: f32 = 0.1;

impl Case {
    /// The text's perplexity in one process, and in two with a restore in the middle.
    pub fn perplexity(&self, model: &Arc<Model>, text: &[Token]) -> Line {
        let half = text.len() / 2;
        let measure = |restart: bool| {
            let home = tempfile::tempdir().expect("a folder");
            let mut rig = self.rig(model, Some(home.path()), self.settings());
            rig.say(&text[..half], &text[half..half + 8]);
            if restart {
                rig = rig.restart();
            }
            let at = half + 8;
            let (outcome, rows) = rig.say(&text[..at], &text[at..]);
            assert_eq!(outcome.restored > 0, restart, "{outcome:?}");
            (perplexity(&rows, &text[at..]), hash(&rows))
        };
        let (before, after) = (measure(false), measure(true));
        let same = before.1 == after.1;
        line(
            "perplexity before and after a restore",
            format!(
                "{:.4} and {:.4}, every logit {}",
                before.0,
                after.0,
                yes(same)
            ),
            same,
        )
    }

    /// How far another machine's numbers are, as a part of what the context changes.
    pub fn tolerance(&self, model: &Arc<Model>, text: &[Token], log: &Log) -> Vec<Line> {
        let home = tempfile::tempdir().expect("a folder");
        let (prompt, reply) = (&text[..400], &text[400..408]);
        let mut rig = self.rig(model, Some(home.path()), self.settings());
        rig.say(prompt, reply);
        rig.handle().rest().expect("a live engine");
        rig.store().flush().expect("a flush");
        drop(rig);
        let base = model.meta(&format!("{}.rope.freq_base", model.architecture()));
        let base: f32 = base.and_then(|b| b.parse().ok()).unwrap_or(10_000.0);
        let other = Settings {
            machine: "b",
            ..self.settings()
        };
        let with = |threads, ubatch, rope_freq_base| Settings {
            threads,
            ubatch,
            rope_freq_base,
            ..other
        };
        let threads = self.threads;
        // RoPE settings are a hard part of the fingerprint, so no sample need tell them: what they
        // change is shown to know what the bound means.
        let rope = |factor| with(threads, 128, Some(base * factor));
        let ways = [
            ("threads 1", with(1, 128, None), true),
            ("decode calls of 512", with(threads, 512, None), true),
            ("decode calls of 16, threads 1", with(1, 16, None), true),
            ("RoPE base 1% larger", rope(1.01), false),
            ("RoPE base 10% larger", rope(1.1), false),
            ("RoPE base doubled", rope(2.0), false),
        ];
        ways.into_iter()
            .map(|(what, settings, judged)| {
                let copy = tempfile::tempdir().expect("a folder");
                let copied = Command::new("cp")
                    .arg("-r")
                    .arg(home.path().join("."))
                    .arg(copy.path())
                    .status();
                assert!(copied.is_ok_and(|status| status.success()));
                let mut rig = self.rig(model, Some(copy.path()), settings);
                log.take();
                let (outcome, _) = rig.say(&text[..420], &text[420..421]);
                let part = part(&log.take());
                let taken = outcome.restored > 0;
                line(
                    &format!("logits sample: {what}"),
                    format!("{part:.5}, {}", if taken { "taken" } else { "read again" }),
                    taken == (part <= BOUND) && (!judged || taken),
                )
            })
            .collect()
    }
}

/// What numbers of another precision change, which is more than another device does, and what a state
/// does whose first half is another text's. The second is told and not judged: which tokens a state is
/// of is proven by digests, and the sample asks only whose numbers they are.
pub fn precision(case: &Case, model: &Arc<Model>, text: &[Token]) -> [Line; 2] {
    let row = |cache, target: &[Token]| {
        let settings = Settings {
            cache,
            ..case.settings()
        };
        let (_, rows) = case.rig(model, None, settings).say(target, &text[..1]);
        let row: Vec<f32> = rows[0].iter().map(|bits| f32::from_bits(*bits)).collect();
        row
    };
    let apart = |a: &[f32], b: &[f32]| {
        let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        sum.sqrt()
    };
    let whole = &text[..400];
    let own = row(CacheType::F16, whole);
    let nothing = row(CacheType::F16, &text[396..400]);
    let part = |other: &[f32]| apart(&own, other) / apart(&own, &nothing);
    let (q8, q4) = (
        part(&row(CacheType::Q8_0, whole)),
        part(&row(CacheType::Q4_0, whole)),
    );
    let half = [&text[400..600], &text[200..400]].concat();
    let wrong = part(&row(CacheType::F16, &half));
    let bound = f64::from(BOUND);
    [
        line(
            "logits: f16 against q8_0, q4_0",
            format!("{q8:.5}, {q4:.5}"),
            q8 < bound,
        ),
        line(
            "logits: half of the state another text's",
            format!("{wrong:.5}"),
            true,
        ),
    ]
}

fn perplexity(rows: &Rows, tokens: &[Token]) -> f64 {
    let loss = |row: &Vec<u32>, token: &Token| {
        let logits = row.iter().map(|bits| f64::from(f32::from_bits(*bits)));
        let most = logits.clone().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.map(|x| (x - most).exp()).sum();
        let own = f64::from(f32::from_bits(row[token.0 as usize]));
        most + sum.ln() - own
    };
    let all: f64 = rows.iter().zip(tokens).map(|(row, t)| loss(row, t)).sum();
    (all / rows.len() as f64).exp()
}

fn hash(rows: &Rows) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for row in rows {
        row.iter().for_each(|bits| {
            hasher.update(&bits.to_le_bytes());
        });
    }
    hasher.finalize()
}

/// What npast logs.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn start() -> Log {
        let log = Log::default();
        let copy = log.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .with_writer(move || copy.clone())
            .init();
        log
    }

    fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock().expect("a log"));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("a log").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The comparison of a logits sample that was logged last.
fn part(log: &str) -> f32 {
    let line = log.lines().rev().find_map(|l| l.split_once(" part="));
    let number = line.and_then(|(_, rest)| rest.split_whitespace().next());
    number
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| panic!("no comparison in {log}"))
}
