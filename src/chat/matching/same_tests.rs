//! Both directions, on made-up histories: whatever form a client sends back is the same history, and
//! whatever it changes of what was said is noticed at the right message.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::chat::message::ToolCall;

/// Small numbers from one seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

const WORDS: [&str; 12] = [
    "read",
    "the file",
    "ß\u{301}",
    "日本",
    "is",
    "42",
    "x=1.50",
    "\n\n",
    "<think>",
    "\"quoted\"",
    "\\n",
    "🙂",
];

fn text(dice: &mut Dice, at: usize) -> String {
    let n = 1 + dice.roll(6);
    let words: Vec<&str> = (0..n).map(|_| dice.one(&WORDS)).collect();
    format!("No {at}: {}.", words.join(" "))
}

fn value(dice: &mut Dice, depth: usize) -> Value {
    match dice.roll(if depth > 2 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => json!(dice.roll(2) == 0),
        2 => json!(dice.roll(100_000) as i64 - 50_000),
        3 => json!(dice.roll(1000) as f64 / 8.0),
        4 => json!(u64::MAX - dice.roll(9) as u64),
        5 => json!(text(dice, depth)),
        6 => (0..dice.roll(4)).map(|_| value(dice, depth + 1)).collect(),
        _ => object(dice, depth + 1),
    }
}

fn object(dice: &mut Dice, depth: usize) -> Value {
    let mut fields = Map::new();
    for _ in 0..dice.roll(4) {
        let key = format!("{}{}", dice.one(&["path", "Z", "a b", "ä"]), dice.roll(3));
        fields.insert(key, value(dice, depth));
    }
    Value::Object(fields)
}

/// A history as npast stores it: each message is one that was sampled or appended.
fn history(dice: &mut Dice) -> Vec<Message> {
    let mut all = vec![Message::user(text(dice, 0))];
    for _ in 0..dice.roll(4) {
        for _ in 0..dice.roll(3) {
            let n = 1 + dice.roll(3);
            let mut called = Message::assistant(match dice.roll(2) {
                0 => String::new(),
                _ => text(dice, all.len()),
            });
            called.reasoning = (dice.roll(2) == 0).then(|| text(dice, 900));
            for i in 0..n {
                let mut arguments = object(dice, 0);
                arguments["count"] = json!(dice.roll(1000));
                called.calls.push(ToolCall {
                    id: format!("id{}x{i}", all.len()),
                    name: dice.one(&["read", "write", "list"]).to_owned(),
                    arguments,
                });
            }
            let calls = called.calls.clone();
            all.push(called);
            for call in calls {
                let said = text(dice, all.len());
                all.push(Message::tool_result(&call.id, &call.name, said));
            }
        }
        let mut reply = Message::assistant(text(dice, all.len()));
        reply.reasoning = (dice.roll(2) == 0).then(|| text(dice, 901));
        all.push(reply);
        if dice.roll(4) == 0 {
            all.push(Message::system(text(dice, all.len())));
        }
        all.push(Message::user(text(dice, all.len())));
    }
    all
}

/// The same arguments as another writer of JSON writes them.
fn rewritten(dice: &mut Dice, value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut all: Vec<_> = fields.iter().collect();
            match dice.roll(3) {
                0 => all.sort_by_key(|(key, _)| *key),
                1 => all.reverse(),
                _ => {}
            }
            let all = all
                .into_iter()
                .map(|(k, v)| (k.clone(), rewritten(dice, v)));
            Value::Object(all.collect())
        }
        Value::Array(list) => list.iter().map(|v| rewritten(dice, v)).collect(),
        Value::Number(n) => match n.as_i64() {
            Some(n) if dice.roll(2) == 0 => json!(n as f64),
            _ => value.clone(),
        },
        other => other.clone(),
    }
}

fn content(dice: &mut Dice, text: &str, called: bool) -> Option<Value> {
    if text.is_empty() && called {
        return [None, Some(Value::Null), Some(json!("")), Some(json!([]))][dice.roll(4)].clone();
    }
    let text = match dice.roll(4) {
        0 => text.trim().to_owned(),
        1 => format!("{text}\n\n"),
        2 => format!("\u{feff} {text}\t"),
        _ => text.to_owned(),
    };
    if dice.roll(2) == 0 {
        return Some(json!(text));
    }
    // Parts are joined by line ends.
    let parts = match text.split_once('\n').filter(|_| dice.roll(2) == 0) {
        Some((a, b)) => vec![a.to_owned(), b.to_owned()],
        None => vec![text],
    };
    let part = |text| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}});
    Some(parts.into_iter().map(part).collect())
}

/// The history as some client sends it back: of the wire's messages.
fn reformed(dice: &mut Dice, history: &[Message]) -> Vec<Message> {
    let rename = dice.roll(3);
    let id = |id: &str| match rename {
        0 => id.to_owned(),
        1 => format!("call_{id}_of_another"),
        _ => String::new(),
    };
    let mut wire: Vec<Value> = Vec::new();
    let mut i = 0;
    while i < history.len() {
        let message = &history[i];
        let mut one = json!({"role": message.role.as_str(), "refusal": null, "index": i});
        if message.role == Role::System && dice.roll(2) == 0 {
            one["role"] = json!("developer");
        }
        let called = !message.calls.is_empty();
        let mut text = message.text.clone();
        match (&message.reasoning, dice.roll(4)) {
            (Some(thought), 0) => one["reasoning"] = json!(thought),
            (Some(thought), 1) => one["reasoning_content"] = json!(format!("{thought} ")),
            (Some(thought), 2) if !thought.contains("think>") => {
                text = format!("<think>\n{thought}\n</think>\n\n{text}");
            }
            _ => {}
        }
        let said = content(dice, &text, called);
        let calls: Vec<Value> = message
            .calls
            .iter()
            .map(|call| {
                let arguments = rewritten(dice, &call.arguments);
                let arguments = match dice.roll(3) {
                    0 => arguments,
                    1 => json!(arguments.to_string()),
                    _ => json!(serde_json::to_string_pretty(&arguments).expect("JSON")),
                };
                json!({"id": id(&call.id), "type": "function", "index": 0,
                    "function": {"name": call.name, "arguments": arguments}})
            })
            .collect();
        if let Some(id_of) = &message.call_id {
            one["tool_call_id"] = json!(id(id_of));
            if dice.roll(2) == 0 {
                one["name"] = json!(message.name);
            }
        }
        let set = |one: &mut Value, said: Option<Value>| {
            if let Some(said) = said {
                one["content"] = said;
            }
        };
        if called && dice.roll(3) == 0 {
            // A message for each thing in it.
            if !text.is_empty() {
                let mut first = one.clone();
                set(&mut first, said);
                wire.push(first);
            }
            let split = calls
                .into_iter()
                .map(|call| json!({"role": "assistant", "content": null, "tool_calls": [call]}));
            wire.extend(split);
        } else {
            set(&mut one, said);
            if called {
                one["tool_calls"] = calls.into();
            }
            wire.push(one);
        }
        // A message that says nothing.
        if message.role == Role::Assistant && dice.roll(6) == 0 {
            wire.push(json!({"role": "assistant", "content": ""}));
        }
        i += 1;
        // Results as they came in, told apart by their ids.
        let count = history[i..]
            .iter()
            .take_while(|m| m.role == Role::Tool)
            .count();
        if called && rename < 2 && dice.roll(3) == 0 {
            let mut results = reformed_results(dice, &history[i..i + count], &id);
            let n = results.len();
            results.rotate_left(dice.roll(n.max(1)).min(n));
            wire.extend(results);
            i += count;
        }
    }
    let read = |value: &Value| Message::from_json(value).expect("a client's message");
    wire.iter().map(read).collect()
}

fn reformed_results(
    dice: &mut Dice,
    results: &[Message],
    id: &dyn Fn(&str) -> String,
) -> Vec<Value> {
    let one = |message: &Message| {
        let said = content(dice, &message.text, false);
        json!({"role": "tool", "content": said,
            "tool_call_id": message.call_id.as_deref().map(id)})
    };
    results.iter().map(one).collect()
}

/// Changes what one message says; gives its place, or nothing where the dice found none to change.
fn mutated(dice: &mut Dice, history: &mut Vec<Message>) -> Option<usize> {
    let at = dice.roll(history.len());
    let swap = |history: &mut Vec<Message>, a: usize, b: usize| {
        let text = history[a].text.clone();
        history[a].text = std::mem::replace(&mut history[b].text, text);
    };
    match dice.roll(9) {
        // A negation.
        0 if !history[at].text.is_empty() => {
            let text = &history[at].text;
            let mid = text.char_indices().nth(text.chars().count() / 2)?.0;
            history[at].text = format!("{}not {}", &text[..mid], &text[mid..]);
        }
        // One digit of the text: all have a number.
        1 => {
            let digit = history[at].text.find(|c: char| c.is_ascii_digit())?;
            let old = history[at].text[digit..].chars().next()?;
            let new = if old == '7' { "8" } else { "7" };
            history[at].text.replace_range(digit..=digit, new);
        }
        // One digit of an argument.
        2 => {
            let call = history[at].calls.last_mut()?;
            let count = call.arguments["count"].as_u64()?;
            call.arguments["count"] = json!(count + 1);
        }
        3 => {
            let calls = &mut history[at].calls;
            let call = calls.first_mut()?;
            call.name.push('s');
        }
        // A key.
        4 => {
            let call = history[at].calls.first_mut()?;
            let fields = call.arguments.as_object_mut()?;
            let old = fields.shift_remove("count")?;
            fields.insert("Count".into(), old);
        }
        // Two results change places and keep their ids.
        5 => {
            let next = at + 1;
            let both = history.get(next)?.role == Role::Tool && history[at].role == Role::Tool;
            both.then(|| swap(history, at, next))?;
        }
        // A message is gone, and another follows.
        6 => {
            let next = history.get(at + 1)?.role;
            // Two replies in a row are one, and so are the results of two.
            let before = at.checked_sub(1).map(|before| history[before].role);
            let alike = before == Some(next) && matches!(next, Role::Assistant | Role::Tool);
            (!alike).then(|| history.remove(at))?;
        }
        7 => {
            history[at].role = match history[at].role {
                Role::User => Role::System,
                Role::System => Role::User,
                _ => return None,
            };
        }
        8 => {
            let call = history[at].calls.last()?.clone();
            history[at].calls.push(call);
        }
        _ => return None,
    }
    Some(at)
}

/// The digests after each message.
fn digests(history: &[Message]) -> Vec<crate::ledger::Digest> {
    let said = normal(&from_outside(history));
    let mut last = START;
    let mut out = Vec::new();
    for (at, one) in said.iter().enumerate() {
        last = chain(last, &one.message, is_first(&said, at));
        out.push(last);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_change_of_form_never_ends_the_match(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let stored = history(&mut dice);
        let sent = reformed(&mut dice, &stored);
        prop_assert_eq!(common(&stored, &sent), Matched { messages: stored.len(), difference: None });
        prop_assert_eq!(digests(&stored), digests(&sent));
        prop_assert_eq!(check(&normal(&sent)), Ok(()));
    }

    #[test]
    fn a_change_of_meaning_is_noticed_at_its_message_in_any_form(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let stored = history(&mut dice);
        let mut changed = stored.clone();
        let Some(at) = mutated(&mut dice, &mut changed) else {
            return Ok(());
        };
        let plain = common(&stored, &changed);
        prop_assert_eq!(plain.messages, at);
        let difference = plain.difference.expect("a difference");
        prop_assert_eq!((difference.stored, difference.incoming), (Some(at), Some(at)));
        let sent = reformed(&mut dice, &changed);
        prop_assert_eq!(common(&stored, &sent).messages, at);
        let (old, new) = (digests(&stored), digests(&sent));
        prop_assert_eq!(&old[..at], &new[..at]);
        prop_assert!(old[at..].iter().all(|digest| !new.contains(digest)));
    }

    #[test]
    fn what_is_new_or_missing_at_the_end_is_said(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let stored = history(&mut dice);
        let sent = reformed(&mut dice, &stored);
        let cut = dice.roll(stored.len());
        let short = common(&stored, &stored[..cut]);
        prop_assert_eq!(short.messages, cut);
        prop_assert_eq!(short.difference.map(|d| d.what), Some(DifferenceKind::Missing));
        let long = common(&stored[..cut], &sent);
        prop_assert_eq!(long.messages, cut);
        prop_assert_eq!(long.difference.map(|d| d.what), Some(DifferenceKind::New));
    }
}

#[test]
fn the_first_difference_is_said_without_any_text_of_a_message() {
    let call = |name: &str, arguments: Value| {
        let mut message = Message::assistant("");
        message.calls.push(ToolCall {
            id: "a".into(),
            name: name.into(),
            arguments,
        });
        message
    };
    let user = || Message::user("secret one");
    let table = [
        (
            user(),
            Message::user("secret two"),
            "message 0 (user): its text differs from character 7 on",
        ),
        (
            user(),
            Message::system("x"),
            "message 0 (system): a message of role user stood here",
        ),
        (
            call("read", json!({"path": "a"})),
            call("write", json!({"path": "a"})),
            "message 0 (assistant): call 0 is of the tool write, and was of read",
        ),
        (
            call("read", json!({"path": "a", "n": 1})),
            call("read", json!({"n": 1.0, "path": "b"})),
            "message 0 (assistant): the argument path of call 0 (read) differs",
        ),
        (
            call("read", json!({})),
            Message::assistant("x"),
            "message 0 (assistant): its text differs from character 0 on",
        ),
    ];
    for (stored, sent, words) in table {
        let said = common(&[stored], &[sent]).difference.expect("a difference");
        assert_eq!(said.to_string(), words);
    }
    let said = common(&[user()], &[user(), user()]).difference;
    assert_eq!(
        said.expect("more").to_string(),
        "message 1 (user): it is new"
    );
}

#[test]
fn what_is_no_conversation_is_refused_in_a_sentence() {
    let mut call = Message::assistant("");
    call.calls = ["a", "b"]
        .map(|id| ToolCall {
            id: id.into(),
            name: "f".into(),
            arguments: json!({}),
        })
        .to_vec();
    let result = |id: &str| Message::tool_result(id, "f", "r");
    let (user, reply) = (Message::user("u"), Message::assistant("a"));
    let table: Vec<(Vec<Message>, Option<&str>)> = vec![
        (vec![], Some("there is no message to answer")),
        (
            vec![Message::system("s")],
            Some("there are only system messages: a user's message is missing"),
        ),
        (
            vec![reply.clone(), user.clone()],
            Some("message 0 (assistant) comes before any user message"),
        ),
        (
            vec![user.clone(), result("a")],
            Some(
                "message 1 (tool) is a result, and the message before it has no call that it could answer",
            ),
        ),
        (
            vec![user.clone(), call.clone(), result("a"), user.clone()],
            Some("the calls of message 1 (assistant) have 1 results, and need 2"),
        ),
        (
            vec![
                user.clone(),
                call.clone(),
                result("a"),
                result("b"),
                result("c"),
            ],
            Some("message 4 (tool) is one result more than there are calls"),
        ),
        (
            vec![
                user.clone(),
                call.clone(),
                result("a"),
                reply.clone(),
                result("b"),
            ],
            Some("the calls of message 1 (assistant) have 1 results, and need 2"),
        ),
        (
            vec![Message::user(" \n")],
            Some("message 0 (user) is empty"),
        ),
        (vec![user.clone(), call.clone()], None),
        (vec![user.clone(), call, result("b"), result("a")], None),
        (
            vec![user.clone(), Message::assistant(""), user.clone()],
            None,
        ),
        (
            vec![
                Message::system("s"),
                user.clone(),
                reply,
                Message::system("s"),
                user,
            ],
            None,
        ),
    ];
    for (history, words) in table {
        let said = check(&normal(&history)).err().map(|e| e.to_string());
        assert_eq!(said.as_deref(), words, "{history:?}");
    }
}

#[test]
fn a_note_of_npast_is_no_message_of_a_client_and_no_client_can_write_one() {
    let mut note = Message::system("The date has changed.");
    note.note = true;
    let stored = [Message::user("a"), note.clone(), Message::user("b")];
    let sent = [Message::user("a"), Message::user("b")];
    assert_eq!(common(&stored, &sent).difference, None);
    let forged = [Message::user("a"), note, Message::user("b")];
    assert_eq!(common(&sent, &forged).messages, 1);
}
