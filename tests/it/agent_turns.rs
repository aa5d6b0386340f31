//! A turn with tools: reply, calls, results, reply. Each reply has its receipt, evaluates what is
//! new, and its results stand in the ledger in call order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use npast::agent::{Event, Input, TurnStop};
use npast::chat::message::Role;
use npast::ledger::Finish;
use npast::session::{Db, MessageState};
use npast::tools::{Effect, Secrets, Tool, ToolAnswer};
use serde_json::json;

use crate::agent::{Bench, TOOLLESS, calls, says, tool};
use crate::model::{CHATML, Class};
use crate::talk::greedy;

/// `echo` gives back its argument, `write` and `read` a file of the project, `fail` never works.
fn tools() -> Vec<Box<dyn Tool>> {
    vec![
        tool("echo", Effect::Reads, |a, _| {
            ToolAnswer::good(a["x"].as_str().unwrap_or_default())
        }),
        tool("write", Effect::Writes, |a, room| {
            let text = a["x"].as_str().unwrap_or_default();
            std::fs::write(room.project.join("file"), text).expect("a file");
            ToolAnswer::good("written")
        }),
        tool(
            "read",
            Effect::Reads,
            |_, room| match std::fs::read_to_string(room.project.join("file")) {
                Ok(text) => ToolAnswer::good(text),
                Err(_) => ToolAnswer::bad("no file"),
            },
        ),
    ]
}

fn roles(bench: &Bench) -> Vec<(Role, String)> {
    let stored = bench.desk.stored("work").canonical();
    stored.into_iter().map(|m| (m.role, m.text)).collect()
}

#[test]
fn a_turn_goes_on_until_the_model_answers_without_a_call() {
    for class in Class::ALL {
        let bench = Bench::thinker(class);
        let mut at = bench.open(&tools);
        let worked = at.say(
            "Go.",
            &[
                calls(&[("read", ""), ("write", "one"), ("read", ""), ("echo", "e")]),
                calls(&[("write", "two")]),
                says("Done."),
            ],
        );
        worked.honest();
        let want = [
            r#"call read {"x":""}"#,
            r#"call write {"x":"one"}"#,
            r#"call read {"x":""}"#,
            r#"call echo {"x":"e"}"#,
            "bad no file",
            "ok written",
            "ok one",
            "ok e",
            r#"call write {"x":"two"}"#,
            "ok written",
            "text Done.",
        ];
        assert_eq!(worked.story, want, "{class:?}");
        let finishes: Vec<_> = worked.receipts.iter().map(|r| r.finish).collect();
        assert_eq!(
            finishes,
            [Finish::ToolCalls, Finish::ToolCalls, Finish::Stop]
        );
        let [sum] = &worked.sums[..] else {
            panic!("one turn event: {:?}", worked.sums)
        };
        let total =
            |of: fn(&npast::agent::Receipt) -> usize| worked.receipts.iter().map(of).sum::<usize>();
        assert_eq!(
            (sum.calls, sum.evaluated, sum.generated),
            (3, total(|r| r.evaluated), total(|r| r.generated))
        );
        assert_eq!((sum.finish, sum.stopped), (Finish::Stop, None));
        // Each call went on from where the one before it ended.
        for two in worked.receipts.windows(2) {
            assert_eq!(two[1].kept, two[0].context, "{class:?}");
        }
        at.close();
        let text = |role, text: &str| (role, text.to_owned());
        let want = [
            text(Role::User, "Go."),
            text(Role::Assistant, ""),
            text(Role::Tool, "no file"),
            text(Role::Tool, "written"),
            text(Role::Tool, "one"),
            text(Role::Tool, "e"),
            text(Role::Assistant, ""),
            text(Role::Tool, "written"),
            text(Role::Assistant, "Done."),
        ];
        assert_eq!(roles(&bench), want, "{class:?}");
        let stored = bench.desk.stored("work");
        // All results of a reply are one delta: they share their span.
        let spans: Vec<_> = stored.messages[2..6].iter().map(|m| m.span).collect();
        assert!(
            spans
                .windows(2)
                .all(|two| two[0] == two[1] && two[0].is_some()),
            "{spans:?}"
        );
        assert_eq!(
            std::fs::read_to_string(bench.project.path().join("file"))
                .ok()
                .as_deref(),
            Some("two")
        );
    }
}

#[test]
fn calls_that_only_read_run_side_by_side_and_the_others_one_after_another() {
    // Each waits for the other: one after another they would give up.
    let met = Arc::new((Mutex::new(0), Condvar::new()));
    let busy = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let most_seen = most.clone();
    let tools = move || {
        let meet = |met: Arc<(Mutex<usize>, Condvar)>| {
            let mut there = met.0.lock().expect("a count");
            *there += 1;
            met.1.notify_all();
            let patience = Duration::from_secs(30);
            let waited = met
                .1
                .wait_timeout_while(there, patience, |there| *there < 2);
            match waited.expect("a count").1.timed_out() {
                false => ToolAnswer::good("met"),
                true => ToolAnswer::bad("nobody came"),
            }
        };
        let (a, b) = (met.clone(), met.clone());
        let (busy, most) = (busy.clone(), most.clone());
        vec![
            tool("a", Effect::Reads, move |_, _| meet(a.clone())),
            tool("b", Effect::Reads, move |_, _| meet(b.clone())),
            tool("w", Effect::Runs, move |_, _| {
                most.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                busy.fetch_sub(1, Ordering::SeqCst);
                ToolAnswer::good("ran")
            }),
        ]
    };
    let bench = Bench::thinker(Class::Dense);
    let mut at = bench.open(&tools);
    let worked = at.say(
        "Go.",
        &[
            calls(&[("a", ""), ("b", ""), ("w", "1"), ("w", "2"), ("w", "3")]),
            says("ok"),
        ],
    );
    assert_eq!(
        worked.story[5..10],
        ["ok met", "ok met", "ok ran", "ok ran", "ok ran"]
    );
    assert_eq!(most_seen.load(Ordering::SeqCst), 1);
}

#[test]
fn what_cannot_be_run_is_a_result_and_the_third_in_a_row_ends_the_turn() {
    // Where a template has tools of its own its parser takes an unknown one for text; the plain
    // format reads every name.
    let bench = Bench::new(Class::Dense, TOOLLESS);
    let mut at = bench.open(&tools);
    let line = |name: &str, key: &str| {
        let call = json!({"name": name, "arguments": {key: "x"}});
        json!({"content": "", "tool_calls": [call]}).to_string()
    };
    let lines = [
        line("ecko", "x"),
        line("echo", "y"),
        line("echo", "x"),
        line("ecko", "x"),
        line("gone", "x"),
        line("echo", "y"),
        line("echo", "x"),
    ];
    let worked = at.say("Go.", &lines);
    worked.honest();
    let results: Vec<&String> = worked
        .story
        .iter()
        .filter(|s| !s.starts_with("call"))
        .collect();
    assert!(
        results[0].starts_with("bad ") && results[0].contains("echo"),
        "{results:?}"
    );
    assert!(
        results[1].starts_with("bad ") && results[1].contains('x'),
        "{results:?}"
    );
    assert_eq!(results[2], "ok x");
    assert_eq!(results.len(), 6, "{results:?}");
    let end = worked.end.expect("an end");
    assert_eq!(
        (end.finish, end.stopped),
        (Finish::ToolCalls, Some(TurnStop::Chances))
    );
    assert_eq!(worked.sums[0].stopped, Some(TurnStop::Chances));
    assert!(
        worked
            .notices
            .iter()
            .any(|n| n.contains("could not be run")),
        "{:?}",
        worked.notices
    );
    // The results wait in the ledger: an empty message goes on from there.
    let on = at.work(Input::Open, &[says("I see.")]).expect("a turn");
    assert_eq!(on.honest().story, ["text I see."]);
}

#[test]
fn a_loop_is_warned_at_three_and_ended_at_five() {
    let bench = Bench::thinker(Class::Dense);
    let mut at = bench.open(&tools);
    let again = || calls(&[("echo", "same")]);
    let worked = at.say(
        "Go.",
        &[again(), again(), again(), again(), again(), says("never")],
    );
    worked.honest();
    let results: Vec<&String> = worked
        .story
        .iter()
        .filter(|s| s.starts_with("ok"))
        .collect();
    assert_eq!(results.len(), 5);
    assert_eq!(
        (results[0].as_str(), results[1].as_str()),
        ("ok same", "ok same")
    );
    assert!(results[2].contains("3 times in this turn"), "{results:?}");
    assert!(results[4].contains("the turn ends here"), "{results:?}");
    assert_eq!(worked.end.expect("an end").stopped, Some(TurnStop::Loop));
}

#[test]
fn budgets_of_steps_and_tokens_end_a_turn_and_the_next_one_has_its_own() {
    let bench = Bench::thinker(Class::Dense);
    let mut at = bench.open(&tools);
    at.tools.budget.steps = 2;
    let call = |x: &str| calls(&[("echo", x)]);
    let worked = at.say("Go.", &[call("1"), call("2"), call("3")]);
    assert_eq!(
        worked.honest().story[5],
        "bad [npast: not run. The budget of this turn is used up.]"
    );
    assert_eq!(worked.end.expect("an end").stopped, Some(TurnStop::Steps));
    let worked = at.say("On.", &[call("4"), says("ok")]);
    assert_eq!(
        worked.honest().story,
        [r#"call echo {"x":"4"}"#, "ok 4", "text ok"]
    );
    at.tools.budget.tokens = 5;
    let worked = at.say("On.", &[call("5")]);
    assert_eq!(worked.end.expect("an end").stopped, Some(TurnStop::Tokens));
}

#[test]
fn a_denied_call_is_not_run_and_its_result_says_so() {
    let bench = Bench::thinker(Class::Dense);
    let mut at = bench.open(&tools);
    let mut door = at.door.clone();
    door.closed_to = vec!["write".into()];
    at.tools = at
        .talk
        .toolset(tools(), Box::new(door), Secrets::default())
        .expect("tools")
        .expect("tools");
    let worked = at.say(
        "Go.",
        &[calls(&[("write", "x"), ("echo", "y")]), says("ok")],
    );
    assert_eq!(
        worked.honest().story[2..],
        ["bad Denied: write.", "ok y", "text ok"]
    );
    assert!(!bench.project.path().join("file").exists());
    assert_eq!(
        *at.door.asked.borrow(),
        [r#"write {"x":"x"}"#, r#"echo {"x":"y"}"#],
        "asked in call order"
    );
}

#[test]
fn a_line_steered_meanwhile_stands_behind_the_results_of_its_step() {
    for template in [crate::model::THINKER, CHATML] {
        let bench = Bench::new(Class::Hybrid, template);
        let mut at = bench.open(&tools);
        let steering = at.steering();
        let lines = [calls(&[("echo", "a")]), calls(&[("echo", "b")]), says("ok")];
        let worked = at
            .work_until(Input::Text("Go.".into()), &lines, &|event| {
                if matches!(event, Event::ToolResult { text, .. } if text == "a") {
                    steering.steer("Not there.");
                    steering.queue("Later.");
                }
                if matches!(event, Event::Receipt(r) if r.finish == Finish::Stop) {
                    steering.steer("Too late.");
                }
                false
            })
            .expect("a turn");
        worked.honest();
        assert_eq!(
            worked.story,
            [
                r#"call echo {"x":"a"}"#,
                "ok a",
                "said Not there.",
                r#"call echo {"x":"b"}"#,
                "ok b",
                "text ok"
            ]
        );
        assert_eq!(steering.left().as_deref(), Some("Too late."));
        assert_eq!(steering.next().as_deref(), Some("Later."));
        at.close();
        let said: Vec<Role> = roles(&bench).into_iter().map(|m| m.0).collect();
        use Role::{Assistant, Tool, User};
        assert_eq!(
            said,
            [User, Assistant, Tool, User, Assistant, Tool, Assistant]
        );
    }
}

#[test]
fn ctrl_c_in_a_tool_ends_the_turn_and_every_call_has_a_true_result() {
    let stopping = || {
        let mut all = tools();
        all.push(tool("wait", Effect::Runs, |_, room| {
            // Ctrl-C reaches it as room.cancel.
            match room.cancelled() {
                true => ToolAnswer::bad("ended by the user"),
                false => ToolAnswer::good("went on"),
            }
        }));
        all
    };
    for class in [Class::Dense, Class::Recurrent] {
        let bench = Bench::thinker(class);
        let mut at = bench.open(&stopping);
        let lines = [calls(&[("write", "x"), ("wait", ""), ("write", "y")])];
        let worked = at
            .work_until(
                Input::Text("Go.".into()),
                &lines,
                &|event| matches!(event, Event::ToolResult { text, .. } if text == "written"),
            )
            .expect("a turn");
        worked.honest();
        let not_run = "bad [npast: not run. The user interrupted the turn.]";
        assert_eq!(worked.story[3..], ["ok written", not_run, not_run]);
        let end = worked.end.expect("an end");
        assert_eq!(
            (end.finish, end.withdrawn, end.stopped),
            (Finish::Interrupted, None, None)
        );
        assert_eq!(
            std::fs::read_to_string(bench.project.path().join("file")).expect("a file"),
            "x"
        );
        let stored = bench.desk.stored("work");
        assert!(
            stored.messages[2..]
                .iter()
                .all(|m| m.state == MessageState::Open)
        );
        // In another process, with a message of its own.
        at.close();
        let mut at = bench.open(&stopping);
        let worked = at.say("Never mind.", &[says("ok")]);
        assert_eq!(worked.honest().story, ["text ok"]);
        assert_eq!(roles(&bench).len(), 7);
    }
}

#[test]
fn a_crash_between_a_call_and_its_result_is_closed_at_the_next_open() {
    for class in [Class::Dense, Class::Hybrid] {
        let bench = Bench::thinker(class);
        let mut at = bench.open(&tools);
        // A turn of one call only: as if the process had ended right behind the reply.
        let line = calls(&[("echo", "a"), ("write", "b"), ("read", "c"), ("write", "d")]);
        let mut script = npast::chat::ReplyScript::read(line.as_bytes()).expect("a script");
        crate::talk::turn(
            &mut at.talk,
            Input::Text("Go.".into()),
            &greedy(400),
            Some(&mut script),
            &|_| false,
        )
        .expect("a turn");
        at.close();
        // It had begun some of them.
        let before = bench.desk.stored("work");
        let reply = before.messages.last().expect("a reply").id;
        let mut db = Db::open(&bench.desk.home.join("npast.db")).expect("npast.db");
        let mut unit = db.begin(before.session.id).expect("a unit");
        unit.start_run(reply, 0, "reads").expect("a mark");
        unit.end_run(reply, 0, true, "a").expect("a result");
        unit.start_run(reply, 1, "writes").expect("a mark");
        unit.start_run(reply, 2, "reads").expect("a mark");
        unit.commit().expect("a commit");
        drop(db);

        let mut at = bench.open(&tools);
        let after = bench.desk.stored("work");
        assert!(
            after
                .ledger
                .starts_with(&before.ledger[..before.ledger.len() - 1]),
            "nothing decoded is removed"
        );
        let texts: Vec<String> = after.canonical()[2..]
            .iter()
            .map(|m| m.text.clone())
            .collect();
        assert_eq!(texts[0], "a", "a stored result is used");
        assert!(
            texts[1].contains("unknown effect") && !texts[1].contains("not run"),
            "{texts:?}"
        );
        assert!(texts[2].contains("changed nothing"), "{texts:?}");
        assert!(
            texts[3].contains("not run") && !texts[3].contains("unknown"),
            "{texts:?}"
        );
        assert_eq!(texts.len(), 4);
        assert!(at.talk.info().open_message.is_some());
        let worked = at.work(Input::Open, &[says("I see.")]).expect("a turn");
        assert_eq!(worked.honest().story, ["text I see."]);
        assert!(
            worked.notices[0].contains(
                "of 4 calls 1 have their result, 2 were not run, 1 may have had an effect"
            ),
            "{:?}",
            worked.notices
        );
        at.close();
        let at = bench.open(&tools);
        assert_eq!(roles(&bench).len(), 7, "closed once");
        at.close();
        let db = Db::open(&bench.desk.home.join("npast.db")).expect("npast.db");
        assert_eq!(
            db.runs(reply).expect("marks"),
            [],
            "the marks went with the results"
        );
    }
}

#[test]
fn a_frozen_tool_that_is_gone_answers_with_a_sentence() {
    let bench = Bench::thinker(Class::Dense);
    bench.open(&tools).close();
    let mut at = bench.open(&tools);
    let fewer = || {
        vec![
            tool("echo", Effect::Reads, |_, _| ToolAnswer::good("e")),
            tool("new", Effect::Reads, |_, _| ToolAnswer::good("n")),
        ]
    };
    at.tools = at
        .talk
        .toolset(fewer(), Box::new(at.door.clone()), Secrets::default())
        .expect("tools")
        .expect("tools");
    let worked = at.say(
        "Go.",
        &[calls(&[("write", "x"), ("echo", "x")]), says("ok")],
    );
    let results: Vec<&String> = worked
        .story
        .iter()
        .filter(|s| !s.starts_with("call"))
        .collect();
    assert!(
        results[0].starts_with("bad ") && results[0].contains("not there now"),
        "{results:?}"
    );
    assert_eq!(results[1], "ok e");
}

#[test]
fn results_that_do_not_fit_any_more_are_said_and_the_turn_goes_on() {
    let mut bench = Bench::thinker(Class::Dense);
    bench.desk.limit = 2048;
    let big = || {
        vec![tool("big", Effect::Reads, |_, _| {
            ToolAnswer::good("word ".repeat(2000))
        })]
    };
    let mut at = bench.open(&big);
    let worked = at.say("Go.", &[calls(&[("big", "")]), says("ok")]);
    worked.honest();
    assert_eq!(worked.story.last().map(String::as_str), Some("text ok"));
    assert!(
        worked.notices.iter().any(|n| n.contains("do not fit")),
        "{:?}",
        worked.notices
    );
    assert!(
        roles(&bench)[2]
            .1
            .contains("does not fit: the context is nearly full")
    );
}

#[test]
fn a_session_whose_stored_prompt_is_missing_says_so_and_builds_none() {
    let bench = Bench::thinker(Class::Dense);
    let mut at = bench.open(&tools);
    at.say("Go.", &[says("ok")]);
    at.close();
    let db = bench.desk.home.join("npast.db");
    rusqlite::Connection::open(&db)
        .and_then(|c| c.execute("UPDATE sessions SET system = NULL", []))
        .expect("damage");
    let head = bench.desk.stored("work").session.head;
    let before = bench.desk.stored("work").ledger[..head].to_vec();
    let mut at = bench.open(&tools);
    let worked = at.say("On.", &[says("ok")]);
    worked.honest();
    assert!(
        worked
            .notices
            .iter()
            .any(|n| n.contains("stored system prompt of session work is missing")),
        "{:?}",
        worked.notices
    );
    assert_eq!(bench.desk.stored("work").ledger[..head], before);
    assert_eq!(bench.desk.stored("work").session.system, None);
}

/// Whatever asks for a reply: its calls are run, and the turn goes on to an answer.
#[test]
fn calls_are_run_in_every_reply_however_it_was_asked_for() {
    for class in [Class::Dense, Class::Hybrid] {
        let bench = Bench::thinker(class);
        let mut at = bench.open(&tools);
        at.say("Go.", &[says("One.")]);
        let lines = [calls(&[("echo", "again")]), says("Two.")];
        let ran = [r#"call echo {"x":"again"}"#, "ok again", "text Two."];

        // Another reply in the place of one without calls.
        let worked = at.retry(&lines);
        assert_eq!(worked.honest().story, ran, "{class:?}");
        assert_eq!((worked.receipts.len(), worked.sums.len()), (2, 1));
        assert_eq!(worked.sums[0].calls, 2);
        assert_eq!(
            (worked.receipts[0].evaluated, &worked.notices[..]),
            (0, &[][..])
        );

        // Another reply to results: the calls before it stay, and are not run again.
        let worked = at.retry(&[calls(&[("echo", "more")]), says("Three.")]);
        let want = [r#"call echo {"x":"more"}"#, "ok more", "text Three."];
        assert_eq!(worked.honest().story, want, "{class:?}");

        // Another message in the place of the last one.
        at.talk.edit().expect("a turn to take back");
        let worked = at.say("Go there.", &lines);
        assert_eq!(worked.story, ran, "{class:?}");

        // A reply that was cut inside a call goes on to the call's end.
        let cut = json!({"text": "hm\n</think>\n\n<tool_call>\n{\"name\": \"echo\", ",
            "finish": "length"});
        let worked = at.say("And more.", &[cut.to_string()]);
        assert_eq!(worked.end.expect("an end").finish, Finish::Length);
        let rest = json!({"text": "\"arguments\": {\"x\": \"again\"}}\n</tool_call>"});
        let worked = at.work(Input::Continue, &[rest.to_string(), says("Two.")]);
        assert_eq!(worked.expect("more of it").honest().story, ran, "{class:?}");

        // A message that a process left open.
        let worked = at.work(Input::Text("Last.".to_owned()), &[]);
        assert!(worked.is_err(), "there is no prepared reply");
        let worked = at.work(Input::Open, &lines).expect("an open message");
        assert_eq!(worked.honest().story, ran, "{class:?}");
    }
}

#[test]
fn ctrl_c_in_the_calls_of_another_reply_keeps_it() {
    let bench = Bench::thinker(Class::Hybrid);
    let mut at = bench.open(&tools);
    at.say("Go.", &[says("One.")]);
    let lines = [calls(&[("echo", "a"), ("write", "b")]), says("Two.")];
    let worked = at.retry_until(&lines, &|e| matches!(e, Event::ToolCall { .. }));
    assert_eq!(worked.end.expect("an end").finish, Finish::Interrupted);
    let stored = bench.desk.stored("work");
    let seen: Vec<_> = stored
        .messages
        .iter()
        .map(|m| (m.role.as_str(), m.state))
        .collect();
    let want = [
        ("user", MessageState::Answered),
        ("assistant", MessageState::Answered),
        ("tool", MessageState::Open),
        ("tool", MessageState::Open),
    ];
    assert_eq!(seen, want, "the calls and what became of them stay");
    assert!(worked.notices.iter().all(|n| !n.contains("put back")));
}
