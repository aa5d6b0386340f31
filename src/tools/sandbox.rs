//! The sandbox: the kernel decides what a command can touch, whatever the command is. npast starts its
//! own binary again (`npast sandbox-exec`). That process is the command's **supervisor**: it stays outside
//! of the sandbox and ends everything that the command leaves running. It starts the binary once more; that
//! process gives up its rights and then becomes the command. `docs/sandbox.md` says what the kernel
//! enforces.

#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
mod first;
mod inner;
#[cfg(target_os = "linux")]
mod others;
mod probe;
mod processes;
#[cfg(target_os = "linux")]
mod repositories;
#[cfg(target_os = "linux")]
mod rights;
mod stages;
mod supervisor;
#[cfg(target_os = "linux")]
mod view;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

pub use processes::ProgramEnd;
pub(crate) use processes::end_below;
pub use stages::main;

/// The hidden subcommand of the binary.
pub const SUBCOMMAND: &str = "sandbox-exec";
/// The variable that carries a [`SandboxJob`] to it: arguments could be seen by everyone.
const JOB: &str = "NPAST_SANDBOX_JOB";
/// The variable in which a program in the sandbox finds what the kernel enforces on it.
const TOLD: &str = "NPAST_BEHIND";
/// How each line begins that the supervisor itself writes.
pub(crate) const MESSAGE_PREFIX: &str = "npast sandbox: ";
/// The exit code of a program that could not be started in the sandbox.
pub(crate) const NOT_STARTED: i32 = 125;

/// Variables that a program may see, where they are set.
const VARIABLES: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "GOPATH",
    "GOROOT",
    "JAVA_HOME",
    "VIRTUAL_ENV",
    "NVM_DIR",
    "PYENV_ROOT",
    "NODE_PATH",
    "LD_LIBRARY_PATH",
    "CC",
    "CXX",
    "NIX_PATH",
];

/// Bounds of one program, each process of it for itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bounds {
    /// Largest file in bytes.
    pub file: u64,
    /// CPU time in seconds.
    pub cpu: u64,
    /// Processes and threads, above those that the system has when the program starts.
    pub processes: u64,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            file: 8 << 30,
            cpu: 2 * 3600,
            processes: 1024,
        }
    }
}

/// What programs in the sandbox may touch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SandboxRules {
    /// Folders that may be written: the project, the temporary one, what the user adds.
    pub write: Vec<PathBuf>,
    /// Files and folders that may not even be read.
    pub hidden: Vec<PathBuf>,
    /// Whether the internet may be reached.
    pub network: bool,
}

/// How programs are started in this session.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// The npast binary.
    pub program: PathBuf,
    /// `None`: no sandbox, only bounds, the supervisor and a scrubbed environment.
    pub rules: Option<SandboxRules>,
    /// Files and folders that may be read although they are hidden.
    pub read: Vec<PathBuf>,
    /// For each program.
    pub bounds: Bounds,
    /// All variables that programs see; [`environment`] makes them.
    pub environment: Vec<(OsString, OsString)>,
}

/// One program to be started.
#[derive(Serialize, Deserialize)]
struct SandboxJob {
    rules: Option<SandboxRules>,
    read: Vec<PathBuf>,
    bounds: Bounds,
    /// As text: it travels in a variable, of which the kernel takes 128 KiB.
    words: Vec<String>,
    folder: PathBuf,
    environment: Vec<(String, String)>,
    /// Standard input is the supervisor's: orders come in, the end goes out.
    controlled: bool,
    /// npast's process. Without a control the supervisor watches it.
    parent: u32,
}

impl SandboxJob {
    /// Whether a folder is the program's one for temporary files.
    #[cfg(target_os = "linux")]
    fn temporary(&self, folder: &Path) -> bool {
        let mut named = self.environment.iter().filter(|(name, _)| name == "TMPDIR");
        named.any(|(_, value)| Path::new(value) == folder)
    }
}

impl Sandbox {
    /// Programs without a sandbox: started by the npast binary `program`, with these variables
    /// ([`environment`]).
    pub fn new(program: PathBuf, environment: Vec<(OsString, OsString)>) -> Sandbox {
        Sandbox {
            program,
            rules: None,
            read: Vec::new(),
            bounds: Bounds::default(),
            environment,
        }
    }

    /// The same in a sandbox.
    pub fn with_rules(self, rules: SandboxRules) -> Sandbox {
        Sandbox {
            rules: Some(rules),
            ..self
        }
    }

    /// A command that runs `words` in `folder`; its standard input, output and error are the
    /// program's. When it gets SIGTERM, or this process is gone, it ends the program and all that
    /// came of it.
    ///
    /// # Errors
    /// Words that are not text.
    pub fn wrap(&self, words: &[OsString], folder: &Path) -> io::Result<Command> {
        self.command(words, folder, false)
    }

    /// The same with the supervisor's control as standard input: the byte `t` asks the program to end,
    /// `k` or the end of the stream ends it; when all is over the supervisor writes an [`ProgramEnd`].
    pub(crate) fn controlled(&self, words: &[OsString], folder: &Path) -> io::Result<Command> {
        self.command(words, folder, true)
    }

    fn command(&self, words: &[OsString], folder: &Path, controlled: bool) -> io::Result<Command> {
        let text = |word: &OsString| word.clone().into_string();
        let words: Result<_, _> = words.iter().map(text).collect();
        let words = words.map_err(|_| io::Error::other("a word of it is not UTF-8"))?;
        let variables = self.environment.iter();
        let job = SandboxJob {
            rules: self.rules.clone(),
            read: self.read.clone(),
            bounds: self.bounds,
            words,
            folder: folder.to_owned(),
            // A variable that is not UTF-8 is left out, like one that is not allowed.
            environment: variables
                .filter_map(|(name, value)| Some((text(name).ok()?, text(value).ok()?)))
                .collect(),
            controlled,
            parent: std::process::id(),
        };
        let mut command = Command::new(&self.program);
        command.arg(SUBCOMMAND).env_clear();
        command.env(JOB, serde_json::to_string(&job)?);
        // A Ctrl-C in the terminal is for npast, which decides what becomes of the program.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Ok(command)
    }

    /// What the kernel really keeps a program from, found by trying it. `scratch` is a folder in
    /// which two files can be made for that.
    pub fn probe(&self, scratch: &Path) -> Enforced {
        match &self.rules {
            Some(_) => probe::outside(self, scratch),
            None => Enforced::none("it is turned off"),
        }
    }
}

/// What a sandbox holds, as it was seen.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Enforced {
    /// Nothing outside can be written.
    pub writes: bool,
    /// What is hidden cannot be read.
    pub reads: bool,
    /// No connection can be made.
    pub network: bool,
    /// Modes and times of files outside cannot be changed either.
    pub modes: bool,
    /// By what, or why not.
    pub by: String,
}

impl Enforced {
    /// Nothing, and why.
    pub fn none(why: &str) -> Enforced {
        Enforced {
            by: why.to_owned(),
            ..Enforced::default()
        }
    }

    /// Whether files are safe: where they are not, the user is asked about a program under every policy.
    pub fn holds(&self) -> bool {
        self.writes && self.reads
    }

    /// Whether it holds anything.
    pub fn holds_some(&self) -> bool {
        self.writes || self.reads || self.network || self.modes
    }
}

impl fmt::Display for Enforced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = [
            (self.writes, "write only in this folder"),
            (self.reads, "read no keys"),
            (self.network, "have no network"),
            (self.modes, "change no permissions outside of it"),
        ];
        let held: Vec<&str> = held.iter().filter(|h| h.0).map(|h| h.1).collect();
        match held.is_empty() {
            true => write!(f, "none: {}", self.by),
            false => write!(f, "commands {}", held.join(", ")),
        }
    }
}

/// The variables that programs see: a few of `all`, those named by the user, and ours.
pub fn environment(
    all: impl IntoIterator<Item = (OsString, OsString)>,
    named: &[String],
    temp: &Path,
) -> Vec<(OsString, OsString)> {
    let ours = [
        ("TERM", "dumb"),
        ("NO_COLOR", "1"),
        ("PAGER", "cat"),
        ("GIT_PAGER", "cat"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("DEBIAN_FRONTEND", "noninteractive"),
    ];
    let passes = |name: &OsStr| {
        let name = name.to_string_lossy();
        VARIABLES.contains(&name.as_ref())
            || name.starts_with("LC_")
            || named.iter().any(|n| *n == name)
    };
    let mut kept: Vec<(OsString, OsString)> = all.into_iter().filter(|(n, _)| passes(n)).collect();
    kept.retain(|(name, _)| !ours.iter().any(|(o, _)| name == o));
    kept.extend(ours.map(|(name, value)| (name.into(), value.into())));
    kept.push(("TMPDIR".into(), temp.into()));
    kept.push(("XDG_CACHE_HOME".into(), temp.join("cache").into()));
    kept.sort();
    kept
}
