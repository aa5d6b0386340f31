//! The C functions of `vendor/chat-bridge`, and a template that lives in this process.

use std::ffi::{CStr, c_char, c_int};
use std::ptr::NonNull;

// The bridge calls into the llama.cpp that this crate links, also where no Rust code names it.
use llama_cpp_sys_2 as _;

use crate::llama::log;

#[repr(C)]
struct RawTemplate {
    _opaque: [u8; 0],
}

#[repr(C)]
pub(super) struct RawParser {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn npast_chat_template_new(
        source: *const c_char,
        source_len: usize,
        bos: *const c_char,
        bos_len: usize,
        eos: *const c_char,
        eos_len: usize,
        out: *mut *mut RawTemplate,
    ) -> *mut c_char;
    fn npast_chat_template_free(handle: *mut RawTemplate);
    fn npast_chat_caps(handle: *const RawTemplate) -> *mut c_char;
    fn npast_chat_apply(
        handle: *mut RawTemplate,
        request: *const c_char,
        len: usize,
    ) -> *mut c_char;
    fn npast_chat_render(
        handle: *mut RawTemplate,
        request: *const c_char,
        len: usize,
    ) -> *mut c_char;
    #[cfg(test)]
    fn npast_chat_reference(
        handle: *const RawTemplate,
        request: *const c_char,
        len: usize,
    ) -> *mut c_char;
    pub(super) fn npast_chat_parser_new(
        applied: *const c_char,
        len: usize,
        out: *mut *mut RawParser,
    ) -> *mut c_char;
    pub(super) fn npast_chat_parser_free(handle: *mut RawParser);
    pub(super) fn npast_chat_parse(
        handle: *const RawParser,
        text: *const c_char,
        len: usize,
        partial: c_int,
    ) -> *mut c_char;
    fn npast_chat_string_free(text: *mut c_char);
    fn npast_chat_confine();
}

/// The operations of a template. Their numbers stand in the messages to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Op {
    Caps = 1,
    Apply = 2,
    Render = 3,
    #[cfg(test)]
    Reference = 4,
}

impl Op {
    pub(super) fn of(number: u8) -> Option<Op> {
        [Op::Caps, Op::Apply, Op::Render]
            .into_iter()
            .find(|op| *op as u8 == number)
    }
}

/// A parsed template. An answer is JSON text, `None` where memory ran out.
#[derive(Debug)]
pub(super) struct TemplateHandle(NonNull<RawTemplate>);

// SAFETY: the handle owns its memory and is bound to no thread.
unsafe impl Send for TemplateHandle {}
// SAFETY: the tree is constant after construction; its one lazy part is made under `call_once`.
unsafe impl Sync for TemplateHandle {}

impl TemplateHandle {
    /// Parses a template; the answer says why not.
    pub(super) fn new(
        source: &str,
        bos: &str,
        eos: &str,
    ) -> Result<TemplateHandle, Option<String>> {
        log::install();
        let mut handle = std::ptr::null_mut();
        // SAFETY: the three texts are valid for their lengths, `handle` is a place for a pointer.
        let answer = unsafe {
            npast_chat_template_new(
                source.as_ptr().cast(),
                source.len(),
                bos.as_ptr().cast(),
                bos.len(),
                eos.as_ptr().cast(),
                eos.len(),
                &mut handle,
            )
        };
        let answer = take(answer);
        match NonNull::new(handle).map(TemplateHandle) {
            // A handle beside an answer: parsing went on behind a bound that it met.
            Some(handle) if answer.is_none() => Ok(handle),
            _ => Err(answer),
        }
    }

    pub(super) fn call(&self, op: Op, text: &str) -> Option<String> {
        let (at, len) = (text.as_ptr().cast(), text.len());
        // SAFETY: the handle lives as long as self, the text is valid for its length.
        take(unsafe {
            match op {
                Op::Caps => npast_chat_caps(self.0.as_ptr()),
                Op::Apply => npast_chat_apply(self.0.as_ptr(), at, len),
                Op::Render => npast_chat_render(self.0.as_ptr(), at, len),
                #[cfg(test)]
                Op::Reference => npast_chat_reference(self.0.as_ptr(), at, len),
            }
        })
    }
}

impl Drop for TemplateHandle {
    fn drop(&mut self) {
        // SAFETY: made by npast_chat_template_new, freed once.
        unsafe { npast_chat_template_free(self.0.as_ptr()) }
    }
}

/// Running out of memory is an answer from now on. Only for a process that does nothing else.
pub(super) fn confine() {
    // SAFETY: sets a handler that throws where an allocation failed.
    unsafe { npast_chat_confine() }
}

/// Takes an answer's text over and frees it.
pub(super) fn take(answer: *mut c_char) -> Option<String> {
    if answer.is_null() {
        return None;
    }
    // SAFETY: a non-null answer is a NUL-terminated text of the bridge, freed once, after the copy.
    let text = unsafe { CStr::from_ptr(answer) }
        .to_string_lossy()
        .into_owned();
    // SAFETY: as above.
    unsafe { npast_chat_string_free(answer) };
    Some(text)
}
