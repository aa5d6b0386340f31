//! llama.cpp reports errors on its log and returns null. The log goes to `tracing`; the last
//! error lines are kept so that they can become an error's text.

use std::ffi::{CStr, c_char, c_void};
use std::sync::Mutex;

use llama_cpp_sys_2 as sys;

/// Error and warning lines since the last [`start_capture`], at most [`KEPT`] of them.
static LINES: Mutex<Vec<(bool, String)>> = Mutex::new(Vec::new());
const KEPT: usize = 32;

/// Sends llama.cpp's log to `tracing` (target `llama`). Called once, before anything else.
pub(super) fn install() {
    // SAFETY: the callback is a plain function that never unwinds (see below).
    unsafe { sys::llama_log_set(Some(on_line), std::ptr::null_mut()) }
}

/// Forgets captured lines, so that [`captured_error`] speaks of what follows.
pub(super) fn start_capture() {
    if let Ok(mut lines) = LINES.lock() {
        lines.clear();
    }
}

/// The last error line since [`start_capture`], else the last warning.
pub(super) fn captured_error() -> Option<String> {
    let lines = LINES.lock().ok()?;
    let last = |errors: bool| lines.iter().rev().find(|(e, _)| *e == errors);
    last(true)
        .or_else(|| last(false))
        .map(|(_, line)| line.clone())
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
    if (error || level == sys::GGML_LOG_LEVEL_WARN)
        && let Ok(mut lines) = LINES.lock()
    {
        if lines.len() == KEPT {
            lines.remove(0);
        }
        // The text before the first ": " is a C++ function's name.
        let said = match line.split_once(": ") {
            Some((name, rest)) if !name.contains(' ') => rest,
            _ => line,
        };
        lines.push((error, said.to_owned()));
    }
}
