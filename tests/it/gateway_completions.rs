//! Completions: the model goes on with a text or with tokens, without a chat template; what was read or written
//! once is not read again. And how likely tokens were, in every API that tells it.

use serde_json::{Value, json};

use crate::gateway::{Answer, Server};
use crate::model::Class;
use crate::program::{Program, honest, n};

/// A prepared reply that does not end its turn.
fn goes_on(text: &str) -> Value {
    json!({"content": text, "finish": "length"})
}

fn complete(server: &Server, prompt: impl Into<Value>, more: Value) -> Answer {
    let mut body = json!({"prompt": prompt.into(), "max_tokens": 12});
    for (name, value) in more.as_object().expect("fields") {
        body[name] = value.clone();
    }
    server.posted("/v1/completions", &body)
}

fn text(answer: &Answer) -> String {
    let reply = answer.json();
    let text = reply["choices"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("a text: {reply}")).to_owned()
}

fn ids(value: &Value) -> Vec<i64> {
    let list = value.as_array().expect("tokens").iter();
    list.map(|id| id.as_i64().expect("a token")).collect()
}

/// The sum of all tokens that were read before a reply, as a client sees it.
fn usage(reply: &Value) -> [usize; 3] {
    let usage = &reply["usage"];
    [
        n(usage, "prompt_tokens"),
        n(&usage["prompt_tokens_details"], "cached_tokens"),
        n(usage, "completion_tokens"),
    ]
}

#[test]
fn a_text_that_goes_on_from_a_completion_evaluates_what_is_new_and_nothing_else() {
    for class in Class::ALL {
        let replies = [
            goes_on(" there was a tree"),
            json!({"content": " And it was green."}),
            goes_on(" Yes."),
        ];
        let server = Server::start(Program::new(class), &[], &replies);
        let mut prompt = "Once upon a time".to_owned();
        let mut before = 0;
        for (step, more) in [".", " What of it?", " Sure?"].into_iter().enumerate() {
            let answer = complete(&server, prompt.as_str(), json!({"max_tokens": 40}));
            let receipt = answer.receipt();
            honest("a completion", &receipt);
            assert_eq!(
                n(&receipt, "kept"),
                before,
                "{class:?} step {step}: {receipt}"
            );
            assert_eq!(
                n(&receipt, "evaluated"),
                n(&receipt, "appended"),
                "{class:?}: {receipt}"
            );
            assert_eq!(receipt["miss"], Value::Null, "{class:?}: {receipt}");
            let cached = usage(&answer.json());
            assert_eq!(cached[1], before);
            assert_eq!(cached[0], before + n(&receipt, "evaluated"));
            before = n(&receipt, "context");
            prompt += &text(&answer);
            prompt += more;
        }
        assert_eq!(
            prompt,
            "Once upon a time there was a tree. And it was green. What of it? Yes. Sure?"
        );
        server.stop();
    }
}

#[test]
fn after_a_restart_tokens_that_were_completed_are_restored() {
    for class in Class::ALL {
        let server = Server::start(Program::new(class), &[], &[]);
        let words = "The quick brown fox jumps over the lazy dog. ".repeat(20);
        let tokens = server
            .posted("/tokenize", &json!({"content": words}))
            .json();
        let mut prompt = ids(&tokens["tokens"]);
        let answer = complete(&server, prompt.clone(), json!({"return_tokens": true}));
        let first = answer.receipt();
        let choice = &answer.json()["choices"][0];
        prompt.extend(ids(&choice["tokens"]));
        let program = server.stop();

        let server = Server::start(program, &[], &[]);
        prompt.extend(ids(&tokens["tokens"]).iter().take(30));
        let receipt = complete(&server, prompt.clone(), json!({})).receipt();
        assert_eq!(
            n(&receipt, "restored"),
            n(&first, "context"),
            "{class:?}: {receipt}"
        );
        assert_eq!(
            n(&receipt, "evaluated"),
            prompt.len() - n(&first, "context"),
            "{class:?}: {receipt}"
        );
        server.stop();
    }
}

#[test]
fn completions_and_a_conversation_take_turns_and_neither_is_read_again() {
    for class in Class::ALL {
        let says = |text: &str| json!({ "content": text });
        let replies = [
            goes_on(" one"),
            says("Hi."),
            goes_on(" two"),
            goes_on(" three"),
            says("Yes."),
        ];
        let server = Server::start(Program::new(class), &[], &replies);
        let long = "A long text that is read once, and then again and again. ".repeat(12);
        let (a, b) = (format!("{long}First"), format!("{long}Second"));
        let read = complete(&server, a.as_str(), json!({})).receipt();
        let mut messages = vec![json!({"role": "user", "content": "Hello"})];
        let talk = server.posted("/v1/chat/completions", &json!({"messages": messages}));
        messages.push(talk.json()["choices"][0]["message"].clone());
        messages.push(json!({"role": "user", "content": "Sure?"}));
        // Another text with the same beginning, then the first one again.
        complete(&server, b.as_str(), json!({}));
        let again = format!("{a} one and");
        let receipt = complete(&server, again.as_str(), json!({})).receipt();
        assert_eq!(
            n(&receipt, "kept") + n(&receipt, "restored"),
            n(&read, "context"),
            "{class:?}: {receipt}"
        );
        assert_eq!(
            n(&receipt, "evaluated"),
            n(&receipt, "appended"),
            "{class:?}: {receipt}"
        );
        let talk = server.posted("/v1/chat/completions", &json!({"messages": messages}));
        let receipt = talk.receipt();
        assert_eq!(
            n(&receipt, "evaluated"),
            n(&receipt, "appended"),
            "{class:?}: {receipt}"
        );
        server.stop();
    }
}

#[test]
fn a_stream_of_a_completion_says_what_the_whole_one_says() {
    let replies: Vec<Value> = (0..4).map(|_| goes_on(" a b c d. e f")).collect();
    let server = Server::start(Program::new(Class::Dense), &[], &replies);
    let options = json!({"stop": [". e"], "echo": true, "max_tokens": 90});
    let whole = complete(&server, "Say it:", options).json();
    assert_eq!(whole["choices"][0]["text"], "Say it: a b c d");
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    let options = json!({"stop": [". e"], "echo": true, "max_tokens": 90, "stream": true,
        "stream_options": {"include_usage": true}});
    let frames = complete(&server, "Say it:", options).frames();
    let told: String = frames
        .iter()
        .filter_map(|(_, chunk)| chunk["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(told, "Say it: a b c d");
    let last = &frames[frames.len() - 3].1;
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    let receipt = &last["npast"]["receipt"];
    assert_eq!(
        n(receipt, "evaluated"),
        0,
        "the same prompt once more: {receipt}"
    );
    let cost = usage(&frames[frames.len() - 2].1);
    assert_eq!(cost[0], usage(&whole)[0]);
    assert_eq!(cost[1], cost[0]);
    assert_eq!(frames.last().expect("an end").1, "[DONE]");
    // A text behind a stop text that was cut off goes on from what the client has.
    let receipt = complete(&server, "Say it: a b c d!", json!({})).receipt();
    assert_eq!(
        n(&receipt, "evaluated"),
        n(&receipt, "appended"),
        "{receipt}"
    );
    let tokens = server
        .posted("/tokenize", &json!({"content": "Say it:"}))
        .json();
    let echoed = complete(
        &server,
        tokens["tokens"].clone(),
        json!({"echo": true, "max_tokens": 3}),
    );
    assert!(text(&echoed).starts_with("Say it: a"), "{echoed:?}");
    server.stop();
}

#[test]
fn control_text_in_a_completions_prompt_is_control_text() {
    let server = Server::start(
        Program::new(Class::Dense),
        &[],
        &[goes_on("x"), goes_on("x")],
    );
    let marked = "<|im_start|>user\nHi<|im_end|>\n";
    let tokens = server
        .posted("/tokenize", &json!({"content": marked}))
        .json();
    let tokens = ids(&tokens["tokens"]);
    let by_text = complete(&server, marked, json!({})).receipt();
    let by_token = complete(&server, tokens, json!({})).receipt();
    assert_eq!(n(&by_text, "evaluated"), n(&by_token, "kept"));
    assert_eq!(n(&by_token, "evaluated"), 0, "the same tokens: {by_token}");
    server.stop();
}

#[test]
fn a_prompt_that_cannot_be_completed_is_refused_and_nothing_is_decoded() {
    let server = Server::start(Program::new(Class::Dense), &[], &[]);
    let table = [
        (
            json!({"prompt": [1_000_000]}),
            "invalid_request_error",
            Value::Null,
        ),
        (
            json!({"prompt": [[1], [2]]}),
            "invalid_request_error",
            json!("prompt"),
        ),
        (
            json!({"prompt": []}),
            "invalid_request_error",
            json!("prompt"),
        ),
        (json!({}), "invalid_request_error", json!("prompt")),
        (
            json!({"prompt": "x", "suffix": "y"}),
            "invalid_request_error",
            json!("suffix"),
        ),
        (
            json!({"prompt": "x", "n": 2}),
            "invalid_request_error",
            json!("n"),
        ),
        (
            json!({"prompt": "x", "max_tokens": 0}),
            "invalid_request_error",
            json!("max_tokens"),
        ),
    ];
    for (body, kind, param) in table {
        let answer = server.post("/v1/completions", &body);
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status, &error["type"], &error["param"]),
            (400, &json!(kind), &param),
            "{body}"
        );
    }
    for stream in [false, true] {
        let body = json!({"prompt": vec![5; 16_384], "stream": stream});
        let answer = server.post("/v1/completions", &body);
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status, &error["code"]),
            (400, &json!("context_length_exceeded"))
        );
    }
    assert_eq!(server.metric("llamacpp:tokens_predicted_total"), 0);
    assert_eq!(server.metric("llamacpp:prompt_tokens_total"), 0);
    server.stop();
}

#[test]
fn at_temperature_0_the_token_that_is_taken_is_the_likeliest() {
    let server = Server::start(Program::new(Class::Hybrid), &["--no-thinking"], &[]);
    let mut body = json!({"messages": [{"role": "user", "content": "Say something."}],
        "max_tokens": 24, "logprobs": true, "top_logprobs": 4});
    let reply = server.posted("/v1/chat/completions", &body).json();
    let content = reply["choices"][0]["logprobs"]["content"].clone();
    let told = content.as_array().expect("tokens");
    assert!(told.len() > 4, "{reply}");
    let mut bytes = Vec::new();
    for token in told {
        let top = token["top_logprobs"].as_array().expect("likely tokens");
        assert_eq!(top.len(), 4);
        assert_eq!(top[0]["logprob"], token["logprob"], "{token}");
        let each = top.iter().map(|t| t["logprob"].as_f64().expect("a number"));
        let each: Vec<f64> = each.collect();
        assert!(each.is_sorted_by(|a, b| a >= b), "{token}");
        let sum: f64 = each.iter().map(|l| l.exp()).sum();
        assert!(sum <= 1.0 + 1e-6, "{token}");
        bytes.extend(
            ids(&token["bytes"])
                .iter()
                .map(|b| u8::try_from(*b).expect("a byte")),
        );
    }
    // The tokens are those of the text.
    let text = reply["choices"][0]["message"]["content"]
        .as_str()
        .expect("a text");
    assert_eq!(String::from_utf8_lossy(&bytes).trim(), text.trim());

    body["stream"] = true.into();
    let frames = server.posted("/v1/chat/completions", &body).frames();
    let streamed: Vec<&Value> = frames
        .iter()
        .filter_map(|(_, c)| c["choices"][0]["logprobs"]["content"].as_array())
        .flatten()
        .collect();
    assert_eq!(json!(streamed), content);
    body["logprobs"] = false.into();
    body["top_logprobs"] = 0.into();
    let frames = server.posted("/v1/chat/completions", &body).frames();
    assert!(
        frames
            .iter()
            .all(|(_, c)| c["choices"][0]["logprobs"].is_null())
    );

    let options = json!({"logprobs": 3, "return_tokens": true});
    let reply = complete(&server, "Say something.", options).json();
    let choice = &reply["choices"][0];
    let logprobs = &choice["logprobs"];
    let tokens = ids(&choice["tokens"]);
    assert_eq!(
        logprobs["tokens"].as_array().map(Vec::len),
        Some(tokens.len())
    );
    for (at, own) in logprobs["token_logprobs"]
        .as_array()
        .expect("numbers")
        .iter()
        .enumerate()
    {
        let top = logprobs["top_logprobs"][at]
            .as_object()
            .expect("likely tokens");
        let highest = top
            .values()
            .map(|l| l.as_f64().expect("a number"))
            .fold(f64::MIN, f64::max);
        assert_eq!(own.as_f64(), Some(highest), "{logprobs}");
    }
    server.stop();
}
