//! Arguments against a tool's schema. Only the words of JSON Schema that decide whether a tool can
//! run are read (type, properties, required, additionalProperties, enum, anyOf, items, minimum,
//! maximum, minLength, maxLength, minItems, maxItems); everything else is the business of whoever serves the
//! tool. Errors are sentences for the model, which has three chances: they name the place, what
//! stands there and what is wanted.

use serde_json::{Map, Value};

use super::Spec;

/// Deepest place that is looked at; what lies deeper is taken as it is.
const MAX_DEPTH: usize = 32;

/// Most bytes of an argument that an error repeats.
const MAX_SHOWN: usize = 80;

/// Most names that an error lists.
const MAX_LISTED: usize = 40;

/// Whether `arguments` fit.
///
/// # Errors
/// A sentence for the model.
pub(super) fn arguments(spec: &Spec, arguments: &Value) -> Result<(), String> {
    if !arguments.is_object() {
        return Err(format!(
            "The arguments of {} must be an object, and they are {}.",
            spec.name,
            shown(arguments)
        ));
    }
    value(&spec.parameters, arguments, "", 0)
        .map_err(|reason| format!("{} cannot be called like this: {reason}.", spec.name))
}

/// What to say about a tool that is not there.
pub(super) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    let name = cut(&name.escape_debug().to_string());
    match nearest(&name, &known) {
        _ if known.is_empty() => {
            format!("There is no tool {name}, and this session has no tools at all.")
        }
        Some(near) => format!("There is no tool {name}. Did you mean {near}?"),
        None => format!("There is no tool {name}. There are: {}.", listed(&known)),
    }
}

/// The name that a mistyped one was probably meant to be.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let likeness = |other: &&str| strsim::jaro_winkler(name, other);
    let best = known
        .iter()
        .copied()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) > 0.8).then_some(best)
}

fn value(schema: &Value, given: &Value, place: &str, depth: usize) -> Result<(), String> {
    let Some(schema) = schema.as_object().filter(|_| depth < MAX_DEPTH) else {
        return Ok(());
    };
    kind(schema, given, place)?;
    if let Some(Value::Array(allowed)) = schema.get("enum")
        && !allowed.contains(given)
    {
        let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
        let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
        return Err(format!(
            "{} must be one of {}, and is {}",
            named(place),
            listed(&allowed),
            shown(given)
        ));
    }
    if let Some(Value::Array(forms)) = schema.get("anyOf") {
        either(forms, given, place, depth)?;
    }
    match given {
        Value::Object(object) => fields(schema, object, place, depth),
        Value::Array(list) => {
            count(schema, "minItems", "maxItems", list.len(), "items", place)?;
            let Some(items) = schema.get("items") else {
                return Ok(());
            };
            list.iter()
                .enumerate()
                .try_for_each(|(at, item)| value(items, item, &format!("{place}[{at}]"), depth + 1))
        }
        Value::String(text) => {
            let length = text.chars().count();
            count(
                schema,
                "minLength",
                "maxLength",
                length,
                "characters",
                place,
            )
        }
        Value::Number(number) => bounds(schema, number.as_f64().unwrap_or(f64::NAN), place),
        Value::Null | Value::Bool(_) => Ok(()),
    }
}

/// One of the forms must fit; where only one is of the right type, its reason is the one to know.
fn either(forms: &[Value], given: &Value, place: &str, depth: usize) -> Result<(), String> {
    let mut near: Vec<String> = Vec::new();
    for form in forms {
        let of_type = form
            .as_object()
            .is_none_or(|form| kind(form, given, "").is_ok());
        match value(form, given, place, depth + 1) {
            Ok(()) => return Ok(()),
            Err(reason) if of_type => near.push(reason),
            Err(_) => {}
        }
    }
    match near.as_slice() {
        [only] => Err(only.clone()),
        _ if forms.is_empty() => Ok(()),
        _ => Err(format!(
            "{} has none of the forms that it can have, and is {}",
            named(place),
            shown(given)
        )),
    }
}

fn fields(
    schema: &Map<String, Value>,
    object: &Map<String, Value>,
    place: &str,
    depth: usize,
) -> Result<(), String> {
    let empty = Map::new();
    let known = schema
        .get("properties")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let below = |name: &str| match place {
        "" => name.to_owned(),
        place => format!("{place}.{name}"),
    };
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(name) {
            return Err(format!("{:?} is missing", below(name)));
        }
    }
    let additional = schema.get("additionalProperties");
    let closed = additional == Some(&Value::Bool(false));
    for (name, given) in object {
        match known.get(name) {
            Some(schema) => value(schema, given, &below(name), depth + 1)?,
            None if closed => {
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                let name = cut(&below(name).escape_debug().to_string());
                return Err(if names.is_empty() {
                    format!("there is no \"{name}\"; it takes nothing")
                } else {
                    format!("there is no \"{name}\"; there are {}", listed(&names))
                });
            }
            None => {
                if let Some(schema) = additional {
                    value(schema, given, &below(name), depth + 1)?;
                }
            }
        }
    }
    Ok(())
}

fn kind(schema: &Map<String, Value>, given: &Value, place: &str) -> Result<(), String> {
    let wanted: Vec<&str> = match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return Ok(()),
    };
    // A schema of a server may name kinds that JSON does not have: they are not ours to judge.
    if wanted.is_empty() || wanted.iter().any(|kind| is(kind, given).unwrap_or(true)) {
        return Ok(());
    }
    Err(format!(
        "{} must be {}, and is {}",
        named(place),
        wanted.join(" or "),
        shown(given)
    ))
}

/// `None` for a kind that JSON Schema does not have.
pub(super) fn is(kind: &str, given: &Value) -> Option<bool> {
    Some(match kind {
        "object" => given.is_object(),
        "array" => given.is_array(),
        "string" => given.is_string(),
        "boolean" => given.is_boolean(),
        "null" => given.is_null(),
        "number" => given.is_number(),
        // 3.0 is an integer by JSON Schema, but `as_u64` of our tools would not read it.
        "integer" => given.is_i64() || given.is_u64(),
        _ => return None,
    })
}

fn count(
    schema: &Map<String, Value>,
    least: &str,
    most: &str,
    given: usize,
    unit: &str,
    place: &str,
) -> Result<(), String> {
    let given = given as u64;
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
    if let Some(least) = bound(least).filter(|least| given < *least) {
        return Err(format!(
            "{} must have at least {least} {unit}, and has {given}",
            named(place)
        ));
    }
    if let Some(most) = bound(most).filter(|most| given > *most) {
        return Err(format!(
            "{} can have {most} {unit}, and has {given}",
            named(place)
        ));
    }
    Ok(())
}

fn bounds(schema: &Map<String, Value>, given: f64, place: &str) -> Result<(), String> {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    if let Some(least) = bound("minimum").filter(|least| given < *least) {
        return Err(format!(
            "{} must be at least {least}, and is {given}",
            named(place)
        ));
    }
    if let Some(most) = bound("maximum").filter(|most| given > *most) {
        return Err(format!(
            "{} must be at most {most}, and is {given}",
            named(place)
        ));
    }
    if let Some(least) = bound("exclusiveMinimum").filter(|least| given <= *least) {
        return Err(format!(
            "{} must be more than {least}, and is {given}",
            named(place)
        ));
    }
    if let Some(most) = bound("exclusiveMaximum").filter(|most| given >= *most) {
        return Err(format!(
            "{} must be less than {most}, and is {given}",
            named(place)
        ));
    }
    Ok(())
}

fn named(place: &str) -> String {
    match place {
        "" => "the arguments".to_owned(),
        place => format!("{:?}", cut(place)),
    }
}

fn shown(given: &Value) -> String {
    match given {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) => format!("the string {:?}", cut(text)),
        other => other.to_string(),
    }
}

/// At most so much of a text, and a sign that there was more.
fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn listed(names: &[&str]) -> String {
    let more = names.len().saturating_sub(MAX_LISTED);
    let mut all = names[..names.len() - more].join(", ");
    if more > 0 {
        all += &format!(" and {more} more");
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn spec() -> Spec {
        Spec::new(
            "plan",
            "",
            json!({
                "type": "object",
                "properties": {
                    "path": {"type": "string", "minLength": 1, "maxLength": 5},
                    "from": {"type": "integer", "minimum": 1, "maximum": 9},
                    "state": {"enum": ["open", "done"]},
                    "steps": {"type": "array", "maxItems": 2, "items": {
                        "type": "object",
                        "properties": {"text": {"type": "string"}},
                        "required": ["text"],
                    }},
                },
                "required": ["path"],
                "additionalProperties": false,
            }),
        )
    }

    /// Each way to be wrong, and the whole sentence for it.
    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let said = |given: Value| arguments(&spec(), &given).err().unwrap_or_default();
        let table = [
            (json!({"path": "a", "from": 3, "state": "open"}), ""),
            (
                json!({"path": "a", "steps": [{"text": "x", "other": 1}]}),
                "",
            ),
            (
                json!([]),
                "The arguments of plan must be an object, and they are a list.",
            ),
            (
                json!({}),
                "plan cannot be called like this: \"path\" is missing.",
            ),
            (
                json!({"path": 7}),
                "plan cannot be called like this: \"path\" must be string, and is 7.",
            ),
            (
                json!({"path": ""}),
                "plan cannot be called like this: \"path\" must have at least 1 characters, and has 0.",
            ),
            (
                json!({"path": "äöüäöü"}),
                "plan cannot be called like this: \"path\" can have 5 characters, and has 6.",
            ),
            (
                json!({"path": "a", "from": 0}),
                "plan cannot be called like this: \"from\" must be at least 1, and is 0.",
            ),
            (
                json!({"path": "a", "from": 12}),
                "plan cannot be called like this: \"from\" must be at most 9, and is 12.",
            ),
            (
                json!({"path": "a", "from": 1.5}),
                "plan cannot be called like this: \"from\" must be integer, and is 1.5.",
            ),
            (
                json!({"path": "a", "from": "1"}),
                "plan cannot be called like this: \"from\" must be integer, and is the string \"1\".",
            ),
            (
                json!({"path": "a", "state": "maybe"}),
                "plan cannot be called like this: \"state\" must be one of \"open\", \"done\", and is \
                 the string \"maybe\".",
            ),
            (
                json!({"path": "a", "steps": [{"text": "x"}, {}]}),
                "plan cannot be called like this: \"steps[1].text\" is missing.",
            ),
            (
                json!({"path": "a", "steps": [{"text": null}]}),
                "plan cannot be called like this: \"steps[0].text\" must be string, and is null.",
            ),
            (
                json!({"path": "a", "steps": [1, 2, 3]}),
                "plan cannot be called like this: \"steps\" can have 2 items, and has 3.",
            ),
            (
                json!({"path": "a", "fro\u{1b}m": 1}),
                "plan cannot be called like this: there is no \"fro\\u{1b}m\"; there are path, from, \
                 state, steps.",
            ),
        ];
        for (given, sentence) in table {
            assert_eq!(said(given.clone()), sentence, "{given}");
        }
    }

    #[test]
    fn a_mistyped_tool_is_told_which_was_meant() {
        let known = || ["edit_file", "read_file", "terminal"].into_iter();
        assert_eq!(
            unknown("readfile", known()),
            "There is no tool readfile. Did you mean read_file?"
        );
        assert_eq!(
            unknown("zzz", known()),
            "There is no tool zzz. There are: edit_file, read_file, terminal."
        );
        assert_eq!(
            unknown("x", [].into_iter()),
            "There is no tool x, and this session has no tools at all."
        );
        assert!(unknown(&"x\n".repeat(100_000), known()).len() < 300);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            prop::sample::select(vec!["object", "array", "string", "integer", "any"])
                .prop_map(Value::from),
        ];
        let word = prop::sample::select(vec![
            "type",
            "properties",
            "required",
            "items",
            "enum",
            "minimum",
            "maxItems",
            "minLength",
            "additionalProperties",
            "a",
            "b",
        ]);
        leaf.prop_recursive(6, 48, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((word.clone(), inner), 0..5).prop_map(|fields| {
                    fields
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect::<Map<_, _>>()
                        .into()
                }),
            ]
        })
    }

    proptest! {
        /// Schemas come from servers, arguments from a model: neither may do more than fail, and
        /// the message stays short.
        #[test]
        fn any_schema_and_any_arguments_give_a_short_sentence_or_none(
            schema in any_json(), given in any_json(),
        ) {
            let spec = Spec::new("t", "", schema);
            if let Err(said) = arguments(&spec, &given) {
                prop_assert!(said.len() < 8 << 10, "{} bytes", said.len());
            }
        }
    }
}
