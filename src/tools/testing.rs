//! A place for tests of tools: a project, a temporary folder, a host that remembers.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::{
    CallContext, LiveOutput, MemoryEdit, Registry, ResultLimits, Results, SecretOwner, Secrets,
    SessionHit, Subject, TodoItem, ToolAnswer, ToolHost, built_in, results,
};

/// A project and a session in it.
pub struct Place {
    folder: tempfile::TempDir,
    pub host: Host,
    pub registry: Registry,
    pub limits: ResultLimits,
    pub secret: Secrets,
    pub cancel: AtomicBool,
}

impl Place {
    /// An empty project, with `home/` beside it, which is nobody's.
    pub fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        for name in ["project", "temp", "home"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        Place {
            host: Host::default(),
            registry: Registry::new(built_in()).unwrap(),
            limits: ResultLimits::default(),
            secret: Secrets::default(),
            cancel: AtomicBool::new(false),
            folder,
        }
    }

    /// The folder of everything, as it really is.
    pub fn base(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    pub fn project(&self) -> PathBuf {
        self.base().join("project")
    }

    pub fn temp(&self) -> PathBuf {
        self.base().join("temp")
    }

    /// From now on `home/` is a user's home folder, and `data/` npast's.
    pub fn guard(&mut self) {
        self.secret = Secrets::of(SecretOwner {
            home: Some(&self.base().join("home")),
            data: &self.base().join("data"),
            project: Some(&self.project()),
            variable: &|_| None,
        });
    }

    /// A file anywhere in the place.
    pub fn plant(&self, name: &str, content: &str) -> PathBuf {
        let path = self.base().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A file of the project.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.project().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.project().join(name)).unwrap()
    }

    /// Runs `work` in the room of the call `c1`.
    pub fn room<T>(
        &self,
        granted: Option<&Subject>,
        work: impl FnOnce(&CallContext<'_>) -> T,
    ) -> T {
        work(&CallContext {
            project: &self.project(),
            temp: &self.temp(),
            results: &Results::new(&self.temp(), results::MOST, None),
            secret: &self.secret,
            limits: self.limits,
            granted,
            asked: None,
            call: "c1",
            cancel: &self.cancel,
            live: &LiveOutput::default(),
            host: &self.host,
        })
    }

    /// A call, checked, run and shrunk; the place's own folder is written `BASE`.
    pub fn call(&self, name: &str, arguments: Value) -> ToolAnswer {
        let answer = self.room(None, |room| self.registry.run(name, &arguments, room));
        ToolAnswer {
            ok: answer.ok,
            text: answer.text.replace(&*self.base().to_string_lossy(), "BASE"),
        }
    }

    pub fn subject(&self, name: &str, arguments: Value) -> Subject {
        let tool = self.registry.get(name).unwrap();
        tool.subject(&arguments, &self.project())
    }

    pub fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }
}

/// A named pipe. By a program: not every system makes one by the same call.
pub fn make_fifo(path: &Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

/// All names below a folder, sorted, for "nothing else was left there".
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A host whose answers the test sets.
#[derive(Default)]
pub struct Host {
    plan: Mutex<Vec<TodoItem>>,
    edits: Mutex<Vec<MemoryEdit>>,
    hits: Mutex<Vec<SessionHit>>,
    refusal: Mutex<Option<String>>,
}

impl Host {
    /// From now on everything fails like this.
    pub fn refuse(&self, reason: &str) {
        *self.refusal.lock().unwrap() = Some(reason.to_owned());
    }

    pub fn plan(&self, plan: Vec<TodoItem>) {
        *self.plan.lock().unwrap() = plan;
    }

    pub fn remember(&self, hits: Vec<SessionHit>) {
        *self.hits.lock().unwrap() = hits;
    }

    pub fn edits(&self) -> Vec<MemoryEdit> {
        self.edits.lock().unwrap().clone()
    }

    fn may(&self) -> Result<(), String> {
        self.refusal.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

impl ToolHost for Host {
    fn search_sessions(&self, _: &str, limit: usize) -> Result<Vec<SessionHit>, String> {
        self.may()?;
        let mut hits = self.hits.lock().unwrap().clone();
        hits.truncate(limit);
        Ok(hits)
    }

    fn memory(&self, edits: &[MemoryEdit]) -> Result<String, String> {
        self.may()?;
        self.edits.lock().unwrap().extend_from_slice(edits);
        Ok("kept".to_owned())
    }

    fn todo(&self) -> Vec<TodoItem> {
        self.plan.lock().unwrap().clone()
    }
}
