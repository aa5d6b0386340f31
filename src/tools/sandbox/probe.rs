//! What the kernel really enforces, found by trying: a small program in the sandbox tries to write
//! outside, to read what is hidden and to open a socket, and reports what it could do.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use super::{Enforced, MESSAGE_PREFIX, SUBCOMMAND, Sandbox, TOLD};

/// Where it may not write, and what it may not read.
const FILES: [&str; 2] = ["outside", "hidden"];

pub(super) fn outside(sandbox: &Sandbox, scratch: &Path) -> Enforced {
    let tried = || -> std::io::Result<Enforced> {
        let folder = tempfile_in(scratch)?;
        let [outside, hidden] = FILES.map(|name| folder.join(name));
        std::fs::write(&outside, "as it was")?;
        std::fs::write(&hidden, "a secret")?;
        let mut behind = sandbox.clone();
        if let Some(rules) = &mut behind.rules {
            rules.hidden.push(folder.clone());
            // Where it tries must be outside.
            rules.write.retain(|open| !folder.starts_with(open));
        }
        // This file may lie below a hidden folder.
        behind.read.push(sandbox.program.clone());
        behind
            .environment
            .push(("NPAST_SANDBOX_PROBE".into(), folder.clone().into()));
        let words = [
            sandbox.program.clone().into(),
            SUBCOMMAND.into(),
            "probe".into(),
        ];
        let mut command = behind.wrap(&words as &[OsString], Path::new("/"))?;
        let ran = command.stdin(Stdio::null()).output();
        let kept = std::fs::metadata(&outside).is_ok_and(|m| !m.permissions().readonly());
        let whole = std::fs::read(&outside).is_ok_and(|text| text == b"as it was");
        std::fs::remove_dir_all(&folder)?;
        let ran = ran?;
        let said = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
        let mut enforced: Enforced = match serde_json::from_slice(&ran.stdout) {
            Ok(enforced) => enforced,
            Err(_) if said.is_empty() => return Ok(Enforced::none("it gave no answer")),
            Err(_) => return Ok(Enforced::none(said.trim_start_matches(MESSAGE_PREFIX))),
        };
        enforced.writes &= whole;
        enforced.modes &= whole && kept;
        Ok(enforced)
    };
    tried().unwrap_or_else(|error| Enforced::none(&error.to_string()))
}

fn tempfile_in(scratch: &Path) -> std::io::Result<PathBuf> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |t| t.as_nanos());
    let folder = scratch.join(format!("sandbox-probe-{}-{now}", std::process::id()));
    std::fs::create_dir(&folder)?;
    folder.canonicalize()
}

/// In the sandbox: what can be done?
pub(super) fn inside() -> ExitCode {
    let folder = PathBuf::from(std::env::var_os("NPAST_SANDBOX_PROBE").unwrap_or_default());
    let [outside, hidden] = FILES.map(|name| folder.join(name));
    let refused = |error: std::io::Error| {
        use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem)
    };
    let enforced = Enforced {
        writes: std::fs::write(&outside, "changed").is_err_and(refused),
        reads: std::fs::read(&hidden).is_err_and(refused),
        network: std::net::UdpSocket::bind(("127.0.0.1", 0)).is_err_and(refused),
        modes: std::fs::metadata(&outside).is_ok_and(|m| {
            let mut mode = m.permissions();
            mode.set_readonly(true);
            std::fs::set_permissions(&outside, mode).is_err()
        }),
        by: std::env::var(TOLD).unwrap_or_default(),
    };
    let text = serde_json::to_string(&enforced).unwrap_or_default();
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
