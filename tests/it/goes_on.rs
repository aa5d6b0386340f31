//! Going on from a place in a session that a client names: what is before it is known by the place alone,
//! and the conversation becomes, token for token, what the whole history would have made of it.

use std::sync::Arc;

use npast::agent::{AgentError, Behind, ClientHistory, Conversation, Event, Followed, Receipt};
use npast::chat::pins::PinRules;
use npast::chat::{Message, ReplyScript};
use serde_json::json;

use crate::client::{self, Client};
use crate::model::{Class, THINKER};
use crate::talk::{Desk, branches, greedy};
use crate::witness::Stored;

fn tools() -> serde_json::Value {
    json!([{"type": "function", "function": {"name": "read_file", "description": "Reads.",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}}])
}

fn calls() -> String {
    let call = |path: &str| json!({"name": "read_file", "arguments": {"path": path}});
    json!({"reasoning": "Two.", "content": "I look.", "tool_calls": [call("a"), call("b")]})
        .to_string()
}

fn reply(text: &str) -> String {
    json!({"reasoning": "Hm.", "content": text}).to_string()
}

/// Goes on from a place with these messages.
fn go_on(
    talk: &mut Conversation,
    from: Behind,
    messages: Vec<Message>,
    line: &str,
) -> Result<(Followed, Receipt), AgentError> {
    let history = ClientHistory {
        messages,
        ..ClientHistory::default()
    };
    let mut script = ReplyScript::read(line.as_bytes()).expect("a script");
    let mut receipts = Vec::new();
    let followed = talk.go_on(
        from,
        &history,
        PinRules::all(),
        &greedy(300),
        Some(&mut script),
        &Arc::default(),
        &mut |event| {
            if let Event::Receipt(receipt) = event {
                receipts.push(*receipt);
            }
        },
    )?;
    assert_eq!(receipts.len(), 1, "one receipt a call");
    Ok((followed, receipts.remove(0)))
}

fn place(talk: &Conversation, messages: Option<usize>) -> Behind {
    Behind {
        session: talk.info().id,
        messages,
    }
}

/// The results of the last reply's calls, the second one first.
fn results(talk: &Conversation) -> Vec<Message> {
    let stored = talk.mirror().messages;
    let last = Message::from_json(&stored.last().expect("a reply").body).expect("a message");
    let mut results: Vec<Message> = last
        .calls
        .iter()
        .map(|call| Message::tool_result(&call.id, "", format!("all of {}", call.arguments)))
        .collect();
    results.reverse();
    results
}

#[test]
fn each_step_costs_itself_and_gives_the_tokens_of_the_whole_history_on_every_class() {
    for class in Class::ALL {
        let desk = Desk::new(class, Some(THINKER));
        let mut client = Client {
            system: Some("You help.".into()),
            tools: Some(tools()),
            ..Client::default()
        };
        client.user("Hello.");
        let engine = desk.engine().expect("an engine");
        let new = desk.new_session();
        let mut whole = client::open(&engine, &client, &["whole"], new.clone()).expect("one");
        let mut steps = client::open(&engine, &client, &["steps"], new).expect("another");
        let mut last: Option<usize> = None;
        let lines = [calls(), reply("So it is."), reply("Yes.")];
        for (n, line) in lines.iter().enumerate() {
            let answer = client::ask(&mut whole, &client.history(), &greedy(300), Some(line));
            answer.expect("a reply");
            let new = match n {
                0 => client.history().messages,
                1 => results(&steps),
                _ => vec![Message::user("And now?")],
            };
            let at = place(&steps, last);
            let (followed, r) = match n {
                0 => {
                    let answer =
                        client::ask(&mut steps, &client.history(), &greedy(300), Some(line));
                    let answer = answer.expect("a reply");
                    (answer.followed.clone(), answer.receipt().clone())
                }
                _ => go_on(&mut steps, at, new, line).expect("a reply"),
            };
            assert_eq!(
                (r.evaluated <= r.appended, &r.miss),
                (true, &None),
                "{class:?} {n}"
            );
            let stored = steps.mirror().messages.len();
            assert_eq!(followed.messages, stored, "{class:?} {n}");
            let sent = [1, 4, 6][n];
            assert_eq!(
                (followed.same, followed.sent),
                ([0, 2, 5][n], sent),
                "{class:?} {n}"
            );
            assert_eq!(followed.difference, None);
            // By count, and by what is there.
            last = (n % 2 == 0).then_some(stored);
            client.take_reply(&whole);
            match n {
                0 => client.results_of(&whole),
                _ => client.user("And now?"),
            }
        }
        let tokens = |talk: &Conversation| talk.mirror().ledger;
        assert_eq!(tokens(&steps), tokens(&whole), "{class:?}");
    }
}

#[test]
fn from_an_earlier_place_what_follows_it_is_cut_off_and_stays_as_a_branch_on_every_class() {
    for class in Class::ALL {
        let desk = Desk::new(class, Some(THINKER));
        let mut client = Client::default();
        client.user("One?");
        let engine = desk.engine().expect("an engine");
        let mut talk = client::open(&engine, &client, &[], desk.new_session()).expect("one");
        client::ask(
            &mut talk,
            &client.history(),
            &greedy(300),
            Some(&reply("Yes.")),
        )
        .expect("a reply");
        let early = place(&talk, Some(talk.mirror().messages.len()));
        let say = |text: &str| vec![Message::user(text)];
        go_on(&mut talk, early, say("Two?"), &reply("No.")).expect("a reply");
        let name = talk.info().name;
        let before = Stored::of(&desk, &name).ledger;
        let (followed, r) =
            go_on(&mut talk, early, say("Three?"), &reply("Perhaps.")).expect("one");
        assert_eq!((followed.same, followed.sent), (2, 3), "{class:?}");
        assert!(
            r.evaluated <= r.appended || r.miss.is_some(),
            "{class:?}: {r:?}"
        );
        assert_eq!(branches(&desk, &name).len(), 1, "{class:?}");
        let after = Stored::of(&desk, &name);
        let stays = after.messages[1].span.expect("tokens").end - 1;
        assert_eq!(after.ledger[..stays], before[..stays], "{class:?}");
        // The same question from the same place samples another reply.
        let (_, r) = go_on(&mut talk, early, say("Three?"), &reply("No!")).expect("one");
        assert_eq!((r.evaluated, &r.miss), (0, &None), "{class:?}: {r:?}");
    }
}

#[test]
fn what_cannot_stand_behind_a_place_is_refused_by_its_number_in_the_request() {
    let desk = Desk::new(Class::Dense, Some(THINKER));
    let mut client = Client {
        tools: Some(tools()),
        ..Client::default()
    };
    client.user("One?");
    let engine = desk.engine().expect("an engine");
    let mut talk = client::open(&engine, &client, &[], desk.new_session()).expect("one");
    client::ask(&mut talk, &client.history(), &greedy(300), Some(&calls())).expect("calls");
    let before = talk.mirror();
    let at = place(&talk, None);
    let result = || Message::tool_result("x", "", "r");
    let table = [
        (vec![], "the history ends in calls without results"),
        (
            vec![Message::user("Well?")],
            "the calls of message 0 (assistant) have 0 results, and need 2",
        ),
        (
            vec![result(), result(), result()],
            "message 2 (tool) is one result more than there are calls",
        ),
        (
            vec![result(), result(), Message::user(" ")],
            "message 2 (user) is empty",
        ),
    ];
    for (messages, words) in table {
        let error = go_on(&mut talk, at, messages, &reply("no")).err();
        let error = error.unwrap_or_else(|| panic!("not refused: {words}"));
        assert!(error.to_string().starts_with(words), "{error}");
        assert_eq!(talk.mirror(), before, "{words}");
    }
}

#[test]
fn a_place_in_a_session_that_goes_on_under_another_head_is_found_by_what_was_said() {
    let desk = Desk::new(Class::Dense, Some(THINKER));
    let mut client = Client {
        tools: Some(tools()),
        ..Client::default()
    };
    client.user("One?");
    let engine = desk.engine().expect("an engine");
    let mut talk = client::open(&engine, &client, &["k"], desk.new_session()).expect("one");
    client::ask(
        &mut talk,
        &client.history(),
        &greedy(300),
        Some(&reply("Yes.")),
    )
    .expect("a reply");
    let old = place(&talk, None);
    client.take_reply(&talk);
    client.tools = None;
    client.user("Without tools?");
    client::ask(
        &mut talk,
        &client.history(),
        &greedy(300),
        Some(&reply("No.")),
    )
    .expect("a reply");
    assert_ne!(talk.info().id, old.session);
    let history = vec![Message::user("And with them?")];
    let (followed, _) = go_on(&mut talk, old, history, &reply("Yes.")).expect("a reply");
    // It has the head that it had, which is another one now.
    assert!(followed.renewed.is_some());
    let roles: Vec<String> = talk
        .mirror()
        .messages
        .iter()
        .map(|m| m.role.clone())
        .collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
}
