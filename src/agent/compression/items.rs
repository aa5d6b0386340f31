//! The conversation as a cut sees it: who speaks, and how many tokens each message has.

use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::stored::text_of;
use crate::agent::values::refused::Refused;
use crate::chat::message::{Message, Role};

use super::cut::{self, CutMessage, CutWish, Division, Who};
use super::note;
use super::sizes::{Sizes, much_less};

impl Conversation {
    pub(in crate::agent) fn cut_now(&self, sizes: &Sizes) -> Result<Division, Refused> {
        let (limit, head) = (self.shared.limit, self.row.head);
        if head + sizes.summary + limit / 8 > limit {
            return Err(Refused::Small {
                limit,
                head,
                summary: sizes.summary,
                trained: self.shared.model.trained_context(),
            });
        }
        let n = self.answered();
        let items = self.items(n);
        let open = &self.messages[n..];
        let wish = CutWish {
            summary: note::summary_end(&self.messages[..n]),
            first: sizes.first,
            tail: sizes.tail,
            user_follows: open.iter().any(|m| m.role == "user"),
            results_follow: matches!(
                items.last(),
                Some(CutMessage {
                    who: Who::Reply { calls: 1.. },
                    ..
                })
            ),
        };
        let cut = cut::cut(&items, &wish).ok_or(Refused::Nothing)?;
        match much_less(head + cut.tokens(&items), self.ledger.len()) {
            true => Ok(cut),
            false => Err(Refused::Nothing),
        }
    }

    /// The first `n` messages as a cut sees them. A row of inputs between two replies is known as a whole;
    /// its tokens are shared out by the lengths of the texts.
    pub(in crate::agent) fn items(&self, n: usize) -> Vec<CutMessage> {
        let mut items = Vec::with_capacity(n);
        let mut end = self.row.head;
        let mut at = 0;
        while at < n {
            let message = &self.messages[at];
            if message.role == "assistant" {
                let span = message.span.filter(|s| s.end > s.start);
                let tokens = span.map_or(text_of(&message.body).len() / 3, |s| s.end - s.start);
                end = span.map_or(end, |s| s.end);
                let reply = Message::from_json(&message.body).ok();
                let calls = match message.finish {
                    Some(crate::ledger::Finish::ToolCalls) => reply.map_or(0, |m| m.calls.len()),
                    _ => 0,
                };
                items.push(CutMessage {
                    who: Who::Reply { calls },
                    tokens,
                });
                at += 1;
                continue;
            }
            let row = self.messages[at..n]
                .iter()
                .take_while(|m| m.role != "assistant");
            let weights: Vec<usize> = row.map(|m| text_of(&m.body).len() + 16).collect();
            let sum: usize = weights.iter().sum();
            let next = self.messages.get(at + weights.len()).and_then(|m| m.span);
            let total = next.map_or(sum / 3, |s| s.start.saturating_sub(end));
            for weight in weights {
                let who = match Role::parse(&self.messages[at].role) {
                    Some(Role::Tool) => Who::Result,
                    _ => Who::User,
                };
                items.push(CutMessage {
                    who,
                    tokens: total * weight / sum,
                });
                at += 1;
            }
        }
        items
    }
}
