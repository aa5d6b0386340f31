//! Prepared replies (`--script FILE`): the choice of tokens is scripted, every decode is real.
//!
//! One JSON object per line: `{"text": "…"}` as the model would have sampled it, control text
//! parsed, or `{"content": "…", "reasoning": "…", "tool_calls": [{"name": "…", "arguments": {…}}]}`
//! written by the model's template. `"finish": "length"` or `"interrupted"` leaves the end of turn
//! out. A line with `"job": "name"` is for that side job; a line without is for the conversation.
//! Empty lines are skipped.

use std::collections::VecDeque;
use std::io::BufRead;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::chat::message::{Message, ToolCall};
use crate::chat::template::ChatTemplate;
use crate::chat::template::pieces::Piece;
use crate::chat::template::{ChatError, TemplateFrame};
use crate::ledger::Finish;

/// Longest line, in bytes.
pub const MAX_LINE_BYTES: usize = 1024 * 1024;
/// Most lines of a script.
pub const MAX_LINES: usize = 1_000_000;

/// Why a script cannot be read or goes on no longer.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The file.
    #[error("the script cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// A line that is no reply.
    #[error("line {line} of the script: {reason}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// More calls than lines.
    #[error("the script has no more lines for {0}")]
    Out(String),
    /// The template cannot write the reply.
    #[error("line {line} of the script: {source}")]
    Chat {
        /// Counted from 1.
        line: usize,
        /// The reason.
        source: ChatError,
    },
}

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub enum LineContent {
    /// Text as sampled.
    Raw(String),
    /// A reply for the template to write.
    Message(Message),
}

/// One prepared reply.
#[derive(Debug, Clone, PartialEq)]
pub struct ScriptLine {
    /// Its line in the file, counted from 1.
    pub line: usize,
    /// What is replied.
    pub said: LineContent,
    /// `Length` or `Interrupted` where the reply does not end its turn.
    pub finish: Option<Finish>,
}

/// A prepared reply as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sampled {
    /// The text after the generation prompt; control text in template pieces is parsed.
    pub pieces: Vec<Piece>,
    /// The end of turn to sample at the end; none if the reply does not end its turn. Empty if
    /// the template has none: then an end-of-generation token of the vocabulary ends it.
    pub end_of_turn: Option<String>,
}

impl ScriptLine {
    /// The reply as the model would sample it.
    ///
    /// # Errors
    /// If the template cannot write the message.
    pub fn sampled(
        &self,
        template: &ChatTemplate,
        frame: &TemplateFrame,
    ) -> Result<Sampled, ScriptError> {
        let (pieces, end_of_turn) = match &self.said {
            LineContent::Raw(text) => (
                vec![Piece::Template(text.clone())],
                template.battery().end_of_turn.clone(),
            ),
            LineContent::Message(message) => {
                let written = template.reply(frame, message);
                let written = written.map_err(|source| ScriptError::Chat {
                    line: self.line,
                    source,
                })?;
                (written.pieces, written.end_of_turn)
            }
        };
        Ok(Sampled {
            pieces,
            end_of_turn: self.finish.is_none().then_some(end_of_turn),
        })
    }
}

/// Prepared replies in order. Clones share them: a reply is given once.
#[derive(Debug, Clone, Default)]
pub struct ReplyScript {
    lines: Arc<Mutex<ScriptLines>>,
}

#[derive(Debug, Default)]
struct ScriptLines {
    main: VecDeque<ScriptLine>,
    jobs: VecDeque<(String, ScriptLine)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLine {
    text: Option<String>,
    content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<RawCall>>,
    finish: Option<String>,
    job: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCall {
    name: String,
    #[serde(default)]
    arguments: Map<String, Value>,
    #[serde(default)]
    id: String,
}

impl ReplyScript {
    /// Reads a script file.
    ///
    /// # Errors
    /// See [`ReplyScript::read`].
    pub fn load(path: &Path) -> Result<ReplyScript, ScriptError> {
        ReplyScript::read(std::io::BufReader::new(std::fs::File::open(path)?))
    }

    /// Reads a script. Every line is checked before the first is used.
    ///
    /// # Errors
    /// If it cannot be read, or a line is too long or no reply; the error names the line.
    pub fn read(mut from: impl BufRead) -> Result<ReplyScript, ScriptError> {
        let mut lines = ScriptLines::default();
        for number in 1.. {
            let wrong = |reason: String| ScriptError::Line {
                line: number,
                reason,
            };
            let Some(bytes) = line(&mut from)? else {
                break;
            };
            if bytes.len() > MAX_LINE_BYTES {
                return Err(wrong(format!("it is longer than {MAX_LINE_BYTES} bytes")));
            }
            if number > MAX_LINES {
                return Err(wrong(format!("a script may have {MAX_LINES} lines")));
            }
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let raw: RawLine = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
            let job = raw.job.clone();
            let said = raw.line(number).map_err(wrong)?;
            match job {
                Some(job) => lines.jobs.push_back((job, said)),
                None => lines.main.push_back(said),
            }
        }
        Ok(ReplyScript {
            lines: Arc::new(Mutex::new(lines)),
        })
    }

    // Lines are whole between two statements, whoever panicked.
    fn lines(&self) -> MutexGuard<'_, ScriptLines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reply to the next call on the main sequence.
    ///
    /// # Errors
    /// If there is none left.
    pub fn next_main(&mut self) -> Result<ScriptLine, ScriptError> {
        let line = self.lines().main.pop_front();
        line.ok_or_else(|| ScriptError::Out("the conversation".into()))
    }

    /// The reply to the next call of a side job, if the script has one.
    pub fn next_job(&mut self, name: &str) -> Option<ScriptLine> {
        let jobs = &mut self.lines().jobs;
        let at = jobs.iter().position(|(job, _)| job == name)?;
        jobs.remove(at).map(|(_, line)| line)
    }

    /// How many replies are left for the main sequence.
    pub fn left(&self) -> usize {
        self.lines().main.len()
    }
}

impl RawLine {
    fn line(self, line: usize) -> Result<ScriptLine, String> {
        let finish = match self.finish.as_deref() {
            None => None,
            Some("length") => Some(Finish::Length),
            Some("interrupted") => Some(Finish::Interrupted),
            Some(other) => {
                return Err(format!(
                    "finish is {other:?}, not \"length\" or \"interrupted\""
                ));
            }
        };
        let parts = self.content.is_some() || self.reasoning.is_some() || self.tool_calls.is_some();
        let said = match (self.text, parts) {
            (Some(text), false) => LineContent::Raw(text),
            (None, true) => {
                let calls = self.tool_calls.unwrap_or_default();
                if let Some(at) = calls.iter().position(|call| call.name.is_empty()) {
                    return Err(format!("tool call {} has no name", at + 1));
                }
                let calls = calls.into_iter().enumerate().map(|(at, call)| ToolCall {
                    id: match call.id.as_str() {
                        "" => format!("s{line:05}{at:03}"),
                        given => given.to_owned(),
                    },
                    name: call.name,
                    arguments: Value::Object(call.arguments),
                });
                LineContent::Message(Message {
                    reasoning: self.reasoning,
                    calls: calls.collect(),
                    ..Message::assistant(self.content.unwrap_or_default())
                })
            }
            (Some(_), true) => {
                return Err("text stands beside content, reasoning or tool_calls".into());
            }
            (None, false) => {
                return Err("it has neither text nor content, reasoning or tool_calls".into());
            }
        };
        Ok(ScriptLine { line, said, finish })
    }
}

/// The next line without its end, at most one byte over the bound; none at the end.
fn line(from: &mut impl BufRead) -> Result<Option<Vec<u8>>, std::io::Error> {
    let mut bytes = Vec::new();
    let mut bounded = std::io::Read::take(from, MAX_LINE_BYTES as u64 + 1);
    if bounded.read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::battery::tests::{THINKER, marks};
    use crate::chat::pieces;

    fn read(text: &str) -> Result<ReplyScript, ScriptError> {
        ReplyScript::read(text.as_bytes())
    }

    #[test]
    fn lines_go_to_the_conversation_or_to_their_job() {
        let mut script = read(
            "{\"text\":\"one\"}\n\n{\"job\":\"title\",\"content\":\"a title\"}\r\n{\"content\":\"two\",\"finish\":\"length\"}",
        )
        .unwrap();
        assert_eq!(script.left(), 2);
        assert_eq!(
            script.next_main().unwrap().said,
            LineContent::Raw("one".into())
        );
        assert_eq!(script.next_job("summary"), None);
        assert_eq!(script.next_job("title").unwrap().line, 3);
        assert_eq!(script.next_job("title"), None);
        let two = script.next_main().unwrap();
        assert_eq!((two.line, two.finish), (4, Some(Finish::Length)));
        assert!(
            script
                .next_main()
                .unwrap_err()
                .to_string()
                .contains("no more lines")
        );
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, reason) in [
            ("{\"text\":\"a\"}\nnonsense", "line 2"),
            ("{}", "neither"),
            ("{\"text\":\"a\",\"content\":\"b\"}", "beside"),
            ("{\"text\":\"a\",\"finish\":\"stop\"}", "finish"),
            ("{\"text\":\"a\",\"colour\":1}", "colour"),
            ("{\"tool_calls\":[{\"name\":\"\"}]}", "no name"),
            (
                "{\"tool_calls\":[{\"name\":\"a\",\"arguments\":\"b\"}]}",
                "line 1",
            ),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let long = format!("{{\"text\":\"{}\"}}", "x".repeat(MAX_LINE_BYTES));
        assert!(read(&long).unwrap_err().to_string().contains("longer"));
        assert!(ReplyScript::read(&b"{\"text\":\"\xff\"}"[..]).is_err());
    }

    #[test]
    fn a_reply_is_written_as_the_model_would_have_written_it() {
        let template = ChatTemplate::new(THINKER, marks()).unwrap();
        let mut script = read(concat!(
            "{\"reasoning\":\"hm\",\"content\":\"yes <|im_end|>\"}\n",
            "{\"content\":\"\",\"tool_calls\":[{\"name\":\"read\",\"arguments\":{\"z\":1,\"a\":\"x\"}}]}\n",
            "{\"text\":\"raw\",\"finish\":\"interrupted\"}"
        ))
        .unwrap();
        let frame = TemplateFrame {
            thinking: true,
            ..TemplateFrame::default()
        };
        let mut next = || {
            script
                .next_main()
                .unwrap()
                .sampled(&template, &frame)
                .unwrap()
        };
        let first = next();
        assert_eq!(
            pieces::join(&first.pieces),
            "hm\n</think>\n\nyes <|im_end|>"
        );
        assert!(
            first
                .pieces
                .iter()
                .all(|p| !matches!(p, Piece::Template(t) if t.contains("<|im_end|>")))
        );
        assert_eq!(first.end_of_turn.as_deref(), Some("<|im_end|>"));
        let second = pieces::join(&next().pieces);
        assert!(
            second.contains(
                "{\"name\": \"read\", \"arguments\": {\"z\": 1, \"a\": \"x\"}}\n</tool_call>"
            ),
            "{second}"
        );
        assert_eq!(next().end_of_turn, None);
    }
}
