//! One file from a server to the disk, in several tries if needed. When a try ends in the middle, the bytes
//! stay, and the next try goes on behind them. What a server says about lengths and parts is compared with
//! what is known, and at the end the bytes with their sum.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::Response;
use ureq::http::header::{CONTENT_ENCODING, CONTENT_RANGE, ETAG, LAST_MODIFIED, RETRY_AFTER};

use super::remote::{ByteRange, HubClient, MAX_WAIT, passes, shown};
use super::source::Sha256Text;
use super::{ModelsError, PullStep, PullWatch};

/// Tries that bring nothing new before it is given up.
const MAX_TRIES: u32 = 5;
/// A try that brings so much counts as none.
const PROGRESS: u64 = 1 << 20;
/// Bytes that stay free on the disk.
const RESERVE: u64 = 256 << 20;
/// Bytes of one read.
const BUFFER: usize = 256 << 10;
/// How often somebody who waits looks whether it should end.
pub const GLANCE: Duration = Duration::from_millis(50);
/// Longest name of a version that is kept.
const MAX_VERSION: usize = 512;

/// A file that is wanted.
pub struct Wanted {
    /// Its address.
    pub url: String,
    /// What people call it.
    pub name: String,
    /// Its length, where something says so beforehand.
    pub bytes: Option<u64>,
    /// The sum of its bytes, where something says so.
    pub sum: Option<Sha256Text>,
}

/// How a try ended.
enum Tried {
    /// All bytes are there.
    Whole,
    /// It ended early, for this reason; the server may demand a wait of some seconds.
    Early(ModelsError, Option<u64>),
}

/// A file on its way. The caller holds the lock of `path`.
pub struct Fetch<'a> {
    client: &'a HubClient,
    wanted: &'a Wanted,
    path: PathBuf,
    file: File,
    /// Bytes that are on the disk.
    have: u64,
    /// Bytes of the whole file, once they are known.
    whole: Option<u64>,
    watch: &'a mut PullWatch<'a>,
}

/// Bytes of a file that are on the disk already.
pub fn begun(path: &Path) -> u64 {
    path.metadata().map_or(0, |meta| meta.len())
}

/// Brings a file to `path` and proves it: its length, and its sum where one is known. It lies there
/// under the name of something unfinished; giving it another is the caller's.
///
/// # Errors
/// See [`ModelsError`]. After [`ModelsError::Wrong`] nothing lies at `path`.
pub fn bring(
    client: &HubClient,
    wanted: &Wanted,
    path: &Path,
    watch: &mut PullWatch<'_>,
) -> Result<u64, ModelsError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(path).map_err(ModelsError::io(path))?;
    let have = file.seek(SeekFrom::End(0)).map_err(ModelsError::io(path))?;
    let mut fetch = Fetch {
        client,
        wanted,
        path: path.to_owned(),
        file,
        have,
        whole: wanted.bytes,
        watch: &mut |step| watch(step),
    };
    let brought = fetch.all().and_then(|()| fetch.prove());
    if let Err(ModelsError::Wrong { .. }) = &brought {
        let _ = std::fs::remove_file(path);
        let _ = std::fs::remove_file(version_file(path));
    }
    brought
}

/// Where the server's name for the version of an unfinished file is written down.
pub fn version_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".version");
    name.into()
}

impl Fetch<'_> {
    fn all(&mut self) -> Result<(), ModelsError> {
        let mut tries = 0;
        loop {
            self.begin()?;
            if self.whole == Some(self.have) && self.have > 0 {
                return Ok(());
            }
            let before = self.have;
            let (why, asked) = match self.once()? {
                Tried::Whole => return Ok(()),
                Tried::Early(why, asked) => (why, asked),
            };
            tries = match self.have.saturating_sub(before) >= PROGRESS {
                true => 1,
                false => tries + 1,
            };
            if tries >= MAX_TRIES {
                return Err(why);
            }
            pause(self.client.wait(tries, asked), &why.to_string(), self.watch)?;
        }
    }

    /// Looks at the bytes that are there before a try. They are useless when they are more than the whole
    /// file, or when nothing says of which version they are.
    fn begin(&mut self) -> Result<(), ModelsError> {
        let known = self.wanted.sum.is_some() || self.version().is_some();
        if self.whole.is_some_and(|whole| self.have > whole) || !known {
            self.start_over()?;
        }
        self.room()?;
        self.step(PullStep::Begin {
            name: &self.wanted.name,
            have: self.have,
            whole: self.whole,
        })
    }

    fn once(&mut self) -> Result<Tried, ModelsError> {
        let version = match self.wanted.sum {
            Some(_) => None,
            None => self.version(),
        };
        let from = (self.have > 0).then_some(ByteRange {
            at: self.have,
            version: version.as_deref(),
        });
        let mut answered = match self.client.get(&self.wanted.url, from) {
            Ok(answered) => answered,
            Err(error) => return Ok(Tried::Early(error, None)),
        };
        let status = answered.status().as_u16();
        match status {
            200 => self.start_over()?,
            206 => match part(&answered) {
                Some((at, whole)) if at == self.have => {
                    if let Some(whole) = whole {
                        self.learn(whole)?;
                    }
                }
                _ => {
                    self.start_over()?;
                    return Ok(self.early("the server sends another part"));
                }
            },
            // There is nothing behind what we have: it was the end, or it was never of this file.
            416 if self.have > 0 => {
                if self.whole.is_none() && end(&answered) == Some(self.have) {
                    return Ok(Tried::Whole);
                }
                self.start_over()?;
                return Ok(self.early("the server has no such part"));
            }
            status if passes(status) => {
                let asked = header(&answered, RETRY_AFTER).and_then(|text| text.parse().ok());
                let why = self.client.refused(&self.wanted.url, status);
                // When the server asks for a wait of minutes, the pull ends and says so.
                return match asked.is_some_and(|seconds| seconds > MAX_WAIT) {
                    true => Err(why),
                    false => Ok(Tried::Early(why, asked)),
                };
            }
            status => return Err(self.client.refused(&self.wanted.url, status)),
        }
        if header(&answered, CONTENT_ENCODING).is_some_and(|how| how != "identity") {
            return Err(self.wrong("the server compresses it, against the request"));
        }
        if let Some(length) = answered.body().content_length() {
            self.learn(self.have + length)?;
        }
        self.keep_version(&answered)?;
        self.copy(answered.body_mut())
    }

    /// Writes what comes behind what is there.
    fn copy(&mut self, body: &mut Body) -> Result<Tried, ModelsError> {
        let mut from = body.with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; BUFFER];
        loop {
            self.step(PullStep::Have(self.have))?;
            let n = match from.read(&mut buffer) {
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(self.early(&format!("it broke off: {error}"))),
            };
            if n == 0 {
                break;
            }
            if self.whole.is_some_and(|whole| self.have + n as u64 > whole) {
                return Err(self.wrong("more bytes came than were announced"));
            }
            self.file
                .write_all(&buffer[..n])
                .map_err(ModelsError::io(&self.path))?;
            self.have += n as u64;
        }
        self.step(PullStep::Have(self.have))?;
        Ok(match self.whole {
            Some(whole) if self.have < whole => self.early("it ended early"),
            _ => Tried::Whole,
        })
    }

    /// Takes a length of the whole file. Two different lengths are an error.
    fn learn(&mut self, whole: u64) -> Result<(), ModelsError> {
        match self.whole {
            Some(known) if known != whole => Err(self.wrong(&format!(
                "the server announces {whole} bytes where {known} belong"
            ))),
            _ => {
                self.whole = Some(whole);
                self.room()
            }
        }
    }

    fn room(&self) -> Result<(), ModelsError> {
        let missing = self
            .whole
            .map_or(0, |whole| whole.saturating_sub(self.have));
        room(self.path.parent().unwrap_or(&self.path), missing)
    }

    fn start_over(&mut self) -> Result<(), ModelsError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(ModelsError::io(&self.path))?;
        self.have = 0;
        // Another version of the file may have another length.
        self.whole = self.wanted.bytes;
        Ok(())
    }

    /// Reads all bytes once more where a sum is known, and waits until they are on the disk.
    fn prove(&mut self) -> Result<u64, ModelsError> {
        self.file.sync_all().map_err(ModelsError::io(&self.path))?;
        let Some(want) = &self.wanted.sum else {
            return Ok(self.have);
        };
        let sum = sum(&self.file, &self.path, self.watch)?;
        if sum != want.as_str() {
            return Err(self.wrong(&format!(
                "its SHA-256 is {sum}, and {} was announced",
                want.as_str()
            )));
        }
        Ok(self.have)
    }

    fn version(&self) -> Option<String> {
        let mut text = String::new();
        let file = File::open(version_file(&self.path)).ok()?;
        file.take(MAX_VERSION as u64)
            .read_to_string(&mut text)
            .ok()?;
        (!text.is_empty()).then_some(text)
    }

    /// Writes down what the server calls this version, where no sum proves it at the end.
    fn keep_version(&self, answered: &Response<Body>) -> Result<(), ModelsError> {
        if self.wanted.sum.is_some() {
            return Ok(());
        }
        let tag = header(answered, ETAG).filter(|tag| !tag.starts_with("W/"));
        let version = tag.or_else(|| header(answered, LAST_MODIFIED));
        let path = version_file(&self.path);
        let kept = match version.filter(|version| version.len() < MAX_VERSION) {
            Some(version) => std::fs::write(&path, version),
            None => match std::fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            },
        };
        kept.map_err(ModelsError::io(&path))
    }

    fn step(&mut self, step: PullStep<'_>) -> Result<(), ModelsError> {
        match (self.watch)(step) {
            true => Ok(()),
            false => Err(ModelsError::Interrupted),
        }
    }

    fn early(&self, why: &str) -> Tried {
        let error = ModelsError::Network {
            what: shown(&self.wanted.url),
            why: why.to_owned(),
        };
        Tried::Early(error, None)
    }

    fn wrong(&self, why: &str) -> ModelsError {
        ModelsError::wrong(&self.wanted.name, why)
    }
}

/// Waits, and ends early when the watcher stops the pull.
pub fn pause(how_long: Duration, why: &str, watch: &mut PullWatch<'_>) -> Result<(), ModelsError> {
    let until = Instant::now() + how_long;
    loop {
        if !watch(PullStep::Again(why)) {
            return Err(ModelsError::Interrupted);
        }
        match until.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => std::thread::sleep(left.min(GLANCE)),
            _ => return Ok(()),
        }
    }
}

/// Refuses what the disk of a folder has no room for, before any of it is written.
pub fn room(folder: &Path, missing: u64) -> Result<(), ModelsError> {
    let Ok(stat) = rustix::fs::statvfs(folder) else {
        return Ok(());
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let need = missing.saturating_add(RESERVE);
    match missing > 0 && need > free {
        true => Err(ModelsError::NoRoom {
            folder: folder.to_owned(),
            need,
            free,
        }),
        false => Ok(()),
    }
}

/// The SHA-256 of a file's bytes in hexadecimal. `watch` gets the number of bytes that were read.
///
/// # Errors
/// The error of the operating system; [`ModelsError::Interrupted`].
pub fn sum(mut file: &File, path: &Path, watch: &mut PullWatch<'_>) -> Result<String, ModelsError> {
    file.rewind().map_err(ModelsError::io(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    let mut read = 0;
    loop {
        let n = file.read(&mut buffer).map_err(ModelsError::io(path))?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        read += n as u64;
        if !watch(PullStep::Proving(read)) {
            return Err(ModelsError::Interrupted);
        }
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect())
}

fn header(answered: &Response<Body>, name: ureq::http::HeaderName) -> Option<&str> {
    answered.headers().get(name)?.to_str().ok()
}

/// Where a part begins, and the length of the whole: `bytes 5-9/10`.
fn part(answered: &Response<Body>) -> Option<(u64, Option<u64>)> {
    let text = header(answered, CONTENT_RANGE)?.strip_prefix("bytes ")?;
    let (range, whole) = text.split_once('/')?;
    let at = range.split_once('-')?.0.trim().parse().ok()?;
    Some((at, whole.trim().parse().ok()))
}

/// The length of the whole in an answer that has no part: `bytes */10`.
fn end(answered: &Response<Body>) -> Option<u64> {
    let text = header(answered, CONTENT_RANGE)?;
    text.strip_prefix("bytes */")?.trim().parse().ok()
}
