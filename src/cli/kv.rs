//! `npast kv status`: what states cost on disk. The store itself is not opened for it, so another
//! process may be writing.

use serde_json::json;

use super::Run;
use super::args::{KvArgs, KvCommand};
use super::error::Failure;
use super::output::{self, bytes, count};
use super::state;

/// Runs the subcommand.
pub fn run(run: &Run, args: &KvArgs) -> Result<i32, Failure> {
    let KvCommand::Status = args.command;
    let path = run.places.home.join("kv");
    let size = state::size(&path);
    let free = state::free(&path);
    if run.json {
        return output::json::lines(&[json!({
            "path": path.to_string_lossy(), "files": size.files, "bytes": size.bytes, "free": free,
        })]);
    }
    output::page(&format!(
        "{}: {} in {} files, {} free on this disk\n\
         Deleting it costs time and never a message: what is missing is read again.\n",
        path.display(),
        bytes(size.bytes),
        count(usize::try_from(size.files).unwrap_or(usize::MAX)),
        free.map_or_else(|| "unknown".to_owned(), bytes),
    ))
}
