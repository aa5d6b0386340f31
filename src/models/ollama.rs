//! Ollama's store, read in place: `manifests/HOST/SPACE/NAME/TAG` is JSON that names the blobs of a
//! model, `blobs/sha256-SUM` are the bytes, and the one of the type `…image.model` is a GGUF file.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::source::Sha256Text;

/// Largest manifest that is read, in bytes.
const MAX_MANIFEST: u64 = 1 << 20;
/// Entries of one folder that are looked at.
const MAX_ENTRIES: usize = 10_000;
/// The type of a layer that is the model.
const MODEL: &str = "application/vnd.ollama.image.model";

/// A model of Ollama's.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct OllamaModel {
    /// The name that Ollama's own commands take: `NAME:TAG`, or `SPACE/NAME:TAG`.
    pub name: String,
    /// The blob.
    pub path: PathBuf,
}

/// The models of a store whose bytes are there, sorted.
pub fn models(root: &Path) -> Vec<OllamaModel> {
    let mut all = Vec::new();
    for host in folder(&root.join("manifests")) {
        for space in folder(&host) {
            for name in folder(&space) {
                for tag in folder(&name) {
                    all.extend(stored(root, &host, &space, &name, &tag));
                }
            }
        }
    }
    all.sort();
    all
}

fn stored(root: &Path, host: &Path, space: &Path, name: &Path, tag: &Path) -> Option<OllamaModel> {
    let blob = model_blob(&manifest(tag)?)?;
    let path = root.join("blobs").join(format!("sha256-{}", blob.as_str()));
    let word = |path: &Path| path.file_name()?.to_str().map(str::to_owned);
    let (host, space) = (word(host)?, word(space)?);
    let mut full = format!("{}:{}", word(name)?, word(tag)?);
    if space != "library" {
        full = format!("{space}/{full}");
    }
    if host != "registry.ollama.ai" {
        full = format!("{host}/{full}");
    }
    path.is_file().then_some(OllamaModel { name: full, path })
}

fn manifest(path: &Path) -> Option<Value> {
    let mut text = String::new();
    let file = fs::File::open(path).ok()?;
    // A folder or a pipe is no manifest.
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    file.take(MAX_MANIFEST).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// The sum of the only model layer. A model of several is not one file.
fn model_blob(manifest: &Value) -> Option<Sha256Text> {
    let layers = manifest["layers"].as_array()?;
    let mut models = layers.iter().filter(|layer| layer["mediaType"] == MODEL);
    let (only, other) = (models.next()?, models.next());
    if other.is_some() {
        return None;
    }
    Sha256Text::parse(only["digest"].as_str()?.strip_prefix("sha256:")?)
}

fn folder(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten();
    let all = entries
        .take(MAX_ENTRIES)
        .flatten()
        .map(|entry| entry.path());
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_of_ollama_is_found_by_its_manifest_and_only_when_its_bytes_are_there() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let manifest = |sum: &str| {
            format!(
                r#"{{"layers":[{{"mediaType":"application/vnd.ollama.image.license","digest":"sha256:00"}},
                {{"mediaType":"{MODEL}","digest":"sha256:{sum}","size":3}}]}}"#
            )
        };
        let (here, gone) = ("ab".repeat(32), "cd".repeat(32));
        put(&format!("blobs/sha256-{here}"), "x");
        let base = "manifests/registry.ollama.ai";
        put(&format!("{base}/library/qwen3/4b"), &manifest(&here));
        put(&format!("{base}/library/qwen3/gone"), &manifest(&gone));
        put(&format!("{base}/library/qwen3/odd"), &manifest("../../etc"));
        put(&format!("{base}/library/qwen3/text"), "not JSON");
        put(&format!("{base}/me/own/latest"), &manifest(&here));
        put(&format!("{base}/stray"), "");
        let names: Vec<_> = models(root.path()).into_iter().map(|m| m.name).collect();
        assert_eq!(names, ["me/own:latest", "qwen3:4b"]);
        assert_eq!(models(&root.path().join("nowhere")), []);
    }
}
