//! Listing: what git would show, one line each, whatever the names are.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::super::Limits;
use super::super::testing::Place;
use super::*;

fn place() -> Place {
    let place = Place::new();
    place.file("src/main.rs", "");
    place.file("src/deep/lib.rs", "");
    place.file(".gitignore", "/target\n");
    place.file(".git/HEAD", "");
    place.file("target/x.rs", "");
    place.file("weights.bin", vec![0; 4_100_000]);
    symlink("../home", place.project().join("home")).unwrap();
    place
}

#[test]
fn a_folder_is_listed_by_depth_or_by_glob() {
    let place = place();
    let list = |arguments: Value| place.call("list", arguments);
    assert_eq!(
        list(json!({})),
        Answer::good(".:\n.gitignore\nhome -> ../home\nsrc/\nweights.bin (4.1 MB)")
    );
    assert_eq!(
        list(json!({"path": "src", "depth": 2})),
        Answer::good("src:\ndeep/\ndeep/lib.rs\nmain.rs")
    );
    assert_eq!(
        list(json!({"glob": "*.rs"})),
        Answer::good(".:\nsrc/deep/lib.rs\nsrc/main.rs")
    );
    assert_eq!(
        list(json!({"glob": "**/deep/*"})),
        Answer::good(".:\nsrc/deep/lib.rs")
    );
    assert_eq!(
        list(json!({"glob": "*.py"})),
        Answer::good("No file in . fits the glob.")
    );
    // What is ignored can still be asked for by name.
    assert_eq!(
        list(json!({"path": "target"})),
        Answer::good("target:\nx.rs")
    );
}

#[test]
fn what_is_no_folder_is_a_sentence() {
    let place = place();
    let list = |path: &str| place.call("list", json!({"path": path}));
    assert_eq!(
        list("src/main.rs"),
        Answer::bad("src/main.rs is no folder: read_file reads files.")
    );
    assert_eq!(list("nothing"), Answer::bad("There is no file nothing."));
    std::fs::create_dir(place.project().join("void")).unwrap();
    assert_eq!(
        list("void"),
        Answer::good("void is empty, or all in it is ignored.")
    );
}

#[test]
fn many_and_odd_names_are_bounded_and_stay_on_their_line() {
    let mut place = Place::new();
    place.file("a\nb\u{1b}[31m", "");
    let raw = place
        .project()
        .join(std::ffi::OsStr::from_bytes(b"raw\xff"));
    std::fs::write(raw, "").unwrap();
    assert_eq!(
        place.call("list", json!({})),
        Answer::good(".:\na\\nb\\u{1b}[31m\nraw\u{fffd}")
    );
    for i in 0..300 {
        place.file(&format!("{i:04}-{}", "n".repeat(200)), "");
    }
    place.limits = Limits {
        bytes: 16 << 10,
        lines: 50,
    };
    let listed = place.call("list", json!({})).text;
    assert_eq!(listed.lines().count(), 48);
    assert_eq!(
        listed.lines().last(),
        Some("[there is more: narrow it with path, glob or depth]")
    );
    place.limits.lines = 400;
    let listed = place.call("list", json!({})).text;
    assert!((10_000..16 << 10).contains(&listed.len()));
}

#[test]
fn an_interrupted_listing_says_so() {
    let place = place();
    place.cancel();
    let listed = place.call("list", json!({})).text;
    assert!(
        listed.ends_with("[interrupted: this is not everything]"),
        "{listed}"
    );
}
