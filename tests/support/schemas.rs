//! A table of schemas: every keyword of JSON Schema 2020-12, what writers of tools get wrong, and
//! schemas as the reference servers of the Model Context Protocol have them.

use serde_json::{Map, Value, json};

/// An object with one parameter `a`.
fn parameter(schema: Value) -> Value {
    json!({"type": "object", "properties": {"a": schema}})
}

/// With a definition.
fn defined(schema: Value, name: &str, definition: Value) -> Value {
    let mut whole = parameter(schema);
    whole["$defs"] = json!({});
    whole["$defs"][name] = definition;
    whole
}

fn wide(count: usize, schema: &Value) -> Value {
    let all: Map<String, Value> = (0..count)
        .map(|n| (format!("parameter_{n:03}"), schema.clone()))
        .collect();
    json!({"type": "object", "properties": all})
}

/// Every schema with a name; each has a parameter unless it says that there is none.
pub fn table() -> Vec<(&'static str, Value)> {
    let string = json!({"type": "string"});
    let p = parameter;
    let mut table = vec![
        // What readers stumble over.
        ("boolean true", p(json!(true))),
        (
            "boolean false beside another",
            json!({"type": "object", "properties": {"a": string, "b": false}}),
        ),
        ("nested boolean", p(p(json!(true)))),
        ("items true", p(json!({"type": "array", "items": true}))),
        ("items false", p(json!({"type": "array", "items": false}))),
        ("null as a schema", p(json!(null))),
        ("a text as a schema", p(json!("string"))),
        ("type any", p(json!({"type": "any"}))),
        ("type str", p(json!({"type": "str"}))),
        ("type empty", p(json!({"type": ""}))),
        ("type of nothing", p(json!({"type": []}))),
        (
            "type unknown in a list",
            p(json!({"type": ["string", "date"]})),
        ),
        ("type as an object", p(json!({"type": {"a": 1}}))),
        ("enum empty", p(json!({"type": "string", "enum": []}))),
        ("enum no list", p(json!({"enum": "a"}))),
        (
            "enum of other types",
            p(json!({"type": "string", "enum": [1, 2]})),
        ),
        (
            "enum mixed",
            p(json!({"enum": [1, "a", null, true, [1], {"x": 1}]})),
        ),
        (
            "enum huge",
            p(json!({"enum": (0..3000).map(|n| format!("value {n}")).collect::<Vec<_>>()})),
        ),
        ("anyOf empty", p(json!({"anyOf": []}))),
        ("anyOf no list", p(json!({"anyOf": {}}))),
        (
            "oneOf of falsehoods",
            json!({"type": "object", "properties": {"a": string, "b": {"oneOf": [false, false]}}}),
        ),
        (
            "allOf that contradicts",
            p(json!({"allOf": [{"type": "string"}, {"type": "integer"}]})),
        ),
        ("ref unresolved", p(json!({"$ref": "#/$defs/N"}))),
        ("ref to the root", p(json!({"$ref": "#"}))),
        (
            "ref remote",
            p(json!({"$ref": "https://example.com/x.json"})),
        ),
        ("ref to a file", p(json!({"$ref": "other.json#/a"}))),
        ("ref no text", p(json!({"$ref": 7}))),
        (
            "ref with ~1",
            defined(json!({"$ref": "#/$defs/X~1Y"}), "X/Y", string.clone()),
        ),
        (
            "ref with %3C",
            defined(json!({"$ref": "#/$defs/X%3CY%3E"}), "X<Y>", string.clone()),
        ),
        (
            "ref with a neighbour",
            defined(
                json!({"$ref": "#/$defs/X", "maxLength": 3}),
                "X",
                string.clone(),
            ),
        ),
        (
            "ref to itself",
            defined(
                json!({"$ref": "#/$defs/A"}),
                "A",
                json!({"$ref": "#/$defs/A"}),
            ),
        ),
        (
            "ref that recurses",
            defined(
                json!({"$ref": "#/$defs/N"}),
                "N",
                json!({"type": "object", "properties": {"v": string, "more": {"type": "array", "items": {"$ref": "#/$defs/N"}}}}),
            ),
        ),
        (
            "anchor",
            defined(
                json!({"$ref": "#here"}),
                "X",
                json!({"$anchor": "here", "type": "string"}),
            ),
        ),
        (
            "dynamic anchor",
            defined(
                json!({"$dynamicRef": "#node"}),
                "X",
                json!({"$dynamicAnchor": "node", "type": "object", "properties": {"next": {"$dynamicRef": "#node"}}}),
            ),
        ),
        (
            "draft 7 definitions",
            json!({"type": "object", "properties": {"a": {"$ref": "#/definitions/X"}}, "definitions": {"X": string}}),
        ),
        (
            "maximum 1e20",
            p(json!({"type": "integer", "maximum": 1e20})),
        ),
        (
            "minimum as a text",
            p(json!({"type": "integer", "minimum": "1"})),
        ),
        (
            "minimum above maximum",
            p(json!({"type": "integer", "minimum": 9, "maximum": 1})),
        ),
        (
            "no integer between",
            p(json!({"type": "integer", "minimum": 0.2, "maximum": 0.8})),
        ),
        (
            "minItems above maxItems",
            p(json!({"type": "array", "items": string, "minItems": 5, "maxItems": 2})),
        ),
        (
            "minLength above maxLength",
            p(json!({"type": "string", "minLength": 5, "maxLength": 2})),
        ),
        (
            "minLength 5000",
            p(json!({"type": "string", "minLength": 5000})),
        ),
        (
            "maxLength 10.0",
            p(json!({"type": "string", "maxLength": 10.0})),
        ),
        (
            "maxLength 2^53-1",
            p(json!({"type": "string", "maxLength": 9007199254740991u64})),
        ),
        (
            "maxLength negative",
            p(json!({"type": "string", "maxLength": -1})),
        ),
        (
            "minItems 3000",
            p(json!({"type": "array", "items": string, "minItems": 3000})),
        ),
        (
            "maxItems 2000 of objects",
            p(
                json!({"type": "array", "maxItems": 2000, "items": {"type": "object", "properties": {"s": {"type": "string", "maxLength": 500}}}}),
            ),
        ),
        (
            "maxItems 0",
            p(json!({"type": "array", "items": string, "maxItems": 0})),
        ),
        (
            "one to one items",
            p(json!({"type": "array", "items": string, "minItems": 1, "maxItems": 1})),
        ),
        (
            "pattern with groups",
            p(json!({"type": "string", "pattern": "^(?=.*a)(b|c)\\d+$"})),
        ),
        (
            "pattern broken",
            p(json!({"type": "string", "pattern": "[a"})),
        ),
        (
            "pattern no text",
            p(json!({"type": "string", "pattern": 7})),
        ),
        (
            "pattern that multiplies",
            p(json!({"type": "string", "pattern": "^[a-z]{60}[0-9]{60}$"})),
        ),
        (
            "format unknown",
            p(json!({"type": "string", "format": "uri"})),
        ),
        ("format no text", p(json!({"type": "string", "format": 1}))),
        (
            "required that is nowhere",
            json!({"type": "object", "properties": {"a": string}, "required": ["a", "b", 7]}),
        ),
        (
            "required no list",
            json!({"type": "object", "properties": {"a": string}, "required": "a"}),
        ),
        (
            "names of any kind",
            json!({"type": "object", "properties": {"a": string, "": string, "a b": string, "a\"b": string, "a>b": string, "a\nb": string, "ключ": string, "名": string, "$x": string, "a[]": string}}),
        ),
        (
            "a name of 500 letters",
            json!({"type": "object", "properties": {"a": string, "x".repeat(500): string}}),
        ),
        // Schemas that are no objects at the top.
        ("only properties", json!({"properties": {"a": string}})),
        (
            "ref at the top",
            json!({"$ref": "#/$defs/X", "$defs": {"X": p(string.clone())}}),
        ),
        (
            "anyOf at the top",
            json!({"anyOf": [p(string.clone()), {"type": "object", "properties": {"b": {"type": "integer"}}}]}),
        ),
        (
            "allOf at the top",
            json!({"allOf": [p(string.clone()), {"properties": {"b": {"type": "integer"}}, "required": ["b"]}]}),
        ),
        (
            "oneOf of demands",
            json!({"type": "object", "properties": {"a": string, "b": string}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
        ),
        (
            "object or null",
            json!({"type": ["object", "null"], "properties": {"a": string}}),
        ),
        // The keywords of 2020-12.
        (
            "$id and $schema",
            json!({"$id": "https://a.b/c", "$schema": "https://json-schema.org/draft/2020-12/schema", "$comment": "c", "$vocabulary": {}, "type": "object", "properties": {"a": string}}),
        ),
        (
            "prefixItems",
            p(
                json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": false}),
            ),
        ),
        (
            "unevaluatedItems",
            p(json!({"type": "array", "prefixItems": [true], "unevaluatedItems": false})),
        ),
        (
            "contains",
            p(
                json!({"type": "array", "contains": {"type": "string"}, "minContains": 1, "maxContains": 2, "uniqueItems": true}),
            ),
        ),
        (
            "additionalProperties",
            p(json!({"type": "object", "additionalProperties": {"type": "integer"}})),
        ),
        (
            "patternProperties",
            p(
                json!({"type": "object", "patternProperties": {"^x": string}, "propertyNames": {"maxLength": 4}, "additionalProperties": false}),
            ),
        ),
        (
            "dependentSchemas",
            json!({"type": "object", "properties": {"a": string}, "dependentSchemas": {"a": {"properties": {"b": string}}}, "dependentRequired": {"a": ["b"]}}),
        ),
        (
            "if then else",
            json!({"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "if": {"properties": {"a": {"const": "x"}}}, "then": {"properties": {"b": string}}, "else": {"properties": {"c": string}}}),
        ),
        ("not", p(json!({"type": "string", "not": {"enum": ["a"]}}))),
        ("const", p(json!({"const": {"a": [1, null]}}))),
        (
            "multipleOf",
            p(
                json!({"type": "number", "multipleOf": 0.5, "exclusiveMinimum": 0, "exclusiveMaximum": 10}),
            ),
        ),
        (
            "minProperties",
            p(
                json!({"type": "object", "minProperties": 1, "maxProperties": 3, "unevaluatedProperties": false}),
            ),
        ),
        (
            "content",
            p(
                json!({"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png", "contentSchema": {"type": "object"}}),
            ),
        ),
        (
            "notes",
            p(
                json!({"title": "T", "description": "d", "default": 1, "examples": [1], "deprecated": true, "readOnly": true, "writeOnly": false}),
            ),
        ),
        (
            "formats",
            json!({"type": "object", "properties": {"a": {"type": "string", "format": "date"}, "b": {"type": "string", "format": "date-time"}, "c": {"type": "string", "format": "time"}, "d": {"type": "string", "format": "uuid"}}}),
        ),
        (
            "draft 4",
            json!({"type": "object", "properties": {"a": {"type": "number", "minimum": 0, "exclusiveMinimum": true}, "b": {"type": "array", "items": [string, string], "additionalItems": false}}}),
        ),
        (
            "OpenAPI",
            p(
                json!({"type": "string", "nullable": true, "example": "x", "discriminator": {"propertyName": "a"}, "xml": {}}),
            ),
        ),
        // As generators write them.
        (
            "pydantic",
            json!({"$defs": {"Mode": {"enum": ["fast", "slow"], "title": "Mode", "type": "string"}}, "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": null, "title": "A"}, "mode": {"$ref": "#/$defs/Mode", "default": "fast"}, "tags": {"items": {"type": "string"}, "title": "Tags", "type": "array"}}, "required": ["tags"], "title": "toolArguments", "type": "object"}),
        ),
        (
            "zod",
            json!({"type": "object", "properties": {"a": {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}}]}, "n": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9007199254740991u64}}, "required": ["a"], "additionalProperties": false, "$schema": "http://json-schema.org/draft-07/schema#"}),
        ),
        (
            "union of objects",
            json!({"anyOf": [
            {"type": "object", "properties": {"a": {"const": "create"}, "text": string}, "required": ["a", "text"], "additionalProperties": false},
            {"type": "object", "properties": {"a": {"const": "delete"}, "id": {"type": "integer"}}, "required": ["a", "id"], "additionalProperties": false}]}),
        ),
        // The reference servers.
        (
            "filesystem read_text_file",
            json!({"type": "object", "properties": {"path": string, "tail": {"type": "number", "description": "If provided, returns only the last N lines of the file"}, "head": {"type": "number"}}, "required": ["path"], "additionalProperties": false, "$schema": "http://json-schema.org/draft-07/schema#"}),
        ),
        (
            "filesystem edit_file",
            json!({"type": "object", "properties": {"path": string, "edits": {"type": "array", "items": {"type": "object", "properties": {"oldText": {"type": "string", "description": "Text to search for - must match exactly"}, "newText": string}, "required": ["oldText", "newText"], "additionalProperties": false}}, "dryRun": {"type": "boolean", "default": false}}, "required": ["path", "edits"], "additionalProperties": false}),
        ),
        (
            "memory create_entities",
            json!({"type": "object", "properties": {"entities": {"type": "array", "items": {"type": "object", "properties": {"name": string, "entityType": string, "observations": {"type": "array", "items": string}}, "required": ["name", "entityType", "observations"], "additionalProperties": false}}}, "required": ["entities"], "additionalProperties": false}),
        ),
        (
            "sequential thinking",
            json!({"type": "object", "properties": {"thought": string, "nextThoughtNeeded": {"type": "boolean"}, "thoughtNumber": {"type": "integer", "minimum": 1}, "totalThoughts": {"type": "integer", "minimum": 1}, "isRevision": {"type": "boolean"}, "branchId": string}, "required": ["thought", "nextThoughtNeeded", "thoughtNumber", "totalThoughts"]}),
        ),
        (
            "fetch",
            json!({"description": "Parameters for fetching a URL.", "properties": {"url": {"description": "URL to fetch", "format": "uri", "minLength": 1, "title": "Url", "type": "string"}, "max_length": {"default": 5000, "exclusiveMaximum": 1000000, "exclusiveMinimum": 0, "title": "Max Length", "type": "integer"}, "start_index": {"default": 0, "minimum": 0, "type": "integer"}, "raw": {"default": false, "type": "boolean"}}, "required": ["url"], "title": "Fetch", "type": "object"}),
        ),
        (
            "git log",
            json!({"type": "object", "properties": {"repo_path": string, "max_count": {"type": "integer", "default": 10}, "start_timestamp": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": null}, "files": {"type": "array", "items": string}}, "required": ["repo_path"]}),
        ),
        (
            "time convert_time",
            json!({"type": "object", "properties": {"source_timezone": string, "time": {"type": "string", "description": "Time to convert in 24-hour format (HH:MM)"}, "target_timezone": string}, "required": ["source_timezone", "time", "target_timezone"]}),
        ),
        (
            "everything annotated",
            json!({"type": "object", "properties": {"messageType": {"type": "string", "enum": ["error", "success", "debug"]}, "includeImage": {"type": "boolean", "default": false}}, "required": ["messageType"], "additionalProperties": false}),
        ),
        (
            "github create_review",
            json!({"type": "object", "properties": {"owner": string, "pull_number": {"type": "number"}, "event": {"enum": ["APPROVE", "REQUEST_CHANGES"], "type": "string"}, "comments": {"type": "array", "items": {"anyOf": [{"type": "object", "properties": {"path": string, "position": {"type": "number"}, "body": string}, "required": ["path", "position", "body"]}, {"type": "object", "properties": {"path": string, "line": {"type": "number"}, "body": string}, "required": ["path", "line", "body"]}]}}}, "required": ["owner", "pull_number", "event"]}),
        ),
        // Large ones.
        ("250 optional parameters", wide(250, &string)),
        ("5000 parameters", wide(5000, &string)),
        (
            "200 bounded parameters",
            wide(200, &json!({"type": "string", "maxLength": 256})),
        ),
    ];
    let mut deep = string.clone();
    for _ in 0..50 {
        deep = json!({"type": "object", "properties": {"a": deep, "b": {"type": "array", "items": {"type": "integer"}}}});
    }
    table.push(("fifty deep", p(deep)));
    let mut double = Map::new();
    for n in 0..30 {
        let next = json!({"$ref": format!("#/$defs/D{}", n + 1)});
        double.insert(
            format!("D{n}"),
            json!({"type": "object", "properties": {"a": next, "b": next}}),
        );
    }
    table.push((
        "a bomb of references",
        json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/D0"}}, "$defs": double}),
    ));
    table
}
