//! `appended` counts what a session never decoded before, and a miss is named for the rest (law 2):
//! held against all that real processes ever decoded, whatever was undone, killed, damaged or forked
//! in between.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};

use npast::ledger::{Token, common_prefix};
use npast::session::Db;
use serde_json::{Value, json};

use crate::model::Class;
use crate::program::{Program, Ran, honest, n};
use crate::witness::delete_kv;

/// What is known of a session's past.
#[derive(Default, Clone)]
struct Past {
    /// One way a call, as far as it was surely decoded.
    decoded: Vec<Vec<Token>>,
    receipts: usize,
    said: usize,
}

struct Life {
    program: Program,
    past: HashMap<String, Past>,
    /// Receipts that were compared, and those with a miss.
    seen: usize,
    misses: usize,
}

/// A small generator: the same steps in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % sides
    }
}

impl Life {
    fn new(class: Class) -> Life {
        let mut program = Program::new(class);
        program.desk.system = Some("You are brief.".to_owned());
        Life {
            program,
            past: HashMap::new(),
            seen: 0,
            misses: 0,
        }
    }

    /// Reads what the last process left, and compares each new receipt.
    fn look(&mut self, what: &str, session: &str) {
        let db = Db::open(&self.program.desk.home.join("npast.db")).expect("npast.db");
        let Some(row) = db.find(session).expect("a query") else {
            return;
        };
        let ledger = db.ledger(row.id).expect("a ledger");
        let receipts = db.receipts(row.id).expect("receipts");
        let pending = db.pending(row.id).expect("a session");
        let past = self.past.entry(session.to_owned()).or_default();
        let new = receipts[past.receipts..].iter();
        // What the slot and the store do by themselves is no call of the session's.
        for receipt in new.filter(|receipt| receipt["call"] != 0) {
            honest(what, receipt);
            let prompt = n(receipt, "kept") + n(receipt, "restored") + n(receipt, "evaluated");
            let ways = past.decoded.iter();
            let before = ways.map(|way| common_prefix(way, &ledger[..prompt])).max();
            assert_eq!(
                n(receipt, "appended"),
                prompt - before.unwrap_or(0),
                "{what}: {receipt}"
            );
            past.decoded.push(ledger[..n(receipt, "context")].to_vec());
            self.seen += 1;
            self.misses += usize::from(receipt["miss"] != Value::Null);
        }
        past.receipts = receipts.len();
        // Of a reply that a kill cut all but the last stored token was decoded.
        let messages = db.messages(row.id).expect("messages");
        let last = messages.last().filter(|m| m.role == "assistant");
        if last.is_some_and(|m| m.span.is_some_and(|s| s.end == ledger.len())) {
            past.decoded.push(ledger[..ledger.len() - pending].to_vec());
        }
    }

    fn words(&mut self, session: &str, which: usize) -> String {
        let past = self.past.entry(session.to_owned()).or_default();
        past.said += 1;
        match which {
            // The same long message again and again: after an undo it is not new.
            0 => "Read this again, please. ".repeat(60),
            1 => format!("And then? {}", past.said),
            _ => format!("Number {} of a longer list of things to say.", past.said),
        }
    }

    fn reply(which: usize) -> Value {
        match which {
            0 => json!({"content": "Fine, thank you.\n\n", "reasoning": "hm"}),
            1 => json!({"text": "I wonder", "finish": "length"}),
            _ => json!({"content": "word ".repeat(150)}),
        }
    }

    fn say(&mut self, session: &str, which: usize, reply: usize) {
        let words = self.words(session, which);
        let ran = self.program.say(session, &words, Some(&Life::reply(reply)));
        assert_eq!(ran.code, Some(0));
        self.look("say", session);
    }

    /// `kill -9` after so many lines of events.
    fn kill(&mut self, session: &str, which: usize, lines: usize) {
        let words = self.words(session, which);
        let mut command = self.program.turn(session, &words, Some(&Life::reply(2)));
        let mut child = command.spawn().expect("a process");
        let output = child.stdout.take().expect("a pipe");
        for line in BufReader::new(output).lines().take(lines) {
            line.expect("a line");
        }
        child.kill().expect("a kill");
        child.wait().expect("an end");
        self.look("kill", session);
    }

    fn sessions(&mut self, args: &[&str]) -> Option<i32> {
        let args = [&["sessions"], args].concat();
        let output = self.program.command(&args).output().expect("a run");
        let ran = Ran::of(&output);
        assert!(matches!(ran.code, Some(0..=2)), "{ran:?}");
        ran.code
    }

    fn step(&mut self, dice: &mut Dice) {
        let session = ["work", "side"][dice.roll(4) / 3];
        match dice.roll(16) {
            0..=5 => self.say(session, dice.roll(3), dice.roll(3)),
            6 | 7 => self.kill(session, dice.roll(3), 1 + dice.roll(12)),
            8..=10 => drop(self.sessions(&["undo", session])),
            11 => drop(self.sessions(&["undo", session, "2"])),
            12 | 13 => drop(self.sessions(&["redo", session])),
            14 => delete_kv(&self.program.desk.home),
            _ => {
                let output = self.program.command(&["kv", "gc"]).output();
                assert!(output.expect("a run").status.success());
            }
        }
    }
}

fn a_life(class: Class) {
    let mut life = Life::new(class);
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ (class as u64 + 1));
    life.say("work", 1, 0);
    for _ in 0..steps() {
        life.step(&mut dice);
    }
    assert!(life.seen > 5, "{} receipts", life.seen);
    println!("{class:?}: {} receipts, {} misses", life.seen, life.misses);
}

/// Steps of a life; NPAST_STEPS raises it.
fn steps() -> usize {
    let set = std::env::var("NPAST_STEPS").ok();
    set.and_then(|n| n.parse().ok()).unwrap_or(40)
}

#[test]
fn over_any_life_of_processes_appended_is_what_was_never_decoded_on_dense() {
    a_life(Class::Dense);
}

#[test]
fn over_any_life_of_processes_appended_is_what_was_never_decoded_on_swa() {
    a_life(Class::Swa);
}

#[test]
fn over_any_life_of_processes_appended_is_what_was_never_decoded_on_hybrid() {
    a_life(Class::Hybrid);
}

#[test]
fn over_any_life_of_processes_appended_is_what_was_never_decoded_on_recurrent() {
    a_life(Class::Recurrent);
}

/// Undone in one process and said again in another: the branch that was left was decoded, so what
/// must be read again is a miss, and named.
#[test]
fn a_message_that_was_undone_and_comes_again_is_found_or_its_miss_is_named_on_every_class() {
    for class in Class::ALL {
        let mut life = Life::new(class);
        life.say("work", 1, 0);
        life.say("work", 0, 0);
        assert_eq!(life.sessions(&["undo", "work"]), Some(0));
        let words = life.words("work", 0);
        let reply = Life::reply(1);
        let ran = life.program.say("work", &words, Some(&reply));
        life.look("again", "work");
        let receipt = ran.receipt();
        assert_eq!(n(receipt, "appended"), 0, "{class:?}: {receipt}");
        let reason = receipt["miss"]["reason"].as_str().unwrap_or_default();
        match class {
            Class::Dense => assert_eq!((n(receipt, "evaluated"), reason), (0, ""), "{receipt}"),
            _ => assert!(
                reason.contains("what stood here was taken back by undo; this model's memory"),
                "{class:?}: {receipt}"
            ),
        }
    }
}
