use serde_json::json;

use super::super::completions::{CompletionPrompt, read};
use super::super::{Manner, ReplyPart, Show};
use super::{end, events, head, reply};
use crate::ledger::Finish;

#[test]
fn a_prompt_is_a_text_or_token_ids_and_nothing_else() {
    let text = || CompletionPrompt::Text("once".into());
    let table = [
        (json!("once"), Some(text())),
        (json!(["once"]), Some(text())),
        (json!([1, 2]), Some(CompletionPrompt::Tokens(vec![1, 2]))),
        (json!([[1, 2]]), Some(CompletionPrompt::Tokens(vec![1, 2]))),
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
            got.as_ref().ok().map(|(_, prompt)| prompt),
            want.as_ref(),
            "{prompt}"
        );
        if let Ok((ask, _)) = got {
            assert_eq!(
                (ask.max_tokens, ask.stop),
                (Some(16), vec!["\n".to_owned()])
            );
        }
    }
    for body in [
        json!({"n": 3}),
        json!({"suffix": "x"}),
        json!({"echo": true}),
        json!({"logprobs": 1}),
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
    let whole = Manner::Completions(Show::default()).whole(&head(), &reply(parts()));
    assert_eq!(
        whole["choices"],
        json!([{"index": 0, "text": "upon a", "logprobs": null, "finish_reason": "length"}])
    );
    let show = Show {
        stream: true,
        usage: true,
        progress: false,
    };
    let all = events(Manner::Completions(show), parts());
    let texts: Vec<_> = all
        .iter()
        .map(|(_, c)| c["choices"][0]["text"].clone())
        .collect();
    assert_eq!(json!(texts), json!(["upon", " a", "", null, null]));
    assert_eq!(all[3].1["usage"]["total_tokens"], 107);
    assert_eq!(all[4].1, "[DONE]");
}
