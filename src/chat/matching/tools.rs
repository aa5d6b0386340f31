//! Lists of tools as sets: what a client may write otherwise and mean the same.

use serde_json::Value;

use super::overlooked::{Overlooked, values};
use super::rules::{HeadPlace, Masked, PinRule, PinRules, mask};
use super::values::same_value;

/// Lists what two lists of tools differ in that rules let pass.
///
/// # Errors
/// Why they are different tools.
pub(super) fn compare(
    was: Option<&Value>,
    is: Option<&Value>,
    rules: PinRules,
    seen: &mut Vec<Overlooked>,
) -> Result<(), String> {
    let list = |tools: Option<&Value>| -> Vec<Value> {
        tools.and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let (was, is) = (list(was), list(is));
    let names = |tools: &[Value]| -> Vec<String> { tools.iter().map(name).collect() };
    let (old, new) = (names(&was), names(&is));
    let missing = |from: &[String], of: &[String]| -> Vec<String> {
        of.iter().filter(|n| !from.contains(n)).cloned().collect()
    };
    let (gone, came) = (missing(&new, &old), missing(&old, &new));
    let mut words = Vec::new();
    if !came.is_empty() {
        words.push(format!("{} came", came.join(", ")));
    }
    if !gone.is_empty() {
        words.push(format!("{} went", gone.join(", ")));
    }
    if words.is_empty() && old.len() != new.len() {
        words.push("one of them is there twice".to_owned());
    }
    if !words.is_empty() {
        return Err(format!("the list of tools changed: {}", words.join(", ")));
    }
    for (tool, name) in was.iter().zip(&old) {
        if let Some(other) = is
            .iter()
            .zip(&new)
            .find_map(|(t, n)| (n == name).then_some(t))
        {
            one(tool, other, name, rules, seen)?;
        }
    }
    if old != new {
        if !rules.has(PinRule::ToolOrder) {
            return Err("the tools are in another order".to_owned());
        }
        seen.push(Overlooked {
            rule: PinRule::ToolOrder,
            place: HeadPlace::Tools,
            was: old.join(", "),
            is: new.join(", "),
        });
    }
    Ok(())
}

/// The fields of a tool, whichever of the two forms it has.
fn fields(tool: &Value) -> &Value {
    tool.get("function").unwrap_or(tool)
}

fn name(tool: &Value) -> String {
    let name = fields(tool).get("name").and_then(Value::as_str);
    name.unwrap_or("(without a name)").to_owned()
}

fn one(
    was: &Value,
    is: &Value,
    name: &str,
    rules: PinRules,
    seen: &mut Vec<Overlooked>,
) -> Result<(), String> {
    let text = |tool: &Value| -> Masked {
        let text = fields(tool).get("description").and_then(Value::as_str);
        mask(text.unwrap_or_default().trim())
    };
    let (old, new) = (text(was), text(is));
    if old.text != new.text {
        return Err(format!("the description of the tool {name} changed"));
    }
    if let Some(rule) = values(&old, &new, HeadPlace::Tools, rules, seen) {
        return Err(format!("the tool {name} has another {}", rule.thing()));
    }
    let empty = Value::Object(serde_json::Map::new());
    let schema = |tool: &Value| {
        let schema = fields(tool).get("parameters").filter(|p| !p.is_null());
        without_cache_control(schema.unwrap_or(&empty))
    };
    if !same_value(&schema(was), &schema(is)) {
        return Err(format!("the parameters of the tool {name} changed"));
    }
    let cached = |tool: &Value| -> String {
        let field = |of: &Value| of.get("cache_control").map(Value::to_string);
        field(tool)
            .or_else(|| field(fields(tool)))
            .unwrap_or_default()
    };
    let (was, is) = (cached(was), cached(is));
    if was != is {
        if !rules.has(PinRule::CacheControl) {
            return Err(format!("the tool {name} has another cache control"));
        }
        seen.push(Overlooked {
            rule: PinRule::CacheControl,
            place: HeadPlace::Tools,
            was,
            is,
        });
    }
    Ok(())
}

/// A schema without the marks that say what a server may cache.
fn without_cache_control(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(key, value)| {
                // A parameter may be called so: its value is a schema then.
                !(*key == "cache_control" && value.get("type") == Some(&"ephemeral".into()))
            });
            let all = kept.map(|(key, value)| (key.clone(), without_cache_control(value)));
            Value::Object(all.collect())
        }
        Value::Array(list) => list.iter().map(without_cache_control).collect(),
        other => other.clone(),
    }
}
