//! `kill -9` at every named point of a prune: there is the old conversation or the new one, whole, nothing
//! that a line stands for is lost, and the conversation goes on.
//!
//! The process that is killed is this binary, started again: it stops at the point, so that the kill comes
//! there and nowhere else.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use npast::agent::{CompressOptions, Event, IdleJob, Idled, Input, Refused, TurnOptions};
use npast::chat::ReplyScript;
use npast::session::Db;
use npast::slot::CallKind;
use npast::tools::{CallContext, Effect, Tool, ToolAnswer};
use serde_json::{Value, json};

use crate::agent::{Bench, calls, says, tool};
use crate::model::Class;
use crate::talk;
use crate::witness::{Reader, Stored};

const HOME: &str = "NPAST_TEST_PRUNE_HOME";
const POINT: &str = "NPAST_TEST_PRUNE_POINT";
/// Words of a result, which is long with them.
const WORDS: usize = 330;
/// Results; the last one is among what stays.
const RESULTS: usize = 3;

fn words(seed: usize) -> String {
    let word = |i: usize| format!("{} ", (i * i * 7 + seed * 131) % 997);
    (0..WORDS)
        .map(word)
        .collect::<String>()
        .trim_end()
        .to_owned()
}

fn tools() -> Vec<Box<dyn Tool>> {
    let long = |arguments: &Value, _: &CallContext<'_>| {
        let x = arguments["x"].as_str().unwrap_or_default();
        ToolAnswer::good(words(x.parse().unwrap_or(0)))
    };
    vec![tool("read_file", Effect::Reads, long)]
}

fn bench(class: Class) -> Bench {
    let mut bench = Bench::thinker(class);
    bench.desk.limit = 8192;
    bench
}

fn options() -> TurnOptions {
    TurnOptions {
        compress: Some(CompressOptions {
            prune: true,
            ..CompressOptions::default()
        }),
        ..talk::greedy(400)
    }
}

/// The process that is killed: prunes "work", says each point, and stops at one of them.
fn child() -> bool {
    let (Some(home), Ok(point)) = (std::env::var_os(HOME), std::env::var(POINT)) else {
        return false;
    };
    let class = Class::parse(&std::env::var("NPAST_TEST_PRUNE_CLASS").expect("a class"));
    let mut bench = bench(class.expect("a class"));
    bench.desk.home = PathBuf::from(home);
    let mut at = bench.open(&tools);
    let cancel = std::sync::Arc::default();
    let say = |text: &str| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "point {text}").expect("a pipe");
        out.flush().expect("a pipe");
        drop(out);
        if text == point {
            // The kill comes here; nobody wakes it.
            loop {
                std::thread::park();
            }
        }
    };
    say("begun");
    let done = at.talk.prune(&options(), &cancel, &mut |event| {
        if let Event::Compress { stage } = event {
            say(json!(stage).as_str().unwrap_or_default());
        }
    });
    done.expect("no error").expect("a prune");
    say("done");
    true
}

#[test]
fn a_kill_at_any_point_of_a_prune_leaves_one_whole_conversation_and_every_result() {
    if child() {
        return;
    }
    let mut seen = Vec::new();
    let all: &[&str] = &["begun", "written", "stored", "read", "done"];
    for (class, points) in [(Class::Dense, all), (Class::Hybrid, &all[1..3])] {
        for point in points.iter().copied() {
            let what = format!("{class:?}, {point}");
            let bench = bench(class);
            let mut at = bench.open(&tools);
            let mut lines: Vec<String> = (0..RESULTS)
                .map(|i| calls(&[("read_file", &i.to_string())]))
                .collect();
            lines.push(says("All was seen."));
            at.say("Look at all of it.", &lines);
            let before = at.talk.mirror();
            at.close();

            let name = "prunes::a_kill_at_any_point_of_a_prune_leaves_one_whole_conversation_and_every_result";
            let mut process = Command::new(std::env::current_exe().expect("this program"))
                .args(["--exact", name, "--nocapture"])
                .env(HOME, &bench.desk.home)
                .env(POINT, point)
                .env("NPAST_TEST_PRUNE_CLASS", class.as_str())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("a run");
            let out = BufReader::new(process.stdout.take().expect("its output"));
            let here = format!("point {point}");
            let found = out
                .lines()
                .map_while(Result::ok)
                .any(|line| line.ends_with(&here));
            process.kill().expect("a kill");
            process.wait().expect("an end");
            assert!(found, "{what}");

            let db = Db::open(&bench.desk.home.join("npast.db")).expect("npast.db");
            assert_eq!(db.survey().expect("a survey").damaged, [], "{what}");
            let old = Stored::of(&bench.desk, "work");
            assert_eq!(
                (&old.ledger, &old.messages),
                (&before.ledger, &before.messages),
                "{what}"
            );
            let work = db.find("work").expect("a query").expect("a session");
            let chain = db.lineage(work.id).expect("a lineage");
            let stored = !["begun", "written"].contains(&point);
            assert_eq!(chain.len(), 1 + usize::from(stored), "{what}");
            let newest = chain.last().expect("a session").name.clone();
            whole(&bench, &newest, &what);
            seen.push(chain.len());
            drop(db);

            // It goes on, and can be pruned where it was not.
            let mut at = bench.open(&tools);
            assert_eq!(at.talk.info().name, newest, "{what}");
            let cancel = std::sync::Arc::default();
            if !stored {
                let done = at.talk.prune(&options(), &cancel, &mut |_| {});
                assert!(
                    done.expect("no error").expect("a prune").results == RESULTS - 1,
                    "{what}"
                );
            }
            let worked = at.say("And now?", &[says("Done.")]);
            for r in worked.receipts.iter().filter(|r| r.kind == CallKind::Turn) {
                assert_eq!(r.miss.is_some(), r.evaluated > r.appended, "{what}: {r:?}");
            }
            let last = at.talk.info().name;
            at.close();
            assert_eq!(last, "work-2", "{what}");
            whole(&bench, &last, &what);
        }
    }
    println!("sessions after a kill at each point: {seen:?}");
}

/// Everything that was said is in the ledger, and what a line stands for is in the file that it names.
fn whole(bench: &Bench, name: &str, what: &str) {
    let stored = Stored::of(&bench.desk, name);
    let ledger = Reader::of(&bench.desk).text(&stored.ledger);
    let outline = stored.outline();
    let results: Vec<_> = outline.iter().filter(|m| m.0 == "tool").collect();
    assert_eq!(results.len(), RESULTS, "{what}");
    for message in &outline {
        assert!(ledger.contains(message.2.trim()), "{what}: {message:?}");
    }
    for (at, (_, _, text)) in results.into_iter().enumerate() {
        let content = match text.starts_with("[npast: the result of ") {
            false => text.to_string(),
            true => {
                let path = text
                    .rsplit(" in ")
                    .next()
                    .and_then(|p| p.strip_suffix(".]"));
                std::fs::read_to_string(path.expect("a path")).expect("a file")
            }
        };
        assert_eq!(content, words(at), "{what}");
    }
}

/// A prune that would not pay, and the summary after it that is refused: nothing of the conversation changes.
#[test]
fn a_prune_that_is_refused_leaves_the_next_logits_as_they_were_on_every_class() {
    for class in Class::ALL {
        let life = |tried: bool| {
            let mut bench = bench(class);
            bench.desk.limit = 6144;
            let mut at = bench.open(&tools);
            let cancel = std::sync::Arc::default();
            at.say("Hello?", &[says("Yes.")]);
            if tried {
                let done = at.talk.prune(&options(), &cancel, &mut |_| {});
                assert_eq!(done.expect("no error"), Err(Refused::Nothing), "{class:?}");
            }
            let read = [calls(&[("read_file", "0")]), says("All was seen.")];
            at.say("Look at it.", &read);
            // What stands behind the result is more than what its line would save.
            for seed in 1..3 {
                at.say(&words(seed), &[says("Noted.")]);
            }
            let before = at.talk.mirror();
            if tried {
                let options = TurnOptions {
                    compress: Some(CompressOptions {
                        at: Some(30),
                        prune: true,
                        ..CompressOptions::default()
                    }),
                    ..options()
                };
                assert_eq!(
                    at.talk.idle_jobs(&options),
                    [IdleJob::Compress],
                    "{class:?}"
                );
                let empty = json!({"job": "compress", "text": ""}).to_string();
                let mut script = ReplyScript::read(empty.as_bytes()).expect("a script");
                let mut jobs = Vec::new();
                let on = &mut |event| {
                    if let Event::Receipt(receipt) = event {
                        jobs.push(receipt.job.unwrap_or_default());
                    }
                };
                let job = IdleJob::Compress;
                let (talk, script) = (&mut at.talk, Some(&mut script));
                let done = talk.idle(job, &options, None, script, &cancel, on);
                assert_eq!(done.expect("no error"), Idled::Done, "{class:?}");
                assert_eq!(
                    jobs,
                    ["compress"],
                    "{class:?}: the prune was refused before"
                );
                assert_eq!(at.talk.mirror(), before, "{class:?}");
            }
            let input = Input::Text("And?".to_owned());
            let said = talk::turn(&mut at.talk, input, &talk::greedy(0), None, &|_| false);
            let r = said.expect("a turn").receipt().clone();
            let row = at.talk.next_logits().expect("a slot").expect("a row");
            let bits: Vec<u32> = row.iter().map(|x| x.to_bits()).collect();
            let ledger = at.talk.mirror().ledger;
            at.close();
            (bits, (r.kept, r.restored, r.evaluated, r.appended), ledger)
        };
        let (with, without) = (life(true), life(false));
        assert_eq!((with.1, &with.2), (without.1, &without.2), "{class:?}");
        assert!(with.0 == without.0, "{class:?}: other logits");
    }
}

/// The first session of a chain goes away; what its successors' lines name stays until the last of them is
/// gone.
#[test]
fn results_that_a_successor_names_outlive_the_session_that_had_them() {
    let bench = bench(Class::Dense);
    let mut at = bench.open(&tools);
    let mut lines: Vec<String> = (0..RESULTS)
        .map(|i| calls(&[("read_file", &i.to_string())]))
        .collect();
    lines.push(says("All was seen."));
    at.say("Look at all of it.", &lines);
    let cancel = std::sync::Arc::default();
    let done = at.talk.prune(&options(), &cancel, &mut |_| {});
    done.expect("no error").expect("a prune");
    at.close();
    whole(&bench, "work-2", "before");

    // As `npast sessions rm` does it.
    let home = &bench.desk.home;
    let remove = |name: &str| {
        let db = Db::open(&home.join("npast.db")).expect("npast.db");
        let id = db.find(name).expect("a query").expect("a session").id;
        for gone in db.remove(id).expect("a removal") {
            npast::agent::temp::remove(home, gone.0).expect("its results");
        }
    };
    remove("work");
    whole(&bench, "work-2", "without the first");
    // The next process sweeps what nobody needs, and keeps results in the same place.
    let engine = bench.desk.engine().expect("an engine");
    let at = bench.enter(&engine, "work-2", &tools);
    let mut at = at.expect("a session");
    whole(&bench, "work-2", "after a sweep");
    let folder = at.talk.temp_folder().expect("a folder");
    assert!(folder.ends_with("session-1"), "{}", folder.display());
    at.say("And now?", &[says("Done.")]);
    at.close();
    remove("work-2");
    assert!(!folder.exists());
}
