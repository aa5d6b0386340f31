//! What the next reply answers: PROMPT, piped input, canonical messages, or nothing new. Everything
//! from outside is bounded and checked here, before a model is loaded.

mod standard;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::args::TalkArgs;
use super::error::Failure;
use super::output::notice;
use crate::agent::Input;
use crate::chat::Message;
use crate::chat::message::Role;

/// Most bytes of a prompt, piped input or file.
const MAX_TEXT: u64 = 64 << 20;

/// What the command line wants npast to do.
#[derive(Debug)]
pub enum Invocation {
    /// A chat on the terminal.
    Chat,
    /// One turn.
    Turn(Input),
}

/// Reads the input of this process. `terminal` says whether its standard input is one.
///
/// # Errors
/// As [`read`].
pub fn of_this_process(talk: &TalkArgs, terminal: bool) -> Result<Invocation, Failure> {
    let stdin = std::io::stdin();
    let prompt = talk.prompt.as_deref().is_some_and(|p| !p.trim().is_empty());
    let anothers = standard::is_anothers(&stdin, prompt);
    if anothers && !terminal {
        notice(
            "standard input is left to the program that has read a part of it",
            None,
        );
    }
    let say = |text: &str, hint: &str| notice(text, Some(hint));
    read(talk, standard::Patient::new(stdin.lock(), say), anothers)
}

/// Reads the input. `terminal` says that standard input is one, or another program's.
///
/// # Errors
/// Wrong usage: an empty prompt, text that is not UTF-8, a line that is no message.
fn read(talk: &TalkArgs, stdin: impl Read, terminal: bool) -> Result<Invocation, Failure> {
    if talk.continue_ {
        return Ok(Invocation::Turn(Input::Continue));
    }
    if let Some(source) = &talk.messages {
        let (text, place) = match source.as_str() {
            "-" => (bounded(stdin, "standard input")?, "standard input".into()),
            given => {
                let path = at_file(given, "--messages")?;
                (file(&path, "the messages")?, path.display().to_string())
            }
        };
        return Ok(Invocation::Turn(Input::Messages(messages(&text, &place)?)));
    }
    let piped = match terminal {
        true => None,
        false => Some(bounded(stdin, "standard input")?),
    };
    let piped = piped.as_deref().map(|t| t.trim_end_matches(['\r', '\n']));
    let text = match (talk.prompt.as_deref(), piped) {
        (None, None) => return Ok(Invocation::Chat),
        (Some(prompt), None) => prompt.to_owned(),
        (None, Some(piped)) => piped.to_owned(),
        (Some(prompt), Some(piped)) if piped.trim().is_empty() => prompt.to_owned(),
        (Some(prompt), Some(piped)) if prompt.trim().is_empty() => piped.to_owned(),
        (Some(prompt), Some(piped)) => format!("{prompt}\n\n{piped}"),
    };
    if !text.trim().is_empty() {
        return Ok(Invocation::Turn(Input::Text(text)));
    }
    // A crash may have left a message that waits for its answer.
    if talk.last || talk.session.is_some() {
        return Ok(Invocation::Turn(Input::Open));
    }
    Err(empty())
}

/// An empty prompt where nothing waits for an answer.
pub fn empty() -> Failure {
    Failure::usage(
        "the prompt is empty",
        "npast --session work \"…\", or pipe text into it; on a terminal without a prompt a chat begins",
    )
}

/// The words a new session is named from.
pub fn words(input: &Input) -> &str {
    match input {
        Input::Text(text) => text,
        Input::Messages(list) => list
            .iter()
            .find(|m| m.role == Role::User)
            .map_or("", |m| &m.text),
        Input::Open | Input::Continue => "",
    }
}

/// JSON lines of user messages and tool results.
fn messages(text: &str, place: &str) -> Result<Vec<Message>, Failure> {
    let wrong = |line: usize, what: String| {
        Failure::usage(
            format!("line {line} of {place} is not a message: {what}"),
            r#"a line is {"role":"user","content":"…"} or {"role":"tool","tool_call_id":"…","content":"…"}"#,
        )
    };
    let mut list = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let value: Value =
            serde_json::from_str(line).map_err(|e| wrong(at + 1, format!("not JSON ({e})")))?;
        let message = Message::from_json(&value).map_err(|e| wrong(at + 1, e.to_string()))?;
        if !matches!(message.role, Role::User | Role::Tool) {
            let role = message.role.as_str();
            let what = format!("the role {role} cannot be appended, only user and tool");
            return Err(wrong(at + 1, what));
        }
        list.push(message);
    }
    match list.is_empty() {
        true => Err(wrong(1, "there is none".into())),
        false => Ok(list),
    }
}

/// `TEXT`, or the contents of `@FILE`; `@@` begins a text with one.
pub fn text_or_file(given: &str, what: &str) -> Result<String, Failure> {
    match given.strip_prefix('@') {
        None => Ok(given.to_owned()),
        Some(rest) if rest.starts_with('@') => Ok(rest.to_owned()),
        Some(path) => file(Path::new(path), what),
    }
}

/// The path in `@FILE`.
pub fn at_file(given: &str, flag: &str) -> Result<PathBuf, Failure> {
    match given.strip_prefix('@') {
        Some(path) if !path.is_empty() => Ok(path.into()),
        _ => Err(Failure::usage(
            format!("{flag} takes a file, written @FILE, not {given:?}"),
            format!("{flag} @{given}"),
        )),
    }
}

/// The tool list in `@FILE`: a JSON list of functions, each with a name.
pub fn tools(given: &str) -> Result<Value, Failure> {
    let path = at_file(given, "--tools")?;
    let wrong = |what: String| {
        Failure::usage(
            format!("{} is not a tool list: {what}", path.display()),
            r#"[{"type":"function","function":{"name":"…","description":"…","parameters":{…}}}]"#,
        )
    };
    let text = file(&path, "the tools")?;
    let value: Value = serde_json::from_str(&text).map_err(|e| wrong(format!("not JSON ({e})")))?;
    let list = value
        .as_array()
        .ok_or_else(|| wrong("it must be a JSON list".into()))?;
    for (at, tool) in list.iter().enumerate() {
        let name = tool["function"]["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            return Err(wrong(format!("entry {at} has no function name")));
        }
    }
    Ok(value)
}

/// A text file.
pub fn file(path: &Path, what: &str) -> Result<String, Failure> {
    let place = format!("{what} in {}", path.display());
    if path.is_dir() {
        return Err(Failure::usage(
            format!("{place} cannot be read: it is a folder"),
            "name a file in it",
        ));
    }
    let file = File::open(path).map_err(|e| {
        Failure::usage(
            format!("{place} cannot be read: {e}"),
            "correct the path, or the file's permissions",
        )
    })?;
    bounded(file, &place)
}

fn bounded(from: impl Read, place: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    from.take(MAX_TEXT + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::failed("io", format!("{place} cannot be read: {e}")))?;
    if bytes.len() as u64 > MAX_TEXT {
        return Err(Failure::usage(
            format!("{place} is larger than {} MiB", MAX_TEXT >> 20),
            "send a part of it",
        ));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Failure::usage(
            format!("{place} is not UTF-8 (at byte {at})"),
            "convert it first, for example with iconv",
        )
    })
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
