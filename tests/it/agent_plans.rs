//! A plan is what the conversation says: it goes back with an undo, comes again with a redo, goes
//! along with a fork, and is there in the next process.

use npast::agent::{Input, WhichSession};
use npast::tools::{Secrets, Todo, Tool};
use serde_json::{Value, json};

use crate::agent::{At, Bench, says};
use crate::model::Class;

fn tools() -> Vec<Box<dyn Tool>> {
    vec![Box::new(Todo::default())]
}

fn plans(calls: &[Value]) -> String {
    let call = |arguments: &Value| json!({"name": "todo", "arguments": arguments});
    let calls: Vec<Value> = calls.iter().map(call).collect();
    json!({"reasoning": "hm", "content": "", "tool_calls": calls}).to_string()
}

fn set(text: &str) -> Value {
    json!({"steps": [{"text": text, "state": "doing"}]})
}

fn show() -> Value {
    json!({})
}

/// What the calls of a turn gave.
fn results(at: &mut At, calls: &[Value]) -> Vec<String> {
    let worked = at
        .work(Input::Text("Plan.".into()), &[plans(calls), says("ok")])
        .expect("a turn");
    let results = worked.story.iter().filter(|s| !s.starts_with("call"));
    let mut results: Vec<String> = results.cloned().collect();
    assert_eq!(results.pop().as_deref(), Some("text ok"));
    results
}

#[test]
fn a_plan_goes_back_with_an_undo_and_along_with_a_fork() {
    let bench = Bench::thinker(Class::Dense);
    let mut at = bench.open(&tools);
    assert_eq!(results(&mut at, &[show()]), ["ok The plan is empty."]);
    assert_eq!(results(&mut at, &[set("one")]), ["ok [>] one"]);
    let before = bench.desk.stored("work").ledger;
    // Also the calls of one reply see it, one after another.
    assert_eq!(
        results(&mut at, &[set("two"), show(), set("three"), show()]),
        ["ok [>] two", "ok [>] two", "ok [>] three", "ok [>] three"]
    );
    at.talk.undo(1).expect("an undo");
    assert_eq!(bench.desk.stored("work").ledger, before, "no token moves");
    assert_eq!(results(&mut at, &[show()]), ["ok [>] one"]);
    at.talk.undo(1).expect("an undo");
    at.close();
    let mut at = bench.open(&tools);
    assert_eq!(results(&mut at, &[show()]), ["ok [>] one"]);

    // A call that was not run sets nothing.
    let mut door = at.door.clone();
    door.closed_to = vec!["todo".into()];
    let gate = Box::new(door);
    let closed = at
        .talk
        .toolset(tools(), gate, Secrets::default())
        .expect("tools");
    let open = std::mem::replace(&mut at.tools, closed.expect("tools"));
    assert_eq!(results(&mut at, &[set("four")]), ["bad Denied: todo."]);
    at.tools = open;
    assert_eq!(results(&mut at, &[show()]), ["ok [>] one"]);

    // What was taken off first comes again.
    let child = at.talk.fork(Some("aside"), Some(2)).expect("a fork");
    at.talk.undo(3).expect("an undo");
    let branches = crate::talk::branches(&bench.desk, "work");
    at.talk.redo(Some(branches[0].id.0)).expect("a redo");
    assert_eq!(results(&mut at, &[show()]), ["ok [>] three"]);
    at.close();

    let engine = bench.desk.engine().expect("an engine");
    let open = WhichSession::Named(child.name);
    let mut aside = engine
        .conversation(open, bench.new_session(crate::agent::setup(tools())))
        .expect("the fork");
    let gate = Box::new(crate::agent::Door::default());
    let mut own = aside
        .toolset(tools(), gate, Secrets::default())
        .expect("tools");
    let mut script =
        npast::chat::ReplyScript::read([plans(&[show()]), says("ok")].join("\n").as_bytes())
            .expect("a script");
    let mut shown = Vec::new();
    aside
        .work(
            Input::Text("Plan.".into()),
            &npast::agent::TurnOptions::default(),
            own.as_mut(),
            Some(&mut script),
            &Default::default(),
            &mut |event| {
                if let npast::agent::Event::ToolResult { text, .. } = event {
                    shown.push(text);
                }
            },
        )
        .expect("a turn");
    assert_eq!(shown, ["[>] one"]);
}
