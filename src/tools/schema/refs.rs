//! What a reference means: a pointer into the same document, or an anchor in it. Nothing is
//! fetched.

use serde_json::Value;

/// Schemas that are looked through for an anchor.
const MOST_LOOKED: usize = 4096;

/// The schema that `reference` names in `root`; nothing for one that is not in it.
pub(super) fn resolve<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let fragment = match reference.split_once('#') {
        Some(("", fragment)) => fragment,
        // By the document's own name.
        Some((own, fragment)) if root.get("$id").and_then(Value::as_str) == Some(own) => fragment,
        Some(_) => return None,
        None => {
            let own = root.get("$id").and_then(Value::as_str);
            return match own == Some(reference) {
                true => Some(root),
                false => embedded(root, reference),
            };
        }
    };
    let fragment = percent_decoded(fragment);
    if fragment.is_empty() {
        return Some(root);
    }
    if fragment.starts_with('/') {
        return pointed(root, &fragment);
    }
    found(root, &["$anchor", "$dynamicAnchor"], &fragment)
}

/// Under `$defs` a schema may have a name of its own.
fn embedded<'a>(root: &'a Value, name: &str) -> Option<&'a Value> {
    found(root, &["$id"], name)
}

/// The schema in which one of the keywords has this value.
fn found<'a>(root: &'a Value, words: &[&str], name: &str) -> Option<&'a Value> {
    let mut waiting = vec![root];
    let mut looked = 0;
    while let Some(value) = waiting.pop() {
        looked += 1;
        if looked > MOST_LOOKED {
            return None;
        }
        match value {
            Value::Object(fields) => {
                let named = |word: &&str| fields.get(*word).and_then(Value::as_str) == Some(name);
                if words.iter().any(named) {
                    return Some(value);
                }
                waiting.extend(fields.values());
            }
            Value::Array(list) => waiting.extend(list),
            _ => {}
        }
    }
    None
}

/// A JSON pointer. Some writers escape nothing: the name as it stands counts too.
fn pointed<'a>(root: &'a Value, pointer: &str) -> Option<&'a Value> {
    root.pointer(pointer).or_else(|| {
        let mut at = root;
        for step in pointer.split('/').skip(1) {
            at = match at {
                Value::Object(fields) => fields.get(step)?,
                Value::Array(list) => list.get(step.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(at)
    })
}

/// `%3C` is `<`; what is no such escape stays.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match hex {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reference_is_found_by_pointer_by_anchor_and_by_name_and_nowhere_else() {
        let root = json!({
            "$id": "https://a.b/root.json",
            "$defs": {
                "A": {"type": "string"},
                "X/Y": {"type": "integer"},
                "X<Y>": {"type": "boolean"},
                "a b": {"$anchor": "here", "type": "null"},
                "list": [{"type": "array"}],
                "own": {"$id": "https://a.b/own.json", "type": "number"},
            },
        });
        let kind = |reference: &str| {
            let found = resolve(&root, reference)?;
            Some(
                found
                    .get("type")
                    .and_then(Value::as_str)
                    .unwrap_or("root")
                    .to_owned(),
            )
        };
        for (reference, is) in [
            ("#", Some("root")),
            ("#/$defs/A", Some("string")),
            ("#/$defs/X~1Y", Some("integer")),
            ("#/$defs/X%3CY%3E", Some("boolean")),
            ("#/$defs/X<Y>", Some("boolean")),
            ("#/$defs/a%20b", Some("null")),
            ("#here", Some("null")),
            ("#/$defs/list/0", Some("array")),
            ("https://a.b/root.json#/$defs/A", Some("string")),
            ("https://a.b/root.json", Some("root")),
            ("https://a.b/own.json", Some("number")),
            ("#/$defs/B", None),
            ("#/$defs/%zz", None),
            ("https://example.com/x.json", None),
            ("other.json#/$defs/A", None),
            ("", None),
        ] {
            assert_eq!(kind(reference).as_deref(), is, "{reference}");
        }
    }
}
