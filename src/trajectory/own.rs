//! The field `npast` of a line: what npast alone knows of a session, and whether it can be true.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ledger::{Digest, Finish, Token};
use crate::session::{
    self, Continuation, MessageId, MessageState, ReceiptSums, Recorded, Session, SessionId, Span,
    Trajectory,
};

/// The form of this field.
const VERSION: u32 = 1;

/// What npast alone knows of a session.
#[derive(Serialize, Deserialize)]
pub(super) struct Own {
    version: u32,
    pub name: String,
    /// The session in the same file that it continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<String>,
    /// The session in the same file that continues it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goes_on_as: Option<String>,
    /// Whether the first message is the system prompt of the head.
    pub system: bool,
    model: String,
    class: String,
    /// Hashes in hexadecimal.
    vocab: String,
    template: String,
    fingerprint: String,
    /// What stands before the words of the first user message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preface: Option<String>,
    /// Tokens of the frozen head.
    head: usize,
    /// Those of them that do not depend on the preface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    common: Option<usize>,
    /// Tokens at the end that were not decoded.
    pending: usize,
    /// The first tokens that were decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decoded: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forked: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made: Option<String>,
    carried: usize,
    seed: u64,
    tries: u32,
    policy: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thinking: Option<bool>,
    runs_tools: bool,
    started_ms: i64,
    created_ms: i64,
    used_ms: i64,
    usage: OwnSums,
    /// Of each message, without the system prompt of the head.
    messages: Vec<MessagePlace>,
    receipts: Vec<Cost>,
    /// The ledger.
    tokens: Vec<i32>,
}

#[derive(Serialize, Deserialize)]
struct OwnSums {
    calls: u32,
    evaluated: i64,
    restored: i64,
    kept: i64,
    generated: i64,
}

#[derive(Serialize, Deserialize)]
struct MessagePlace {
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finish: Option<String>,
    /// Its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    span: Option<(usize, usize)>,
    created_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct Cost {
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finish: Option<String>,
    created_ms: i64,
    receipt: Value,
}

impl Own {
    /// Of a session. Counts that no npast can have come to are cut to what this form holds.
    pub fn of(whole: &Trajectory) -> Own {
        let row = &whole.session;
        let sum = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let word = |finish: Option<Finish>| finish.map(|f| f.as_str().to_owned());
        Own {
            version: VERSION,
            name: row.name.clone(),
            continues: None,
            goes_on_as: None,
            system: row.system.is_some(),
            model: row.model.clone(),
            class: row.class.clone(),
            vocab: row.vocab.hex(),
            template: row.template.hex(),
            fingerprint: row.fingerprint.hex(),
            preface: row.preface.clone(),
            head: row.head,
            common: row.common,
            pending: whole.pending,
            decoded: whole.decoded,
            forked: row.forked,
            made: row.made.map(|made| made.as_str().to_owned()),
            carried: row.carried,
            seed: row.seed,
            tries: u32::try_from(row.tries).unwrap_or(u32::MAX),
            policy: row.policy.clone(),
            thinking: row.thinking,
            runs_tools: row.runs_tools,
            started_ms: row.started_ms,
            created_ms: row.created_ms,
            used_ms: row.used_ms,
            usage: OwnSums {
                calls: u32::try_from(row.usage.calls).unwrap_or(u32::MAX),
                evaluated: sum(row.usage.evaluated),
                restored: sum(row.usage.restored),
                kept: sum(row.usage.kept),
                generated: sum(row.usage.generated),
            },
            messages: whole
                .messages
                .iter()
                .map(|message| MessagePlace {
                    state: message.state.as_str().to_owned(),
                    finish: word(message.finish),
                    span: message.span.map(|span| (span.start, span.end)),
                    created_ms: message.created_ms,
                })
                .collect(),
            receipts: whole
                .receipts
                .iter()
                .map(|one| Cost {
                    kind: one.kind.clone(),
                    finish: word(one.finish),
                    created_ms: one.created_ms,
                    receipt: one.json.clone(),
                })
                .collect(),
            tokens: whole.tokens.iter().map(|token| token.0).collect(),
        }
    }

    /// The session that this field and these bodies are.
    ///
    /// # Errors
    /// What cannot be true of a session.
    pub fn session(
        self,
        system: Option<String>,
        tools: Option<Value>,
        bodies: Vec<Value>,
    ) -> Result<Trajectory, String> {
        if self.version != VERSION {
            return Err(format!(
                "its field npast has form {}, and this npast knows form {VERSION}",
                self.version
            ));
        }
        session::check_name(&self.name).map_err(|error| error.to_string())?;
        if self.messages.len() != bodies.len() {
            return Err(format!(
                "it has {} messages, and npast.messages says {}",
                bodies.len(),
                self.messages.len()
            ));
        }
        let len = self.tokens.len();
        if let Some(at) = self.tokens.iter().position(|token| *token < 0) {
            return Err(format!("token {at} is negative"));
        }
        let most = [
            ("head", self.head),
            ("common", self.common.unwrap_or(0)),
            ("pending", self.pending),
            ("decoded", self.decoded.unwrap_or(0)),
        ];
        if let Some((what, count)) = most.into_iter().find(|(_, count)| *count > len) {
            return Err(format!(
                "npast.{what} is {count}, and there are {len} tokens"
            ));
        }
        if self.pending > 1 {
            return Err(format!("npast.pending is {}, and 1 is most", self.pending));
        }
        if !["exact", "template"].contains(&self.policy.as_str()) {
            return Err("npast.policy is neither exact nor template".into());
        }
        if tools.as_ref().is_some_and(|tools| !tools.is_array()) {
            return Err("its tools are no list".into());
        }
        let digest = |name: &str, hex: &str| {
            Digest::from_hex(hex).ok_or_else(|| format!("npast.{name} is not a hash of 32 bytes"))
        };
        let made = match self.made.as_deref() {
            None => None,
            Some(word) => {
                Some(Continuation::parse(word).ok_or("npast.made is no word that is known")?)
            }
        };
        let mut end = self.head;
        let mut messages = Vec::with_capacity(bodies.len());
        for (seq, (place, body)) in self.messages.into_iter().zip(bodies).enumerate() {
            let wrong = |what: &str| format!("npast.messages: entry {seq} has {what}");
            let span = match place.span {
                // Inputs between two replies share their place.
                Some((start, stop)) if start <= stop && stop <= len && stop >= end => {
                    end = stop;
                    Some(Span { start, end: stop })
                }
                Some(_) => return Err(wrong("a span that is none")),
                None => None,
            };
            let role = body["role"].as_str().unwrap_or_default();
            messages.push(session::StoredMessage {
                id: MessageId(0),
                seq,
                role: role.to_owned(),
                state: match MessageState::parse(&place.state) {
                    Some(MessageState::Withdrawn) | None => {
                        return Err(wrong("no state that is known"));
                    }
                    Some(state) => state,
                },
                finish: finish(place.finish.as_deref()).map_err(wrong)?,
                span,
                created_ms: place.created_ms,
                trail: None,
                body,
            });
        }
        let mut receipts = Vec::with_capacity(self.receipts.len());
        for (at, one) in self.receipts.into_iter().enumerate() {
            receipts.push(Recorded {
                kind: one.kind,
                finish: finish(one.finish.as_deref())
                    .map_err(|what| format!("npast.receipts: entry {at} has {what}"))?,
                created_ms: one.created_ms,
                json: one.receipt,
            });
        }
        let sum = |count: i64| u64::try_from(count).map_err(|_| "npast.usage is negative");
        let session = Session {
            id: SessionId(0),
            folder: String::new(),
            model: self.model,
            class: self.class,
            vocab: digest("vocab", &self.vocab)?,
            template: digest("template", &self.template)?,
            fingerprint: digest("fingerprint", &self.fingerprint)?,
            system,
            tools,
            preface: self.preface,
            head: self.head,
            common: self.common,
            started_ms: self.started_ms,
            seed: self.seed,
            policy: self.policy,
            parent: None,
            runs_tools: self.runs_tools,
            thinking: self.thinking,
            shift: false,
            created_ms: self.created_ms,
            used_ms: self.used_ms,
            usage: ReceiptSums {
                calls: self.usage.calls.into(),
                evaluated: sum(self.usage.evaluated)?,
                restored: sum(self.usage.restored)?,
                kept: sum(self.usage.kept)?,
                generated: sum(self.usage.generated)?,
            },
            tries: self.tries.into(),
            forked: self.forked,
            successor: None,
            made,
            carried: self.carried,
            name: self.name,
        };
        Ok(Trajectory {
            session,
            messages,
            tokens: self.tokens.into_iter().map(Token).collect(),
            pending: self.pending,
            decoded: self.decoded,
            receipts,
        })
    }
}

fn finish(word: Option<&str>) -> Result<Option<Finish>, &'static str> {
    match word {
        None => Ok(None),
        Some(word) => match Finish::parse(word) {
            Some(finish) => Ok(Some(finish)),
            None => Err("no finish that is known"),
        },
    }
}
