//! The receipt line: `9,310 kept · 21 read · 15 written · 0.2 s`.

use super::term::count;
use crate::agent::{MissNote, Receipt, TurnSum};
use crate::harmless;
use crate::ledger::Finish;

/// One line for a turn. It names what came from disk, and an end that is not the model's own.
pub fn line(sum: &TurnSum) -> String {
    let mut parts = Vec::new();
    if sum.restored > 0 {
        parts.push(format!("{} restored", count(sum.restored)));
    }
    if sum.kept > 0 || sum.restored == 0 {
        parts.push(format!("{} kept", count(sum.kept)));
    }
    parts.push(format!("{} read", count(sum.evaluated)));
    parts.push(format!("{} written", count(sum.generated)));
    parts.push(format!("{:.1} s", sum.seconds));
    if sum.approximate {
        parts.push("approximate".into());
    }
    match sum.finish {
        Finish::Stop | Finish::StopString | Finish::ToolCalls => {}
        Finish::Length => parts.push("cut at the token limit".into()),
        Finish::Interrupted => parts.push("interrupted".into()),
        Finish::Context => parts.push("the context is full".into()),
        Finish::Repeats => parts.push("stopped: it repeated itself".into()),
    }
    parts.join(" · ")
}

/// The second line, when something was read again.
pub fn miss(note: &MissNote) -> String {
    let place = match note.message {
        Some(message) => format!("token {}, message {message}", count(note.at)),
        None => format!("token {}", count(note.at)),
    };
    format!("read again from {place}: {}", note.reason)
}

/// A receipt in full, for `/receipt`.
pub fn full(r: &Receipt) -> String {
    let call = match &r.job {
        Some(job) => format!("{} (call {})", harmless::line(job), r.call),
        None => format!("call {}", r.call),
    };
    let mut text = format!(
        "{call}: context {} = {} kept + {} restored + {} read + {} written - {} pending\n",
        count(r.context),
        count(r.kept),
        count(r.restored),
        count(r.evaluated),
        count(r.generated),
        r.pending,
    );
    text.push_str(&format!(
        "  new {} · finish {} · ms: restore {}, prefill {}, first token {}, decode {}, save {}\n",
        count(r.appended),
        r.finish.as_str(),
        r.ms.restore,
        r.ms.prefill,
        r.ms.first_token,
        r.ms.decode,
        r.ms.save,
    ));
    if r.shifted > 0 {
        text.push_str(&format!(
            "  {} of the kept tokens were moved, not read\n",
            count(r.shifted)
        ));
    }
    if r.approximate {
        text.push_str("  the state is approximate (--shift)\n");
    }
    if let Some(note) = &r.miss {
        text.push_str(&format!("  {}\n", miss(note)));
    }
    text
}

#[cfg(test)]
pub mod samples {
    use super::*;
    use crate::agent::Milliseconds;
    use crate::slot::CallKind;

    pub fn receipt() -> Receipt {
        Receipt {
            kind: CallKind::Turn,
            job: None,
            call: 3,
            context: 9345,
            kept: 9310,
            shifted: 0,
            approximate: false,
            restored: 0,
            evaluated: 21,
            appended: 21,
            generated: 15,
            pending: 1,
            finish: Finish::Stop,
            miss: None,
            pruned: None,
            restored_bytes: 0,
            saved_bytes: 0,
            snapshot_bytes: 0,
            ms: Milliseconds {
                restore: 0,
                prefill: 38,
                first_token: 41,
                decode: 120,
                save: 2,
            },
        }
    }

    pub fn missed() -> Receipt {
        Receipt {
            kept: 62,
            evaluated: 9269,
            miss: Some(MissNote {
                at: 62,
                message: Some(1),
                reason: "system prompt differs: \"a\" became \"b\"".into(),
            }),
            ..receipt()
        }
    }

    pub fn turn() -> TurnSum {
        TurnSum {
            calls: 1,
            context: 9345,
            kept: 9310,
            restored: 0,
            evaluated: 21,
            appended: 21,
            generated: 15,
            finish: Finish::Stop,
            approximate: false,
            stopped: None,
            seconds: 0.2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_one_quiet_line() {
        let sum = |kept, restored, evaluated, seconds, finish| TurnSum {
            kept,
            restored,
            evaluated,
            seconds,
            finish,
            ..samples::turn()
        };
        let table = [
            (
                sum(9310, 0, 21, 0.2, Finish::Stop),
                "9,310 kept · 21 read · 15 written · 0.2 s",
            ),
            (
                sum(0, 9310, 21, 0.24, Finish::ToolCalls),
                "9,310 restored · 21 read · 15 written · 0.2 s",
            ),
            (
                sum(1_234_567, 1000, 999, 61.06, Finish::StopString),
                "1,000 restored · 1,234,567 kept · 999 read · 15 written · 61.1 s",
            ),
            (
                sum(0, 0, 2206, 3.0, Finish::Length),
                "0 kept · 2,206 read · 15 written · 3.0 s · cut at the token limit",
            ),
            (
                sum(5, 0, 1, 0.0, Finish::Interrupted),
                "5 kept · 1 read · 15 written · 0.0 s · interrupted",
            ),
        ];
        for (sum, want) in table {
            assert_eq!(line(&sum), want);
        }
        let moved = TurnSum {
            approximate: true,
            ..samples::turn()
        };
        let want = "9,310 kept · 21 read · 15 written · 0.2 s · approximate";
        assert_eq!(line(&moved), want);
    }

    #[test]
    fn a_miss_says_where_and_why() {
        let mut note = samples::missed().miss.unwrap();
        assert_eq!(
            miss(&note),
            "read again from token 62, message 1: system prompt differs: \"a\" became \"b\""
        );
        note.message = None;
        note.at = 12_000;
        assert!(miss(&note).starts_with("read again from token 12,000: "));
    }

    #[test]
    fn the_full_receipt_adds_up() {
        assert_eq!(
            full(&samples::receipt()),
            "call 3: context 9,345 = 9,310 kept + 0 restored + 21 read + 15 written - 1 pending\n  \
             new 21 · finish stop · ms: restore 0, prefill 38, first token 41, decode 120, save 2\n"
        );
        let moved = Receipt {
            shifted: 412,
            approximate: true,
            ..samples::receipt()
        };
        let end =
            "  412 of the kept tokens were moved, not read\n  the state is approximate (--shift)\n";
        assert!(full(&moved).ends_with(end));
    }
}
