//! The case that npast began with: a client sends its whole history anew, reloaded from a database, with
//! small differences of form. Whatever the form, only the new message is evaluated; whatever differs in
//! meaning is noticed at its message.

use npast::agent::{Conversation, Engine, Input, Receipt, WhichSession};
use npast::chat::Message;
use serde_json::{Value, json};

use crate::client::{self, Answer, Client, Form};
use crate::gallery::{self, Sample};
use crate::model::{CHATML, Class, THINKER};
use crate::talk::{Desk, greedy, turn};
use crate::witness::Stored;

const STEPS: usize = 10;

fn tools() -> Value {
    let tool = |name: &str, text: &str| {
        json!({"type": "function", "function": {"name": name, "description": text,
            "parameters": {"type": "object", "properties": {
                "path": {"type": "string"}, "from": {"type": "integer"}, "all": {"type": "string"},
            }, "required": ["path"]}}})
    };
    json!([
        tool("read_file", "Reads a file."),
        tool("list_files", "Lists files.")
    ])
}

/// The reply of a step of the tool loop. Its arguments are in an order that no sorting gives.
fn step_reply(n: usize) -> String {
    let call = |name: &str| json!({"name": name, "arguments": {"path": format!("src/part {n}.rs"), "from": n, "all": "yes"}});
    let calls = match n % 3 {
        0 => vec![call("read_file"), call("list_files")],
        _ => vec![call("read_file")],
    };
    let text = if n.is_multiple_of(2) {
        format!("Step {n}.\n")
    } else {
        String::new()
    };
    json!({"reasoning": format!("I need part {n}."), "content": text, "tool_calls": calls})
        .to_string()
}

fn end_reply(n: usize) -> String {
    json!({"reasoning": "So that is it.", "content": format!("\nDone, {n} parts.\n\n")}).to_string()
}

fn result(n: usize) -> String {
    format!("line 1 of part {n}\n\tline 2 \"quoted\"\n")
}

/// A desk, its engine, and a conversation that a client leads.
struct Life {
    desk: Desk,
    engine: Option<Engine>,
    talk: Option<Conversation>,
    client: Client,
    last: Option<Receipt>,
}

impl Life {
    fn new(desk: Desk) -> Life {
        let mut client = Client {
            system: Some("You help with code.".into()),
            tools: Some(tools()),
            ..Client::default()
        };
        client.user("  Look at all parts, please.\n");
        let mut life = Life {
            desk,
            engine: None,
            talk: None,
            client,
            last: None,
        };
        life.open();
        life
    }

    fn open(&mut self) {
        let engine = self.desk.engine().expect("an engine");
        let talk = client::open(&engine, &self.client, &[], self.desk.new_session());
        self.talk = Some(talk.expect("a conversation"));
        self.engine = Some(engine);
    }

    fn close(&mut self) {
        let talk = self.talk.take().expect("a conversation");
        talk.close().expect("a close");
        self.engine = None;
    }

    fn talk(&mut self) -> &mut Conversation {
        self.talk.as_mut().expect("a conversation")
    }

    /// Sends what the client holds, in a form, and takes the reply.
    fn send(&mut self, form: Form, reply: &str) -> Answer {
        let history = form.of(&self.client).history();
        let talk = self.talk.as_mut().expect("a conversation");
        let answer = client::ask(talk, &history, &greedy(1000), Some(reply));
        let answer = answer.unwrap_or_else(|e| panic!("{form:?}: {e}"));
        self.client
            .take_reply(self.talk.as_ref().expect("a conversation"));
        self.last = Some(answer.receipt().clone());
        answer
    }

    /// A tool loop of some steps, and the reply that ends it.
    fn tool_loop(&mut self, steps: usize) {
        for n in 0..steps {
            let before = self.last.clone();
            let answer = self.send(Form::AsIs, &step_reply(n));
            only_new(answer.receipt(), before.as_ref(), &format!("step {n}"));
            self.client.results(&result(n));
        }
        self.send(Form::AsIs, &end_reply(steps));
    }
}

/// Nothing but the new message was evaluated.
fn only_new(r: &Receipt, before: Option<&Receipt>, what: &str) {
    assert_eq!((r.evaluated, &r.miss), (r.appended, &None), "{what}: {r:?}");
    if let Some(before) = before {
        assert_eq!(r.kept + r.restored, before.context, "{what}: {r:?}");
    }
}

/// The same conversation by npast's own turns: what is new with each message.
fn plain(desk: &Desk, forms: usize) -> (Vec<usize>, Stored) {
    let engine = desk.engine().expect("an engine");
    let new = npast::agent::NewSession {
        system: Some("You help with code.".into()),
        tools: Some(tools()),
        ..desk.new_session()
    };
    let mut talk = engine
        .conversation(WhichSession::Named("plain".into()), new)
        .expect("a session");
    let mut costs = Vec::new();
    let mut say = |talk: &mut Conversation, input: Input, reply: String| {
        let mut script = npast::chat::ReplyScript::read(reply.as_bytes()).expect("a script");
        let said = turn(talk, input, &greedy(1000), Some(&mut script), &|_| false);
        costs.push(said.expect("a turn").receipt().evaluated);
    };
    let mut input = Input::Text("  Look at all parts, please.\n".into());
    for n in 0..STEPS {
        say(&mut talk, input, step_reply(n));
        let calls = if n % 3 == 0 { 2 } else { 1 };
        let one = Message::tool_result("", "", result(n));
        input = Input::Messages(vec![one; calls]);
    }
    say(&mut talk, input, end_reply(STEPS));
    for n in 0..forms {
        say(&mut talk, Input::Text(question(n)), end_reply(n));
    }
    talk.close().expect("a close");
    (costs, Stored::of(desk, "plain"))
}

fn question(n: usize) -> String {
    format!("And part {n} once more?")
}

fn reload(what: &str, class: Class, make: &dyn Fn() -> Desk) {
    let cases: Vec<(&str, Form)> = vec![
        ("(a) as in memory", Form::AsIs),
        ("(b) extra fields", Form::ExtraFields),
        ("(c) trimmed", Form::Trimmed),
        ("(d) reasoning renamed", Form::ReasoningRenamed),
        ("(d) no reasoning", Form::NoReasoning),
        ("(e) arguments rewritten", Form::ArgumentsRewritten),
        ("(f) after a restart", Form::AsIs),
        ("(g) after another session", Form::AsIs),
        ("(h) tools reordered", Form::ToolsReordered),
        ("(i) contents as parts", Form::Parts),
        ("(j) other ids", Form::OtherIds),
        ("    messages split", Form::SplitMessages),
        ("(k) all, after a restart", Form::All),
    ];
    let (costs, witness) = plain(&make(), cases.len());
    let mut life = Life::new(make());
    life.tool_loop(STEPS);
    for (n, (name, form)) in cases.iter().enumerate() {
        let before = life.last.clone();
        life.client.user(&question(n));
        if name.contains("restart") {
            life.close();
            life.open();
        }
        if name.contains("another session") {
            let mut title = Client::default();
            title.user("Give this chat a title.");
            let engine = life.engine.as_ref().expect("an engine");
            let new = life.desk.new_session();
            let mut talk = client::open(engine, &title, &[], new).expect("a session");
            client::ask(&mut talk, &title.history(), &greedy(8), Some(&end_reply(0)))
                .expect("a title");
            talk.close().expect("a close");
        }
        let answer = life.send(*form, &end_reply(n));
        let r = answer.receipt();
        println!(
            "{what:>12} {:<9} {name:<26} kept {:>5} restored {:>5} evaluated {:>3} appended {:>3}",
            class.as_str(),
            r.kept,
            r.restored,
            r.evaluated,
            r.appended
        );
        only_new(r, before.as_ref(), &format!("{what} {class:?} {name}"));
        assert_eq!(r.evaluated, costs[STEPS + 1 + n], "{what} {class:?} {name}");
        assert_eq!(answer.followed.difference, None, "{name}");
        assert_eq!(answer.notices, [""; 0], "{name}");
    }
    // Token for token what npast's own turns made.
    let name = life.talk().info().name;
    life.close();
    let stored = Stored::of(&life.desk, &name);
    assert_eq!(stored.ledger, witness.ledger, "{what} {class:?}");
    let db = npast::session::Db::open(&life.desk.home.join("npast.db")).expect("npast.db");
    assert_eq!(db.ids().expect("sessions").len(), 2, "no session too many");
}

#[test]
fn a_history_in_any_form_costs_its_new_message_on_every_class() {
    for class in Class::ALL {
        reload("chatml", class, &|| Desk::new(class, Some(CHATML)));
    }
}

#[test]
fn a_history_of_a_model_that_thinks_costs_its_new_message_on_every_class() {
    for class in Class::ALL {
        reload("thinker", class, &|| Desk::new(class, Some(THINKER)));
    }
}

#[test]
fn a_history_under_the_template_of_qwen_costs_its_new_message_on_every_class() {
    let Some(sample) = gallery::shared("Qwen3.5-4B") else {
        return;
    };
    let desk = |sample: &Sample, class| {
        let mut desk = Desk::with_model(&sample.model(class));
        desk.limit = 32_768;
        desk
    };
    for class in Class::ALL {
        reload("Qwen3.5-4B", class, &|| desk(&sample, class));
    }
}

/// Changes what one message of a client says.
fn changed(client: &Client, at: usize, how: usize) -> Client {
    let mut client = client.clone();
    let message = &mut client.wire[at];
    if message.get("tool_calls").is_some() {
        let call = &mut message["tool_calls"][0]["function"];
        let text = call["arguments"].as_str().expect("arguments").to_owned();
        match how % 2 {
            0 => call["arguments"] = json!(text.replacen("\"from\":", "\"from\":7", 1)),
            _ => call["name"] = json!("list_files_2"),
        }
        return client;
    }
    let text = message["content"].as_str().expect("a text").to_owned();
    let mid = text.len() / 2;
    message["content"] = match how % 2 {
        0 => json!(format!("{}not {}", &text[..mid], &text[mid..])),
        _ => json!(format!("{text}7")),
    };
    client
}

#[test]
fn a_change_of_meaning_is_noticed_at_its_message_and_what_was_there_stays() {
    for class in [Class::Dense, Class::Hybrid] {
        let mut life = Life::new(Desk::new(class, Some(THINKER)));
        life.tool_loop(4);
        life.client.user("Go on.");
        life.send(Form::AsIs, &end_reply(1));
        life.client.user("And now?");
        let whole = life.client.clone();
        let name = life.talk().info().name;
        for at in 0..whole.wire.len() - 1 {
            let other = Form::EACH[at % Form::EACH.len()].of(&changed(&whole, at, at));
            let history = other.history();
            let before = Stored::of(&life.desk, &name);
            let talk = life.talk();
            let answer = client::ask(talk, &history, &greedy(1000), Some(&end_reply(at)));
            let answer = answer.unwrap_or_else(|e| panic!("{class:?} {at}: {e}"));
            let what = format!("{class:?}, message {at}: {:?}", answer.followed.difference);
            assert_eq!(answer.followed.same, at, "{what}");
            let r = answer.receipt();
            assert!(
                r.evaluated <= r.appended || r.miss.is_some(),
                "{what}: {r:?}"
            );
            // What stays are the stored tokens themselves.
            let after = Stored::of(&life.desk, &name);
            let reply = before.messages[..at]
                .iter()
                .rfind(|m| m.role == "assistant");
            let stays = reply.and_then(|m| m.span).map_or(0, |s| s.end - 1);
            assert_eq!(after.ledger[..stays], before.ledger[..stays], "{what}");
            // And back: the history as it was.
            let talk = life.talk();
            let answer = client::ask(talk, &whole.history(), &greedy(1000), Some(&end_reply(9)));
            let answer = answer.unwrap_or_else(|e| panic!("{class:?} back {at}: {e}"));
            assert_eq!(answer.followed.same, at, "{what}");
        }
        let left = crate::talk::branches(&life.desk, &name);
        assert_eq!(left.len(), 2 * (whole.wire.len() - 1), "{class:?}");
    }
}
