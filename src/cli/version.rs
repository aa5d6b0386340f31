//! `npast --version`: everything that decides whether two builds give the same bits.

use crate::llama;

/// Stamped by build.rs.
const STAMPS: [(&str, Option<&str>); 5] = [
    ("llama-cpp-2", option_env!("NPAST_LLAMA_CRATE")),
    ("llama-cpp-sys-2", option_env!("NPAST_LLAMA_SYS")),
    ("llama.cpp", option_env!("NPAST_LLAMA_VERSION")),
    ("state format", option_env!("NPAST_STATE_VERSION")),
    ("target", option_env!("NPAST_TARGET")),
];

/// Label and value, in order.
pub fn rows() -> Vec<(&'static str, String)> {
    let mut rows = vec![("npast", env!("CARGO_PKG_VERSION").to_owned())];
    for (label, value) in STAMPS {
        rows.push((label, value.unwrap_or("unknown").to_owned()));
    }
    let profile = option_env!("NPAST_PROFILE").unwrap_or("unknown");
    rows.push(("profile", profile.to_owned()));
    rows.push(("backends", llama::backends().join(", ")));
    let features = option_env!("NPAST_TARGET_FEATURES").unwrap_or_default();
    rows.push(("built for", features.replace(',', " ")));
    rows.push(("llama.cpp has", llama::system_info().to_owned()));
    rows
}

/// The first line is `npast 0.1.0`, for scripts.
pub fn text() -> String {
    let mut text = String::new();
    for (at, (label, value)) in rows().into_iter().enumerate() {
        match at {
            0 => text.push_str(&format!("{label} {value}\n")),
            _ => text.push_str(&format!("{label}: {}\n", value.trim())),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_long_version_names_every_part_of_the_build() {
        let text = super::text();
        let first = format!("npast {}\n", env!("CARGO_PKG_VERSION"));
        assert!(text.starts_with(&first), "{text}");
        for label in [
            "llama-cpp-2: 0.1.160",
            "llama-cpp-sys-2: 0.1.161",
            "backends: ",
        ] {
            assert!(text.contains(label), "{label} is missing in {text}");
        }
        assert!(!text.contains(": unknown\n"), "{text}");
    }
}
