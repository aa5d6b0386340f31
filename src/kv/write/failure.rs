//! Why a job of the writer thread failed, and the notice that the user gets about it. Invariant: one
//! cause (a full disk, a read-only folder) gives one notice, whichever operation met it.

use std::io;

use rusqlite::ErrorCode;

use crate::kv::error::Damage;
use crate::kv::notice::Notices;
use crate::kv::open::index::IndexError;

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::kv) enum WriteFailure {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Index(#[from] rusqlite::Error),
    /// The record was not written, because a reader would refuse it.
    #[error("{0}")]
    Invalid(Damage),
}

impl IndexError for WriteFailure {
    fn of_index(&self) -> Option<&rusqlite::Error> {
        match self {
            WriteFailure::Index(error) => Some(error),
            _ => None,
        }
    }
}

const FULL: &str =
    "Free some space; until then what is not saved is evaluated again after a restart.";
const CLOSED: &str =
    "Make the data folder writable; until then KV is evaluated again after a restart.";
const BROKEN: &str = "Check the disk of the data folder; saving is tried again with the next turn.";

/// Adds the notice that something could not be stored; once for each reason.
pub(in crate::kv) fn report(notices: &Notices, failure: &WriteFailure) {
    let (reason, text, hint) = match failure {
        WriteFailure::Io(error) => {
            let (reason, hint) = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    ("full".to_owned(), FULL)
                }
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    ("closed".to_owned(), CLOSED)
                }
                kind => (format!("io {kind:?} {:?}", error.raw_os_error()), BROKEN),
            };
            (reason, format!("KV could not be saved: {error}."), hint)
        }
        WriteFailure::Index(error) => {
            let (reason, hint) = index_reason(error);
            let text = format!("KV could not be noted in its index: {error}.");
            (reason, text, hint)
        }
        WriteFailure::Invalid(damage) => (
            format!("invalid {damage:?}"),
            format!("A part of the KV state cannot be stored: {damage}."),
            "It is evaluated again after a restart; please report this.",
        ),
    };
    notices.add_once(&reason, text, hint);
}

/// Adds the notice that a merge failed. Merging only saves time later: everything is stored as before.
pub(in crate::kv) fn report_merging(notices: &Notices, failure: &WriteFailure) {
    notices.add_once(
        "merge",
        format!("Small KV files could not be merged: {failure}."),
        "Nothing is lost, and it is tried again with the next turn; check the disk of the data folder.",
    );
}

/// The reason under which a failure of the index is reported, and what the user can do. A full disk has
/// one reason, whether a record file or the index met it first.
fn index_reason(error: &rusqlite::Error) -> (String, &'static str) {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => ("full".to_owned(), FULL),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            ("closed".to_owned(), CLOSED)
        }
        Some(code @ ErrorCode::SystemIoFailure) => (format!("index {code:?}"), BROKEN),
        Some(code @ (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => (
            format!("index {code:?}"),
            "Another npast held the index for long; what was not noted is found at the next start.",
        ),
        code => (
            format!("index {code:?}"),
            "Check the disk of the data folder; what was not noted is found at the next start.",
        ),
    }
}
