//! What serves the tools of sessions in one project: those that are built in, programs in a sandbox
//! that was tried before it is trusted, and MCP servers, which start while a model is loaded and end
//! with this value.

mod folder;

use std::cell::OnceCell;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use folder::ClaimedFolder;

use crate::agent::Notice;
use crate::approve::SandboxMode;
use crate::config::{Places, Settings, Tables};
use crate::tools::sandbox::{self, Sandbox};
use crate::tools::{
    self, Launch, SecretOwner, Secrets, ServerConfig, ServerSurroundings, Servers, Terminal, Tool,
};

/// How long a look at starting servers takes.
const LOOK: Duration = Duration::from_millis(50);

/// What serves the tools of one project.
pub struct ProjectTools {
    /// The data folder.
    pub home: PathBuf,
    /// Where all of it works.
    pub project: PathBuf,
    /// What the configuration file says of approvals and the sandbox.
    pub tables: Tables,
    /// The configuration file: it may hold servers' keys.
    config: PathBuf,
    sandbox_off: bool,
    starting: Option<Receiver<Servers>>,
    servers: Option<Servers>,
    /// Notices that were not given yet.
    notices: Vec<Notice>,
    /// Last: the temporary folder goes when the servers have ended.
    programs: OnceCell<Programs>,
}

/// How programs are started here.
struct Programs {
    /// npast's own file, which starts them.
    program: PathBuf,
    rules: Option<sandbox::SandboxRules>,
    /// Hidden, and may be read.
    read: Vec<PathBuf>,
    kind: SandboxMode,
    held: String,
    /// Of this process: there before a session is.
    temp: io::Result<ClaimedFolder>,
}

impl ProjectTools {
    /// Begins to start the servers that are configured. Nothing is waited for.
    pub fn new(places: &Places, project: &Path, settings: &Settings) -> ProjectTools {
        let mut tools = ProjectTools {
            home: places.home.clone(),
            project: project.to_owned(),
            tables: settings.tables.clone(),
            config: places.config.clone(),
            sandbox_off: settings.sandbox_off,
            starting: None,
            servers: None,
            notices: Vec::new(),
            programs: OnceCell::new(),
        };
        if !settings.servers.is_empty() {
            tools.start(settings.servers.clone());
        }
        tools
    }

    /// Waits for the servers, at most for `most`; whether they are there, or were given up.
    pub fn wait(&mut self, most: Duration) -> bool {
        let Some(starting) = &self.starting else {
            return true;
        };
        match starting.recv_timeout(most) {
            Ok(servers) => self.servers = Some(servers),
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => {
                let text = "the MCP servers could not be started".to_owned();
                self.notices.push((text, None));
            }
        }
        self.starting = None;
        true
    }

    /// The tools that this process can serve, for a session with this temporary folder; without one
    /// only what they are called counts, since nothing can run yet. Servers are waited for.
    pub fn tools(&mut self, temp: Option<&Path>) -> Vec<Box<dyn Tool>> {
        while !self.wait(LOOK) {}
        let sandbox = match temp {
            Some(temp) => self.programs().sandbox(&self.tables, temp),
            None => Sandbox::new(PathBuf::new(), Vec::new()),
        };
        let mut all = tools::built_in();
        all.push(Box::new(tools::FetchUrl::new(false)));
        all.push(Box::new(Terminal::new(sandbox)));
        if let Some(servers) = &mut self.servers {
            let taken: Vec<&str> = all.iter().map(|tool| tool.spec().name.as_str()).collect();
            let theirs = servers.tools(&taken);
            all.extend(theirs);
        }
        all
    }

    /// What is wrong with the servers, each thing once.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        let theirs = self.servers.as_mut().map(Servers::notices);
        let theirs = theirs.unwrap_or_default().into_iter();
        let mut all = std::mem::take(&mut self.notices);
        all.extend(theirs.map(|text| (text, None)));
        all
    }

    /// The running servers that a session with these tools knows nothing of.
    pub fn unknown_to(&self, names: &[&str]) -> Vec<&str> {
        let known = |server: &str| {
            let own = format!("{server}_");
            names.iter().any(|name| name.starts_with(&own))
        };
        let servers = self.servers.iter().flat_map(Servers::names);
        servers.filter(|server| !known(server)).collect()
    }

    /// What no tool and no program may touch here.
    pub fn secrets(&self) -> Secrets {
        let home = std::env::home_dir();
        let mut secret = Secrets::of(SecretOwner {
            home: home.as_deref(),
            data: &self.home,
            project: Some(&self.project),
            variable: &|name| std::env::var_os(name),
        });
        secret.open(&self.tables.sandbox.write);
        // It may hold servers' keys.
        secret.close(&self.config);
        secret
    }

    /// What programs run behind.
    pub fn sandbox_mode(&self) -> SandboxMode {
        self.programs().kind
    }

    /// What the kernel really keeps programs from, or why nothing.
    pub fn held_back(&self) -> &str {
        &self.programs().held
    }

    fn programs(&self) -> &Programs {
        self.programs.get_or_init(|| self.tried())
    }

    /// Finds out what holds here.
    fn tried(&self) -> Programs {
        let temp = ClaimedFolder::new(&self.home);
        let program = std::env::current_exe().unwrap_or_default();
        let secret = self.secrets();
        let mut write = vec![self.project.clone()];
        write.extend(self.tables.sandbox.write.iter().cloned());
        write.retain(|folder| !secret.owns(folder));
        let mut programs = Programs {
            program,
            rules: Some(sandbox::SandboxRules {
                write,
                hidden: secret.hidden(),
                network: self.tables.sandbox.network,
            }),
            read: secret.readable().to_vec(),
            kind: SandboxMode::Sandbox,
            held: String::new(),
            temp,
        };
        if self.sandbox_off {
            programs.rules = None;
            programs.kind = SandboxMode::Off;
            programs.held = "off: commands run with all your rights".to_owned();
            return programs;
        }
        let held = match &programs.temp {
            Ok(temp) => {
                let tried = programs.sandbox(&self.tables, temp.path());
                tried.probe(temp.path())
            }
            Err(error) => sandbox::Enforced::none(&error.to_string()),
        };
        programs.held = held.to_string();
        if !held.holds() {
            programs.kind = SandboxMode::Missing;
            programs.held.push_str("; npast asks about every command");
        }
        // One that cannot be put up would refuse every program.
        if !held.holds_some() {
            programs.rules = None;
        }
        programs
    }

    fn start(&mut self, servers: Vec<ServerConfig>) {
        let programs = self.programs();
        let sandbox = match &programs.temp {
            Ok(temp) => Ok(programs.sandbox(&self.tables, temp.path())),
            Err(error) => Err(format!("no MCP server is started: {error}")),
        };
        let sandbox = match sandbox {
            Ok(sandbox) => sandbox,
            Err(text) => {
                let hint = "make the data folder writable".to_owned();
                return self.notices.push((text, Some(hint)));
            }
        };
        let project = self.project.clone();
        let (send, starting) = channel();
        let start = move || {
            let around = ServerSurroundings {
                project: &project,
                env: &sandbox.environment,
                command: &|launch| command(&sandbox, launch),
            };
            // When no session waits for them any more, they end at once.
            let _ = send.send(Servers::start(&servers, &around));
        };
        let named = std::thread::Builder::new().name("mcp-start".to_owned());
        match named.spawn(start) {
            Ok(_) => self.starting = Some(starting),
            Err(error) => {
                let text = format!("no MCP server is started: {error}");
                self.notices.push((text, None));
            }
        }
    }
}

impl Programs {
    /// For programs whose temporary folder is `temp`.
    fn sandbox(&self, tables: &Tables, temp: &Path) -> Sandbox {
        let named = &tables.sandbox.env;
        let variables = sandbox::environment(std::env::vars_os(), named, temp);
        let bare = Sandbox::new(self.program.clone(), variables);
        match self.rules.clone() {
            Some(mut rules) => {
                rules.write.push(temp.to_owned());
                let read = self.read.clone();
                Sandbox { read, ..bare }.with_rules(rules)
            }
            None => bare,
        }
    }
}

/// A server's command: in the sandbox of programs, as far as its configuration does not open that.
fn command(sandbox: &Sandbox, launch: &Launch<'_>) -> io::Result<Command> {
    let server = launch.server;
    let mut own = sandbox.clone();
    own.environment = launch.env.to_vec();
    own.rules = own.rules.filter(|_| server.sandbox).map(|mut rules| {
        rules.network |= server.network;
        rules.write.extend(server.write.iter().cloned());
        rules
    });
    own.wrap(launch.words, launch.folder)
}

#[cfg(test)]
#[path = "project_tools/tests.rs"]
mod tests;
