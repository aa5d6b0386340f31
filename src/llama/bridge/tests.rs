//! The bridge against llama.cpp's own entry point, and against hostile templates.

use super::*;
use serde_json::Value;
use serde_json::json;
use std::path::{Path, PathBuf};

const CHATML: &str = "{%- for m in messages -%}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}";

fn gallery() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/chat-templates");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: no folder of chat templates beside the checkout");
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    paths
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "jinja"))
        .map(|p| {
            let name = p.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&p).unwrap())
        })
        .collect()
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "get_weather", "description": "The weather of a town.",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}, "days": {"type": "integer"}}, "required": ["town"]}}}])
}

fn conversations() -> Vec<Value> {
    let call = json!({"role": "assistant", "content": "", "tool_calls": [{"id": "abcdef123", "type": "function",
        "function": {"name": "get_weather", "arguments": "{\"town\":\"Bern\",\"days\":2}"}}]});
    let result = json!({"role": "tool", "tool_call_id": "abcdef123", "name": "get_weather", "content": "rain \"and\"\nwind \n"});
    // The reference reads the machine's clock, so both get the present day.
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let base = json!({"now_ms": now.as_millis() as u64, "add_generation_prompt": true});
    let with = |more: Value| {
        let mut request = base.clone();
        for (k, v) in more.as_object().unwrap() {
            request[k] = v.clone();
        }
        request
    };
    vec![
        with(json!({"messages": [{"role": "user", "content": "hello"}]})),
        with(
            json!({"messages": [{"role": "system", "content": "be short"}, {"role": "user", "content": " a\n"},
            {"role": "assistant", "content": "b", "reasoning_content": "hm"}, {"role": "user", "content": "c"}]}),
        ),
        with(
            json!({"messages": [{"role": "user", "content": "weather?"}, call, result], "tools": tools()}),
        ),
        with(
            json!({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "weather?"}, call, result,
            {"role": "assistant", "content": "rain"}, {"role": "user", "content": "thanks"}], "tools": tools(), "enable_thinking": false}),
        ),
        with(
            json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "add_generation_prompt": false}),
        ),
    ]
}

#[test]
fn a_plain_template_renders_as_written() {
    let template = Template::new(CHATML, "", "<|im_end|>").unwrap();
    let request = json!({"messages": [{"role": "user", "content": "hi"}]});
    let expected = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(template.render(&request).unwrap(), expected);
    let applied = template.apply(&request).unwrap();
    assert_eq!(applied.prompt, expected);
    let parser = ReplyParser::new(&applied).unwrap();
    assert_eq!(parser.parse("hello", false).unwrap().content, "hello");
    assert!(template.caps().contains_key("supports_tools"));
}

#[test]
fn every_template_gives_what_llama_cpp_itself_gives() {
    let mut compared = 0;
    let (mut slow, mut fast) = (Vec::new(), Vec::new());
    for (name, source) in gallery() {
        let template = Template::new(&source, "<s>", "</s>").unwrap();
        for request in conversations() {
            let reference = template.reference(&request);
            let start = std::time::Instant::now();
            let applied = template.apply(&request);
            slow.push(start.elapsed());
            let start = std::time::Instant::now();
            let rendered = template.render(&request);
            fast.push(start.elapsed());
            match (&reference, &applied) {
                (Ok(a), Ok(b)) => assert_eq!(a, b, "{name}: {request}"),
                (Err(_), Err(_)) => {}
                _ => panic!("{name}: {request}: {reference:?} against {applied:?}"),
            }
            if let Ok(applied) = applied {
                assert_eq!(rendered.unwrap(), applied.prompt, "{name}: {request}");
                ReplyParser::new(&applied).unwrap();
                compared += 1;
            }
        }
    }
    for (name, mut times) in [("apply", slow), ("render", fast)] {
        times.sort();
        if let (Some(middle), Some(last)) = (times.get(times.len() / 2), times.last()) {
            println!("{name}: median {middle:?}, longest {last:?}");
        }
    }
    println!("{compared} renderings compared");
}

#[test]
fn the_clock_is_the_one_that_was_given() {
    let template = Template::new("{{ strftime_now('%Y') }} {{ date_string }}", "", "").unwrap();
    let request =
        json!({"messages": [{"role": "user", "content": "x"}], "now_ms": 1_000_000_000_000i64});
    let text = template.render(&request).unwrap();
    assert!(text.starts_with("2001 "), "{text}");
    assert!(text.ends_with("Sep 2001"), "{text}");
}

#[test]
fn hostile_templates_end_in_errors() {
    let request = json!({"messages": [{"role": "user", "content": "x"}]});
    let refused = |source: &str| match Template::new(source, "", "") {
        Err(_) => true,
        Ok(template) => template.render(&request).is_err(),
    };
    assert!(refused("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"));
    assert!(refused(&format!(
        "{{{{ {}1{} }}}}",
        "(".repeat(100_000),
        ")".repeat(100_000)
    )));
    assert!(refused(&format!("{{{{ 1{} }}}}", " + 1".repeat(100_000))));
    assert!(refused(&format!("{{{{ {} 1 }}}}", "not ".repeat(100_000))));
    assert!(refused(&"{% if true %}".repeat(30_000)));
    assert!(refused(
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"
    ));
    assert!(refused("{{ range(1000000000000) }}"));
    assert!(refused("{{ raise_exception('no') }}"));
    assert!(refused("{% if %}"));
    assert!(refused("{{ 'open"));
    assert!(Template::new(&" ".repeat(MAX_TEMPLATE_BYTES + 1), "", "").is_err());
}

#[test]
fn statements_at_the_limit_fit_a_small_stack() {
    let request = json!({"messages": [{"role": "user", "content": "x"}]});
    let deep = [
        format!("{{{{ 1{} }}}}", " + 1".repeat(740)),
        format!("{{{{ {}1 }}}}", "not ".repeat(1400)),
        format!("{{{{ {}1{} }}}}", "(".repeat(48), ")".repeat(48)),
        format!("{{{{ 1{} }}}}", " if true else 1".repeat(300)),
        format!("{{{{ 'a'{} }}}}", "|trim".repeat(700)),
        format!(
            "{}{{{{ 1{} }}}}{}",
            "{% if true %}".repeat(96),
            " + 1".repeat(740),
            "{% endif %}".repeat(96)
        ),
        format!(
            "{{% macro f() %}}{{{{ f() }}}}{{{{ 1{} }}}}{{% endmacro %}}{{{{ f() }}}}",
            " + 1".repeat(740)
        ),
        format!(
            "{{% macro f() %}}{{{{ {}f(){} }}}}{{% endmacro %}}{{{{ f() }}}}",
            "(".repeat(40),
            ")".repeat(40)
        ),
    ];
    for source in deep {
        let _ = Template::new(&source, "", "").map(|t| t.render(&request));
    }
}

#[test]
fn a_reply_of_open_brackets_is_refused_and_not_a_crash() {
    for (name, source) in gallery() {
        let template = Template::new(&source, "<s>", "</s>").unwrap();
        let request = &conversations()[2];
        let Ok(applied) = template.apply(request) else {
            continue;
        };
        let parser = ReplyParser::new(&applied).unwrap();
        for opening in [
            "",
            "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": ",
            "[TOOL_CALLS]get_weather[ARGS]",
            "<|channel|>commentary to=functions.get_weather<|message|>",
            "{\"name\": \"get_weather\", \"parameters\": {\"town\": ",
        ] {
            for depth in [100, 250, 100_000] {
                for bracket in ["[", "{\"a\":"] {
                    let text = format!("{opening}{}", bracket.repeat(depth));
                    let answer = parser.parse(&text, true);
                    assert!(depth <= 256 || answer.is_err(), "{name}");
                }
            }
        }
    }
}

#[test]
fn a_template_serves_several_threads() {
    let template = Template::new(CHATML, "", "").unwrap();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let template = &template;
            scope.spawn(move || {
                let request =
                    json!({"messages": [{"role": "user", "content": format!("number {n}")}]});
                assert!(
                    template
                        .apply(&request)
                        .unwrap()
                        .prompt
                        .contains(&format!("number {n}"))
                );
            });
        }
    });
}

#[test]
fn damaged_templates_end_in_errors_or_text() {
    let request = &conversations()[3];
    let mut sources = gallery();
    sources.push(("own".to_owned(), CHATML.to_owned()));
    let mut seed = 1u64;
    for (_, source) in sources {
        for _ in 0..8 {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let mut bytes = source.clone().into_bytes();
            let at = (seed >> 33) as usize % bytes.len();
            match seed % 3 {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..(at + 9).min(bytes.len()))),
                _ => bytes[at] = b"{}%()[]|,.=+'\""[(seed >> 8) as usize % 14],
            }
            let damaged = String::from_utf8_lossy(&bytes);
            let _ = Template::new(&damaged, "", "").map(|t| t.apply(request));
        }
    }
}

#[test]
fn deeply_nested_schemas_and_arguments_end_in_errors_or_text() {
    let mut schema = json!({"type": "string"});
    let mut arguments = json!("deep");
    for _ in 0..100 {
        schema = json!({"type": "object", "properties": {"a": schema}, "required": ["a"]});
        arguments = json!({"a": arguments});
    }
    let mut request = conversations()[2].clone();
    request["tools"][0]["function"]["parameters"] = schema;
    request["messages"][1]["tool_calls"][0]["function"]["arguments"] = json!(arguments.to_string());
    for (_, source) in gallery() {
        let template = Template::new(&source, "<s>", "</s>").unwrap();
        if let Ok(applied) = template.apply(&request) {
            let parser = ReplyParser::new(&applied).unwrap();
            let _ = parser.parse("plain", false);
        }
    }
}
