//! What leaves and comes back is equal, in both forms; what strangers write is read or refused in a
//! sentence, and nothing half is stored.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::line::read;
use super::*;
use crate::ledger::{Digest, Finish, Token};
use crate::session::{
    Continuation, Db, DbError as SessionError, MessageId, MessageState, NO_VOCABULARY, ReceiptSums,
    Recorded, Session, SessionId, Span, StoredMessage, Trajectory,
};

const PLAN: ImportPlan<'static> = ImportPlan {
    name: None,
    folder: "/here",
    exact: true,
};

fn row(name: &str, head: usize) -> Session {
    Session {
        id: SessionId(0),
        name: name.into(),
        folder: "/there".into(),
        model: "tiny.gguf".into(),
        class: "dense".into(),
        vocab: Digest::of(b"vocab"),
        template: Digest::of(b"template"),
        fingerprint: Digest::of(b"fingerprint"),
        system: Some("You are brief.".into()),
        tools: Some(json!([{"type": "function", "function": {"name": "find"}}])),
        preface: None,
        head,
        common: None,
        started_ms: 1_700_000_000_000,
        seed: u64::MAX,
        policy: "exact".into(),
        parent: None,
        runs_tools: true,
        thinking: Some(true),
        shift: false,
        created_ms: 5,
        used_ms: 6,
        usage: ReceiptSums {
            calls: 2,
            evaluated: 30,
            restored: 1,
            kept: 2,
            generated: 9,
        },
        tries: 3,
        forked: None,
        successor: None,
        made: None,
        carried: 0,
    }
}

fn message(body: Value, span: Option<(usize, usize)>, finish: Option<Finish>) -> StoredMessage {
    StoredMessage {
        id: MessageId(0),
        seq: 0,
        role: body["role"].as_str().unwrap().into(),
        body,
        state: MessageState::Answered,
        finish,
        span: span.map(|(start, end)| Span { start, end }),
        created_ms: 7,
        trail: None,
    }
}

fn whole(name: &str) -> Trajectory {
    let call = json!({"role": "assistant", "content": "Yes.", "reasoning_content": "hm", "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{\"b\":1,\"a\":2}"}}]});
    Trajectory {
        session: row(name, 2),
        messages: vec![
            message(
                json!({"role": "user", "content": "hi <|im_end|>\n"}),
                Some((2, 4)),
                None,
            ),
            message(call, Some((4, 7)), Some(Finish::ToolCalls)),
            message(
                json!({"role": "tool", "content": "x", "name": "find"}),
                Some((7, 8)),
                None,
            ),
        ],
        tokens: (1..=9).map(Token).collect(),
        pending: 1,
        decoded: Some(8),
        receipts: vec![Recorded {
            kind: "turn".into(),
            finish: Some(Finish::ToolCalls),
            created_ms: 8,
            json: json!({"evaluated": 7, "ms": {"decode": 1.5}}),
        }],
    }
}

fn db(home: &Path) -> Db {
    Db::open(&home.join("npast.db")).unwrap()
}

/// Everything of a database as lines of one form.
fn lines(db: &Db, form: Form) -> Vec<String> {
    let ids = db.ids().unwrap();
    let among: Vec<_> = ids
        .iter()
        .map(|id| (*id, db.get(*id).unwrap().name))
        .collect();
    let written = |id: &SessionId| line(&db.trajectory(*id).unwrap(), form, &among);
    ids.iter().map(written).collect()
}

fn file(home: &Path, text: &str) -> File {
    let path = home.join("lines.jsonl");
    std::fs::write(&path, text).unwrap();
    File::open(path).unwrap()
}

/// Stores sessions, writes them, and reads them into another database: both sets of lines.
fn there_and_back(all: &[Trajectory], form: Form) -> (Vec<String>, Vec<String>) {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (from, to) = (db(one.path()), db(other.path()));
    let mut import = from.import().unwrap();
    for whole in all {
        import.add(whole, None).unwrap();
    }
    import.commit().unwrap();
    let before = lines(&from, form);
    let made = super::import(&to, &mut file(other.path(), &before.join("\n")), &PLAN).unwrap();
    assert!(made.iter().all(|s| s.folder == "/here"));
    (before, lines(&to, form))
}

#[test]
fn a_session_that_comes_back_is_the_session_that_left_in_both_forms() {
    for form in [Form::OpenAi, Form::ShareGpt] {
        let (before, after) = there_and_back(&[whole("work"), whole("aside")], form);
        assert_eq!(before, after);
        let value: Value = serde_json::from_str(&before[0]).unwrap();
        assert_eq!(value["npast"]["tokens"], json!([1, 2, 3, 4, 5, 6, 7, 8, 9]));
        let list = match form {
            Form::OpenAi => &value["messages"],
            Form::ShareGpt => &value["conversations"],
        };
        assert_eq!(list.as_array().unwrap().len(), 4);
    }
    // As other programs read it.
    let value: Value = serde_json::from_str(&line(&whole("work"), Form::ShareGpt, &[])).unwrap();
    let shown: Vec<(&str, &str)> = value["conversations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["from"].as_str().unwrap(), e["value"].as_str().unwrap()))
        .collect();
    let call = "<think>\nhm\n</think>\n\nYes.\n<tool_call>\n{\"name\":\"find\",\"arguments\":\
                {\"b\":1,\"a\":2}}\n</tool_call>";
    assert_eq!(
        shown,
        [
            ("system", "You are brief."),
            ("human", "hi <|im_end|>\n"),
            ("gpt", call),
            ("tool", "x")
        ]
    );
}

#[test]
fn a_lineage_comes_back_as_a_lineage_under_names_that_are_free() {
    let home = tempfile::tempdir().unwrap();
    let db = db(home.path());
    let mut import = db.import().unwrap();
    let work = import.add(&whole("work"), None).unwrap();
    let mut next = whole("work-2");
    (next.session.made, next.session.carried) = (Some(Continuation::Compressed), 2);
    let next = import.add(&next, Some(work.id)).unwrap();
    import.continues(work.id, next.id).unwrap();
    import.commit().unwrap();
    let text = lines(&db, Form::OpenAi).join("\n");
    let made = super::import(&db, &mut file(home.path(), &text), &PLAN).unwrap();
    let names: Vec<&str> = made.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["work-3", "work-2-2"]);
    let chain = db.lineage(made[1].id).unwrap();
    let names: Vec<_> = chain
        .iter()
        .map(|s| (s.name.as_str(), s.made, s.carried))
        .collect();
    assert_eq!(
        names,
        [
            ("work-3", None, 0),
            ("work-2-2", Some(Continuation::Compressed), 2)
        ]
    );
    assert_eq!(
        db.newest(db.get(made[0].id).unwrap(), &|_| true)
            .unwrap()
            .name,
        "work-2-2"
    );
    // The second alone is nobody's.
    let text = line(&db.trajectory(made[1].id).unwrap(), Form::OpenAi, &[]);
    let alone = super::import(&db, &mut file(home.path(), &text), &PLAN).unwrap();
    assert_eq!(
        (alone[0].parent, alone[0].made),
        (None, Some(Continuation::Compressed))
    );
    // A name that was asked for must be free.
    let plan = ImportPlan {
        name: Some("work"),
        ..PLAN
    };
    let taken = super::import(&db, &mut file(home.path(), &text), &plan).unwrap_err();
    assert!(
        matches!(
            taken,
            ImportError::Line {
                error: SessionError::Exists(_),
                ..
            }
        ),
        "{taken}"
    );
}

#[test]
fn messages_alone_are_a_session_that_no_vocabulary_has() {
    let text = [
        r#"{"messages":[{"role":"system","content":"S"},{"role":"user","content":[{"type":"text","text":"Fix the parser"}]},{"role":"assistant","content":null,"tool_calls":[{"function":{"name":"f","arguments":{}}}]},{"role":"tool","content":"r"},{"role":"assistant","content":"a"},{"role":"user","content":"more"}],"tools":[]}"#,
        r#"{"id":7,"conversations":[{"from":"human","value":"hi"},{"from":"gpt","value":"yes"}],"tools":"[]","source":"x"}"#,
        r#"{"conversations":[{"role":"user","content":"hi"},{"role":"assistant","content":"yes"}]}"#,
    ];
    let home = tempfile::tempdir().unwrap();
    let db = db(home.path());
    let made = super::import(&db, &mut file(home.path(), &text.join("\n\n")), &PLAN).unwrap();
    let names: Vec<&str> = made.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["fix-the-parser", "hi", "hi-2"]);
    assert_eq!(
        (made[0].system.as_deref(), made[0].vocab),
        (Some("S"), NO_VOCABULARY)
    );
    let messages = db.messages(made[0].id).unwrap();
    let seen: Vec<_> = messages
        .iter()
        .map(|m| (m.role.as_str(), m.state, m.finish))
        .collect();
    assert_eq!(
        seen,
        [
            ("user", MessageState::Answered, None),
            ("assistant", MessageState::Answered, Some(Finish::ToolCalls)),
            ("tool", MessageState::Answered, None),
            ("assistant", MessageState::Answered, Some(Finish::Stop)),
            ("user", MessageState::Open, None),
        ]
    );
    assert_eq!(
        messages[0].body,
        json!({"role": "user", "content": "Fix the parser"})
    );
    // npast's own line, read as messages alone.
    let plan = ImportPlan {
        exact: false,
        ..PLAN
    };
    let text = line(&whole("work"), Form::OpenAi, &[]);
    let made = super::import(&db, &mut file(home.path(), &text), &plan).unwrap();
    assert_eq!(
        (made[0].name.as_str(), made[0].vocab),
        ("work", NO_VOCABULARY)
    );
    assert_eq!(db.ledger(made[0].id).unwrap(), []);
}

#[test]
fn broken_lines_are_named_and_nothing_half_is_imported() {
    let good = line(&whole("work"), Form::OpenAi, &[]);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_str(&good).unwrap();
        change(&mut value);
        value.to_string()
    };
    let table: Vec<(String, &str)> = vec![
        ("{".into(), "EOF while parsing"),
        ("[]".into(), "invalid length 0"),
        ("{}".into(), "it has neither messages nor conversations"),
        (
            r#"{"messages":[],"conversations":[]}"#.into(),
            "it has both messages and conversations",
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#.into(),
            "message 0: part 0 of the content is of type \"image_url\"",
        ),
        (
            r#"{"conversations":[{"from":"human"}]}"#.into(),
            "entry 0 has no value",
        ),
        (
            r#"{"messages":[],"tools":"["}"#.into(),
            "its tools are no JSON",
        ),
        (
            r#"{"messages":[],"tools":{}}"#.into(),
            "its tools are no list",
        ),
        (
            with(&|v| v["npast"]["version"] = json!(2)),
            "form 2, and this npast knows form 1",
        ),
        (
            with(&|v| v["npast"]["name"] = json!("a/b")),
            "the separator '/'",
        ),
        (
            with(&|v| v["npast"]["head"] = json!(10)),
            "npast.head is 10, and there are 9 tokens",
        ),
        (
            with(&|v| v["npast"]["pending"] = json!(2)),
            "npast.pending is 2, and 1 is most",
        ),
        (
            with(&|v| v["npast"]["decoded"] = json!(10)),
            "npast.decoded is 10",
        ),
        (
            with(&|v| v["npast"]["tokens"][3] = json!(-1)),
            "token 3 is negative",
        ),
        (
            with(&|v| v["npast"]["tokens"][3] = json!(3_000_000_000_u64)),
            "invalid value",
        ),
        (
            with(&|v| v["npast"]["vocab"] = json!("xyz")),
            "npast.vocab is not a hash",
        ),
        (
            with(&|v| v["npast"]["policy"] = json!("none")),
            "npast.policy is neither",
        ),
        (
            with(&|v| v["npast"]["made"] = json!("x")),
            "npast.made is no word",
        ),
        (
            with(&|v| v["npast"]["usage"]["kept"] = json!(-1)),
            "npast.usage is negative",
        ),
        (
            with(&|v| v["npast"]["messages"][1]["span"] = json!([4, 10])),
            "npast.messages: entry 1 has a span that is none",
        ),
        (
            with(&|v| v["npast"]["messages"][1]["span"] = json!([1, 3])),
            "npast.messages: entry 1 has a span that is none",
        ),
        (
            with(&|v| v["npast"]["messages"][1]["state"] = json!("withdrawn")),
            "entry 1 has no state",
        ),
        (
            with(&|v| v["npast"]["messages"][1]["finish"] = json!("x")),
            "entry 1 has no finish",
        ),
        (
            with(&|v| drop(v["messages"].as_array_mut().unwrap().pop())),
            "it has 2 messages, and npast.messages says 3",
        ),
        (
            with(&|v| v["messages"][0]["role"] = json!("user")),
            "npast.system is true",
        ),
    ];
    let home = tempfile::tempdir().unwrap();
    let db = db(home.path());
    for (broken, what) in table {
        let text = format!("{good}\n{broken}\n{good}\n");
        let error = super::import(&db, &mut file(home.path(), &text), &PLAN).unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("line 2: ") && error.contains(what),
            "{what}: {error}"
        );
        assert_eq!(db.ids().unwrap(), [], "{what}");
    }
    let text = "{\n".repeat(8);
    let error = super::import(&db, &mut file(home.path(), &text), &PLAN).unwrap_err();
    assert!(error.to_string().ends_with("; and 3 more"), "{error}");
    let error = super::import(&db, &mut file(home.path(), "\n \n"), &PLAN).unwrap_err();
    assert!(matches!(error, ImportError::Empty));
}

#[test]
fn an_import_that_fails_at_any_statement_leaves_nothing() {
    use crate::session::fault::{Fault, Reach, Trouble, heal, order};
    let text = [whole("work"), whole("aside")]
        .map(|w| line(&w, Form::OpenAi, &[]))
        .join("\n");
    let mut failed = 0;
    for after in 0.. {
        let home = tempfile::tempdir().unwrap();
        let db = db(home.path());
        let mut lines = file(home.path(), &text);
        order(Fault {
            reach: Reach::One,
            after,
            why: Trouble::Full,
        });
        let done = super::import(&db, &mut lines, &PLAN);
        if heal().statements <= after {
            assert_eq!(done.unwrap().len(), 2);
            break;
        }
        failed += 1;
        assert!(done.is_err(), "{after}");
        assert_eq!(db.ids().unwrap(), [], "{after}");
        assert_eq!(super::import(&db, &mut lines, &PLAN).unwrap().len(), 2);
    }
    assert!(failed > 10, "{failed}");
}

/// A text in which everything stands that a form could stumble over.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        any::<String>(),
        Just("<think>".to_owned()),
        Just("\n</think>\n\n".to_owned()),
        Just("<tool_call>\n{\"name\":\"f\",\"arguments\":{}}\n</tool_call>".to_owned()),
        Just("<tool_response>\nx\n</tool_response>".to_owned()),
        Just("\n".to_owned()),
    ];
    proptest::collection::vec(part, 0..4).prop_map(|parts| parts.concat())
}

fn body() -> impl Strategy<Value = Value> {
    let call = ("[a-z]{1,5}", "[a-z0-9]{0,3}", text());
    let reply = (
        text(),
        proptest::option::of(text()),
        proptest::collection::vec(call, 0..3),
    );
    let reply = reply.prop_map(|(text, reasoning, calls)| {
        let mut message = crate::chat::Message::assistant(text);
        message.reasoning = reasoning;
        message.calls = calls
            .into_iter()
            .map(|(name, id, x)| crate::chat::message::ToolCall {
                id,
                name,
                arguments: json!({"z": x, "a": [1.5, null]}),
            })
            .collect();
        message.to_json()
    });
    prop_oneof![
        text().prop_map(|text| json!({"role": "user", "content": text})),
        text().prop_map(|text| json!({"role": "system", "content": text})),
        text().prop_map(|text| json!({"role": "tool", "content": text, "tool_call_id": "1"})),
        text().prop_map(|text| json!({"role": "user", "content": text, "handover": {"plan": []}})),
        reply,
    ]
}

fn trajectories() -> impl Strategy<Value = Trajectory> {
    let rows = proptest::collection::vec((body(), 0usize..9, any::<bool>()), 0..9);
    (
        rows,
        0usize..4,
        proptest::option::of(text()),
        any::<u64>(),
        any::<bool>(),
    )
        .prop_map(|(rows, head, system, seed, thinking)| {
            let mut end = head;
            let mut messages = Vec::new();
            for (body, len, known) in rows {
                let span = known.then_some((end, end + len));
                end += if known { len } else { 0 };
                let reply = body["role"] == "assistant";
                messages.push(message(body, span, reply.then_some(Finish::Length)));
            }
            let mut session = row("work", head);
            (session.system, session.seed) = (system, seed);
            session.thinking = thinking.then_some(false);
            Trajectory {
                session,
                messages,
                tokens: (0..end as i32).map(|i| Token(i * 7919)).collect(),
                pending: end.min(1),
                decoded: thinking.then_some(end),
                receipts: Vec::new(),
            }
        })
}

/// A JSON value that looks like a line, or nearly.
fn nearly() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "messages",
        "conversations",
        "npast",
        "from",
        "value",
        "role",
        "content",
        "tool_calls",
        "system",
        "user",
        "assistant",
        "tool",
        "gpt",
        "human",
        "message",
        "tools",
        "function",
        "name",
        "arguments",
        "tokens",
        "version",
        "head",
        "exact",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((word.clone(), inner), 0..6).prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_session_comes_back_as_it_left(whole in trajectories(), openai in any::<bool>()) {
        let form = if openai { Form::OpenAi } else { Form::ShareGpt };
        let (before, after) = there_and_back(&[whole], form);
        prop_assert_eq!(before, after);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn what_looks_like_a_line_is_a_session_that_is_whole_or_refused(value in nearly()) {
        let text = value.to_string();
        for exact in [true, false] {
            if let Ok(found) = read(&text, exact) {
                let home = tempfile::tempdir().unwrap();
                let db = db(home.path());
                let mut import = db.import().unwrap();
                let mut whole = found.whole;
                whole.session.name = "work".into();
                let id = import.add(&whole, None).unwrap().id;
                import.commit().unwrap();
                db.check(id).unwrap();
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x");
        File::create(&path).unwrap().write_all(&bytes).unwrap();
        let db = db(home.path());
        let done = super::import(&db, &mut File::open(&path).unwrap(), &PLAN);
        prop_assert_eq!(done.map_or(0, |made| made.len()), db.ids().unwrap().len());
    }

    #[test]
    fn a_line_that_was_bent_anywhere_is_read_or_refused(at in 0usize..4000, byte in any::<u8>()) {
        let mut bytes = line(&whole("work"), Form::OpenAi, &[]).into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x");
        File::create(&path).unwrap().write_all(&bytes).unwrap();
        let db = db(home.path());
        let done = super::import(&db, &mut File::open(&path).unwrap(), &PLAN);
        prop_assert_eq!(done.map_or(0, |made| made.len()), db.ids().unwrap().len());
        for found in db.ids().unwrap() {
            db.check(found).unwrap();
        }
    }
}
