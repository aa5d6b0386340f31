//! How much memory a context takes on each device, as llama.cpp counts it: weights, states, buffers.
//! For a model that was only planned ([`Model::plan`](super::Model::plan)) none of it is there, and
//! the numbers are the same.

use std::ffi::{c_char, c_int};

use llama_cpp_sys_2 as sys;

use super::Context;

/// Devices that one query covers: more than any machine has.
const MAX_PLACES: usize = 64;
/// Bytes of a device's name in the bridge.
const NAME: usize = 64;

/// What one place holds: the host's memory, or a card's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Takes {
    /// The device's name; `None` is the host.
    pub device: Option<String>,
    /// Bytes of weights.
    pub weights: u64,
    /// Bytes of KV and recurrent states.
    pub context: u64,
    /// Bytes of buffers for one decode call.
    pub compute: u64,
}

/// A row of vendor/chat-bridge/memory.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct TakesRow {
    device: [c_char; NAME],
    model: u64,
    context: u64,
    compute: u64,
}

unsafe extern "C" {
    fn npast_memory(ctx: *const sys::llama_context, rows: *mut TakesRow, room: c_int) -> c_int;
}

impl Context {
    /// What it takes, a row for each place that holds something.
    pub fn takes(&self) -> Vec<Takes> {
        let empty = TakesRow {
            device: [0; NAME],
            model: 0,
            context: 0,
            compute: 0,
        };
        let mut rows = [empty; MAX_PLACES];
        // SAFETY: the context is valid while `self` lives; at most MAX_PLACES rows are written.
        let count = unsafe { npast_memory(self.raw(), rows.as_mut_ptr(), MAX_PLACES as c_int) };
        let count = usize::try_from(count).unwrap_or(0).min(MAX_PLACES);
        let name = |row: &TakesRow| {
            let bytes = row.device.iter().take_while(|c| **c != 0).map(|c| *c as u8);
            let bytes: Vec<u8> = bytes.collect();
            (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
        };
        rows[..count]
            .iter()
            .map(|row| Takes {
                device: name(row),
                weights: row.model,
                context: row.context,
                compute: row.compute,
            })
            .collect()
    }
}
