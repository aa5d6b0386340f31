//! Tools of other programs: servers of the Model Context Protocol over stdio, by the official SDK.
//! Servers are started with a session, their tools named `SERVER_tool`, and what a session froze
//! stays: a server that ended, or answers garbage or nothing, costs a sentence, never the session.
//!
//! - `process`: the server's process group and its end; `ends`: ends that nobody waits for at once;
//!   `link`: one call; `tool`: what the model sees of it; `lenient`: what the protocol does not have.

mod ends;
mod lenient;
mod link;
mod one_line;
mod process;
mod tool;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rmcp::model::{ClientCapabilities, ClientConfig, Implementation, PaginatedRequestParams};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::async_rw::AsyncRwTransport;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::runtime::Runtime;

use self::ends::{EndingServers, Guarded};
use self::link::ServerLink;
use self::one_line::one_line;
use self::process::{ServerProcess, Told};
use super::{Tool, shown};

/// Most tools of one server.
const MAX_TOOLS: usize = 64;

/// Most pages of a server's list of tools that are read.
const MAX_PAGES: usize = 32;

/// Longest message of a server, in bytes.
const MAX_MESSAGE: usize = 8 << 20;

/// One server, as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerConfig {
    /// ASCII letters, digits, `_` and `-`, at most 24: the beginning of its tools' names.
    pub name: String,
    /// The program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, besides the few variables that every program gets.
    pub env: BTreeMap<String, String>,
    /// The tools that are wanted, by the server's names; `None` is all of them.
    pub tools: Option<Vec<String>>,
    /// How long it may take to start and to list its tools.
    pub start_limit: Duration,
    /// How long one call may take.
    pub call_limit: Duration,
    /// Whether it may reach the network.
    pub network: bool,
    /// Folders that it may write besides those that every program may; absolute.
    pub write: Vec<PathBuf>,
    /// Whether it runs behind the sandbox, where there is one.
    pub sandbox: bool,
}

/// What servers are started with.
pub struct ServerSurroundings<'a> {
    /// Their working folder.
    pub project: &'a Path,
    /// The environment that they share; nothing else is inherited.
    pub env: &'a [(OsString, OsString)],
    /// Makes the command of a server: [`Launch::bare`], or behind a sandbox.
    pub command: &'a dyn Fn(&Launch<'_>) -> io::Result<Command>,
}

/// A server that is to be started.
pub struct Launch<'a> {
    /// What was configured.
    pub server: &'a ServerConfig,
    /// The program and its arguments.
    pub words: &'a [OsString],
    /// All of its environment.
    pub env: &'a [(OsString, OsString)],
    /// Its working folder.
    pub folder: &'a Path,
}

impl Launch<'_> {
    /// The command as it is, without a sandbox.
    ///
    /// # Errors
    /// When there is no program.
    pub fn bare(&self) -> io::Result<Command> {
        let (program, args) = self
            .words
            .split_first()
            .ok_or_else(|| io::Error::other("there is no program"))?;
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder);
        Ok(command)
    }
}

/// Running servers. They end when this is dropped.
pub struct Servers {
    running: Vec<RunningServer>,
    notices: Vec<String>,
    /// The ends of servers that were left out.
    ends: EndingServers,
    /// The tools were offered once, with notices about what is wrong with them.
    offered: bool,
    /// Last: links and services live on it.
    runtime: Option<Runtime>,
}

/// A server that answered.
struct RunningServer {
    met: Met,
    config: ServerConfig,
    process: Guarded,
}

/// What a server said of itself, and the way to it.
struct Met {
    link: Arc<ServerLink>,
    listed: Vec<rmcp::model::Tool>,
    /// Dropping it closes the connection.
    _service: RunningService<RoleClient, ClientConfig>,
}

impl Servers {
    /// Starts servers side by side. One that does not start or list its tools in its time is left
    /// out with a notice.
    pub fn start(configs: &[ServerConfig], around: &ServerSurroundings<'_>) -> Servers {
        let mut servers = Servers {
            running: Vec::new(),
            notices: Vec::new(),
            ends: EndingServers::default(),
            offered: false,
            runtime: None,
        };
        if configs.is_empty() {
            return servers;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("mcp")
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                servers
                    .notices
                    .push(format!("no MCP server was started: {error}"));
                return servers;
            }
        };
        let (send, started) = mpsc::channel();
        let mut waiting: Vec<&ServerConfig> = Vec::new();
        for config in configs {
            match ServerProcess::start(config, around, runtime.handle()) {
                Ok(process) => {
                    waiting.push(config);
                    let (send, config) = (send.clone(), config.clone());
                    let ends = servers.ends.clone();
                    runtime.spawn(async move {
                        let name = config.name.clone();
                        let met = meet_in_time(config, process, ends).await;
                        // Nobody listens when the session was given up: the server ends.
                        let _ = send.send((name, met));
                    });
                }
                Err(reason) => servers.miss(&config.name, &reason),
            }
        }
        drop(send);
        let longest = configs.iter().map(|config| config.start_limit).max();
        let until = Instant::now() + longest.unwrap_or_default() + Duration::from_secs(5);
        while !waiting.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let Ok((name, met)) = started.recv_timeout(left) else {
                break;
            };
            waiting.retain(|config| config.name != name);
            match met {
                Ok(running) => servers.running.push(running),
                Err(reason) => servers.miss(&name, &reason),
            }
        }
        for config in waiting {
            servers.miss(&config.name, "it could not be started in time");
        }
        // In the order of their names, whoever was faster.
        servers
            .running
            .sort_by(|a, b| a.config.name.cmp(&b.config.name));
        servers.notices.sort();
        servers.runtime = Some(runtime);
        servers
    }

    fn miss(&mut self, name: &str, reason: &str) {
        self.notices.push(format!(
            "the MCP server {name} is left out of this session: {reason}"
        ));
    }

    /// The tools of all servers, in order of their names; `taken` are the names of others. What
    /// cannot be offered is a notice, once: each session of a process gets the same tools.
    pub fn tools(&mut self, taken: &[&str]) -> Vec<Box<dyn Tool>> {
        let mut tools: Vec<Box<dyn Tool>> = Vec::new();
        let mut notices = Vec::new();
        let mut seen = BTreeSet::new();
        for running in &self.running {
            let mut listed = running.met.listed.clone();
            listed.sort_by(|a, b| a.name.cmp(&b.name));
            let name = &running.config.name;
            let wanted = running.config.tools.as_deref();
            for missing in wanted.unwrap_or_default() {
                if !listed.iter().any(|tool| tool.name == missing.as_str()) {
                    notices.push(format!("the MCP server {name} has no tool {missing}"));
                }
            }
            listed
                .retain(|tool| wanted.is_none_or(|wanted| wanted.iter().any(|w| *w == tool.name)));
            if listed.len() > MAX_TOOLS {
                notices.push(format!(
                    "the MCP server {name} has {} tools, and the first {MAX_TOOLS} are offered: \
                     choose with tools = [...] in its configuration",
                    listed.len()
                ));
                listed.truncate(MAX_TOOLS);
            }
            for remote in listed {
                let link = running.met.link.clone();
                let mut tool = tool::McpTool::new(&remote, &running.config, link);
                let wanted = tool.spec().name.clone();
                let used = |own: &str| {
                    taken.contains(&own) || tools.iter().any(|other| other.spec().name == own)
                };
                // A server's names may differ only in characters that names of tools cannot have here.
                let another = seen.insert((name.as_str(), remote.name.clone()));
                let free = match used(&wanted) {
                    false => Some(wanted.clone()),
                    true if !another || taken.contains(&wanted.as_str()) => None,
                    true => (2..=MAX_TOOLS)
                        .map(|n| tool::numbered(&wanted, n))
                        .find(|own| !used(own)),
                };
                let Some(free) = free else {
                    notices.push(format!(
                        "the tool {} of the MCP server {name} is left out: there is another {wanted}",
                        shown::clean(remote.name.as_bytes())
                    ));
                    continue;
                };
                tool.rename(free);
                tools.push(Box::new(tool));
            }
        }
        if !std::mem::replace(&mut self.offered, true) {
            self.notices.append(&mut notices);
        }
        tools.sort_by(|a, b| a.spec().name.cmp(&b.spec().name));
        tools
    }

    /// The servers that answered, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.running.iter().map(|one| one.config.name.as_str())
    }

    /// What went wrong since the last time, a sentence each.
    pub fn notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let running = std::mem::take(&mut self.running);
        // Each gets the signal to end before the first is waited for.
        let ending: Vec<ServerProcess> = running
            .into_iter()
            .filter_map(|running| {
                drop(running.met);
                running.process.release()
            })
            .collect();
        process::end(ending);
        self.ends.wait();
        if let Some(runtime) = self.runtime.take() {
            // An async caller must not be blocked by the drop of a runtime.
            runtime.shutdown_background();
        }
    }
}

/// Meets a server within its start limit. What waits for the system (the end of one that failed, its
/// last words) runs on threads of its own: the runtime's few workers serve all servers.
async fn meet_in_time(
    config: ServerConfig,
    mut process: ServerProcess,
    ends: EndingServers,
) -> Result<RunningServer, String> {
    let pipes = process.pipes();
    let told = process.told();
    let process = Guarded::new(process, ends);
    let limit = config.start_limit;
    match tokio::time::timeout(limit, meet(&config, pipes, told.clone())).await {
        Ok(Ok(met)) => Ok(RunningServer {
            met,
            config,
            process,
        }),
        Ok(Err(reason)) => {
            let because = move || told.because(&reason);
            let because = tokio::task::spawn_blocking(because).await;
            Err(because.unwrap_or_else(|error| error.to_string()))
        }
        Err(_) => Err(format!("it did not answer within {}", said(limit))),
    }
}

/// Does the handshake with a server and reads its list of tools.
async fn meet(
    config: &ServerConfig,
    pipes: Option<(ChildStdin, ChildStdout)>,
    told: Arc<Told>,
) -> Result<Met, String> {
    let (stdin, stdout) = pipes.ok_or("its pipes are gone")?;
    let stdout = lenient::mended(stdout);
    let transport = AsyncRwTransport::new_client(stdout, stdin).with_max_line_length(MAX_MESSAGE);
    let own = Implementation::new("npast", env!("CARGO_PKG_VERSION"));
    let client = ClientConfig::new(ClientCapabilities::default(), own);
    let service = rmcp::serve_client(client, transport)
        .await
        .map_err(|error| one_line(&error.to_string()))?;
    let mut listed = Vec::new();
    let mut cursor = None;
    for _ in 0..MAX_PAGES {
        let page = PaginatedRequestParams::default().with_cursor(cursor);
        let page = service.peer().list_tools(Some(page)).await;
        let page = page.map_err(|error| one_line(&error.to_string()))?;
        listed.extend(page.tools);
        cursor = page.next_cursor;
        if cursor.is_none() || listed.len() > 4 * MAX_TOOLS {
            break;
        }
    }
    let link = ServerLink::new(config, service.peer().clone(), told);
    Ok(Met {
        link: Arc::new(link),
        listed,
        _service: service,
    })
}

fn said(limit: Duration) -> String {
    match limit.subsec_millis() {
        0 => format!("{} s", limit.as_secs()),
        _ => format!("{} ms", limit.as_millis()),
    }
}

#[cfg(test)]
mod tests;
