//! Names of tools and parameters on their way into llama.cpp's grammars and parsers, and back.
//!
//! llama.cpp calls its rules after them, with all that is no ASCII letter or digit as `-`: of 住所
//! and 名前, of `user_id` and `user-id`, only the last has a rule. Names that would share one are
//! exchanged for others while grammar and parser are made, and put back into both: the model reads
//! and writes the true names.
//!
//! A name that holds the text of a control token cannot stand in a rendering. A session that
//! freezes such a tool gives it another name, and keeps the true one beside it for its calls.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::adapt::{free_name, plain_name};
use crate::chat::message::ToolCall;
use crate::llama::bridge::Applied;

/// The field beside `function` in which a frozen tool keeps its true names. Templates see only
/// `function`.
const TRUE_NAMES: &str = "true_names";

/// A tool whose names can stand in a rendering; the true ones beside them where any had to change.
/// `taken` are the names of the tools before it.
pub fn writable(tool: &Value, taken: &[String], hostile: &dyn Fn(&str) -> bool) -> Value {
    let mut tool = tool.clone();
    let mut renamed = Map::new();
    let Some(function) = tool.get_mut("function").and_then(Value::as_object_mut) else {
        return tool;
    };
    if let Some(Value::String(name)) = function.get_mut("name")
        && hostile(name)
    {
        let plain = plain_name(name);
        let taken: Map<String, Value> = taken.iter().map(|t| (t.clone(), Value::Null)).collect();
        let own = free_name(plain, &taken);
        renamed.insert("tool".into(), name.as_str().into());
        *name = own;
    }
    if let Some(parameters) = function.get_mut("parameters") {
        let mut own = Map::new();
        rename(parameters, hostile, &mut own);
        if !own.is_empty() {
            renamed.insert("parameters".into(), Value::Object(own));
        }
    }
    if !renamed.is_empty() {
        tool[TRUE_NAMES] = Value::Object(renamed);
    }
    tool
}

/// Renames properties of a schema and of those in it; `own` says what the parameters were called.
/// Deeper names cannot be put back, so objects with such are open, and the names not shown.
fn rename(schema: &mut Value, hostile: &dyn Fn(&str) -> bool, own: &mut Map<String, Value>) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    let required = fields.get("required").cloned().unwrap_or_default();
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        let mut out = Map::new();
        let mut needed: Vec<Value> = Vec::new();
        for (name, mut property) in std::mem::take(properties) {
            hide_below(&mut property, hostile);
            let is_needed = required.as_array().is_some_and(|names| {
                names
                    .iter()
                    .any(|other| other.as_str() == Some(name.as_str()))
            });
            let shown = match hostile(&name) {
                true => free_name(plain_name(&name), &out),
                false => free_name(name.clone(), &out),
            };
            if shown != name {
                own.insert(shown.clone(), name.into());
            }
            if is_needed {
                needed.push(shown.as_str().into());
            }
            out.insert(shown, property);
        }
        *properties = out;
        if !own.is_empty() && !needed.is_empty() {
            fields.insert("required".into(), needed.into());
        }
    }
}

fn hide_below(schema: &mut Value, hostile: &dyn Fn(&str) -> bool) {
    match schema {
        Value::Object(fields) => {
            let mut hidden = false;
            if let Some(Value::Object(properties)) = fields.get_mut("properties") {
                let before = properties.len();
                properties.retain(|name, _| !hostile(name));
                hidden = properties.len() < before;
            }
            if hidden {
                fields.insert("additionalProperties".into(), true.into());
                if let Some(Value::Array(names)) = fields.get_mut("required") {
                    names.retain(|name| !name.as_str().is_some_and(hostile));
                }
            }
            for (_, value) in fields.iter_mut() {
                hide_below(value, hostile);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|one| hide_below(one, hostile)),
        _ => {}
    }
}

/// Frozen tools under their true names, as whoever runs them knows them.
pub fn true_tools(tools: &Value) -> Value {
    let names = TrueNames::of(Some(tools));
    let mut tools = tools.clone();
    for tool in tools.as_array_mut().into_iter().flatten() {
        let Some(function) = tool.get_mut("function") else {
            continue;
        };
        let shown = function["name"].as_str().unwrap_or_default();
        let Some((name, parameters)) = names.tools.get(shown) else {
            continue;
        };
        if let Some(name) = name {
            function["name"] = name.as_str().into();
        }
        let own = |key: &str| {
            parameters
                .get(key)
                .cloned()
                .unwrap_or_else(|| key.to_owned())
        };
        if let Some(Value::Object(all)) = function["parameters"].get_mut("properties") {
            *all = std::mem::take(all)
                .into_iter()
                .map(|(key, v)| (own(&key), v))
                .collect();
        }
        if let Some(Value::Array(needed)) = function["parameters"].get_mut("required") {
            for key in needed {
                *key = own(key.as_str().unwrap_or_default()).into();
            }
        }
    }
    tools
}

/// The true names of a session's tools.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrueNames {
    /// By the tool's name in the rendering: its true one, and those of its parameters.
    tools: HashMap<String, (Option<String>, HashMap<String, String>)>,
}

impl TrueNames {
    /// Of frozen tools.
    pub fn of(tools: Option<&Value>) -> TrueNames {
        let mut all = TrueNames::default();
        for tool in tools.and_then(Value::as_array).into_iter().flatten() {
            let (Some(renamed), Some(name)) =
                (tool.get(TRUE_NAMES), tool["function"]["name"].as_str())
            else {
                continue;
            };
            let own = renamed
                .get("tool")
                .and_then(Value::as_str)
                .map(str::to_owned);
            let parameters = renamed.get("parameters").and_then(Value::as_object);
            let parameters = parameters
                .into_iter()
                .flatten()
                .filter_map(|(shown, name)| Some((shown.clone(), name.as_str()?.to_owned())));
            all.tools
                .insert(name.to_owned(), (own, parameters.collect()));
        }
        all
    }

    /// The call with the names that its tool knows.
    pub fn restore(&self, call: &mut ToolCall) {
        let Some((name, parameters)) = self.tools.get(&call.name) else {
            return;
        };
        if let Some(name) = name {
            call.name = name.clone();
        }
        if let Value::Object(arguments) = &mut call.arguments {
            let named = std::mem::take(arguments).into_iter().map(|(key, value)| {
                let name = parameters.get(&key).cloned().unwrap_or(key);
                (name, value)
            });
            *arguments = named.collect();
        }
    }
}

/// Names that are exchanged while a grammar is made.
#[derive(Debug, Default)]
pub(super) struct Exchanged {
    /// What stands in, and for what.
    names: Vec<(String, String)>,
}

/// The tools with a rule for each name.
pub(super) fn exchanged(tools: &Value) -> (Value, Exchanged) {
    let mut tools = tools.clone();
    let mut uses: HashMap<String, usize> = HashMap::new();
    for (name, parameters) in named(&tools) {
        for key in rules(&name, None) {
            *uses.entry(key).or_default() += 1;
        }
        for parameter in &parameters {
            for key in rules(&name, Some(parameter)) {
                *uses.entry(key).or_default() += 1;
            }
        }
    }
    let shared = |tool: &str, parameter: Option<&str>| {
        rules(tool, parameter)
            .iter()
            .any(|key| uses.get(key).is_some_and(|n| *n > 1))
    };
    let text = tools.to_string();
    let tag = (0..)
        .map(|n| format!("npq{n}w"))
        .find(|tag| !text.contains(tag.as_str()))
        .unwrap_or_default();
    let mut out = Exchanged::default();
    for tool in tools.as_array_mut().into_iter().flatten() {
        let Some(function) = tool.get_mut("function").and_then(Value::as_object_mut) else {
            continue;
        };
        let name = function.get("name").and_then(Value::as_str);
        let name = name.unwrap_or_default().to_owned();
        if let Some(Value::Object(schema)) = function.get_mut("parameters") {
            let mut changed: HashMap<String, String> = HashMap::new();
            if let Some(Value::Object(properties)) = schema.get_mut("properties") {
                let all = std::mem::take(properties)
                    .into_iter()
                    .map(|(own, property)| {
                        let key = match shared(&name, Some(&own)) {
                            true => out.stand_in(&tag, &own),
                            false => own.clone(),
                        };
                        changed.insert(own, key.clone());
                        (key, property)
                    });
                *properties = all.collect();
            }
            if let Some(Value::Array(required)) = schema.get_mut("required") {
                for own in required {
                    if let Some(key) = own.as_str().and_then(|own| changed.get(own)) {
                        *own = json!(key);
                    }
                }
            }
        }
        if shared(&name, None) {
            function.insert("name".into(), out.stand_in(&tag, &name).into());
        }
    }
    (tools, out)
}

/// Each tool's name and those of its parameters.
fn named(tools: &Value) -> Vec<(String, Vec<String>)> {
    let tools = tools.as_array().into_iter().flatten();
    tools
        .map(|tool| {
            let function = &tool["function"];
            let name = function["name"].as_str().unwrap_or_default().to_owned();
            let properties = function["parameters"]["properties"].as_object();
            let names = properties.into_iter().flat_map(|all| all.keys().cloned());
            (name, names.collect())
        })
        .collect()
}

/// What llama.cpp's rules of a tool or a parameter are called: formats differ.
fn rules(tool: &str, parameter: Option<&str>) -> Vec<String> {
    let clean = |text: String| {
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            match c.is_ascii_alphanumeric() {
                true => out.push(c),
                false if out.ends_with('-') => {}
                false => out.push('-'),
            }
        }
        out
    };
    match parameter {
        None => vec![clean(format!("tool-{tool}"))],
        Some(parameter) => vec![
            clean(format!("tool-{tool}-arg-{parameter}")),
            clean(format!("arg-{tool}-{parameter}")),
        ],
    }
}

impl Exchanged {
    fn stand_in(&mut self, tag: &str, name: &str) -> String {
        let own = format!("{tag}{}z", self.names.len());
        self.names.push((own.clone(), name.to_owned()));
        own
    }

    /// Puts the names back into a grammar, its triggers and its parser.
    pub fn put_back(&self, applied: &mut Applied) {
        if self.names.is_empty() {
            return;
        }
        applied.grammar = self.in_grammar(&applied.grammar);
        for trigger in &mut applied.triggers {
            // Words, and patterns, which have their own signs.
            trigger.value = match trigger.kind {
                1 => self.replaced(&trigger.value, str::to_owned),
                _ => self.replaced(&trigger.value, pattern),
            };
        }
        if let Ok(mut parser) = serde_json::from_str::<Value>(&applied.parser) {
            self.in_parser(&mut parser);
            applied.parser = parser.to_string();
        }
    }

    fn replaced(&self, text: &str, form: impl Fn(&str) -> String) -> String {
        let mut text = text.to_owned();
        for (own, name) in &self.names {
            if text.contains(own.as_str()) {
                text = text.replace(own.as_str(), &form(name));
            }
        }
        text
    }

    /// Texts of the parser; the names of its rules stay.
    fn in_parser(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (field, value) in fields.iter_mut() {
                    match (field.as_str(), value) {
                        ("literal", Value::String(text)) => {
                            *text = self.replaced(text, str::to_owned);
                        }
                        ("delimiters", Value::Array(texts)) => {
                            for text in texts {
                                if let Value::String(text) = text {
                                    *text = self.replaced(text, str::to_owned);
                                }
                            }
                        }
                        (_, value @ (Value::Object(_) | Value::Array(_))) => self.in_parser(value),
                        _ => {}
                    }
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|one| self.in_parser(one)),
            _ => {}
        }
    }

    /// Literals of a grammar; the names of its rules stay.
    fn in_grammar(&self, grammar: &str) -> String {
        let mut out = String::with_capacity(grammar.len());
        let mut rest = grammar;
        while let Some(at) = rest.find(['"', '[', '#']) {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            let end = match from.as_bytes()[0] {
                b'"' => closed(from, b'"'),
                b'[' => closed(from, b']'),
                _ => from.find('\n').unwrap_or(from.len()),
            };
            let (token, after) = from.split_at(end);
            match token.starts_with('"') {
                true => out.push_str(&self.literal(token)),
                false => out.push_str(token),
            }
            rest = after;
        }
        out + rest
    }

    fn literal(&self, token: &str) -> String {
        let mut token = token.to_owned();
        for (own, name) in &self.names {
            if !token.contains(own.as_str()) {
                continue;
            }
            // As a JSON string inside of the literal, or as it is.
            let json = Value::from(name.as_str()).to_string();
            token = token.replace(&format!("\\\"{own}\\\""), &gbnf(&json));
            token = token.replace(own.as_str(), &gbnf(name));
        }
        token
    }
}

/// The length of a token that this byte closes.
fn closed(text: &str, close: u8) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            byte if byte == close => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A text inside of a literal of a grammar.
fn gbnf(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => {}
            c => out.push(c),
        }
    }
    out
}

/// A text as a regular expression of itself.
fn pattern(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if r".^$|()*+?[]{}\".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, parameters: &[&str]) -> Value {
        let properties: Map<String, Value> = parameters
            .iter()
            .map(|name| ((*name).to_owned(), json!({"type": "string"})))
            .collect();
        json!({"type": "function", "function": {"name": name, "description": "d", "parameters": {
            "type": "object", "properties": properties, "required": parameters}}})
    }

    #[test]
    fn only_names_that_would_share_a_rule_are_exchanged() {
        let plain = json!([
            tool("read_file", &["path", "from"]),
            tool("list", &["path"])
        ]);
        assert_eq!(exchanged(&plain).0, plain);
        let names = |tools: Value| named(&exchanged(&tools).0);
        let given = json!([tool("t", &["住所", "名前", "age", "user_id", "user-id"])]);
        let (_, parameters) = names(given)[0].clone();
        assert_eq!(
            parameters,
            ["npq0w0z", "npq0w1z", "age", "npq0w2z", "npq0w3z"]
        );
        let two = names(json!([tool("get-user", &["a"]), tool("get_user", &["b"])]));
        assert!(
            two[0].0.starts_with("npq") && two[1].0.starts_with("npq"),
            "{two:?}"
        );
    }

    #[test]
    fn a_name_is_put_back_into_literals_and_nowhere_else() {
        let out = Exchanged {
            names: vec![("npq0w0z".into(), "a\"b".into())],
        };
        let grammar =
            "npq0w0z ::= \"<npq0w0z>\" [npq0w0z\"] \"\\\"npq0w0z\\\"\" npq0w0z # \"npq0w0z\"\n";
        assert_eq!(
            out.in_grammar(grammar),
            "npq0w0z ::= \"<a\\\"b>\" [npq0w0z\"] \"\\\"a\\\\\\\"b\\\"\" npq0w0z # \"npq0w0z\"\n"
        );
    }

    #[test]
    fn a_name_with_a_mark_is_written_without_it_and_called_by_it() {
        let hostile = |text: &str| text.contains("<|end|>");
        let given = tool("do<|end|>", &["<|end|>", "_|end_", "b"]);
        let shown = writable(&given, &["do__end__".into()], &hostile);
        let (name, parameters) = named(&json!([shown])).remove(0);
        assert_eq!(name, "do__end___2");
        assert_eq!(parameters, ["__end__", "_|end_", "b"]);
        let names = TrueNames::of(Some(&json!([shown])));
        let mut call = ToolCall {
            id: String::new(),
            name,
            arguments: json!({"__end__": 1, "b": 2}),
        };
        names.restore(&mut call);
        assert_eq!(call.name, "do<|end|>");
        assert_eq!(call.arguments, json!({"<|end|>": 1, "b": 2}));
        assert_eq!(
            writable(&tool("a", &["b"]), &[], &hostile),
            tool("a", &["b"])
        );
    }
}
