//! A call is written under the template's grammar from its mark on, and nothing before it is: a
//! model of random weights writes noise until it happens to open a call.

use npast::agent::{Input, TurnOptions};
use npast::llama::Sampling;
use npast::tools::{Effect, Tool, ToolAnswer};

use crate::agent::{Bench, tool};
use crate::model::{self, Class, Kind, Options};
use crate::talk::Desk;
use crate::witness::{Reader, Stored};

const MARK: &str = "<tool_call>";

fn tools() -> Vec<Box<dyn Tool>> {
    vec![tool("echo", Effect::Reads, |_, _| ToolAnswer::good("e"))]
}

/// A template whose calls are opened by one token, and a model that samples it soon: of the marks
/// of all templates it has only this one's.
fn bench() -> Bench {
    let template = model::CHATML.replace(r"<tool_call>\n", MARK);
    let own = [
        MARK,
        "</tool_call>",
        "<tool_response>",
        "</tool_response>",
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
    ];
    let tokens = model::tokens();
    let marks = tokens.iter().filter(|(_, kind)| *kind != Kind::Normal);
    let marks = marks.filter_map(|(bytes, _)| std::str::from_utf8(bytes).ok());
    let others: Vec<&str> = marks.filter(|mark| !own.contains(mark)).collect();
    let model = model::tiny_model(
        Class::Dense,
        &Options {
            chat_template: Some(&template),
            without: &others,
            control_gain: 2.0,
            ..Options::default()
        },
    );
    let mut bench = Bench::new(Class::Dense, model::CHATML);
    bench.desk = Desk::with_model(&model);
    bench
}

#[test]
fn a_call_is_enforced_from_its_mark_on_and_not_before() {
    let bench = bench();
    let mut at = bench.open(&tools);
    let options = TurnOptions {
        sampling: Sampling {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            ..Sampling::default()
        },
        max_tokens: Some(80),
        stop: Vec::new(),
        ..TurnOptions::default()
    };
    let frame = r#"{"name":"echo","arguments":{"x":""#;
    let (mut whole, mut noise) = (0, 0);
    for n in 0..12 {
        let words = Input::Text(format!("Message {n}."));
        crate::talk::turn(&mut at.talk, words, &options, None, &|_| false).expect("a turn");
        let stored = Stored::of(&bench.desk, "work");
        let span = stored.last().0.span.expect("a span");
        let reply = Reader::of(&bench.desk).text(&stored.ledger[span.start..span.end]);
        let Some((before, call)) = reply.split_once(MARK) else {
            continue;
        };
        let call: String = call.split_whitespace().collect();
        assert!(
            call.starts_with(frame) || frame.starts_with(&call),
            "{reply:?}"
        );
        whole += usize::from(call.starts_with(frame));
        noise += usize::from(!before.trim().is_empty());
    }
    assert!(whole > 2 && noise > 2, "{whole} calls, {noise} behind text");
}
