//! A made-up user's home with a project in it, and a terminal that works there: what a command did
//! is seen on the system.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use npast::approve::{self, ApprovalRules, ApprovalSetup, Approvals, Approve};
use npast::tools::command::ShellPlaces;
use npast::tools::sandbox::{self, Bounds, Sandbox, SandboxRules};
use npast::tools::{
    CallContext, LiveOutput, MemoryEdit, Registry, ResultLimits, Results, SecretOwner, Secrets,
    SessionHit, Terminal, TodoItem, ToolAnswer, ToolHost, results,
};
use serde_json::{Value, json};

/// An agent with nothing to say.
pub struct Nobody;

impl ToolHost for Nobody {
    fn search_sessions(&self, _: &str, _: usize) -> Result<Vec<SessionHit>, String> {
        Ok(Vec::new())
    }
    fn memory(&self, _: &[MemoryEdit]) -> Result<String, String> {
        Err("there is none".into())
    }
    fn todo(&self) -> Vec<TodoItem> {
        Vec::new()
    }
}

/// Every file with its mode, time and bytes; folders with their mode.
pub type Seen = BTreeMap<PathBuf, (u32, Option<(i64, Vec<u8>)>)>;

pub struct Yard {
    top: tempfile::TempDir,
    pub cancel: AtomicBool,
}

impl Default for Yard {
    fn default() -> Yard {
        let top = tempfile::tempdir().expect("a folder");
        let yard = Yard {
            top,
            cancel: AtomicBool::new(false),
        };
        for (name, text) in [
            ("home/.bashrc", "# as it was\n"),
            ("home/.ssh/id_ed25519", "PRIVATE-KEY-7261\n"),
            ("home/.aws/credentials", "PRIVATE-KEY-7261\n"),
            ("home/.bash_history", "PRIVATE-KEY-7261\n"),
            ("home/notes/a.txt", "mine\n"),
            ("home/data/npast.db", "PRIVATE-KEY-7261\n"),
            ("home/bin/tool", "#!/bin/sh\n"),
            ("home/work/README", "a project\n"),
            ("home/work/.git/config", "[core]\n"),
            ("home/work/.git/hooks/post-merge", "#!/bin/sh\n"),
            ("home/temp/x", ""),
        ] {
            let path = yard.at(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        yard
    }
}

impl Yard {
    pub fn at(&self, name: &str) -> PathBuf {
        self.top.path().canonicalize().expect("a folder").join(name)
    }

    pub fn places(&self) -> ShellPlaces {
        ShellPlaces {
            home: self.at("home"),
            project: self.at("home/work"),
            data: self.at("home/data"),
        }
    }

    /// What is closed to every tool.
    pub fn secrets(&self) -> Secrets {
        Secrets::of(SecretOwner {
            home: Some(&self.at("home")),
            data: &self.at("home/data"),
            project: Some(&self.at("home/work")),
            variable: &|_| None,
        })
    }

    /// The same programs and variables in a sandbox or without one.
    pub fn sandbox(&self, sandboxed: bool) -> Sandbox {
        let home = self.at("home");
        let variables = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("HOME", home.to_str().expect("UTF-8")),
            ("SSH_AUTH_SOCK", "/nowhere"),
            ("API_TOKEN", "PRIVATE-KEY-7261"),
        ];
        let variables = variables.map(|(n, v)| (OsString::from(n), OsString::from(v)));
        Sandbox {
            program: env!("CARGO_BIN_EXE_npast").into(),
            rules: sandboxed.then(|| SandboxRules {
                write: vec![self.at("home/work"), self.at("home/temp")],
                hidden: self.secrets().hidden(),
                network: false,
            }),
            read: Vec::new(),
            bounds: Bounds::default(),
            environment: sandbox::environment(variables, &[], &self.at("home/temp")),
        }
    }

    /// The sandbox where no namespace can be had, as in many containers. It takes one that can, to
    /// forbid them in.
    pub fn without_namespaces(&self) -> Sandbox {
        let program = self.at("home/npast");
        let real = env!("CARGO_BIN_EXE_npast");
        let forbid =
            "for kind in user mnt pid ipc; do echo 0 > /proc/sys/user/max_${kind}_namespaces; done";
        let text = format!(
            "#!/bin/sh\nexec /usr/bin/unshare -Ur /bin/sh -c '{forbid}; exec \"$0\" \"$@\"' {real} \"$@\"\n"
        );
        std::fs::write(&program, text).expect("a file");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, mode).expect("a file");
        Sandbox {
            program,
            ..self.sandbox(true)
        }
    }

    /// The sandboxes that can be had here, with whether they have namespaces.
    pub fn sandboxes(&self) -> Vec<(bool, Sandbox)> {
        let all = [
            (true, self.sandbox(true)),
            (false, self.without_namespaces()),
        ];
        let works = |(own, sandbox): &(bool, Sandbox)| {
            let registry = self.registry_of(sandbox.clone());
            let said = self.call(&registry, "by", &json!({"command": "echo $NPAST_BEHIND"}));
            let own_is = said.text.contains("own mounts, own processes, own IPC");
            let works = said.text.contains("Landlock") && own_is == *own;
            if !works {
                eprintln!(
                    "not tested with namespaces {own}, this system: {}",
                    said.text
                );
            }
            works
        };
        all.into_iter().filter(works).collect()
    }

    /// What git takes programs from in the project's own repository.
    pub fn of_git(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let git = self.at("home/work/.git");
        let names = [
            "config",
            "commondir",
            "modules/module/config",
            "worktrees/second/commondir",
        ];
        let mut paths: Vec<PathBuf> = names.iter().map(|name| git.join(name)).collect();
        let hooks = std::fs::read_dir(git.join("hooks")).into_iter().flatten();
        paths.extend(hooks.map(|hook| hook.expect("an entry").path()));
        let text = |path: PathBuf| std::fs::read(&path).ok().map(|text| (path, text));
        let runs = |path: &PathBuf| {
            let name = path.to_string_lossy();
            !name.ends_with(".sample") && !name.contains("set-aside")
        };
        paths.into_iter().filter(runs).filter_map(text).collect()
    }

    pub fn registry(&self, sandboxed: bool) -> Registry {
        self.registry_of(self.sandbox(sandboxed))
    }

    pub fn registry_of(&self, sandbox: Sandbox) -> Registry {
        let terminal = Terminal::new(sandbox);
        Registry::new(vec![Box::new(terminal)]).expect("a registry")
    }

    pub fn call(&self, registry: &Registry, id: &str, arguments: &Value) -> ToolAnswer {
        let (project, temp) = (self.at("home/work"), self.at("home/temp"));
        let room = CallContext {
            project: &project,
            temp: &temp,
            results: &Results::new(&temp, results::MOST, None),
            secret: &Secrets::default(),
            limits: ResultLimits::default(),
            granted: None,
            asked: None,
            call: id,
            cancel: &self.cancel,
            live: &LiveOutput::default(),
            host: &Nobody,
        };
        registry.run("terminal", arguments, &room)
    }

    pub fn approvals(&self, policy: Approve, attended: bool) -> Approvals {
        let (approvals, notice) = Approvals::new(ApprovalSetup {
            policy,
            rules: ApprovalRules::default(),
            places: self.places(),
            temp: self.at("home/temp"),
            sandbox: approve::SandboxMode::Sandbox,
            attended,
        });
        assert_eq!(notice, None);
        approvals
    }

    /// All of the home folder but the project and the temporary folder; of the project what git
    /// runs, when `git` is set.
    pub fn outside(&self, git: bool) -> Seen {
        let mut seen = Seen::new();
        if git {
            look(&self.at("home/work/.git/config"), &[], &mut seen);
            look(&self.at("home/work/.git/hooks"), &[], &mut seen);
        }
        let free = [self.at("home/work"), self.at("home/temp")];
        look(&self.at("home"), &free, &mut seen);
        seen
    }
}

fn look(path: &Path, free: &[PathBuf], seen: &mut Seen) {
    if free.iter().any(|f| f == path) {
        return;
    }
    let facts = std::fs::symlink_metadata(path).expect("metadata");
    let text = facts
        .is_file()
        .then(|| (facts.mtime(), std::fs::read(path).expect("a file")));
    seen.insert(path.to_owned(), (facts.permissions().mode(), text));
    if facts.is_dir() {
        for entry in std::fs::read_dir(path).expect("a folder") {
            look(&entry.expect("an entry").path(), free, seen);
        }
    }
}
