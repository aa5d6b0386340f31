//! `npast sessions show --receipts`: what each model call of a session cost, and what was done for it while
//! nobody waited.

use serde_json::Value;

use super::super::CliContext;
use super::super::error::Failure;
use super::super::output::{self, count, table};
use crate::session::{Db, SessionId};

/// Prints the receipts, oldest first.
pub(super) fn run(run: &CliContext, db: &Db, id: SessionId) -> Result<i32, Failure> {
    let receipts = db.receipts(id)?;
    match run.json {
        true => output::json::lines(&receipts),
        false => output::page(&listed(&receipts)),
    }
}

/// A line for each.
fn listed(receipts: &[Value]) -> String {
    if receipts.is_empty() {
        return "No model call was made in this session.\n".to_owned();
    }
    let number = |value: &Value| count(value.as_u64().and_then(|n| n.try_into().ok()).unwrap_or(0));
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows: Vec<Vec<String>> = receipts
        .iter()
        .map(|r| {
            let bytes = |name: &str| r[name].as_u64().unwrap_or(0);
            let stored = bytes("saved_bytes") + bytes("snapshot_bytes");
            let ms = ["restore", "prefill", "decode", "save"];
            let ms: u64 = ms.iter().filter_map(|part| r["ms"][part].as_u64()).sum();
            vec![
                match r["call"].as_u64() {
                    None | Some(0) => String::new(),
                    Some(call) => call.to_string(),
                },
                word(&r["kind"]),
                match r["approximate"].as_bool() {
                    Some(true) => format!("{} approximate", word(&r["job"])).trim().to_owned(),
                    _ => word(&r["job"]),
                },
                number(&r["restored"]),
                number(&r["kept"]),
                number(&r["evaluated"]),
                number(&r["generated"]),
                count(usize::try_from(stored.div_ceil(1024)).unwrap_or(usize::MAX)),
                count(usize::try_from(ms).unwrap_or(usize::MAX)),
                word(&r["miss"]["reason"]),
            ]
        })
        .collect();
    let head = [
        "call",
        "kind",
        "job",
        "restored",
        "kept",
        "read",
        "written",
        "KiB",
        "ms",
        "read again",
    ];
    // Most sessions never read anything again.
    let columns = match rows.iter().any(|row| !row[9].is_empty()) {
        true => head.len(),
        false => head.len() - 1,
    };
    let rows: Vec<Vec<String>> = rows.into_iter().map(|r| r[..columns].to_vec()).collect();
    table(&head[..columns], &rows, &[0, 3, 4, 5, 6, 7, 8])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_receipt_is_a_line_with_its_kind_and_its_job() {
        let receipts = [
            json!({"kind": "turn", "call": 1, "restored": 0, "kept": 0, "evaluated": 1027, "generated": 15,
                "saved_bytes": 4096, "snapshot_bytes": 1, "miss": null,
                "ms": {"restore": 0, "prefill": 30, "first_token": 35, "decode": 10, "save": 2}}),
            json!({"kind": "fork", "job": "title", "call": 2, "restored": 0, "kept": 1041, "evaluated": 40,
                "generated": 6, "saved_bytes": 0, "snapshot_bytes": 0, "miss": null, "ms": {}}),
            json!({"kind": "idle", "job": "sample", "call": 0}),
            json!({"kind": "idle", "job": "read", "call": 3, "approximate": true}),
        ];
        assert_eq!(
            listed(&receipts),
            "call  kind  job               restored   kept   read  written  KiB  ms\n   \
             1  turn                           0      0  1,027       15    5  42\n   \
             2  fork  title                    0  1,041     40        6    0   0\n      \
                idle  sample                   0      0      0        0    0   0\n   \
             3  idle  read approximate         0      0      0        0    0   0\n"
        );
        assert_eq!(listed(&[]), "No model call was made in this session.\n");
    }
}
