//! llama.cpp reports errors on its log and returns null. The log goes to `tracing`, and npast keeps the
//! last error lines, so that they can become the text of an error. What llama.cpp's C and C++ code writes
//! on standard error goes to the log too: only npast writes on the terminal. When llama.cpp aborts, its
//! reason becomes a sentence of npast's.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::sync::{Once, OnceLock};

use llama_cpp_sys_2 as sys;

thread_local! {
    /// Error and warning lines of this thread's calls since the last [`start_capture`], at most
    /// [`KEPT`] of them. llama.cpp says on the caller's thread why a call fails.
    static LINES: RefCell<Vec<(bool, String)>> = const { RefCell::new(Vec::new()) };
}
const KEPT: usize = 32;

type TextFn = unsafe extern "C" fn(*const c_char);

unsafe extern "C" {
    fn npast_capture_stderr(line: TextFn);
    fn npast_on_terminate(end: TextFn);
}

/// What is called when llama.cpp aborts; its answer is the exit code.
static ON_ABORT: OnceLock<fn(&str) -> i32> = OnceLock::new();

/// Sends llama.cpp's log and its standard error to `tracing` (target `llama`). Before anything else
/// of llama.cpp is called; cheap when it is done already.
pub(super) fn install() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        // SAFETY: the callbacks are plain functions that never unwind (see below). ggml's log, which
        // GGUF files are read with, is set by the same call.
        unsafe {
            sys::llama_log_set(Some(on_line), std::ptr::null_mut());
            npast_capture_stderr(on_stderr);
        }
    });
}

/// An assertion of llama.cpp, or an exception of it that nobody catches, calls `handler` with the
/// reason and ends the process with the exit code that it gives: at once, since other threads may be
/// inside of llama.cpp. The first handler stays.
pub fn on_abort(handler: fn(&str) -> i32) {
    if ON_ABORT.set(handler).is_ok() {
        // SAFETY: the callbacks are plain functions that end the process.
        unsafe {
            sys::ggml_set_abort_callback(Some(on_end));
            npast_on_terminate(on_end);
        }
    }
}

unsafe extern "C" fn on_end(text: *const c_char) {
    let text = super::text::text(text);
    // The source's folder is of no use to people.
    let words = match text.split_once(".c") {
        Some((path, _)) => &text[path.rfind('/').map_or(0, |at| at + 1)..],
        None => text.as_str(),
    };
    let code = std::panic::catch_unwind(|| ON_ABORT.get().map_or(1, |handler| handler(words)));
    end(code.unwrap_or(1))
}

/// Ends the process without running anything else of it.
#[cfg(target_os = "linux")]
fn end(code: i32) -> ! {
    // SAFETY: no memory is touched.
    unsafe { libc::_exit(code) }
}

#[cfg(not(target_os = "linux"))]
fn end(code: i32) -> ! {
    std::process::exit(code)
}

unsafe extern "C" fn on_stderr(text: *const c_char) {
    let text = super::text::text(text);
    let line = text.trim();
    if !line.is_empty() {
        let _ = std::panic::catch_unwind(|| tracing::warn!(target: "llama", "{line}"));
        keep(false, line);
    }
}

/// Forgets captured lines, so that [`captured_error`] covers only what follows.
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

/// The first error line since [`start_capture`]: of one failure ggml names the cause first.
pub(super) fn first_error() -> Option<String> {
    LINES.with_borrow(|lines| {
        let first = lines.iter().find(|(error, _)| *error);
        first.map(|(_, line)| line.clone())
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
    keep(error, said);
}

/// Remembers a line for [`captured_error`].
fn keep(error: bool, said: &str) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llama::{Grammar, Model, ModelOptions, Sampler, Sampling};
    use crate::tiny::{Class, Options, tiny_model};

    #[test]
    fn what_c_code_writes_on_standard_error_becomes_lines_of_the_log() {
        let path = tiny_model(Class::Dense, &Options::default());
        let options = ModelOptions {
            vocab_only: true,
            ..ModelOptions::default()
        };
        let model = Model::load(&path, &options, &mut |_| true).unwrap();
        start_capture();
        let grammar = Grammar {
            text: "root ::= (".to_owned(),
            lazy: false,
            patterns: Vec::new(),
            tokens: Vec::new(),
            prefill: Vec::new(),
            begun: Vec::new(),
        };
        let made = Sampler::new(model.vocab(), &Sampling::default(), Some(&grammar), &[]);
        assert!(made.is_err());
        let said = LINES.with_borrow(|lines| lines.iter().any(|l| l.1.contains("grammar")));
        assert_eq!(
            said,
            cfg!(target_env = "gnu"),
            "the C library's stream is exchanged"
        );
    }
}
