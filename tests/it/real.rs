//! What holds on tiny models holds on real weights: over processes, kills, forks, switches and undo
//! greedy decoding writes what an unbroken run writes, a text is as likely after a restore as before
//! it, the bound for another machine's numbers fits, and a cold start costs what it should.
//!
//! `scripts/real` fetches the models and runs this for each of them; it prints one table a model.

mod numbers;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use npast::agent::{Conversation, Engine, Input, Options, WhichSession};
use npast::ledger::Token;
use npast::llama::{CacheType, ContextOptions, Model, ModelOptions};
use serde_json::Value;

use numbers::{Log, precision};

use crate::model::Class;
use crate::program::{Program, n};
use crate::rig::{Rig, Settings};
use crate::talk::{Desk, Said, greedy, turn};

/// The first pages of "Alice's Adventures in Wonderland" by Lewis Carroll, 1865; public domain.
const ALICE: &str = include_str!("../support/alice.txt");
const SYSTEM: &str = "You are a helpful assistant.";
const SAID: [&str; 5] = [
    "What is the capital of France?",
    "And of Spain?",
    "Name three animals that live in the sea.",
    "Write a sentence about the first of them.",
    "How many hours does a day have?",
];
const STORY: &str = "Tell me a long story about a lighthouse supervisor and a storm.";
/// Tokens of a reply.
const REPLY: usize = 32;
const CONTEXT: usize = 8192;
const KILL: &str = "kill -9 in a reply, --continue";
/// Texts that a reply has shown when its process is killed.
const SHOWN: usize = 8;
/// Two tokens are as good as equal when their logits are no further apart.
const TIE: f32 = 0.5;
/// How often the text stands in the session that is started cold: about 6,000 tokens.
const TIMES: usize = 7;

/// One model with one cache type.
struct Case {
    model: PathBuf,
    cache: CacheType,
    threads: usize,
    class: Class,
}

/// A line of the table: what was looked at, what came of it, and whether it is as it must be.
struct Line {
    what: String,
    came: String,
    good: bool,
}

fn line(what: &str, came: impl Into<String>, good: bool) -> Line {
    Line {
        what: what.to_owned(),
        came: came.into(),
        good,
    }
}

fn yes(good: bool) -> &'static str {
    if good { "the same" } else { "OTHER" }
}

impl Case {
    fn desk(&self) -> Desk {
        let mut desk = Desk::with_model(&self.model);
        desk.limit = CONTEXT;
        desk.system = Some(SYSTEM.to_owned());
        desk
    }

    fn engine(&self, desk: &Desk) -> Engine {
        let options = Options {
            context: ContextOptions {
                cache: self.cache,
                threads: self.threads,
                threads_batch: self.threads,
                ..ContextOptions::default()
            },
            ubatch: Some(128),
            ..desk.options()
        };
        Engine::open(&options, &mut |_| true).expect("an engine")
    }

    /// A session without a break: its ledger.
    fn unbroken(&self, session: &str, said: &[&str], tokens: usize) -> Vec<Token> {
        let desk = self.desk();
        let engine = self.engine(&desk);
        let mut talk = open(&engine, &desk, session);
        for words in said {
            say(&mut talk, words, tokens);
        }
        talk.close().expect("a close");
        desk.stored(session).ledger
    }

    fn processes(&self, want: &[Token]) -> Line {
        let desk = self.desk();
        let mut held = 0;
        let mut all_restored = true;
        for words in SAID {
            let engine = self.engine(&desk);
            let mut talk = open(&engine, &desk, "work");
            let said = say(&mut talk, words, REPLY);
            talk.close().expect("a close");
            let r = said.receipt();
            all_restored &= r.restored == held && r.evaluated == r.appended;
            held = r.context;
        }
        let same = desk.stored("work").ledger == want;
        let cost = if all_restored {
            "nothing read again"
        } else {
            "READ AGAIN"
        };
        line(
            "5 turns, 5 processes",
            format!("{}, {cost}", yes(same)),
            same && all_restored,
        )
    }

    fn switches(&self, want: &[Token]) -> Line {
        let other: Vec<&str> = SAID.into_iter().rev().collect();
        let other_want = self.unbroken("other", &other, REPLY);
        let desk = self.desk();
        let engine = self.engine(&desk);
        let mut talks = [open(&engine, &desk, "work"), open(&engine, &desk, "other")];
        for (one, two) in SAID.iter().zip(&other) {
            say(&mut talks[0], one, REPLY);
            say(&mut talks[1], two, REPLY);
        }
        for talk in talks {
            talk.close().expect("a close");
        }
        let same = desk.stored("work").ledger == want && desk.stored("other").ledger == other_want;
        line("2 sessions in turns, 1 slot", yes(same), same)
    }

    fn forks_and_undo(&self, want: &[Token]) -> [Line; 2] {
        let desk = self.desk();
        let engine = self.engine(&desk);
        let mut talk = open(&engine, &desk, "work");
        for words in &SAID[..3] {
            say(&mut talk, words, REPLY);
        }
        talk.fork(Some("aside"), None).expect("a fork");
        talk.close().expect("a close");
        // The fork goes another way first, then both go the unbroken one.
        let mut aside = open(&engine, &desk, "aside");
        say(&mut aside, STORY, REPLY);
        aside.undo(1).expect("an undo");
        for words in &SAID[3..] {
            say(&mut aside, words, REPLY);
        }
        aside.close().expect("a close");
        let mut talk = open(&engine, &desk, "work");
        for words in &SAID[3..] {
            say(&mut talk, words, REPLY);
        }
        let forked = desk.stored("work").ledger == want && desk.stored("aside").ledger == want;
        talk.undo(2).expect("an undo");
        say(&mut talk, STORY, REPLY);
        talk.undo(1).expect("an undo");
        for words in &SAID[3..] {
            say(&mut talk, words, REPLY);
        }
        talk.close().expect("a close");
        let undone = desk.stored("work").ledger == want;
        [
            line("a fork and its parent", yes(forked), forked),
            line("undo of 2 turns and of 1", yes(undone), undone),
        ]
    }

    fn program(&self, desk: Desk) -> Program {
        let mut program = Program::new(self.class);
        program.desk = desk;
        program.flags = vec![
            "--ctx".to_owned(),
            CONTEXT.to_string(),
            "--threads".to_owned(),
            self.threads.to_string(),
            "--cache-type".to_owned(),
            self.cache.name().to_owned(),
            "--temp=0".to_owned(),
            "-m".to_owned(),
            self.model.to_string_lossy().into_owned(),
        ];
        program
    }

    fn run(program: &Program, session: &str, more: &[&str]) -> Command {
        let mut command = program.command(&["--json", "--session", session]);
        command.args(&program.flags).args(more);
        command
    }

    /// `kill -9` in the middle of a reply; another process goes on with it. What the killed one had
    /// decoded is read again, all at once, which moves logits a little: where two tokens are as good
    /// as equal another one may come.
    fn kill(&self, model: &Arc<Model>) -> Line {
        let want = self.unbroken("work", &[SAID[0], STORY], 160);
        let program = self.program(self.desk());
        let first = ["--system", SYSTEM, "--max-tokens", "160", SAID[0]];
        let output = Case::run(&program, "work", &first).output().expect("a run");
        assert!(output.status.success(), "{output:?}");
        let mut child = Case::run(&program, "work", &["--max-tokens", "160", STORY])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a run");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let texts = lines.filter(|l| l.as_ref().is_ok_and(|l| l.starts_with(r#"{"type":"text""#)));
        let shown = texts.take(SHOWN).count();
        child.kill().expect("a kill");
        child.wait().expect("an end");
        let cut = program.desk.stored("work").ledger.len();
        let go_on = ["--continue", "--max-tokens", "64"];
        let output = Case::run(&program, "work", &go_on).output().expect("a run");
        assert!(output.status.success(), "{output:?}");
        let got = program.desk.stored("work").ledger;
        let same = got.iter().zip(&want).take_while(|(a, b)| a == b).count();
        // A reply that ended by its length has its last token without a close.
        let all = got.len().min(want.len());
        let went_on = shown == SHOWN && same >= cut;
        if same + 1 >= all {
            let came = format!("{} tokens, the same", same - cut.min(same));
            return line(KILL, came, went_on);
        }
        let mut rig = self.rig(model, None, self.settings());
        let (_, rows) = rig.say(&want[..same], &want[same..=same]);
        let logit = |token: Token| f32::from_bits(rows[0][token.0 as usize]);
        let gap = (logit(want[same]) - logit(got[same])).abs();
        line(
            KILL,
            format!(
                "{} tokens the same, then one whose logit is {gap:.3} away",
                same - cut.min(same)
            ),
            went_on && gap < TIE,
        )
    }

    /// Seconds to the first token of a long session in a new process, stored and not.
    fn cold_start(&self) -> Vec<Line> {
        let program = self.program(self.desk());
        let passages = (1..=TIMES).map(|k| format!("Passage {k}.\n{ALICE}\n"));
        let file = program.folder.path().join("long.jsonl");
        let text = passages.collect::<String>() + "Who runs by?";
        let message = serde_json::json!({"role": "user", "content": text});
        std::fs::write(&file, format!("{message}\n")).expect("a file");
        let messages = format!("@{}", file.display());
        let long = [
            "--system",
            SYSTEM,
            "--max-tokens",
            "8",
            "--messages",
            &messages,
        ];
        let output = Case::run(&program, "long", &long).output().expect("a run");
        assert!(output.status.success(), "{output:?}");
        let next = ["--max-tokens", "2", "And who falls?"];
        let mut stored: Vec<_> = (0..3).map(|_| first_token(&program, &next)).collect();
        stored.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (seconds, receipt) = &stored[1];
        std::fs::remove_dir_all(program.desk.home.join("kv")).expect("the states");
        let (anew, again) = first_token(&program, &next);
        let ms = |receipt: &Value, part: &str| receipt["ms"][part].as_u64().unwrap_or(0);
        let restored = n(receipt, "restored");
        let good = restored > 5000 && n(receipt, "evaluated") == n(receipt, "appended");
        vec![
            line(
                "cold start, stored: to the first token",
                format!(
                    "{seconds:.2} s ({restored} restored in {} ms, {} read in {} ms)",
                    ms(receipt, "restore"),
                    n(receipt, "evaluated"),
                    ms(receipt, "prefill"),
                ),
                good,
            ),
            line(
                "the same, read anew",
                format!(
                    "{anew:.2} s ({} read in {} ms)",
                    n(&again, "evaluated"),
                    ms(&again, "prefill")
                ),
                n(&again, "restored") == 0 && anew > *seconds,
            ),
        ]
    }

    fn settings(&self) -> Settings {
        Settings {
            ubatch: 128,
            cache: self.cache,
            limit: 4096,
            threads: self.threads,
            ..Settings::A
        }
    }

    fn rig(&self, model: &Arc<Model>, home: Option<&Path>, settings: Settings) -> Rig {
        Rig::on(model, self.class, home, settings)
    }
}

/// Runs a turn and gives the seconds to its first token, and its receipt.
fn first_token(program: &Program, more: &[&str]) -> (f64, Value) {
    let begun = Instant::now();
    let mut child = Case::run(program, "long", more).spawn().expect("a run");
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    let (mut first, mut receipt) = (None, None);
    for line in output.lines() {
        let event: Value = serde_json::from_str(&line.expect("a line")).expect("an event");
        match event["type"].as_str() {
            Some("text" | "reasoning") => first = first.or(Some(begun.elapsed())),
            Some("receipt") => receipt = Some(event),
            _ => {}
        }
    }
    assert!(child.wait().expect("an end").success());
    let first = first.unwrap_or_else(|| begun.elapsed());
    (first.as_secs_f64(), receipt.expect("a receipt"))
}

fn open(engine: &Engine, desk: &Desk, session: &str) -> Conversation {
    engine
        .conversation(WhichSession::Named(session.to_owned()), desk.new_session())
        .expect("a session")
}

fn say(talk: &mut Conversation, words: &str, tokens: usize) -> Said {
    let input = Input::Text(words.to_owned());
    turn(talk, input, &greedy(tokens), None, &|_| false).expect("a turn")
}

#[test]
#[ignore = "scripts/real fetches the model that it is for"]
fn the_laws_hold_on_real_weights() {
    let path = PathBuf::from(std::env::var_os("NPAST_REAL").expect("NPAST_REAL names a model"));
    let begun = Instant::now();
    let log = Log::start();
    let model = Model::load(&path, &ModelOptions::default(), &mut |_| true).expect("a model");
    let model = Arc::new(model);
    let text = model.vocab().tokenize(ALICE, false).expect("tokens");
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
    let class = match model.window() {
        0 => Class::Dense,
        _ => Class::Swa,
    };
    println!("\n{}, {} threads", model.description(), cpus.min(8));
    let mut wrong = Vec::new();
    let mut show = |cache: CacheType, lines: Vec<Line>| {
        for line in lines {
            println!("{:<5} {:<40} {}", cache.name(), line.what, line.came);
            if !line.good {
                wrong.push(format!("{}: {}: {}", cache.name(), line.what, line.came));
            }
        }
    };
    for cache in [CacheType::F16, CacheType::Q8_0] {
        let case = Case {
            model: path.clone(),
            cache,
            threads: cpus.min(8),
            class,
        };
        let want = case.unbroken("work", &SAID, REPLY);
        show(cache, vec![case.processes(&want)]);
        show(cache, vec![case.switches(&want)]);
        show(cache, case.forks_and_undo(&want).into());
        show(cache, vec![case.kill(&model)]);
        show(cache, vec![case.perplexity(&model, &text)]);
        show(cache, case.tolerance(&model, &text, &log));
        if cache == CacheType::F16 {
            show(cache, precision(&case, &model, &text).into());
            show(cache, case.cold_start());
        }
    }
    println!("{} s", begun.elapsed().as_secs());
    assert!(wrong.is_empty(), "not as it must be:\n{}", wrong.join("\n"));
}
