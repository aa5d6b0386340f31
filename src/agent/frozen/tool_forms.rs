//! Simpler forms of a tool. Some chat templates cannot write a tool as it was given: then the same tool is
//! tried with fewer kinds of types, with the types alone, and with fewer parameters.

use serde_json::{Value, json};

use crate::agent::values::notice::Notice;

/// Parameters of a tool where a format can have no more.
const MOST_PARAMETERS: usize = 32;

pub(in crate::agent) fn name_of(tool: &Value) -> Option<&str> {
    tool["function"]["name"].as_str()
}

pub(in crate::agent) fn with_parameters(tool: &Value, parameters: Value) -> Value {
    let mut tool = match tool.get("function") {
        Some(_) => tool.clone(),
        None => json!({"type": "function", "function": tool}),
    };
    tool["function"]["parameters"] = parameters;
    tool
}

/// A tool in whose schema everything has one type: some templates write no others.
pub(in crate::agent) fn named_types(tool: &Value) -> Value {
    let mut tool = tool.clone();
    one_type(&mut tool["function"]["parameters"]);
    tool
}

fn one_type(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    let some = fields.shift_remove("anyOf");
    let kind = match fields.get("type") {
        Some(Value::String(kind)) => kind.clone(),
        Some(Value::Array(kinds)) => {
            let mut kinds = kinds.iter().filter_map(Value::as_str);
            kinds
                .find(|kind| *kind != "null")
                .unwrap_or("string")
                .to_owned()
        }
        _ => {
            let listed = fields.get("enum").and_then(|all| all.get(0));
            let of_value = listed.map(|value| match value {
                Value::Number(_) => "number",
                Value::Bool(_) => "boolean",
                _ => "string",
            });
            let first = some
                .as_ref()
                .and_then(|all| all.get(0)?.get("type")?.as_str());
            of_value.or(first).unwrap_or("string").to_owned()
        }
    };
    if kind == "array" && !fields.contains_key("items") {
        fields.insert("items".into(), json!({}));
    }
    fields.insert("type".into(), kind.into());
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(one_type);
    }
    if let Some(items) = fields.get_mut("items") {
        one_type(items);
    }
}

/// A tool with no more parameters than any format can have: those that are required first.
pub(in crate::agent) fn fewer(tool: &Value) -> Value {
    let mut tool = tool.clone();
    let parameters = &mut tool["function"]["parameters"];
    let required = parameters["required"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if let Some(Value::Object(all)) = parameters.get_mut("properties") {
        let needed = |name: &String| required.iter().any(|one| one.as_str() == Some(name));
        let first = all.keys().filter(|name| needed(name));
        let then = all.keys().filter(|name| !needed(name));
        let kept: Vec<String> = first.chain(then).take(MOST_PARAMETERS).cloned().collect();
        all.retain(|name, _| kept.contains(name));
        if let Some(Value::Array(names)) = parameters.get_mut("required") {
            names.truncate(MOST_PARAMETERS);
        }
    }
    tool
}

/// A tool of whose parameters only the types are left.
pub(in crate::agent) fn typed(tool: &Value) -> Value {
    let mut tool = tool.clone();
    let properties = tool["function"]["parameters"]["properties"].as_object_mut();
    for (_, property) in properties.into_iter().flatten() {
        let kind = property["type"].as_str().unwrap_or("string").to_owned();
        let mut plain = json!({ "type": kind });
        if kind == "array" {
            plain["items"] = json!({});
        }
        if let Some(text) = property.get("description") {
            plain["description"] = text.clone();
        }
        *property = plain;
    }
    tool
}

pub(in crate::agent) fn loosened(name: &str, why: &str) -> Notice {
    (
        format!("the tool {name} is offered with a simpler schema: {why}"),
        None,
    )
}

pub(in crate::agent) fn left_out(name: &str, why: &str) -> Notice {
    (
        format!("the tool {name} is left out of this session: {why}"),
        None,
    )
}
