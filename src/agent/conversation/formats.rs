//! How replies are read and constrained. A format is made when it is first needed, and kept: the frozen
//! head, of which it is made, never changes.

use std::sync::atomic::AtomicBool;

use crate::agent::engine::shared::EngineShared;
use crate::agent::frozen::frame::FrozenFrame;
use crate::agent::values::error::AgentError;
use crate::agent::values::notice::Notice;
use crate::chat::template::{After, ReplyFormat};
use crate::chat::wish::ReplyWish;

/// The formats of a conversation's replies, as far as they were needed.
#[derive(Default)]
pub(in crate::agent) struct Formats {
    /// After a user's message.
    after_user: Option<ReplyFormat>,
    /// After results of calls.
    after_results: Option<ReplyFormat>,
    /// The format of the last reply with further conditions.
    wished: Option<(After, ReplyWish, ReplyFormat)>,
}

impl Formats {
    /// The format of replies after this, if it was made.
    pub fn get(&self, after: After) -> Option<&ReplyFormat> {
        match after {
            After::User => self.after_user.as_ref(),
            After::Results => self.after_results.as_ref(),
        }
    }

    /// Whether calls are written in the plain format, as far as a format was made.
    pub fn plain_calls(&self) -> bool {
        let made = [&self.after_user, &self.after_results];
        made.into_iter().flatten().any(|format| format.plain_calls)
    }

    fn place(&mut self, after: After) -> &mut Option<ReplyFormat> {
        match after {
            After::User => &mut self.after_user,
            After::Results => &mut self.after_results,
        }
    }

    /// Makes the format of replies if it is not there yet; gives what is to be said of the tools in it.
    /// Nothing is made where `cancel` came first.
    pub fn make(
        &mut self,
        frozen: &FrozenFrame,
        shared: &EngineShared,
        after: After,
        cancel: &AtomicBool,
    ) -> Result<Vec<Notice>, AgentError> {
        if self.get(after).is_some() {
            return Ok(Vec::new());
        }
        let Some(made) = frozen.format(shared, after, cancel)? else {
            return Ok(Vec::new());
        };
        // Both kinds have the same tools: what is to be said of them is said once.
        let first = self.after_user.is_none() && self.after_results.is_none();
        *self.place(after) = Some(made.format);
        Ok(if first { made.notices } else { Vec::new() })
    }

    /// The format of one reply with further conditions; `None` where `cancel` came first.
    pub fn wished(
        &mut self,
        frozen: &FrozenFrame,
        shared: &EngineShared,
        (after, wish): (After, &ReplyWish),
        cancel: &AtomicBool,
    ) -> Result<Option<ReplyFormat>, AgentError> {
        if let Some((made_after, made_for, format)) = &self.wished
            && (*made_after, made_for) == (after, wish)
        {
            return Ok(Some(format.clone()));
        }
        let format = frozen.wished(shared, after, wish, cancel)?;
        let kept = format.clone();
        self.wished = kept.map(|format| (after, wish.clone(), format));
        Ok(format)
    }
}
