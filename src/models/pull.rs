//! Downloading a model: npast reads the list of its files, checks the free space, and fetches each file
//! under a lock and under the name of something unfinished. Only bytes that are proven to be what was
//! announced, and to be a GGUF file, get the name under which they are used.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::file::{self, Wanted};
use super::hub::{self, Hub};
use super::known::ModelPlaces;
use super::remote::{HubClient, passes};
use super::source::{PullSource, Repo, Sha256Text};
use super::{ModelsError, PullStep, PullWatch};
use crate::durable;
use crate::llama::gguf;

/// Files of one split model.
const MAX_FILES: usize = 1000;
/// Tries of a question to the hub.
const MAX_TRIES: u32 = 4;
/// Names that are shown where one was not found.
const SHOWN: usize = 12;

/// What a pull brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pulled {
    /// What `-m` takes.
    pub name: String,
    /// The file, of a split model the first.
    pub path: PathBuf,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Whether all of it was there before.
    pub was_there: bool,
    /// The licence that the hub names.
    pub licence: Option<String>,
}

/// A file of a repository.
struct Listed {
    file: String,
    bytes: u64,
    /// The name of its blob: the sum of its bytes, for a small file something else.
    oid: String,
    sum: Option<Sha256Text>,
}

/// Brings a model.
///
/// # Errors
/// See [`ModelsError`]; whatever went wrong, nothing wrong lies under a name that is used.
pub fn pull(
    places: &ModelPlaces,
    client: &HubClient,
    source: &PullSource,
    watch: &mut PullWatch<'_>,
) -> Result<Pulled, ModelsError> {
    match source {
        PullSource::Hub { repo, tag } => {
            let hub = places.hub.as_ref().ok_or(ModelsError::NoPlace)?;
            from_hub(places, hub, client, repo, tag.as_deref(), watch)
        }
        PullSource::Url { url, name, sum } => {
            from_url(places, client, url, name, sum.as_ref(), watch)
        }
    }
}

fn from_hub(
    places: &ModelPlaces,
    hub: &Hub,
    client: &HubClient,
    repo: &Repo,
    tag: Option<&str>,
    watch: &mut PullWatch<'_>,
) -> Result<Pulled, ModelsError> {
    let answer = ask(
        client,
        &format!("/api/models/{repo}/revision/main?blobs=true"),
        watch,
    )?;
    let commit = answer["sha"].as_str().filter(|sha| hub::is_commit(sha));
    let commit = commit.ok_or_else(|| ModelsError::wrong(repo.as_str(), "it names no commit"))?;
    let listed = listed(&answer);
    let wanted = choose(repo, &listed, tag)?;
    let bytes = wanted.iter().map(|one| one.bytes).sum();
    let missing: Vec<_> = wanted
        .iter()
        .filter(|one| !is_there(hub, repo, one))
        .collect();
    let begun = |one: &&&Listed| file::begun(&unfinished(hub, repo, one)).min(one.bytes);
    let need = missing.iter().map(|one| one.bytes - begun(one)).sum();
    let was_there = missing.is_empty();
    let folder = hub.folder(repo);
    if !was_there {
        let blobs = folder.join("blobs");
        fs::create_dir_all(&blobs).map_err(ModelsError::io(&blobs))?;
        file::room(&blobs, need)?;
    }
    for one in missing {
        bring(hub, client, repo, commit, one, watch)?;
    }
    for one in &wanted {
        hub.name(repo, commit, &one.file, &one.oid)?;
    }
    hub.set_main(repo, commit)?;
    let first = &wanted[0].file;
    let path = hub.link(repo, commit, first);
    let found = places.all().into_iter().find(|found| found.path == path);
    Ok(Pulled {
        name: found.map_or_else(|| format!("hf:{repo}:{first}"), |found| found.name),
        path,
        bytes,
        was_there,
        licence: answer["cardData"]["license"].as_str().map(str::to_owned),
    })
}

/// The files that a repository says it has and that may be used: their names stay inside of a
/// folder, their sums are sums.
fn listed(answer: &Value) -> Vec<Listed> {
    let all = answer["siblings"].as_array().into_iter().flatten();
    let read = |one: &Value| {
        let file = one["rfilename"]
            .as_str()
            .filter(|file| hub::is_inside(file))?;
        let large = &one["lfs"];
        let sum = large["sha256"].as_str().and_then(Sha256Text::parse);
        let oid = match &sum {
            Some(sum) => sum.as_str().to_owned(),
            None => one["blobId"]
                .as_str()
                .filter(|id| hub::is_commit(id))?
                .to_owned(),
        };
        let bytes = large["size"].as_u64().or_else(|| one["size"].as_u64())?;
        Some(Listed {
            file: file.to_owned(),
            bytes,
            oid,
            sum,
        })
    };
    all.filter_map(read).collect()
}

/// The file that is meant, with the rest of a split one.
fn choose<'a>(
    repo: &Repo,
    listed: &'a [Listed],
    tag: Option<&str>,
) -> Result<Vec<&'a Listed>, ModelsError> {
    let mut models: Vec<&str> = listed.iter().map(|one| one.file.as_str()).collect();
    models.retain(|file| hub::is_model(file));
    models.sort_unstable();
    let no = |what: String| {
        let name = |file: &&str| hub::quantization(file).unwrap_or(file).to_owned();
        let mut there: Vec<String> = models.iter().map(name).collect();
        there.dedup();
        there.truncate(SHOWN);
        ModelsError::NoFile {
            repo: repo.to_string(),
            what,
            there,
        }
    };
    let file = hub::pick(&models, tag).ok_or_else(|| match tag {
        Some(tag) => no(format!("GGUF file with {tag:?} in its name")),
        None => no("GGUF file".to_owned()),
    })?;
    let parts = gguf::split_paths(Path::new(file));
    if parts.len() > MAX_FILES {
        return Err(no(format!("more than {MAX_FILES} files of {file}")));
    }
    let part = |path: &PathBuf| {
        let found = listed.iter().find(|one| Path::new(&one.file) == path);
        found.ok_or_else(|| no(format!("file {}, which {file} needs", path.display())))
    };
    parts.iter().map(part).collect()
}

fn is_there(hub: &Hub, repo: &Repo, one: &Listed) -> bool {
    let meta = hub.blob(repo, &one.oid).metadata();
    meta.is_ok_and(|meta| meta.is_file() && meta.len() == one.bytes)
}

fn unfinished(hub: &Hub, repo: &Repo, one: &Listed) -> PathBuf {
    hub.blob(repo, &format!("{}.incomplete", one.oid))
}

fn bring(
    hub: &Hub,
    client: &HubClient,
    repo: &Repo,
    commit: &str,
    one: &Listed,
    watch: &mut PullWatch<'_>,
) -> Result<(), ModelsError> {
    let _lock = lock(&hub.lock(repo, &one.oid), &one.file, watch)?;
    // Who held it may have brought the file.
    if is_there(hub, repo, one) {
        return Ok(());
    }
    let path = unfinished(hub, repo, one);
    let wanted = Wanted {
        url: format!(
            "{}/{repo}/resolve/{commit}/{}",
            client.endpoint(),
            escaped(&one.file)
        ),
        name: one.file.clone(),
        bytes: Some(one.bytes),
        sum: one.sum.clone(),
    };
    file::bring(client, &wanted, &path, watch)?;
    finish(&path, &hub.blob(repo, &one.oid), &one.file)
}

fn from_url(
    places: &ModelPlaces,
    client: &HubClient,
    url: &str,
    name: &str,
    sum: Option<&Sha256Text>,
    watch: &mut PullWatch<'_>,
) -> Result<Pulled, ModelsError> {
    let folder = &places.folder;
    durable::private::folder(folder).map_err(ModelsError::io(folder))?;
    let parts = gguf::split_paths(Path::new(name));
    if parts.len() > 1 && (parts.len() > MAX_FILES || parts[0] != Path::new(name) || sum.is_some())
    {
        let why = "of a split model the first file is named, and no sum";
        return Err(ModelsError::source(url, why));
    }
    let mut pulled = Pulled {
        name: name.trim_end_matches(".gguf").to_owned(),
        path: folder.join(name),
        bytes: 0,
        was_there: true,
        licence: None,
    };
    for part in &parts {
        let part = part.to_string_lossy().into_owned();
        let place = folder.join(&part);
        let hidden = folder.join(format!(".{part}.incomplete"));
        let _lock = lock(&folder.join(format!(".{part}.lock")), &part, watch)?;
        if place.symlink_metadata().is_err() {
            let wanted = Wanted {
                url: beside(url, &part),
                name: part.clone(),
                bytes: None,
                sum: sum.cloned(),
            };
            file::bring(client, &wanted, &hidden, watch)?;
            finish(&hidden, &place, &part)?;
            pulled.was_there = false;
        } else if let Some(sum) = sum {
            let there = File::open(&place).map_err(ModelsError::io(&place))?;
            if file::sum(&there, &place, watch)? != sum.as_str() {
                let why = format!("{} lies there and has another sum", place.display());
                return Err(ModelsError::wrong(&part, why));
            }
        }
        pulled.bytes += place.metadata().map_err(ModelsError::io(&place))?.len();
    }
    Ok(pulled)
}

/// The address of another file in the same folder.
fn beside(url: &str, name: &str) -> String {
    let (path, query) = match url.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (url, String::new()),
    };
    let folder = path.rsplit_once('/').map_or(path, |(folder, _)| folder);
    format!("{folder}/{name}{query}")
}

/// Gives proven bytes the name under which they are used, if they are a whole GGUF file.
fn finish(from: &Path, to: &Path, name: &str) -> Result<(), ModelsError> {
    if let Err(error) = gguf::GgufReader::open(from) {
        let why = match error {
            gguf::GgufError::Malformed { reason, .. } => reason,
            other => other.to_string(),
        };
        let _ = fs::remove_file(from);
        let _ = fs::remove_file(file::version_file(from));
        return Err(ModelsError::wrong(
            name,
            format!("it is no usable GGUF file: {why}"),
        ));
    }
    fs::rename(from, to).map_err(ModelsError::io(to))?;
    let _ = fs::remove_file(file::version_file(from));
    let above = to.parent().unwrap_or(to);
    durable::sync_folder(above).map_err(ModelsError::io(above))
}

/// Takes a lock, and waits for who holds it.
fn lock(path: &Path, name: &str, watch: &mut PullWatch<'_>) -> Result<File, ModelsError> {
    let above = path.parent().unwrap_or(path);
    fs::create_dir_all(above).map_err(ModelsError::io(above))?;
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.open(path).map_err(ModelsError::io(path))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                if !watch(PullStep::Waiting(name)) {
                    return Err(ModelsError::Interrupted);
                }
                std::thread::sleep(file::GLANCE);
            }
            Err(TryLockError::Error(error)) => return Err(ModelsError::io(path)(error)),
        }
    }
}

/// A request to the hub, repeated where the answer may be another one in a moment.
fn ask(client: &HubClient, path: &str, watch: &mut PullWatch<'_>) -> Result<Value, ModelsError> {
    let mut tries = 0;
    loop {
        let error = match client.api(path) {
            Err(error @ ModelsError::Network { .. }) => error,
            Err(error @ ModelsError::Status { status, .. }) if passes(status) => error,
            answered => return answered,
        };
        tries += 1;
        if tries == MAX_TRIES {
            return Err(error);
        }
        file::pause(client.wait(tries, None), &error.to_string(), watch)?;
    }
}

/// A path as part of an address.
fn escaped(file: &str) -> String {
    let mut text = String::new();
    for byte in file.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(char::from(byte));
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}
