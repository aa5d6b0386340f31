//! Names that only Linux has stand only where the compiler for other systems does not look: in items
//! and modules under `cfg(target_os = "linux")`. No machine of the project runs macOS, so this looks
//! at the source.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What is missing on macOS: crates, modules and items of `rustix` and `std`.
const ONLY_LINUX: &[&str] = &[
    "landlock",
    "seccompiler",
    "libc",
    "nix",
    "procfs",
    "os::linux",
    "rustix::mount",
    "mount",
    "fadvise",
    "fallocate",
    "memfd_create",
    "mknodat",
    "copy_file_range",
    "sendfile",
    "openat2",
    "statx",
    "renameat_with",
    "inotify",
    "epoll",
    "eventfd",
    "signalfd",
    "timerfd",
    "pidfd_open",
    "pidfd_send_signal",
    "PidfdFlags",
    "prctl",
    "set_child_subreaper",
    "set_parent_process_death_signal",
    "set_no_new_privs",
    "set_thread_groups",
    "set_thread_res_gid",
    "set_thread_res_uid",
    "set_capabilities",
    "CapabilitySet",
    "sched_setaffinity",
    "sched_getaffinity",
    "unshare",
    "OFlags::PATH",
    "OFlags::TMPFILE",
    "SocketAddrExt",
];

const CONDITION: &str = "target_os=\"linux\"";

/// Rust source without comments and with empty strings; as long as it was, line by line.
fn bare(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = String::with_capacity(bytes.len());
    let mut at = 0;
    let blank = |out: &mut String, text: &str| {
        out.extend(text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
    };
    while at < source.len() {
        let rest = &source[at..];
        let end = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string(bytes, at) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = hashes + 2;
            rest[open..]
                .find(&close)
                .map_or(rest.len(), |end| open + end + close.len())
        } else if rest.starts_with('"') {
            string(rest)
        } else if let Some(inner) = rest.strip_prefix('\'') {
            // A character, or a lifetime.
            match inner.chars().next() {
                Some('\\') => inner[1..]
                    .find('\'')
                    .map_or(1, |end| end + 3 + usize::from(end == 0)),
                Some(c) if inner[c.len_utf8()..].starts_with('\'') => 2 + c.len_utf8(),
                _ => 0,
            }
        } else {
            0
        };
        if end > 0 {
            // What a condition says must stay readable.
            let text = &rest[..end];
            match text == "\"linux\"" {
                true => out.push_str(text),
                false => blank(&mut out, text),
            }
            at += end;
        } else {
            let c = rest.chars().next().unwrap();
            out.push(c);
            at += c.len_utf8();
        }
    }
    out
}

/// The number of `#` where a raw string begins.
fn raw_string(bytes: &[u8], at: usize) -> Option<usize> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let before = at.checked_sub(1).map(|at| bytes[at]);
    if bytes[at] != b'r' || before.is_some_and(|b| word(b) && b != b'b' && b != b'c') {
        return None;
    }
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    (bytes.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

/// Length of the string that `rest` begins with.
fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// What a file says to other systems: without its items under `cfg(target_os = "linux")`, and the
/// modules in other files that stand under it.
fn for_others(bare: &str) -> (String, Vec<String>) {
    let mut text = bare.to_owned();
    let mut modules = Vec::new();
    let mut from = 0;
    while let Some(found) = text[from..].find("#[cfg(") {
        let start = from + found;
        let end = start + closing(&text[start..]);
        let condition: String = text[start..end].split_whitespace().collect();
        from = end;
        let only_linux = condition == format!("#[cfg({CONDITION})]")
            || condition.starts_with("#[cfg(all(")
                && condition.contains(CONDITION)
                && !condition.contains("not(");
        if !only_linux {
            continue;
        }
        let item = end + item(&text[end..]);
        let words: Vec<&str> = text[end..item].split_whitespace().collect();
        if let Some(at) = words.iter().position(|word| *word == "mod")
            && let Some(name) = words.get(at + 1).and_then(|name| name.strip_suffix(';'))
        {
            modules.push(name.to_owned());
        }
        let hidden: String = text[start..item]
            .chars()
            .map(|c| if c == '\n' { c } else { ' ' })
            .collect();
        text.replace_range(start..item, &hidden);
        from = start;
    }
    (text, modules)
}

/// Where the bracket that `text` has first is closed.
fn closing(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// Where the item, statement, field or element that `text` begins with ends.
fn item(text: &str) -> usize {
    const ITEMS: [&str; 11] = [
        "fn", "impl", "struct", "enum", "mod", "use", "trait", "let", "static", "const", "type",
    ];
    // Their own commas do not end them.
    let mut words = text.split_whitespace().take(8);
    let whole = words.any(|word| ITEMS.contains(&word));
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let c = rest.chars().next().unwrap();
        match c {
            ';' => return at + 1,
            ',' if !whole => return at + 1,
            '{' => return at + closing(rest),
            '(' | '[' => at += closing(rest),
            // The end of what it stands in.
            ')' | ']' | '}' => return at,
            _ => at += c.len_utf8(),
        }
    }
    text.len()
}

/// The names of [`ONLY_LINUX`] that a text uses.
fn used(text: &str) -> Vec<(usize, &'static str)> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for name in ONLY_LINUX {
            for (at, _) in line.match_indices(name) {
                let (before, after) = (&line[..at], &line[at + name.len()..]);
                let whole = !before.ends_with(word) && !after.starts_with(word);
                // A crate is a name before `::`, and not a field or a variable.
                let path =
                    name.contains("::") || name.chars().any(|c| c.is_uppercase() || c == '_');
                let called =
                    after.starts_with("::") || after.starts_with('(') || after.starts_with(';');
                let imported = line.trim_start().starts_with("use ");
                if whole && (path || called || imported) && !before.ends_with('.') {
                    found.push((number + 1, *name));
                }
            }
        }
    }
    found
}

/// The Rust files below a folder that are for every system.
fn files(folder: &Path, skipped: &mut BTreeSet<PathBuf>, all: &mut Vec<(PathBuf, String)>) {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    for path in found {
        let (text, modules) = for_others(&bare(&fs::read_to_string(&path).unwrap()));
        let stem = path.file_stem().unwrap();
        let inside = match stem == "mod" || stem == "lib" || stem == "main" {
            true => path.parent().unwrap().to_owned(),
            false => path.with_extension(""),
        };
        for module in modules {
            skipped.insert(inside.join(&module));
        }
        all.push((path, text));
    }
}

#[test]
fn names_that_only_linux_has_stand_under_its_condition() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut skipped, mut all) = (BTreeSet::new(), Vec::new());
    files(&root.join("src"), &mut skipped, &mut all);
    files(&root.join("tests"), &mut skipped, &mut all);
    assert!(all.len() > 100 && skipped.contains(&root.join("src/tools/sandbox/filter")));
    let wrong: Vec<String> = all
        .iter()
        .filter(|(path, _)| {
            let modules = path.ancestors().map(|path| path.with_extension(""));
            !modules.into_iter().any(|module| skipped.contains(&module))
        })
        // This file names them all.
        .filter(|(path, _)| *path != root.join("tests/it/portable.rs"))
        .flat_map(|(path, text)| {
            let path = path.strip_prefix(root).unwrap().display().to_string();
            let lines = used(text).into_iter();
            lines.map(move |(line, name)| format!("{path}:{line}: {name}"))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "only Linux has these; put each under cfg(target_os = \"linux\"):\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_search_sees_what_other_systems_would_compile() {
    let source = r##"
        use rustix::fs::fadvise; // memfd_create
        #[cfg(target_os = "linux")]
        use landlock::ABI;
        #[cfg(all(test, target_os = "linux"))]
        mod inner;
        const TEXT: &str = "libc::SYS_mount \" nix::sched";
        const RAW: &str = r#"libc::"a" "#;
        #[cfg(target_os = "linux")]
        fn one(a: &[u8]) -> char {
            libc::call(a);
            '}'
        }
        fn two<'a>(text: &'a str) {
            #[cfg(target_os = "linux")]
            let kind = OFlags::PATH;
            #[cfg(not(target_os = "linux"))]
            let kind = OFlags::TMPFILE;
            let pairs = [
                #[cfg(target_os = "linux")]
                (libc::SYS_open, 2),
                (nix::other(), 3),
            ];
            config.mount.prctl = kind;
        }
    "##;
    let (text, modules) = for_others(&bare(source));
    let found: Vec<&str> = used(&text).into_iter().map(|(_, name)| name).collect();
    assert_eq!(modules, ["inner"]);
    assert_eq!(found, ["fadvise", "OFlags::TMPFILE", "nix"]);
}
