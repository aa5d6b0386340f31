//! Compiles vendor/chat-bridge against the sources of the llama.cpp that is linked, and stamps
//! versions into the binary for `npast --version`.
//!
//! Everything that this script needs is named by llama-cpp-sys-2's own build, or lies in this
//! folder. It never calls cargo: `cargo metadata` wants the packages of tests too, and a machine
//! that only builds the program never downloads those.

use std::path::{Path, PathBuf};

const BRIDGE: &str = "vendor/chat-bridge";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=Cargo.toml");
    println!("cargo:rerun-if-changed={BRIDGE}");

    let cache = cmake_cache();
    let llama = llama_sources(&cache);
    compile_bridge(&llama);
    find_libraries();
    stamp("NPAST_LLAMA_FLAGS", llama_flags(&cache));
    stamp("NPAST_LLAMA_CRATE", &pinned_version("llama-cpp-2"));
    stamp("NPAST_LLAMA_SYS", &pinned_version("llama-cpp-sys-2"));
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

/// A build with `dynamic-backends` links llama.cpp as shared libraries. The program looks for them in
/// its own folder and in `../lib/npast` beside it; `src/llama/backend.rs` looks for the backends
/// there too, and last where llama.cpp's build put them.
fn find_libraries() {
    println!("cargo:rerun-if-env-changed=DEP_LLAMA_BACKENDS_DIR");
    if std::env::var_os("CARGO_FEATURE_DYNAMIC_BACKENDS").is_none() {
        return;
    }
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN:$ORIGIN/../lib/npast");
    if let Ok(folder) = std::env::var("DEP_LLAMA_BACKENDS_DIR") {
        stamp("NPAST_BACKENDS", &folder);
    }
}

fn stamp(name: &str, value: &str) {
    println!("cargo:rustc-env={name}={value}");
}

/// What CMake wrote down of the llama.cpp that llama-cpp-sys-2 compiled. Its build script hands over
/// `<its OUT_DIR>/lib/cmake` (or `lib64/cmake`) as DEP_LLAMA_GGML_CMAKE_DIR, and CMake's notes are
/// `<its OUT_DIR>/build/CMakeCache.txt`.
fn cmake_cache() -> String {
    println!("cargo:rerun-if-env-changed=DEP_LLAMA_GGML_CMAKE_DIR");
    let cmake = PathBuf::from(std::env::var_os("DEP_LLAMA_GGML_CMAKE_DIR").expect(
        "llama-cpp-sys-2 does not say where it put llama.cpp: DEP_LLAMA_GGML_CMAKE_DIR is not set",
    ));
    let cache = cmake
        .ancestors()
        .nth(2)
        .expect("DEP_LLAMA_GGML_CMAKE_DIR is <folder>/lib/cmake")
        .join("build/CMakeCache.txt");
    println!("cargo:rerun-if-changed={}", cache.display());
    std::fs::read_to_string(&cache)
        .unwrap_or_else(|error| panic!("{} could not be read: {error}", cache.display()))
}

/// The folder of the sources that were compiled. So a patched, vendored or mirrored crate is found too.
fn llama_sources(cache: &str) -> PathBuf {
    let sources = cache
        .lines()
        .find_map(|line| line.strip_prefix("CMAKE_HOME_DIRECTORY:INTERNAL="))
        .map(PathBuf::from)
        .expect("CMakeCache.txt names no source folder");
    assert!(
        sources.join("common/chat.h").is_file(),
        "{} holds no common/chat.h",
        sources.display()
    );
    sources
}

/// The flags by which C++ was compiled. They decide the last bits of what the model computes, so they are a
/// part of the soft fingerprint of stored KV. Cargo does not compile llama.cpp again where they change.
fn llama_flags(cache: &str) -> &str {
    println!("cargo:rerun-if-env-changed=CXXFLAGS");
    let flags = cache
        .lines()
        .find_map(|line| line.strip_prefix("CMAKE_CXX_FLAGS:STRING="))
        .unwrap_or_default();
    let wanted = std::env::var("CXXFLAGS").unwrap_or_default();
    let has = |flag: &str| flags.split_whitespace().any(|known| known == flag);
    if let Some(missing) = wanted.split_whitespace().find(|flag| !has(flag)) {
        println!(
            "cargo:warning=llama.cpp was compiled without {missing}, which CXXFLAGS asks for; compile it \
             again with: cargo clean --release -p llama-cpp-sys-2"
        );
    }
    flags
}

/// The version that Cargo.toml pins with `=`, so the one that is linked.
fn pinned_version(package: &str) -> String {
    let manifest = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"))
        .join("Cargo.toml");
    let text = std::fs::read_to_string(manifest).expect("Cargo.toml can be read");
    text.lines()
        .find_map(|line| {
            let rest = line.strip_prefix(package)?.trim_start().strip_prefix('=')?;
            let pinned = &rest[rest.find("\"=")? + 2..];
            Some(pinned[..pinned.find('"')?].to_owned())
        })
        .unwrap_or_else(|| panic!("Cargo.toml does not pin {package} with `=`"))
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
        // One header that is not installed: what a context takes in memory.
        .include(llama.join("src"))
        .include(llama.join("vendor"));
    for file in [
        "limits.cpp",
        "memory.cpp",
        "parser.cpp",
        "process.cpp",
        "template.cpp",
    ] {
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
