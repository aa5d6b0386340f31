//! A model is fetched from a server that breaks off, redirects, and lies about lengths, parts and
//! bytes. What is right comes through all of it; of what is wrong nothing ever lies under a name that
//! is used.

use std::path::{Path, PathBuf};
use std::time::Duration;

use npast::models::{
    HubAccess, HubClient, ModelPlaces, ModelsError, PullSource, PullStep, Pulled, pull,
};

use crate::lying::{Asked, COMMIT, Reply, Server, hub, listing, sum};
use crate::model::{self, Class};

/// A machine that pulls: its models folder and its cache.
struct Machine {
    dir: tempfile::TempDir,
    token: Option<String>,
}

impl Machine {
    fn new() -> Machine {
        Machine {
            dir: tempfile::tempdir().expect("a folder"),
            token: None,
        }
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn places(&self) -> ModelPlaces {
        let cache = self.cache();
        let env = |name: &str| (name == "HF_HUB_CACHE").then(|| cache.clone().into());
        ModelPlaces::find(self.dir.path().join("models"), &env)
    }

    fn watched(
        &self,
        server: &Server,
        given: &str,
        watch: &mut dyn FnMut(PullStep<'_>) -> bool,
    ) -> Result<Pulled, ModelsError> {
        let client = HubClient::new(HubAccess {
            endpoint: server.url.clone(),
            token: self.token.clone(),
            proxy: false,
            pause: Duration::ZERO,
        });
        let source = PullSource::parse(given, &server.url).expect("a source");
        pull(&self.places(), &client, &source, &mut |step| watch(step))
    }

    fn pull(&self, server: &Server, given: &str) -> Result<Pulled, ModelsError> {
        self.watched(server, given, &mut |_| true)
    }

    /// Files and links of the cache and the models folder, but for locks and folders.
    fn files(&self) -> Vec<String> {
        let mut all = Vec::new();
        walk(self.dir.path(), self.dir.path(), &mut all);
        all.retain(|file| !file.ends_with(".lock"));
        all.sort();
        all
    }

    /// Nothing that any program would take for a model, and nothing that would be gone on with.
    fn nothing(&self, what: &str) {
        assert_eq!(self.files(), [""; 0], "{what}");
        assert_eq!(self.places().all(), [], "{what}");
    }

    /// What came so far may lie there, under the name of something unfinished.
    fn nothing_used(&self, what: &str) {
        let files = self.files();
        let unfinished = |file: &String| file.contains(".incomplete");
        assert!(files.iter().all(unfinished), "{what}: {files:?}");
        assert_eq!(self.places().all(), [], "{what}");
    }
}

fn walk(root: &Path, folder: &Path, all: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().expect("a type").is_dir() {
            true => walk(root, &entry.path(), all),
            false => {
                let path = entry.path();
                let file = path.strip_prefix(root).expect("inside").to_string_lossy();
                all.push(file.into_owned());
            }
        }
    }
}

fn tiny(class: Class) -> Vec<u8> {
    let path = model::tiny_model(class, &model::Options::default());
    std::fs::read(path).expect("a model")
}

fn is_file(asked: &Asked) -> bool {
    asked.path.contains("/resolve/")
}

#[test]
fn a_model_lies_in_the_cache_as_other_programs_lay_it_out_and_is_found_by_its_name() {
    let bytes = tiny(Class::Dense);
    let other = tiny(Class::Swa);
    let files = [("M-Q8_0.gguf", other), ("sub/M-Q4_K_M.gguf", bytes.clone())];
    let server = hub(&files, |_| None);
    let machine = Machine::new();
    let pulled = machine.pull(&server, "hf:o/r").expect("a model");
    assert_eq!(pulled.name, "hf:o/r:Q4_K_M");
    assert_eq!(pulled.licence.as_deref(), Some("apache-2.0"));
    assert_eq!(
        (pulled.bytes, pulled.was_there),
        (bytes.len() as u64, false)
    );
    let oid = sum(&bytes);
    assert_eq!(
        machine.files(),
        [
            format!("cache/models--o--r/blobs/{oid}"),
            "cache/models--o--r/refs/main".to_owned(),
            format!("cache/models--o--r/snapshots/{COMMIT}/sub/M-Q4_K_M.gguf"),
        ]
    );
    let link = std::fs::read_link(&pulled.path).expect("a link");
    assert_eq!(link, PathBuf::from(format!("../../../blobs/{oid}")));
    assert_eq!(std::fs::read(&pulled.path).expect("bytes"), bytes);
    for name in [
        "hf:o/r",
        "hf:o/r:Q4_K_M",
        "hf:o/r:q4_k_m",
        "hf:o/r:M-Q4_K_M",
    ] {
        let found = machine.places().named(name).map(|found| found.path);
        assert_eq!(found.as_ref(), Some(&pulled.path), "{name}");
    }

    let again = machine.pull(&server, "hf:o/r").expect("a model");
    assert!(again.was_there);
    assert_eq!(server.count("/resolve/"), 1);
}

#[test]
fn a_server_that_breaks_off_again_and_again_is_asked_for_the_rest() {
    let bytes = tiny(Class::Dense);
    let step = bytes.len() / 4 + 1;
    let server = hub(&[("m.gguf", bytes.clone())], {
        let bytes = bytes.clone();
        move |asked| is_file(asked).then(|| Reply::part(asked, &bytes).cut_after(step))
    });
    let machine = Machine::new();
    let pulled = machine.pull(&server, "hf:o/r").expect("a model");
    assert_eq!(std::fs::read(pulled.path).expect("bytes"), bytes);
    let asked = server.asked();
    let from: Vec<usize> = asked
        .iter()
        .filter(|a| is_file(a))
        .map(Asked::from)
        .collect();
    assert_eq!(from, [0, step, 2 * step, 3 * step]);
}

#[test]
fn busy_servers_are_asked_again_and_redirects_are_followed_without_the_token() {
    let bytes = tiny(Class::Dense);
    let store = Server::new({
        let bytes = bytes.clone();
        move |asked| match asked.nth {
            0 => Reply::part(asked, &bytes).cut_after(1000),
            _ => Reply::part(asked, &bytes),
        }
    });
    let place = store.url.replace("127.0.0.1", "localhost") + "/bytes?signature=x";
    let server = hub(&[("m.gguf", bytes.clone())], move |asked| {
        if asked.nth == 0 {
            return Some(Reply::new(429, "").with("Retry-After", "0"));
        }
        is_file(asked).then(|| Reply::new(302, "").with("Location", &place))
    });
    let mut machine = Machine::new();
    machine.token = Some("hf_secret".into());
    let pulled = machine.pull(&server, "hf:o/r").expect("a model");
    assert_eq!(std::fs::read(pulled.path).expect("bytes"), bytes);
    let bearer = Some("Bearer hf_secret");
    assert!(
        server
            .asked()
            .iter()
            .all(|a| a.header("authorization") == bearer)
    );
    let asked = store.asked();
    assert!(asked.iter().all(|a| a.header("authorization").is_none()));
    assert_eq!(asked.iter().map(Asked::from).collect::<Vec<_>>(), [0, 1000]);
}

/// A way in which the server of the bytes is wrong.
type Lie = fn(&Asked, &[u8]) -> Reply;

#[test]
fn of_what_a_server_lies_about_nothing_is_ever_used() {
    let flipped: Lie = |asked, bytes| {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        Reply::part(asked, &bytes)
    };
    let table: [(&str, Lie, &str); 9] = [
        (
            "another byte",
            flipped,
            "is not what it should be: its SHA-256 is",
        ),
        (
            "a shorter length",
            |_, b| Reply::new(200, &b[..b.len() - 1]),
            "is not what it should be: the server announces",
        ),
        (
            "a longer length",
            |_, b| Reply::new(200, b).announcing(Some(b.len() + 1)),
            "is not what it should be: the server announces",
        ),
        (
            "more than there is",
            |_, b| Reply::new(200, [b, &b"more"[..]].concat()).announcing(None),
            "is not what it should be: more bytes came than were announced",
        ),
        (
            "another whole",
            |a, b| match a.nth {
                0 => Reply::new(200, b).cut_after(1000),
                _ => Reply::new(206, &b[1000..]).with(
                    "Content-Range",
                    &format!("bytes 1000-{}/{}", b.len(), b.len() + 1),
                ),
            },
            "is not what it should be: the server announces",
        ),
        (
            "packed bytes",
            |_, b| Reply::new(200, b).with("Content-Encoding", "br"),
            "is not what it should be: the server compresses it",
        ),
        (
            "another part, always",
            |a, b| match a.from() {
                0 => Reply::new(200, b).cut_after(1000),
                _ => Reply::new(206, &b[7..]).with(
                    "Content-Range",
                    &format!("bytes 7-{}/{}", b.len() - 1, b.len()),
                ),
            },
            "cannot be fetched",
        ),
        (
            "an early end, always",
            |_, b| Reply::new(200, b).cut_after(1000),
            "cannot be fetched",
        ),
        (
            "no such part, always",
            |a, b| match a.from() {
                0 => Reply::new(200, b).cut_after(1000),
                _ => Reply::new(416, ""),
            },
            "cannot be fetched: ",
        ),
    ];
    let bytes = tiny(Class::Dense);
    for (what, lie, want) in table {
        let right = bytes.clone();
        let server = hub(&[("m.gguf", bytes.clone())], move |asked| {
            is_file(asked).then(|| lie(asked, &right))
        });
        let machine = Machine::new();
        let error = machine.pull(&server, "hf:o/r").expect_err(what);
        assert!(error.to_string().contains(want), "{what}: {error}");
        assert!(error.hint().is_some(), "{what}");
        match error {
            ModelsError::Wrong { .. } => machine.nothing(what),
            _ => machine.nothing_used(what),
        }
        assert!(server.count("/resolve/") <= 10, "{what}: it asked for ever");
        // The same machine, when the server is honest again.
        let honest = hub(&[("m.gguf", bytes.clone())], |_| None);
        let pulled = machine.pull(&honest, "hf:o/r").expect(what);
        assert_eq!(std::fs::read(pulled.path).expect("bytes"), bytes, "{what}");
    }
}

#[test]
fn a_server_that_refuses_is_said_in_words_with_what_to_do() {
    let table = [
        (401, "(unauthorized)", "HF_TOKEN takes a token", 1),
        (403, "(forbidden)", "HF_TOKEN takes a token", 1),
        (404, "(not found)", "look at the spelling", 1),
        (416, "(range not satisfiable)", "try again later", 1),
        (429, "(too many requests)", "with a token in HF_TOKEN", 5),
        (503, "(its own failure)", "try again later", 5),
    ];
    for (status, words, hint, times) in table {
        let server = hub(&[("m.gguf", tiny(Class::Dense))], move |asked| {
            is_file(asked).then(|| Reply::new(status, "no"))
        });
        let machine = Machine::new();
        let error = machine.pull(&server, "hf:o/r").expect_err(words);
        assert!(error.to_string().contains(words), "{status}: {error}");
        assert!(error.hint().is_some_and(|h| h.contains(hint)), "{status}");
        assert_eq!(server.count("/resolve/"), times, "{status}");
        machine.nothing_used(words);
    }
    // Who is asked to come back in an hour is not kept waiting.
    let server = hub(&[("m.gguf", tiny(Class::Dense))], |asked| {
        is_file(asked).then(|| Reply::new(429, "").with("Retry-After", "3600"))
    });
    let error = Machine::new().pull(&server, "hf:o/r").expect_err("busy");
    assert!(
        matches!(error, ModelsError::Status { status: 429, .. }),
        "{error}"
    );
    assert_eq!(server.count("/resolve/"), 1);
    let round = Server::new(|_| Reply::new(302, "").with("Location", "/api/round"));
    let error = Machine::new().pull(&round, "hf:o/r").expect_err("a circle");
    assert!(
        error.to_string().contains("redirects more than 5 times"),
        "{error}"
    );
}

#[test]
fn a_list_of_files_that_cannot_be_true_is_refused_before_a_byte_is_fetched() {
    let bytes = tiny(Class::Dense);
    let good = listing(&[("m.gguf", &bytes)]);
    let with = |pointer: &str, value: serde_json::Value| {
        let mut bent = good.clone();
        *bent.pointer_mut(pointer).expect("a place") = value;
        bent.to_string()
    };
    let table = [
        ("no JSON", "<html>".to_owned(), "it is no JSON"),
        (
            "no commit",
            with("/sha", "../../x".into()),
            "it names no commit",
        ),
        (
            "a way out",
            with("/siblings/0/rfilename", "../../m.gguf".into()),
            "has no GGUF file",
        ),
        ("no sum", with("/siblings/0/lfs/sha256", "../x".into()), ""),
        (
            "no models",
            listing(&[("README.md", &bytes)]).to_string(),
            "has no GGUF file",
        ),
        (
            "half of one",
            listing(&[("m-00001-of-00002.gguf", &bytes)]).to_string(),
            "which m-00001",
        ),
        (
            "a huge one",
            with("/siblings/0/lfs/size", (1u64 << 60).into()),
            "MB are free",
        ),
    ];
    for (what, list, want) in table {
        let server = hub(&[("m.gguf", bytes.clone())], move |asked| {
            asked
                .path
                .starts_with("/api/")
                .then(|| Reply::new(200, list.clone()))
        });
        let machine = Machine::new();
        if what == "no sum" {
            // Then the length and the form are what can be proven.
            let pulled = machine.pull(&server, "hf:o/r").expect(what);
            assert!(pulled.path.ends_with("m.gguf"));
            continue;
        }
        let error = machine.pull(&server, "hf:o/r").expect_err(what);
        assert!(error.to_string().contains(want), "{what}: {error}");
        assert_eq!(server.count("/resolve/"), 0, "{what}");
        machine.nothing(what);
    }
}

#[test]
fn bytes_of_the_right_sum_that_are_no_model_are_thrown_away() {
    let server = hub(&[("m.gguf", b"GGUF, it says".to_vec())], |_| None);
    let machine = Machine::new();
    let error = machine.pull(&server, "hf:o/r").expect_err("no model");
    assert!(
        error.to_string().contains("it is no usable GGUF file"),
        "{error}"
    );
    machine.nothing("no model");
}

#[test]
fn a_pull_that_was_stopped_goes_on_where_it_ended() {
    let bytes = tiny(Class::Dense);
    let server = hub(&[("m.gguf", bytes.clone())], |_| None);
    let machine = Machine::new();
    let mut stop = |step: PullStep<'_>| !matches!(step, PullStep::Have(have) if have > 0);
    let error = machine
        .watched(&server, "hf:o/r", &mut stop)
        .expect_err("stopped");
    assert!(matches!(error, ModelsError::Interrupted), "{error}");
    machine.nothing_used("stopped");
    let came = machine.cache().join("models--o--r/blobs");
    let came = came.join(format!("{}.incomplete", sum(&bytes)));
    let came = came.metadata().expect("a beginning").len();
    assert!(0 < came && came < bytes.len() as u64, "{came} bytes came");

    let pulled = machine.pull(&server, "hf:o/r").expect("a model");
    assert_eq!(std::fs::read(pulled.path).expect("bytes"), bytes);
    let last = server.asked().pop().expect("a request");
    assert_eq!(last.from() as u64, came);
}

#[test]
fn a_beginning_that_was_damaged_or_is_too_long_costs_a_new_start_and_nothing_else() {
    let bytes = tiny(Class::Dense);
    for there in [
        vec![b'x'; 500],
        vec![b'x'; bytes.len()],
        vec![b'x'; bytes.len() + 5],
    ] {
        let server = hub(&[("m.gguf", bytes.clone())], |_| None);
        let machine = Machine::new();
        let blobs = machine.cache().join("models--o--r/blobs");
        std::fs::create_dir_all(&blobs).expect("a folder");
        let path = blobs.join(format!("{}.incomplete", sum(&bytes)));
        std::fs::write(path, &there).expect("a beginning");
        let first = machine.pull(&server, "hf:o/r");
        let pulled = match first {
            Ok(pulled) => pulled,
            Err(ModelsError::Wrong { .. }) => {
                machine.nothing("damaged");
                machine.pull(&server, "hf:o/r").expect("a model")
            }
            Err(error) => panic!("{error}"),
        };
        assert_eq!(std::fs::read(pulled.path).expect("bytes"), bytes);
    }
}

#[test]
fn all_files_of_a_split_model_come_together() {
    let (a, b) = (tiny(Class::Dense), tiny(Class::Swa));
    let names = ["M-Q4_0-00001-of-00002.gguf", "M-Q4_0-00002-of-00002.gguf"];
    let server = hub(&[(names[1], b.clone()), (names[0], a.clone())], |_| None);
    let machine = Machine::new();
    let pulled = machine.pull(&server, "hf:o/r:Q4_0").expect("a model");
    assert_eq!(pulled.bytes as usize, a.len() + b.len());
    assert!(pulled.path.ends_with(names[0]));
    let second = std::fs::read(pulled.path.with_file_name(names[1]));
    assert_eq!(second.expect("the second file"), b);
    assert_eq!(machine.places().all().len(), 1);
    machine
        .places()
        .remove(&machine.places().all()[0])
        .expect("removed");
    assert_eq!(machine.files(), ["cache/models--o--r/refs/main"]);
}

#[test]
fn an_address_comes_into_the_models_folder_and_its_sum_is_checked() {
    let bytes = tiny(Class::Dense);
    let server = Server::new({
        let bytes = bytes.clone();
        move |asked| Reply::part(asked, &bytes).with("ETag", "\"1\"")
    });
    let machine = Machine::new();
    let wrong = format!("{}/a/m.gguf#sha256={}", server.url, "0".repeat(64));
    let error = machine.pull(&server, &wrong).expect_err("a wrong sum");
    assert!(matches!(error, ModelsError::Wrong { .. }), "{error}");
    machine.nothing("a wrong sum");

    let right = format!("{}/a/m.gguf#sha256={}", server.url, sum(&bytes));
    let pulled = machine.pull(&server, &right).expect("a model");
    assert_eq!((pulled.name.as_str(), pulled.was_there), ("m", false));
    assert_eq!(machine.files(), ["models/m.gguf"]);
    assert!(machine.pull(&server, &right).expect("a model").was_there);
    let error = machine.pull(&server, &wrong).expect_err("another sum");
    assert!(
        error.to_string().contains("lies there and has another sum"),
        "{error}"
    );
    assert_eq!(machine.files(), ["models/m.gguf"]);
}

#[test]
fn two_versions_of_an_address_are_never_mixed() {
    let (old, new) = (tiny(Class::Dense), tiny(Class::Swa));
    let server = Server::new({
        let (old, new) = (old.clone(), new.clone());
        move |asked| match asked.nth {
            0 => Reply::part(asked, &old)
                .with("ETag", "\"old\"")
                .cut_after(1000),
            // As a server does that knows If-Range: the part of that version, else all of this one.
            _ => match asked.header("if-range") {
                Some("\"new\"") => Reply::part(asked, &new).with("ETag", "\"new\""),
                _ => Reply::new(200, &new[..]).with("ETag", "\"new\""),
            },
        }
    });
    let machine = Machine::new();
    let url = format!("{}/m.gguf", server.url);
    let pulled = machine.pull(&server, &url).expect("a model");
    assert_eq!(std::fs::read(pulled.path).expect("bytes"), new);
    assert_eq!(server.asked()[1].header("if-range"), Some("\"old\""));
    assert_eq!(machine.files(), ["models/m.gguf"]);
}

#[test]
fn a_link_that_leads_nowhere_is_no_model_and_a_pull_mends_it() {
    let bytes = tiny(Class::Dense);
    let server = hub(&[("m.gguf", bytes.clone())], |_| None);
    let machine = Machine::new();
    let pulled = machine.pull(&server, "hf:o/r").expect("a model");
    let blob = pulled.path.canonicalize().expect("a blob");
    std::fs::remove_file(&blob).expect("removed");
    assert_eq!(machine.places().all(), []);
    let again = machine.pull(&server, "hf:o/r").expect("a model");
    assert!(!again.was_there);
    assert_eq!(std::fs::read(again.path).expect("bytes"), bytes);
}

#[cfg(unix)]
#[test]
fn a_cache_that_cannot_be_written_is_said_with_its_path() {
    let server = hub(&[("m.gguf", tiny(Class::Dense))], |_| None);
    let nowhere = Machine::new();
    std::os::unix::fs::symlink("/nonexistent/place", nowhere.cache()).expect("a link");
    let file = Machine::new();
    std::fs::write(file.cache(), "a file").expect("a file");
    for machine in [nowhere, file] {
        let error = machine.pull(&server, "hf:o/r").expect_err("no place");
        let path = machine.cache().join("models--o--r/blobs");
        assert!(
            error.to_string().starts_with(path.to_str().unwrap()),
            "{error}"
        );
    }
    assert_eq!(server.count("/resolve/"), 0);
}

#[test]
fn a_blob_that_another_snapshot_names_stays_when_a_model_is_removed() {
    let bytes = tiny(Class::Dense);
    let server = hub(
        &[("a.gguf", bytes.clone()), ("b.gguf", bytes.clone())],
        |_| None,
    );
    let machine = Machine::new();
    machine.pull(&server, "hf:o/r:a").expect("a model");
    machine.pull(&server, "hf:o/r:b").expect("a model");
    assert_eq!(server.count("/resolve/"), 1, "the same bytes come once");
    let places = machine.places();
    let a = places.named("hf:o/r:a").expect("a");
    assert_eq!(places.remove(&a).expect("removed"), 0);
    let b = places.named("hf:o/r:b").expect("b is left");
    assert_eq!(std::fs::read(&b.path).expect("bytes"), bytes);
    assert_eq!(places.named("hf:o/r:a"), None);
    assert_eq!(places.remove(&b).expect("removed"), bytes.len() as u64);
}
