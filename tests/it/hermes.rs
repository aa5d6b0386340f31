//! An agent that keeps its conversation in a database of its own and sends it anew with each request, as
//! Hermes does: what it has in memory in one form, what it reloads in another, a title job, a request that
//! summarizes the conversation, and the shortened conversation after it. Each costs only what is new.

use serde_json::{Value, json};

use crate::gateway::{Answer, Server};
use crate::gateway_apis::{find, looks, says, thinker};
use crate::model::Class;
use crate::program::{honest, n};

/// The agent's own rows of its conversation, as its database has them.
struct Agent {
    rows: Vec<Value>,
}

impl Agent {
    fn said(&mut self, text: &str) {
        self.rows.push(json!({"role": "user", "content": text}));
    }

    /// A reply as the API gave it becomes a row: thinking under a name of the agent's, calls with
    /// identifiers of other APIs, the finish reason.
    fn replied(&mut self, answer: &Answer) {
        let reply = answer.json();
        let choice = &reply["choices"][0];
        let message = &choice["message"];
        let mut row = json!({"role": "assistant", "content": message["content"],
            "reasoning": message["reasoning_content"], "finish_reason": choice["finish_reason"]});
        if let Some(calls) = message["tool_calls"].as_array() {
            let with = |call: &Value| {
                let mut call = call.clone();
                call["call_id"] = call["id"].clone();
                call["response_item_id"] = json!("fc_1");
                call
            };
            row["tool_calls"] = calls.iter().map(with).collect();
        }
        self.rows.push(row);
    }

    fn result(&mut self, text: &str) {
        let id = self.rows.last().expect("a reply")["tool_calls"][0]["id"].clone();
        self.rows.push(
            json!({"role": "tool", "tool_call_id": id, "tool_name": "find", "content": text}),
        );
    }

    /// What is sent while the agent runs: texts without white space at their ends, arguments with sorted
    /// keys and no spaces, thinking under the name of the API, nothing of the agent's own.
    fn in_loop(&self) -> Vec<Value> {
        let sent = |row: &Value| {
            let mut message = row.clone();
            let fields = message.as_object_mut().expect("a row");
            fields.shift_remove("finish_reason");
            fields.shift_remove("tool_name");
            if let Some(thought) = fields.shift_remove("reasoning") {
                fields.insert("reasoning_content".into(), thought);
            }
            if let Some(text) = message["content"].as_str() {
                message["content"] = json!(text.trim());
            }
            if let Some(calls) = message.get_mut("tool_calls").and_then(Value::as_array_mut) {
                for call in calls {
                    let fields = call.as_object_mut().expect("a call");
                    fields.shift_remove("call_id");
                    fields.shift_remove("response_item_id");
                    call["function"]["arguments"] = json!(r#"{"deep":true,"path":"/"}"#);
                }
            }
            message
        };
        self.rows.iter().map(sent).collect()
    }

    /// What is sent when the agent was started again: the rows as they are.
    fn reloaded(&self) -> Vec<Value> {
        self.rows.clone()
    }
}

const SYSTEM: &str =
    "You are an agent on a person's own machine.\nUse the tools. Say what you did.";

fn body(messages: Vec<Value>) -> Value {
    let system = json!({"role": "system", "content": SYSTEM});
    let messages = [vec![system], messages].concat();
    json!({"messages": messages, "tools": [{"type": "function", "function": find()}]})
}

/// A request of the conversation that costs what is new, and keeps or restores all else.
fn only_new(what: &str, server: &Server, messages: Vec<Value>, context: &mut usize) -> Answer {
    let answer = server.posted("/v1/chat/completions", &body(messages));
    let receipt = answer.receipt();
    honest(what, &receipt);
    assert_eq!(
        n(&receipt, "evaluated"),
        n(&receipt, "appended"),
        "{what}: {receipt}"
    );
    assert_eq!(
        n(&receipt, "kept") + n(&receipt, "restored"),
        *context,
        "{what}: {receipt}"
    );
    *context = n(&receipt, "context");
    answer
}

/// A request beside the conversation: it costs itself, and nothing of it is stored.
fn beside(what: &str, server: &Server, body: &Value) {
    let answer = server.posted("/v1/chat/completions", body);
    let receipt = answer.receipt();
    honest(what, &receipt);
    assert_eq!(receipt["kind"], "fork", "{what}: {receipt}");
    assert_eq!(
        n(&receipt, "evaluated"),
        n(&receipt, "appended"),
        "{what}: {receipt}"
    );
    assert_eq!(answer.header("x-npast-session"), None, "{what}");
    assert_eq!(answer.json()["npast"]["beside"], "quotes", "{what}");
}

#[test]
fn each_request_of_an_agent_with_a_database_of_its_own_costs_what_is_new_on_every_class() {
    for class in Class::ALL {
        let side = |text: &str| json!({"job": "side", "content": text});
        let mut replies: Vec<Value> = (0..9).map(|n| says(&format!("\nReply {n}.\n"))).collect();
        replies.insert(0, looks());
        replies.extend([
            side("Finding a"),
            side("They looked for a, and found it in b."),
        ]);
        let server = Server::start(thinker(class), &[], &replies);
        let mut agent = Agent { rows: Vec::new() };
        let mut context = 0;
        // In the loop.
        agent.said("  Where is the file a.txt?\n");
        let answer = only_new("first", &server, agent.in_loop(), &mut context);
        agent.replied(&answer);
        agent.result("\n/b/a.txt\n");
        let answer = only_new("a result", &server, agent.in_loop(), &mut context);
        agent.replied(&answer);
        // The title job, in a thread of its own.
        let said = |row: &Value| row["content"].as_str().unwrap_or_default().to_owned();
        let exchange = format!(
            "User: {}\n\nAssistant: {}",
            said(&agent.rows[0]).trim(),
            said(&agent.rows[3])
        );
        let title = json!({"max_tokens": 500, "temperature": 0.3, "messages": [
            {"role": "system", "content": "Name this exchange in three to seven words."},
            {"role": "user", "content": exchange}]});
        beside("the title", &server, &title);
        agent.said("Is it the only one?");
        let answer = only_new("after the title", &server, agent.in_loop(), &mut context);
        agent.replied(&answer);
        // The agent was started again.
        agent.said("Look once more.");
        let answer = only_new("reloaded", &server, agent.reloaded(), &mut context);
        agent.replied(&answer);
        // A summary of the conversation is asked for, without a system text and tools.
        let turns: Vec<String> = agent
            .rows
            .iter()
            .map(|row| {
                format!(
                    "[{}]: {}",
                    row["role"].as_str().unwrap_or_default(),
                    said(row)
                )
            })
            .collect();
        let summary = format!(
            "Write down what was done so far, for whoever goes on.\n\n{}",
            turns.join("\n\n")
        );
        let summary =
            json!({"max_tokens": 4000, "messages": [{"role": "user", "content": summary}]});
        beside("the summary", &server, &summary);
        agent.said("Thanks.");
        let answer = only_new("after the summary", &server, agent.in_loop(), &mut context);
        agent.replied(&answer);
        let receipt = answer.receipt();
        assert_eq!(n(&receipt, "restored_bytes"), 0, "{class:?}: {receipt}");

        // The shortened conversation: its beginning, the summary, its end. What was cut out is named.
        let first = agent.rows[..4].to_vec();
        let last = agent.rows[agent.rows.len() - 2..].to_vec();
        let note = json!({"role": "user", "content": "[Summary] They looked for a.txt, and found it in /b."});
        let understood = json!({"role": "assistant", "content": "I go on from there."});
        agent.rows = [first, vec![note, understood], last].concat();
        agent.said("Where were we?");
        let answer = server.posted("/v1/chat/completions", &body(agent.in_loop()));
        let receipt = answer.receipt();
        honest("shortened", &receipt);
        let history = answer.json()["npast"]["history"].clone();
        assert_eq!(n(&history, "same"), 4, "{class:?}: {history}");
        assert!(
            class != Class::Dense || n(&receipt, "kept") > context / 3,
            "{class:?}: {receipt}"
        );
        context = n(&receipt, "context");
        agent.replied(&answer);
        agent.said("Good.");
        let answer = only_new("after it", &server, agent.in_loop(), &mut context);
        agent.replied(&answer);
        // Both were started again.
        let server = Server::start(server.stop(), &[], &[says("Here.")]);
        agent.said("Still there?");
        only_new("all anew", &server, agent.reloaded(), &mut context);
        server.stop();
    }
}
