use serde_json::json;

use super::super::completions::{Look, read};
use super::super::{Manner, ReplyPart, Show};
use super::{end, events, head, reply, weighed};
use crate::agent::RawPrompt;
use crate::ledger::{Finish, Token};

#[test]
fn a_prompt_is_a_text_or_token_ids_and_nothing_else() {
    let text = || RawPrompt::Text("once".into());
    let table = [
        (json!("once"), Some(text())),
        (json!(["once"]), Some(text())),
        (
            json!([1, 2]),
            Some(RawPrompt::Tokens(vec![Token(1), Token(2)])),
        ),
        (
            json!([[1, 2]]),
            Some(RawPrompt::Tokens(vec![Token(1), Token(2)])),
        ),
        (json!(["a", "b"]), None),
        (json!([]), None),
        (json!([-1]), None),
        (json!([1, "a"]), None),
        (json!([4_000_000_000_u64]), None),
        (json!({}), None),
    ];
    for (prompt, want) in table {
        let got = read(&json!({ "prompt": prompt, "stop": ["\n"] }));
        assert_eq!(
            got.as_ref().ok().map(|raw| &raw.prompt),
            want.as_ref(),
            "{prompt}"
        );
        if let Ok(raw) = got {
            assert_eq!(
                (raw.ask.max_tokens, raw.ask.stop),
                (Some(16), vec!["\n".to_owned()])
            );
        }
    }
    for body in [
        json!({"n": 3}),
        json!({"suffix": "x"}),
        json!({"echo": true, "logprobs": 0}),
        json!({"logprobs": true}),
        json!({"logprobs": 21}),
    ] {
        let mut body = body;
        body["prompt"] = "x".into();
        assert!(read(&body).is_err(), "{body}");
    }
}

#[test]
fn a_completion_is_written_whole_and_as_chunks() {
    let parts = || {
        vec![
            ReplyPart::Text("upon".into()),
            ReplyPart::Text(" a".into()),
            end(Finish::Length),
        ]
    };
    let whole = Manner::Completions(Box::default()).whole(&head(), &reply(parts()));
    assert_eq!(
        whole["choices"],
        json!([{"index": 0, "text": "upon a", "logprobs": null, "finish_reason": "length"}])
    );
    let show = Show {
        stream: true,
        usage: true,
        progress: false,
    };
    let look = Look {
        show,
        ..Look::default()
    };
    let all = events(Manner::Completions(Box::new(look)), parts());
    let texts: Vec<_> = all
        .iter()
        .map(|(_, c)| c["choices"][0]["text"].clone())
        .collect();
    assert_eq!(json!(texts), json!(["upon", " a", "", null, null]));
    assert_eq!(all[3].1["usage"]["total_tokens"], 107);
    assert_eq!(all[4].1, "[DONE]");
}

#[test]
fn a_completion_says_how_likely_its_tokens_were_and_gives_the_prompt_back() {
    let raw = read(&json!({"prompt": "x", "logprobs": 2})).expect("a request");
    assert_eq!(raw.ask.odds, Some(2));
    let manner = || Manner::Completions(Box::new(raw.look.clone()));
    let whole = manner().whole(&head(), &reply(weighed()));
    let logprobs = &whole["choices"][0]["logprobs"];
    assert_eq!(
        *logprobs,
        json!({
            "tokens": ["up", "on", "\u{fffd}"],
            "token_logprobs": [-0.5, -0.75, -9999.0],
            "top_logprobs": [
                {"b": -0.25, "up": -0.5}, {"b": -0.25, "on": -0.75}, {"\u{fffd}": -9999.0},
            ],
            "text_offset": [0, 2, 4],
        })
    );
    let chunks = events(manner(), weighed());
    let offsets: Vec<_> = chunks
        .iter()
        .filter_map(|(_, c)| c["choices"][0]["logprobs"]["text_offset"].as_array())
        .flatten()
        .collect();
    assert_eq!(json!(offsets), logprobs["text_offset"]);

    let raw =
        read(&json!({"prompt": [7], "return_tokens": true, "echo": true})).expect("a request");
    assert!(raw.echo);
    let look = Look {
        echo: "Once ".into(),
        ..raw.look
    };
    let whole = Manner::Completions(Box::new(look.clone())).whole(&head(), &reply(weighed()));
    assert_eq!(
        whole["choices"][0],
        json!({"index": 0, "text": "Once upon\u{fffd}", "logprobs": null,
            "finish_reason": "length", "tokens": [1, 2, 3]})
    );
    let chunks = events(Manner::Completions(Box::new(look)), weighed());
    assert_eq!(chunks[0].1["choices"][0]["text"], "Once ");
    assert_eq!(chunks[1].1["choices"][0]["tokens"], json!([1, 2]));
}
