//! What a session left behind, read by someone who did not write it: messages and ledger from
//! npast.db, the ledger's text by the vocabulary, the history by the template.

use std::path::Path;
use std::sync::Arc;

use npast::chat::Message;
use npast::chat::pieces;
use npast::chat::template::{ChatTemplate, Marks, TemplateFrame};
use npast::ledger::{Finish, Token};
use npast::llama::{Model, ModelOptions, Vocab};
use npast::session::{self, Db, MessageState};

use crate::talk::Desk;

/// A session as it lies on disk.
pub struct Stored {
    pub messages: Vec<session::StoredMessage>,
    pub ledger: Vec<Token>,
    /// Tokens at the ledger's end that were not decoded.
    pub pending: usize,
}

impl Stored {
    pub fn of(desk: &Desk, name: &str) -> Stored {
        let db = Db::open(&desk.home.join("npast.db")).expect("npast.db");
        let row = db.find(name).expect("a query").expect("the session");
        Stored {
            messages: db.messages(row.id).expect("messages"),
            ledger: db.ledger(row.id).expect("a ledger"),
            pending: db.pending(row.id).expect("a session"),
        }
    }

    /// Tokens that no later turn may change.
    pub fn decoded(&self) -> &[Token] {
        &self.ledger[..self.ledger.len() - self.pending]
    }

    pub fn last(&self) -> (&session::StoredMessage, Message) {
        let row = self.messages.last().expect("a message");
        (row, Message::from_json(&row.body).expect("a message"))
    }

    pub fn reply(&self) -> (Message, Option<Finish>) {
        let row = self.messages.iter().rfind(|m| m.role == "assistant");
        let row = row.expect("a reply");
        let body = Message::from_json(&row.body).expect("a message");
        (body, row.finish)
    }

    /// Role, state and text of every message.
    pub fn outline<'a>(&'a self) -> Vec<(&'a str, MessageState, &'a str)> {
        let content =
            |m: &'a session::StoredMessage| m.body["content"].as_str().unwrap_or_default();
        let all = self.messages.iter();
        all.map(|m| (m.role.as_str(), m.state, content(m)))
            .collect()
    }
}

/// A vocabulary and a template of the desk's model.
pub struct Reader {
    model: Arc<Model>,
    template: ChatTemplate,
    frame: TemplateFrame,
}

impl Reader {
    pub fn of(desk: &Desk) -> Reader {
        let model = Model::load(&desk.model, &ModelOptions::default(), &mut |_| true);
        let model = Arc::new(model.expect("a tiny model"));
        let source = model.chat_template(None).expect("a template");
        let template = ChatTemplate::new(&source, marks(model.vocab())).expect("a template");
        Reader {
            frame: TemplateFrame {
                system: desk.system.clone(),
                tools: desk.tools.clone(),
                thinking: true,
                ..TemplateFrame::default()
            },
            model,
            template,
        }
    }

    pub fn vocab(&self) -> &Vocab {
        self.model.vocab()
    }

    /// The text of tokens, control tokens as their text.
    pub fn text(&self, tokens: &[Token]) -> String {
        String::from_utf8_lossy(&self.vocab().bytes(tokens, true)).into_owned()
    }

    /// What the template puts between an open reasoning block and the answer.
    pub fn thinking_close(&self) -> &str {
        &self.template.battery().thinking.close
    }

    /// The whole history as the template writes it: must succeed, with every user's text in it.
    pub fn render(&self, stored: &Stored) -> String {
        let messages: Vec<Message> = stored
            .messages
            .iter()
            .map(|m| Message::from_json(&m.body).expect("a message"))
            .collect();
        let pieces = self.template.full(&self.frame, &messages);
        let text = pieces::join(&pieces.expect("a history that the template renders"));
        for message in messages
            .iter()
            .filter(|m| m.call_id.is_none() && m.calls.is_empty())
        {
            assert!(text.contains(message.text.trim()), "{message:?} in {text}");
        }
        text
    }
}

fn marks(vocab: &Vocab) -> Marks {
    let text = |token| String::from_utf8_lossy(&vocab.piece(token, true)).into_owned();
    let all =
        |keep: &dyn Fn(Token) -> bool| vocab.tokens().filter(|t| keep(*t)).map(text).collect();
    Marks {
        bos: vocab.bos().map(text).unwrap_or_default(),
        eos: vocab.eos().map(text).unwrap_or_default(),
        eog: all(&|t| vocab.is_end(t)),
        control: all(&|t| vocab.is_control(t)),
    }
}

/// Removes every KV file, as law 6 allows.
pub fn delete_kv(home: &Path) {
    let kv = home.join("kv");
    if kv.exists() {
        std::fs::remove_dir_all(kv).expect("the KV folder");
    }
}
