//! Replies taken apart by the parser that came with their grammar.

use std::ffi::c_int;
use std::ptr::NonNull;

use serde_json::json;

use super::answer::{Applied, BridgeError, MAX_REPLY_BYTES, ParsedReply, bounded, read, refusal};
use super::raw::{
    RawParser, npast_chat_parse, npast_chat_parser_free, npast_chat_parser_new, take,
};
use crate::llama::log;

/// The parser of one grammar's replies. A reader of a reply loads its own.
#[derive(Debug)]
pub struct ReplyParser(NonNull<RawParser>);

// SAFETY: the handle owns its memory and is bound to no thread.
unsafe impl Send for ReplyParser {}
// SAFETY: parsing keeps its state apart from the parser, which is constant.
unsafe impl Sync for ReplyParser {}

impl ReplyParser {
    /// Loads the parser of an applied conversation.
    ///
    /// # Errors
    /// `Bridge` if the serialised parser is not one.
    pub fn new(applied: &Applied) -> Result<ReplyParser, BridgeError> {
        let text = json!({
            "format": applied.format,
            "generation_prompt": applied.generation_prompt,
            "parser": applied.parser,
        })
        .to_string();
        log::install();
        let mut handle = std::ptr::null_mut();
        // SAFETY: the text is valid for its length, `handle` is a place for a pointer.
        let answer =
            unsafe { npast_chat_parser_new(text.as_ptr().cast(), text.len(), &mut handle) };
        let answer = take(answer);
        match NonNull::new(handle) {
            Some(handle) => Ok(ReplyParser(handle)),
            None => Err(refusal(answer, BridgeError::Bridge)),
        }
    }

    /// Takes a reply apart: what was sampled after the prompt, without the end-of-turn token.
    /// `partial` says that more may come; the cost is O(text) each time.
    ///
    /// # Errors
    /// `Reply` if the text does not have the template's form.
    pub fn parse(&self, text: &str, partial: bool) -> Result<ParsedReply, BridgeError> {
        bounded("reply", text.len(), MAX_REPLY_BYTES)?;
        // SAFETY: the handle lives as long as self, the text is valid for its length.
        let answer = unsafe {
            npast_chat_parse(
                self.0.as_ptr(),
                text.as_ptr().cast(),
                text.len(),
                c_int::from(partial),
            )
        };
        read(take(answer), BridgeError::Reply)
    }
}

impl Drop for ReplyParser {
    fn drop(&mut self) {
        // SAFETY: made by npast_chat_parser_new, freed once.
        unsafe { npast_chat_parser_free(self.0.as_ptr()) }
    }
}
