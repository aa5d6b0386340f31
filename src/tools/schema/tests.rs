//! Schemas as they come: those that readers stumble over, and any that can be written.

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

fn schema(given: Value) -> Value {
    normal(&given, MOST_BYTES).schema
}

fn parameter(given: Value) -> Value {
    let whole = normal(
        &json!({"type": "object", "properties": {"a": given}}),
        MOST_BYTES,
    );
    whole.schema["properties"]["a"].clone()
}

#[test]
fn a_schema_that_every_reader_knows_stays_as_it_is() {
    for given in [
        json!({"type": "object"}),
        json!({"type": "object", "properties": {}, "additionalProperties": false}),
        json!({"type": "object", "properties": {
            "path": {"type": "string", "minLength": 1, "description": "Where."},
            "from": {"type": "integer", "minimum": 1, "default": 1},
            "kinds": {"type": "array", "items": {"enum": ["a", "b"], "type": "string"}, "maxItems": 4},
            "o": {"type": "object", "properties": {"x": {"type": ["string", "null"]}}, "required": ["x"]},
            "any": {},
        }, "required": ["path"], "additionalProperties": false}),
        json!({"properties": {"z": {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "array", "items": {"type": "integer"}}]}}, "type": "object"}),
    ] {
        let normal = normal(&given, MOST_BYTES);
        assert_eq!(normal.schema.to_string(), given.to_string());
        assert_eq!(normal.odd, Vec::<String>::new());
    }
}

/// What readers stumble over, and what it becomes.
#[test]
fn each_odd_schema_has_one_plain_meaning() {
    let string = || json!({"type": "string"});
    for (given, is) in [
        (json!(true), json!({})),
        (json!(7), json!({})),
        (json!({"type": "any"}), json!({})),
        (json!({"type": ""}), json!({})),
        (json!({"type": []}), json!({})),
        (json!({"type": "str"}), string()),
        (json!({"type": ["string"]}), string()),
        (
            json!({"type": "string", "nullable": true}),
            json!({"type": ["string", "null"]}),
        ),
        (json!({"type": "string", "enum": []}), string()),
        (
            json!({"enum": ["a", "a", "b"]}),
            json!({"enum": ["a", "b"]}),
        ),
        (
            json!({"type": "string", "enum": [1, 2]}),
            json!({"type": "integer", "enum": [1, 2]}),
        ),
        (
            json!({"type": "string", "enum": ["a", null]}),
            json!({"type": "string", "enum": ["a"]}),
        ),
        (json!({"const": "x"}), json!({"enum": ["x"]})),
        (json!({"anyOf": []}), json!({})),
        (
            json!({"anyOf": [{"type": "string"}, {"type": "null"}], "title": "T"}),
            json!({"title": "T", "type": ["string", "null"]}),
        ),
        (
            json!({"oneOf": [{"const": "a", "title": "first"}, {"const": "b"}]}),
            json!({"description": "\"a\": first", "enum": ["a", "b"]}),
        ),
        (json!({"anyOf": [{}, {"type": "string"}]}), json!({})),
        (json!({"anyOf": [false, {"type": "string"}]}), string()),
        (
            json!({"type": "string", "anyOf": [{"maxLength": 3}, {"minLength": 9}]}),
            json!({"anyOf": [{"type": "string", "maxLength": 3}, {"type": "string", "minLength": 9}]}),
        ),
        (
            json!({"allOf": [{"type": "string"}, {"maxLength": 3}, {"maxLength": 2}]}),
            json!({"type": "string", "maxLength": 2}),
        ),
        (
            json!({"allOf": [{"type": "string"}, {"type": "integer"}]}),
            string(),
        ),
        (
            json!({"type": "string", "minLength": 5, "maxLength": 2}),
            string(),
        ),
        (
            json!({"type": "string", "maxLength": 10.0}),
            json!({"type": "string", "maxLength": 10}),
        ),
        (
            json!({"type": "string", "maxLength": 9007199254740991u64}),
            string(),
        ),
        (json!({"type": "string", "maxLength": -1}), string()),
        (
            json!({"type": "integer", "maximum": 1e20}),
            json!({"type": "integer"}),
        ),
        (
            json!({"type": "integer", "minimum": 5, "maximum": 2}),
            json!({"type": "integer"}),
        ),
        (
            json!({"type": "number", "minimum": 0, "exclusiveMinimum": true}),
            json!({"type": "number", "exclusiveMinimum": 0}),
        ),
        (
            json!({"type": "array", "minItems": 5, "maxItems": 2}),
            json!({"type": "array", "items": {}}),
        ),
        (
            json!({"type": "array", "items": true}),
            json!({"type": "array", "items": {}}),
        ),
        (
            json!({"type": "array", "items": false}),
            json!({"type": "array", "items": {}, "maxItems": 0}),
        ),
        (
            json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}], "items": false}),
            json!({"type": "array", "items": {"type": ["string", "null"]}, "maxItems": 2}),
        ),
        (
            json!({"type": "array", "items": [{"type": "string"}]}),
            json!({"type": "array", "items": {}}),
        ),
        (
            json!({"type": "object", "properties": null}),
            json!({"type": "object"}),
        ),
        (
            json!({"properties": {"x": {"type": "string"}}}),
            json!({"type": "object", "properties": {"x": {"type": "string"}}}),
        ),
        (
            json!({"type": "object", "properties": {"x": false, "y": true}, "required": ["x", "y", "z"]}),
            json!({"type": "object", "properties": {"y": {}, "z": {}}, "required": ["y", "z"]}),
        ),
        (
            json!({"type": "object", "patternProperties": {"^x": {"type": "string"}}, "additionalProperties": false}),
            json!({"type": "object", "additionalProperties": true}),
        ),
        (
            json!({"type": "object", "properties": {"k": {"type": "string"}}, "if": {"properties": {"k": {"const": "a"}}}, "then": {"properties": {"more": {"type": "integer"}}}}),
            json!({"type": "object", "properties": {"k": {"type": "string"}, "more": {"type": "integer"}}}),
        ),
        (json!({"$ref": "#/$defs/N"}), json!({})),
        (json!({"$ref": "https://example.com/x.json"}), json!({})),
        (json!({"$ref": 7}), json!({})),
    ] {
        assert_eq!(parameter(given.clone()), is, "{given}");
    }
}

#[test]
fn parameters_are_found_wherever_a_schema_hides_them() {
    let a = json!({"type": "string"});
    let object = json!({"type": "object", "properties": {"a": a}});
    for given in [
        json!({"properties": {"a": a}}),
        json!({"$ref": "#/$defs/X", "$defs": {"X": object}}),
        json!({"allOf": [object]}),
        json!({"anyOf": [object, {"type": "null"}]}),
        json!({"type": "object", "oneOf": [{"properties": {"a": a}}]}),
        json!({"type": "object", "properties": {"a": a}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}),
        json!({"type": ["object", "null"], "properties": {"a": a}}),
    ] {
        assert_eq!(schema(given.clone())["properties"]["a"], a, "{given}");
        assert_eq!(schema(given)["type"], "object");
    }
    let two = schema(json!({"anyOf": [
        {"type": "object", "properties": {"kind": {"const": "a"}, "x": {"type": "string"}}, "required": ["kind", "x"], "additionalProperties": false},
        {"type": "object", "properties": {"kind": {"const": "b"}, "y": {"type": "integer"}}, "required": ["kind", "y"], "additionalProperties": false},
    ]}));
    assert_eq!(
        two,
        json!({"type": "object", "properties": {
            "kind": {"enum": ["a", "b"]}, "x": {"type": "string"}, "y": {"type": "integer"},
        }, "required": ["kind"], "additionalProperties": false})
    );
    for none in [
        json!(null),
        json!([]),
        json!("x"),
        json!(false),
        json!({"type": "string"}),
    ] {
        assert_eq!(schema(none), json!({"type": "object"}));
    }
}

#[test]
fn a_schema_that_holds_itself_is_shown_a_few_times() {
    let tree = json!({"type": "object", "properties": {"root": {"$ref": "#/$defs/N"}}, "$defs": {
        "N": {"type": "object", "properties": {"v": {"type": "string"}, "more": {"type": "array", "items": {"$ref": "#/$defs/N"}}}}}});
    let shown = schema(tree);
    let inner = "/properties/root/properties/more/items/properties/more/items";
    assert_eq!(shown.pointer(inner), Some(&json!({"type": "object"})));
    for given in [
        json!({"$ref": "#"}),
        json!({"type": "object", "properties": {"a": {"$ref": "#"}}}),
        json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}}),
        json!({"$defs": {"A": {"allOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A"}]}}, "allOf": [{"$ref": "#/$defs/A"}]}),
        json!({"$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A"}, {"type": "array", "items": {"$ref": "#/$defs/A"}}]}}, "properties": {"a": {"$ref": "#/$defs/A"}}}),
    ] {
        assert!(schema(given.clone()).to_string().len() < 4096, "{given}");
    }
}

/// Schemas that double behind each reference end at the bound.
#[test]
fn a_small_schema_that_means_a_huge_one_is_cut() {
    let mut defs = Map::new();
    for n in 0..30 {
        let next = json!({"$ref": format!("#/$defs/D{}", n + 1)});
        defs.insert(
            format!("D{n}"),
            json!({"type": "object", "properties": {"a": next, "b": next}}),
        );
    }
    let begun = std::time::Instant::now();
    let bomb = normal(
        &json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/D0"}}, "$defs": defs}),
        MOST_BYTES,
    );
    assert!(bomb.schema.to_string().len() <= MOST_BYTES);
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    let wide: Map<String, Value> = (0..5000)
        .map(|n| (format!("p{n}"), json!({"type": "string"})))
        .collect();
    let wide = normal(
        &json!({"type": "object", "properties": wide, "required": ["p4999"]}),
        MOST_BYTES,
    );
    let shown = wide.schema["properties"].as_object().unwrap();
    assert!(
        shown.len() <= 256 && shown.contains_key("p4999"),
        "{}",
        shown.len()
    );
    assert_eq!(
        wide.odd,
        ["its schema has more properties than can be shown"]
    );
}

#[test]
fn what_is_too_large_keeps_names_types_and_explanations_and_loses_what_lies_deep() {
    let deep = json!({"type": "object", "properties": {"x": {"type": "object", "description": "d".repeat(60), "properties": {
        "y": {"type": "array", "items": {"type": "object", "properties": {"z": {"type": "string", "description": "e".repeat(90)}}}}}}}});
    let all: Map<String, Value> = (0..20)
        .map(|n| {
            let mut one = deep.clone();
            one["description"] = format!("The parameter {n}.").into();
            (format!("p{n}"), one)
        })
        .collect();
    let given = json!({"type": "object", "properties": all, "required": ["p1"]});
    let cut = normal(&given, 4096);
    assert!(cut.schema.to_string().len() <= 4096);
    assert_eq!(cut.odd, ["its schema is large, and was cut"]);
    let shown = cut.schema["properties"].as_object().unwrap();
    assert_eq!(shown.len(), 20);
    assert_eq!(shown["p7"]["description"], "The parameter 7.");
    assert_eq!(shown["p7"]["type"], "object");
    for most in [2000, 500, 100] {
        let small = normal(&given, most).schema;
        assert!(small.to_string().len() <= most.max(200), "{most}: {small}");
    }
}

#[test]
fn a_grammar_is_given_what_it_can_follow() {
    let own = |given: Value, level| {
        let normal = schema(json!({"type": "object", "properties": {"a": given}}));
        for_grammar(&normal, level, &mut GrammarRoom::default())["properties"]["a"].clone()
    };
    for (given, whole, types) in [
        (
            json!({"type": "string", "minLength": 5000}),
            json!({"type": "string"}),
            json!({"type": "string"}),
        ),
        (
            json!({"type": "string", "maxLength": 20, "description": "d"}),
            json!({"type": "string", "maxLength": 20}),
            json!({"type": "string"}),
        ),
        (
            json!({"type": "string", "pattern": "^[a-z]{2}$", "maxLength": 9}),
            json!({"type": "string", "pattern": "^[a-z]{2}$"}),
            json!({"type": "string"}),
        ),
        (
            json!({"type": "string", "pattern": "(?=x)"}),
            json!({"type": "string"}),
            json!({"type": "string"}),
        ),
        (
            json!({"type": "integer", "exclusiveMinimum": 0, "maximum": 9.5}),
            json!({"type": "integer", "minimum": 1, "maximum": 9}),
            json!({"type": "integer"}),
        ),
        (
            json!({"type": "integer", "minimum": 0.2, "maximum": 0.8}),
            json!({"type": "integer"}),
            json!({"type": "integer"}),
        ),
        (
            json!({"type": ["string", "integer"], "maxLength": 3}),
            json!({"anyOf": [{"type": "string", "maxLength": 3}, {"type": "integer"}]}),
            json!({"type": ["string", "integer"]}),
        ),
        (
            json!({"type": "array", "items": {"type": "object", "properties": {"s": {"type": "string", "maxLength": 500}}}, "maxItems": 2000}),
            json!({"type": "array", "items": {"type": "object", "properties": {"s": {"type": "string"}}}}),
            json!({"type": "array"}),
        ),
    ] {
        assert_eq!(own(given.clone(), GrammarDetail::Whole), whole, "{given}");
        assert_eq!(own(given.clone(), GrammarDetail::Types), types, "{given}");
    }
    // Together they have no more than one grammar can hold.
    let many: Map<String, Value> = (0..200)
        .map(|n| (format!("p{n}"), json!({"type": "string", "maxLength": 256})))
        .collect();
    let many = schema(json!({"type": "object", "properties": many}));
    let shown = for_grammar(&many, GrammarDetail::Whole, &mut GrammarRoom::default());
    let bounded = shown["properties"]
        .as_object()
        .unwrap()
        .values()
        .filter(|p| p.get("maxLength").is_some());
    assert_eq!(bounded.count(), 64);
}

/// What JSON Schema says of a value, for the words that the generator below knows. A reference is
/// followed so deep and no further.
fn allows(root: &Value, schema: &Value, value: &Value, depth: usize) -> bool {
    let Value::Object(fields) = schema else {
        return schema != &Value::Bool(false);
    };
    if depth == 0 {
        return true;
    }
    let ok = |schema: &Value, value: &Value| allows(root, schema, value, depth - 1);
    let list = |word: &str| fields.get(word).and_then(Value::as_array);
    let number = |word: &str| fields.get(word).and_then(Value::as_f64);
    if let Some(there) = fields
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|r| root.pointer(&r[1..]))
        && !ok(there, value)
    {
        return false;
    }
    let is = |kind: &str| match kind {
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        kind => values::type_of(value) == kind,
    };
    let typed = match fields.get("type") {
        Some(Value::String(kind)) => is(kind),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).any(is),
        _ => true,
    };
    let listed = list("enum").is_none_or(|all| all.contains(value));
    let constant = fields.get("const").is_none_or(|one| one == value);
    let all = list("allOf").is_none_or(|all| all.iter().all(|one| ok(one, value)));
    let any = list("anyOf").is_none_or(|all| all.iter().any(|one| ok(one, value)));
    let one = list("oneOf").is_none_or(|all| all.iter().filter(|one| ok(one, value)).count() == 1);
    let within = |n: f64, least: &str, most: &str| {
        number(least).is_none_or(|least| n >= least) && number(most).is_none_or(|most| n <= most)
    };
    let inner = match value {
        Value::Number(n) => {
            let n = n.as_f64().unwrap();
            within(n, "minimum", "maximum")
                && number("exclusiveMinimum").is_none_or(|least| n > least)
                && number("exclusiveMaximum").is_none_or(|most| n < most)
        }
        Value::String(text) => within(text.chars().count() as f64, "minLength", "maxLength"),
        Value::Array(items) => {
            let first = list("prefixItems").cloned().unwrap_or_default();
            within(items.len() as f64, "minItems", "maxItems")
                && items
                    .iter()
                    .enumerate()
                    .all(|(at, item)| match first.get(at) {
                        Some(schema) => ok(schema, item),
                        None => fields.get("items").is_none_or(|rest| ok(rest, item)),
                    })
        }
        Value::Object(object) => {
            let known = fields.get("properties").and_then(Value::as_object);
            let needed = list("required").is_none_or(|names| {
                names
                    .iter()
                    .filter_map(Value::as_str)
                    .all(|name| object.contains_key(name))
            });
            needed
                && object
                    .iter()
                    .all(|(name, value)| match known.and_then(|k| k.get(name)) {
                        Some(schema) => ok(schema, value),
                        None => fields
                            .get("additionalProperties")
                            .is_none_or(|rest| ok(rest, value)),
                    })
        }
        Value::Null | Value::Bool(_) => true,
    };
    typed && listed && constant && all && any && one && inner
}

fn a_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..12).prop_map(Value::from),
        Just(json!(1.5)),
        "[ab]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            an_object(inner),
        ]
    })
}

fn an_object(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    prop::collection::vec((name, inner), 0..4).prop_map(|fields| {
        let fields = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        Value::Object(fields.collect())
    })
}

/// Schemas as they should be written: each keyword beside its type.
fn a_schema() -> impl Strategy<Value = Value> {
    let small = 0u64..6;
    let leaf = prop_oneof![
        Just(json!({})),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(vec![
            "string", "integer", "number", "boolean", "null", "array", "object"
        ])
        .prop_map(|kind| json!({ "type": kind })),
        (small.clone(), small.clone())
            .prop_map(|(a, b)| json!({"type": "string", "minLength": a, "maxLength": b})),
        (small.clone(), small.clone())
            .prop_map(|(a, b)| json!({"type": "integer", "minimum": a, "maximum": b})),
        small
            .clone()
            .prop_map(|a| json!({"type": "number", "exclusiveMinimum": a})),
        prop::collection::vec(a_value(), 1..4).prop_map(|all| json!({ "enum": all })),
        a_value().prop_map(|one| json!({ "const": one })),
        prop::sample::select(vec!["#", "#/$defs/A", "#/$defs/B"])
            .prop_map(|r| json!({ "$ref": r })),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let list = || prop::collection::vec(inner.clone(), 1..4);
        let name = prop::sample::select(vec!["a", "b", "c"]);
        let named = prop::collection::vec((name.clone(), inner.clone()), 0..4);
        let required = prop::collection::vec(name, 0..3);
        prop_oneof![
            list().prop_map(|all| json!({ "anyOf": all })),
            list().prop_map(|all| json!({ "oneOf": all })),
            list().prop_map(|all| json!({ "allOf": all })),
            (list(), inner.clone()).prop_map(
                |(first, rest)| json!({"type": "array", "prefixItems": first, "items": rest})
            ),
            (inner.clone(), 0u64..4).prop_map(
                |(items, most)| json!({"type": "array", "items": items, "maxItems": most})
            ),
            (named, required, prop::option::of(inner.clone())).prop_map(
                |(named, required, rest)| {
                    let properties: Map<String, Value> =
                        named.into_iter().map(|(n, s)| (n.to_owned(), s)).collect();
                    let mut object =
                        json!({"type": "object", "properties": properties, "required": required});
                    if let Some(rest) = rest {
                        object["additionalProperties"] = rest;
                    }
                    object
                }
            ),
            (inner.clone(), inner.clone()).prop_map(|(base, more)| match base {
                Value::Object(mut fields) => {
                    fields.insert("allOf".into(), json!([more]));
                    Value::Object(fields)
                }
                other => other,
            }),
        ]
    })
}

/// Anything: keywords with values of all kinds.
fn nonsense() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "type",
        "properties",
        "required",
        "items",
        "prefixItems",
        "enum",
        "const",
        "anyOf",
        "oneOf",
        "allOf",
        "not",
        "if",
        "then",
        "else",
        "$ref",
        "$defs",
        "minimum",
        "exclusiveMaximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "additionalProperties",
        "patternProperties",
        "dependentSchemas",
        "pattern",
        "format",
        "description",
        "nullable",
        "a",
        "A",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        prop::sample::select(vec![
            "object",
            "array",
            "string",
            "integer",
            "any",
            "#",
            "#/$defs/A",
            "#/properties/a",
            "a"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..6).prop_map(|fields| {
                let fields = fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value));
                Value::Object(fields.collect())
            }),
        ]
    })
}

/// All that a normal schema may hold, in every place of it.
fn is_normal(schema: &Value) -> Result<(), String> {
    let fields = schema
        .as_object()
        .ok_or_else(|| format!("{schema} is no object"))?;
    if let Some(kind) = fields.get("type") {
        let known = |kind: &Value| kind.as_str().is_some_and(|k| values::TYPES.contains(&k));
        let fine = match kind {
            Value::Array(kinds) => kinds.len() > 1 && kinds.iter().all(known),
            one => known(one),
        };
        if !fine {
            return Err(format!("the type {kind}"));
        }
    }
    for word in [
        "$ref",
        "allOf",
        "oneOf",
        "const",
        "$defs",
        "prefixItems",
        "not",
        "if",
    ] {
        if fields.contains_key(word) {
            return Err(format!("{word} is left"));
        }
    }
    for (least, most) in values::COUNTS {
        let bound = |word: &str| fields.get(word).and_then(Value::as_u64);
        if bound(least).zip(bound(most)).is_some_and(|(a, b)| a > b) {
            return Err(format!("{least} above {most}"));
        }
    }
    for word in ["enum", "anyOf"] {
        if let Some(list) = fields.get(word)
            && list.as_array().is_none_or(Vec::is_empty)
        {
            return Err(format!("{word} is {list}"));
        }
    }
    let properties = fields
        .get("properties")
        .map(|all| all.as_object().ok_or("properties"));
    for one in properties.transpose()?.into_iter().flat_map(Map::values) {
        is_normal(one)?;
    }
    for one in fields
        .get("anyOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        is_normal(one)?;
    }
    for word in ["items", "additionalProperties"] {
        match fields.get(word) {
            None => {}
            Some(Value::Bool(_)) if word == "additionalProperties" => {}
            Some(inner) => is_normal(inner)?,
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// A value that the given schema allows, the normal one allows.
    #[test]
    fn nothing_that_was_allowed_is_refused(
        given in a_schema(), a in a_schema(), b in a_schema(), value in a_value(),
    ) {
        let root = json!({"type": "object", "properties": {"p": given}, "$defs": {"A": a, "B": b}});
        let value = json!({ "p": value });
        let normal = schema(root.clone());
        if allows(&root, &root, &value, 12) {
            prop_assert!(allows(&normal, &normal, &value, 24), "{} does not allow {}", normal, value);
        }
    }

    /// Whatever comes, what goes on is small and plain, and stays as it is.
    #[test]
    fn any_json_becomes_a_plain_small_schema(given in nonsense()) {
        let once = normal(&given, 4096);
        prop_assert!(once.schema.to_string().len() <= 4096);
        prop_assert_eq!(once.schema.get("type"), Some(&json!("object")));
        is_normal(&once.schema).map_err(TestCaseError::fail)?;
        for level in [GrammarDetail::Whole, GrammarDetail::Types] {
            let own = for_grammar(&once.schema, level, &mut GrammarRoom::default());
            is_normal(&own).map_err(TestCaseError::fail)?;
        }
    }

    /// A schema that was made plain once is plain.
    #[test]
    fn the_normal_form_of_a_normal_form_is_itself(given in a_schema()) {
        let once = schema(json!({"type": "object", "properties": {"a": given}}));
        let twice = normal(&once, MOST_BYTES);
        prop_assert_eq!(&twice.schema, &once);
        prop_assert_eq!(twice.odd, Vec::<String>::new());
    }
}
