//! What servers send that the protocol does not have. The SDK reads a message whole or not at all,
//! so one listed tool without a schema, or one block of a kind that it does not know, would lose
//! all that came with it. npast exchanges such a part for one that the SDK knows, before the SDK reads the message.

use rmcp::model::{ContentBlock, Tool};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};

use super::MAX_MESSAGE;
use super::one_line::one_line;

/// Bytes that wait between the server and the SDK.
const BUFFER: usize = 64 << 10;

/// A server's messages, each with what the SDK can read. On the runtime that serves the SDK.
pub(super) fn mended(from: impl AsyncRead + Unpin + Send + 'static) -> DuplexStream {
    let (mut to, theirs) = tokio::io::duplex(BUFFER);
    tokio::spawn(async move {
        let mut from = BufReader::with_capacity(BUFFER, from);
        let mut line = Vec::new();
        loop {
            line.clear();
            // What is longer goes on in parts, and the SDK refuses it.
            let mut one = (&mut from).take(MAX_MESSAGE as u64 + 1);
            match one.read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            let exchanged = mend(&line);
            let bytes = exchanged.as_deref().unwrap_or(&line);
            if to.write_all(bytes).await.is_err() {
                break;
            }
        }
    });
    theirs
}

/// A message with other parts, where it has any that the SDK cannot read.
fn mend(line: &[u8]) -> Option<Vec<u8>> {
    let mentions = |word: &[u8]| memchr::memmem::find(line, word).is_some();
    if !mentions(b"\"result\"") || !(mentions(b"\"tools\"") || mentions(b"\"content\"")) {
        return None;
    }
    let mut message: Value = serde_json::from_slice(line).ok()?;
    let result = message.get_mut("result")?.as_object_mut()?;
    let mut changed = false;
    if let Some(Value::Array(tools)) = result.get_mut("tools") {
        tools.retain_mut(|tool| {
            let known = serde_json::from_value::<Tool>(tool.clone()).is_ok();
            changed |= !known;
            known || described(tool)
        });
    }
    match result.get_mut("content") {
        Some(Value::Array(blocks)) => {
            for block in blocks {
                if serde_json::from_value::<ContentBlock>(block.clone()).is_err() {
                    *block = told(block);
                    changed = true;
                }
            }
        }
        // Some servers send their text as it is, or one block.
        Some(Value::Null) => {
            result.insert("content".into(), json!([]));
            changed = true;
        }
        Some(one @ (Value::String(_) | Value::Object(_))) => {
            let block = match &*one {
                Value::String(text) => json!({"type": "text", "text": text}),
                block => told(block),
            };
            *one = json!([block]);
            changed = true;
        }
        _ => {}
    }
    let mut bytes = changed.then(|| message.to_string().into_bytes())?;
    bytes.push(b'\n');
    Some(bytes)
}

/// Leaves of a listed tool what names and explains it; whether it has a name.
fn described(tool: &mut Value) -> bool {
    let Some(fields) = tool.as_object_mut() else {
        return false;
    };
    let named = |name: &Value| name.as_str().is_some_and(|name| !name.is_empty());
    let Some(name) = fields.remove("name").filter(named) else {
        return false;
    };
    let words = ["inputSchema", "input_schema", "parameters"];
    let schema = words.iter().find_map(|word| fields.remove(*word));
    // Without one any arguments may do: the server says what is wrong with them.
    let schema = schema
        .filter(Value::is_object)
        .unwrap_or_else(|| json!({"type": "object"}));
    let described = fields.remove("description").filter(Value::is_string);
    let mut own = Map::new();
    own.insert("name".into(), name);
    own.insert("inputSchema".into(), schema);
    own.extend(described.map(|text| ("description".to_owned(), text)));
    *fields = own;
    true
}

/// A text in the place of a block.
fn told(block: &Value) -> Value {
    let text = block.get("text").and_then(Value::as_str);
    let kind = block.get("type").and_then(Value::as_str);
    let text = match (text, kind) {
        (Some(text), _) => text.to_owned(),
        (None, Some(kind)) => {
            format!("[a part of type {}, which cannot be shown]", one_line(kind))
        }
        (None, None) => "[a part without a type, which cannot be shown]".to_owned(),
    };
    json!({"type": "text", "text": text})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended_text(given: Value) -> Option<Value> {
        let line = format!("{given}\n");
        mend(line.as_bytes()).map(|bytes| serde_json::from_slice(&bytes).expect("JSON"))
    }

    #[test]
    fn what_the_protocol_has_stays_byte_for_byte() {
        for given in [
            json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "a", "inputSchema": {"type": "object"}}]}}),
            json!({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "x"}], "isError": false}}),
            json!({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "\"result\" \"tools\""}}),
            json!({"jsonrpc": "2.0", "id": 1, "result": {"resources": []}}),
        ] {
            assert_eq!(mended_text(given), None);
        }
        assert_eq!(mend(b"no JSON with \"result\" and \"tools\"\n"), None);
    }

    #[test]
    fn one_odd_tool_or_block_loses_itself_and_nothing_else() {
        let listed = mended_text(json!({"id": 1, "result": {"nextCursor": "n", "tools": [
            {"name": "good", "inputSchema": {"type": "object"}, "title": "T"},
            {"name": "bare", "description": 7},
            {"name": "null", "description": "d", "inputSchema": null},
            {"description": "nameless"},
            "text",
        ]}}));
        assert_eq!(
            listed.expect("a change")["result"],
            json!({"nextCursor": "n", "tools": [
                {"name": "good", "inputSchema": {"type": "object"}, "title": "T"},
                {"name": "bare", "inputSchema": {"type": "object"}},
                {"name": "null", "inputSchema": {"type": "object"}, "description": "d"},
            ]})
        );
        let called = mended_text(json!({"id": 2, "result": {"isError": true, "content": [
            {"type": "text", "text": "a"},
            {"type": "video", "data": "AAAA"},
            {"text": "b"},
            7,
        ]}}));
        let text = |text: &str| json!({"type": "text", "text": text});
        assert_eq!(
            called.expect("a change")["result"],
            json!({"isError": true, "content": [
                text("a"),
                text("[a part of type video, which cannot be shown]"),
                text("b"),
                text("[a part without a type, which cannot be shown]"),
            ]})
        );
        let plain = mended_text(json!({"id": 2, "result": {"content": "as it is"}}));
        assert_eq!(
            plain.expect("a change")["result"]["content"],
            json!([text("as it is")])
        );
    }
}
