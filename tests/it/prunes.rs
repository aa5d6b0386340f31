//! `kill -9` at every named point of a prune: there is the old conversation or the new one, whole, nothing
//! that a line stands for is lost, and the conversation goes on.
//!
//! The process that is killed is this binary, started again: it stops at the point, so that the kill comes
//! there and nowhere else.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use npast::agent::{
    CompressOptions, CompressStage, Engine, Event, IdleJob, Idled, Input, Refused, TurnOptions,
};
use npast::chat::ReplyScript;
use npast::ledger::Finish;
use npast::session::Db;
use npast::slot::CallKind;
use npast::tools::{CallContext, Effect, ReadFile, SearchTool, Secrets, Tool, ToolAnswer};
use serde_json::{Value, json};

use crate::agent::{At, Bench, calls, says, tool};
use crate::agent_programs::Free;
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
        // What is no number is a file with little in it.
        ToolAnswer::good(x.parse().map_or_else(|_| "short".to_owned(), words))
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
    let cancel = Arc::default();
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
            let cancel = Arc::default();
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
        let content = kept(&bench.desk.home, text).unwrap_or_else(|| text.to_string());
        assert_eq!(content, words(at), "{what}");
    }
}

/// What the file holds that a line in the place of a result names; nothing of any other text.
pub fn kept(home: &Path, line: &str) -> Option<String> {
    let (number, _) = line
        .strip_prefix("[npast: path result:")?
        .split_once(" has ")?;
    let name = format!("result-kept-{number}.txt");
    let folders = std::fs::read_dir(home.join("temp")).expect("a folder");
    let mut files = folders.map(|folder| folder.expect("a folder").path().join(&name));
    let file = files.find(|file| file.exists()).expect("a file");
    Some(std::fs::read_to_string(file).expect("a text"))
}

/// The last result stays word for word.
fn keeps_one() -> TurnOptions {
    TurnOptions {
        compress: Some(CompressOptions {
            tail: Some(1700),
            ..CompressOptions::default()
        }),
        ..options()
    }
}

/// A result that stayed word for word is cut at the next prune. Where the state cannot be cut, one was kept in
/// RAM before that result, though one call read all that stayed: that of the prune, or where the prune's was
/// stopped the next turn's.
#[test]
fn a_second_prune_reads_from_the_first_result_that_stayed_on_every_class() {
    for (class, stopped) in Class::ALL.map(|c| [(c, false), (c, true)]).concat() {
        let mut bench = bench(class);
        bench.desk.limit = 16_384;
        let mut at = bench.open(&tools);
        let mut seen = 0;
        for (round, results) in [(0, RESULTS), (1, 1), (2, 1)] {
            let what = format!("{class:?}, stopped: {stopped}, prune {round}");
            let mut lines: Vec<String> = (seen..seen + results)
                .map(|i| calls(&[("read_file", &i.to_string())]))
                .collect();
            seen += results;
            lines.push(says("All was seen."));
            let worked = at.say("Look at all of it.", &lines);
            assert!(
                worked.receipts.iter().all(|r| r.miss.is_none()),
                "{what}: {:?}",
                worked.receipts
            );
            let mut receipts = Vec::new();
            let cancel = Arc::new(AtomicBool::new(false));
            let done = at
                .talk
                .prune(&keeps_one(), &cancel, &mut |event| match event {
                    Event::Receipt(receipt) => receipts.push(*receipt),
                    Event::Compress {
                        stage: CompressStage::Stored,
                    } => cancel.store(stopped && round == 0, Ordering::Relaxed),
                    _ => {}
                });
            let done = done.expect("no error").expect("a prune");
            let results = if round == 0 { RESULTS - 1 } else { 1 };
            assert_eq!(done.results, results, "{what}");
            match &receipts[..] {
                [] => assert!(stopped && round == 0, "{what}"),
                [read] => {
                    assert_eq!((read.kind, &read.miss), (CallKind::Idle, &None), "{what}");
                    assert!(read.evaluated <= done.again, "{what}: {read:?}");
                }
                more => panic!("{what}: {more:?}"),
            }
        }
        at.say("And now?", &[says("Done.")]).honest();
        at.close();
    }
}

/// Two results fit into what stays, so there is nothing to shorten but one of the two.
#[test]
fn where_a_prune_does_not_pay_half_as_much_of_the_end_stays() {
    let bench = bench(Class::Dense);
    let mut at = bench.open(&tools);
    let compress = CompressOptions {
        at: Some(50),
        tail: Some(2 * 1400),
        prune: true,
        ..CompressOptions::default()
    };
    let options = TurnOptions {
        compress: Some(compress),
        ..options()
    };
    let mut lines: Vec<String> = (0..5)
        .map(|i| calls(&[("read_file", &i.to_string())]))
        .collect();
    lines.push(says("All was seen."));
    let (worked, end) = at.tell(&lines, &|_| false, &mut |at, script, cancel, on| {
        let input = Input::Text("Look at all of it.".into());
        let tools = Some(&mut at.tools);
        at.talk.work(input, &options, tools, script, cancel, on)
    });
    assert_eq!(end.expect("a turn").finish, Finish::Stop);
    for r in &worked.receipts {
        assert_eq!((r.evaluated <= r.appended, &r.miss), (true, &None), "{r:?}");
    }
    let pruned = worked.receipts.iter().filter_map(|r| r.pruned.as_ref());
    let results: Vec<usize> = pruned.map(|p| p.results).collect();
    assert_eq!(results, [1, 1, 1], "{:?}", worked.receipts);
    assert!(worked.receipts.iter().all(|r| r.kind != CallKind::Fork));

    // Asked for, it keeps all that was to stay.
    let done = at.talk.prune(&options, &Arc::default(), &mut |_| {});
    assert_eq!(done.expect("no error"), Err(Refused::Nothing));
    at.close();
}

/// A result that became a line is read and searched under the short name that the line gives it, by the real
/// tools; a name of no result is no file.
#[test]
fn the_short_path_in_a_line_opens_the_whole_result() {
    let mut bench = bench(Class::Dense);
    bench.desk.limit = 16_384;
    let options = keeps_one();
    let text = |i: usize| format!("the beginning of file {i}\n{}\nits end\n", words(i));
    for i in 0..RESULTS {
        std::fs::write(bench.folder().join(format!("{i}.txt")), text(i)).expect("a file");
    }
    let tools = || -> Vec<Box<dyn Tool>> {
        vec![
            Box::new(ReadFile::default()),
            Box::new(SearchTool::default()),
        ]
    };
    let call = |name: &str, arguments: Value| {
        let call = json!([{"name": name, "arguments": arguments}]);
        json!({"reasoning": "hm", "content": "", "tool_calls": call}).to_string()
    };
    let enter = |engine: &Engine, name: &str| {
        let mut at = bench.enter(engine, name, &tools).expect("a session");
        let free = Box::new(Free(bench.folder()));
        let real = at.talk.toolset(tools(), free, Secrets::default());
        at.tools = real.expect("tools").expect("tools");
        at
    };
    let engine = bench.desk.engine().expect("an engine");
    let mut at = enter(&engine, "work");
    let mut lines: Vec<String> = (0..RESULTS)
        .map(|i| call("read_file", json!({"path": format!("{i}.txt")})))
        .collect();
    lines.push(says("All was seen."));
    let read = at.say("Look at all of it.", &lines);
    let mut results = read
        .story
        .iter()
        .filter_map(|said| said.strip_prefix("ok "));
    let first = results.next().expect("a result");
    let done = at.talk.prune(&options, &Arc::default(), &mut |_| {});
    assert_eq!(
        done.expect("no error").expect("a prune").results,
        RESULTS - 1
    );
    let stored = Stored::of(&bench.desk, &at.talk.info().name);
    let outline = stored.outline();
    let line = outline.iter().find(|m| m.0 == "tool").expect("a result").2;
    assert_eq!(kept(&bench.desk.home, line).as_deref(), Some(first));
    let short = line.split(' ').nth(2).expect("a path");

    let asked = [
        call("read_file", json!({"path": short})),
        call("search", json!({"path": short, "pattern": "its e.d"})),
        call("read_file", json!({"path": "result:99999"})),
        says("Its end."),
    ];
    let ask = |at: &mut At| {
        let again = at.say("What was in the first one?", &asked);
        again.honest();
        let results: Vec<&str> = (again.story.iter())
            .filter(|said| said.starts_with("ok ") || said.starts_with("bad "))
            .map(String::as_str)
            .collect();
        let [whole, found, gone] = results[..] else {
            panic!("{results:?}");
        };
        let shown = whole.split_once(":\n").expect("a name").1;
        assert_eq!(shown, first, "{whole}");
        assert!(
            found.starts_with("ok ") && found.contains("its end"),
            "{found}"
        );
        assert_eq!(gone, "bad There is no file result:99999.");
    };
    ask(&mut at);

    // Where the file is gone, and in a fork, which has files of its own, npast.db still has the result.
    std::fs::remove_dir_all(at.talk.temp_folder().expect("a folder")).expect("a removal");
    at.talk.temp_folder().expect("a folder");
    ask(&mut at);
    let fork = at.talk.fork(Some("fork"), None).expect("a fork").name;
    at.close();
    let mut at = enter(&engine, &fork);
    ask(&mut at);
    // Another conversation's results are not its own.
    let mut other = enter(&engine, "other");
    let read = other.say(
        "What was in the first one?",
        &[call("read_file", json!({"path": short})), says("Nothing.")],
    );
    assert!(
        read.story
            .iter()
            .any(|said| *said == format!("bad There is no file {short}.")),
        "{:?}",
        read.story
    );
    other.close();
    at.close();
}

/// A prune that would not pay, and the summary after it that is refused: nothing of the conversation changes.
#[test]
fn a_prune_that_is_refused_leaves_the_next_logits_as_they_were_on_every_class() {
    for class in Class::ALL {
        let life = |tried: bool| {
            let mut bench = bench(class);
            bench.desk.limit = 6144;
            let mut at = bench.open(&tools);
            let cancel = Arc::default();
            at.say("Hello?", &[says("Yes.")]);
            if tried {
                let done = at.talk.prune(&options(), &cancel, &mut |_| {});
                assert_eq!(done.expect("no error"), Err(Refused::Nothing), "{class:?}");
            }
            let read = [
                calls(&[("read_file", "0")]),
                calls(&[("read_file", "none")]),
                says("All was seen."),
            ];
            at.say("Look at it.", &read);
            // What stands behind the first result is more than twice what its line would save.
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
    let cancel = Arc::default();
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
