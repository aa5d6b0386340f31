//! llama.cpp reports errors on its log and returns null. The log goes to `tracing`; the last
//! error lines are kept so that they can become an error's text.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};

use llama_cpp_sys_2 as sys;

thread_local! {
    /// Error and warning lines of this thread's calls since the last [`start_capture`], at most
    /// [`KEPT`] of them. llama.cpp says on the caller's thread why a call fails.
    static LINES: RefCell<Vec<(bool, String)>> = const { RefCell::new(Vec::new()) };
}
const KEPT: usize = 32;

/// Sends llama.cpp's log to `tracing` (target `llama`). Called once, before anything else.
pub(super) fn install() {
    // SAFETY: the callback is a plain function that never unwinds (see below).
    unsafe { sys::llama_log_set(Some(on_line), std::ptr::null_mut()) }
}

/// Forgets captured lines, so that [`captured_error`] speaks of what follows.
pub(super) fn start_capture() {
    LINES.with_borrow_mut(Vec::clear);
}

/// The last error line since [`start_capture`] that says something, else the last warning.
/// llama.cpp ends a failed load with a line that only says that it failed.
pub(super) fn captured_error() -> Option<String> {
    LINES.with_borrow(|lines| {
        let errors = || lines.iter().rev().filter(|(error, _)| *error);
        errors()
            .find(|(_, line)| line != "failed to load model")
            .or_else(|| errors().next())
            .or_else(|| lines.last())
            .map(|(_, line)| line.clone())
    })
}

unsafe extern "C" fn on_line(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a NUL-terminated string that lives for the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let line = text.trim();
    if line.is_empty() || line == "." {
        return;
    }
    match level {
        sys::GGML_LOG_LEVEL_ERROR => tracing::warn!(target: "llama", "{line}"),
        sys::GGML_LOG_LEVEL_WARN => tracing::info!(target: "llama", "{line}"),
        sys::GGML_LOG_LEVEL_INFO => tracing::debug!(target: "llama", "{line}"),
        _ => tracing::trace!(target: "llama", "{line}"),
    }
    let error = level == sys::GGML_LOG_LEVEL_ERROR;
    if !error && level != sys::GGML_LOG_LEVEL_WARN {
        return;
    }
    // The text before the first ": " is a C++ function's name.
    let said = match line.split_once(": ") {
        Some((name, rest)) if !name.contains(' ') => rest,
        _ => line,
    };
    // A thread that is ending has no lines any more.
    let _ = LINES.try_with(|lines| {
        if let Ok(mut lines) = lines.try_borrow_mut() {
            if lines.len() == KEPT {
                lines.remove(0);
            }
            lines.push((error, said.to_owned()));
        }
    });
}
