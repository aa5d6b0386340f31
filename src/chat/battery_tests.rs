//! The battery over the gallery of templates, where the folder exists, and over our own.

use super::*;
use crate::chat::template::{ChatTemplate, Marks};
use std::path::Path;

/// The texts that llama.cpp takes for ends of generation, and some that vocabularies mark.
const EOG: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
    "<|END_OF_TURN_TOKEN|>",
    "<|end_of_msg|>",
];

pub(crate) fn marks() -> Marks {
    Marks {
        bos: "<s>".into(),
        eos: "</s>".into(),
        eog: EOG.iter().map(|t| (*t).to_owned()).collect(),
        control: vec!["<|im_start|>".into(), "<|im_end|>".into()],
    }
}

pub(crate) const CHATML: &str = "{%- for m in messages -%}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}";

pub(crate) const THINKER: &str = r#"{%- if tools %}{{- '<|im_start|>system\n' }}{%- if messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{%- endif %}{{- '# Tools\n' }}{%- for tool in tools %}{{- tool | tojson + '\n' }}{%- endfor %}{{- '<|im_end|>\n' }}{%- elif messages[0].role == 'system' %}{{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}{%- endif %}
{%- set ns = namespace(last=0) %}{%- for m in messages %}{%- if m.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}
{%- for m in messages %}
{%- if m.role == 'user' or (m.role == 'system' and not loop.first) %}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}
{%- elif m.role == 'assistant' %}{{- '<|im_start|>assistant\n' }}
{%- if m.reasoning_content and loop.index0 > ns.last %}{{- '<think>\n' + m.reasoning_content + '\n</think>\n\n' }}{%- endif %}
{{- m.content }}{%- for c in m.tool_calls or [] %}{{- '\n<tool_call>\n{"name": "' + c.function.name + '", "arguments": ' + (c.function.arguments if c.function.arguments is string else c.function.arguments | tojson) + '}\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\n' }}
{%- elif m.role == 'tool' %}{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}{{- '\n<tool_response>\n' + m.content | trim + '\n</tool_response>' }}{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\n' }}{%- endif %}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- if enable_thinking %}{{- '<think>\n' }}{%- endif %}{%- endif %}"#;

pub(crate) fn gallery() -> Vec<(String, String)> {
    let mut out = vec![
        ("own: chatml".to_owned(), CHATML.to_owned()),
        ("own: thinker".to_owned(), THINKER.to_owned()),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/chat-templates");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: no folder of chat templates beside the checkout");
        return out;
    };
    let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths {
        if path.extension().is_some_and(|e| e == "jinja") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            out.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    out
}

#[test]
fn every_template_passes_or_is_named_with_a_reason() {
    let mut fallbacks = Vec::new();
    for (name, source) in gallery() {
        let start = std::time::Instant::now();
        let template = ChatTemplate::new(&source, marks()).unwrap();
        let battery = template.battery();
        println!("{name} ({:?})", start.elapsed());
        for line in battery.report() {
            println!("    {line}");
        }
        if let Mode::Fallback { reason } = &battery.mode {
            fallbacks.push((name, reason.clone()));
        }
    }
    println!("fallbacks: {fallbacks:#?}");
}
