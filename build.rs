//! Compiles vendor/chat-bridge against the sources of the llama.cpp that is linked, and stamps
//! versions into the binary for `npast --version`.

use std::path::{Path, PathBuf};
use std::process::Command;

const BRIDGE: &str = "vendor/chat-bridge";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=Cargo.lock");
    println!("cargo:rerun-if-changed={BRIDGE}");

    let packages = Packages::read();
    let llama = packages.llama_sources();
    compile_bridge(&llama);
    stamp("NPAST_LLAMA_CRATE", &packages.version("llama-cpp-2"));
    stamp("NPAST_LLAMA_SYS", &packages.version("llama-cpp-sys-2"));
    stamp("NPAST_LLAMA_VERSION", &llama_version(&llama));
    stamp("NPAST_STATE_VERSION", &state_version(&llama));
    stamp(
        "NPAST_TARGET_FEATURES",
        &std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default(),
    );
    stamp("NPAST_TARGET", &std::env::var("TARGET").unwrap_or_default());
    stamp(
        "NPAST_PROFILE",
        &std::env::var("PROFILE").unwrap_or_default(),
    );
}

fn stamp(name: &str, value: &str) {
    println!("cargo:rustc-env={name}={value}");
}

/// What `cargo metadata` says of this build's packages.
struct Packages(serde_json::Value);

impl Packages {
    fn read() -> Packages {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let manifest = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"))
            .join("Cargo.toml");
        let output = Command::new(cargo)
            .args(["metadata", "--offline", "--format-version", "1"])
            // Packages of other platforms were never downloaded, and offline they are an error.
            .args([
                "--filter-platform",
                &std::env::var("TARGET").expect("set by cargo"),
            ])
            .arg("--manifest-path")
            .arg(manifest)
            .output()
            .expect("cargo metadata could not be started");
        assert!(
            output.status.success(),
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Packages(serde_json::from_slice(&output.stdout).expect("cargo metadata wrote JSON"))
    }

    fn package(&self, name: &str) -> &serde_json::Value {
        self.0["packages"]
            .as_array()
            .and_then(|all| all.iter().find(|p| p["name"] == name))
            .unwrap_or_else(|| panic!("the package {name} is not among this build's dependencies"))
    }

    fn version(&self, name: &str) -> String {
        self.package(name)["version"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    fn llama_sources(&self) -> PathBuf {
        let manifest = self.package("llama-cpp-sys-2")["manifest_path"]
            .as_str()
            .expect("a package has a manifest");
        let sources = Path::new(manifest).with_file_name("llama.cpp");
        assert!(
            sources.join("common/chat.h").is_file(),
            "llama-cpp-sys-2 carries no llama.cpp/common/chat.h"
        );
        sources
    }
}

fn compile_bridge(llama: &Path) {
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        // Optimised and without asserts under every Rust profile, as llama.cpp itself is: inline
        // code of its headers must be the same on both sides.
        .opt_level(2)
        .define("NDEBUG", None)
        .warnings(false)
        .include(BRIDGE)
        .include(llama.join("common"))
        .include(llama.join("include"))
        .include(llama.join("ggml/include"))
        .include(llama.join("vendor"));
    for file in ["limits.cpp", "parser.cpp", "template.cpp"] {
        build.file(format!("{BRIDGE}/{file}"));
    }
    build.compile("npast_chat_bridge");
}

/// `0.6.0` from CMakeLists.txt, "unknown" when its wording changed.
fn llama_version(llama: &Path) -> String {
    let text = std::fs::read_to_string(llama.join("CMakeLists.txt")).unwrap_or_default();
    let part = |name: &str| {
        let start = text.find(&format!("set(LLAMA_VERSION_{name} "))?;
        let rest = &text[start..];
        Some(rest[rest.find(' ')? + 1..rest.find(')')?].to_owned())
    };
    match (part("MAJOR"), part("MINOR"), part("PATCH")) {
        (Some(major), Some(minor), Some(patch)) => format!("{major}.{minor}.{patch}"),
        _ => "unknown".to_owned(),
    }
}

/// LLAMA_STATE_SEQ_VERSION of llama.h: the layout of a sequence's state.
fn state_version(llama: &Path) -> String {
    let text = std::fs::read_to_string(llama.join("include/llama.h")).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("#define LLAMA_STATE_SEQ_VERSION"))
        .map(|rest| rest.trim().to_owned())
        .expect("llama.h defines LLAMA_STATE_SEQ_VERSION")
}
