//! Strings of llama.cpp as strings of Rust.

use std::ffi::CStr;

/// A copy of a C string; empty for null.
pub(super) fn text(c: *const std::ffi::c_char) -> String {
    if c.is_null() {
        return String::new();
    }
    // SAFETY: not null, and callers pass NUL-terminated strings of llama.cpp's.
    unsafe { CStr::from_ptr(c) }.to_string_lossy().into_owned()
}
