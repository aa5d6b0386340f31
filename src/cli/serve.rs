//! `npast serve`: one process with the model and the slot, for the people and programs of a machine.
//! SIGTERM and Ctrl-C let what runs come to its end, store everything and end the process; a second
//! one does not wait for what runs.

mod clients;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;

pub use clients::ClientProgram;

use super::CliContext;
use super::args::ServeArgs;
use super::engine::{load, options, with_a_model};
use super::error::{FAILED, Failure, USAGE};
use super::interrupt::Interrupt;
use super::output::{self, ProgressLine, notice};
use crate::agent::{Options, TurnOptions};
use crate::chat::ReplyScript;
use crate::config::Settings;
use crate::gateway::http::{self, Access, AccessToken, Gateway, ServerLimits, TokenError};
use crate::llama::{Model, ModelOptions};
use crate::service::{Projects, Service};

/// Most bytes of a request's body: a history of a million tokens has less.
const MOST_BODY: usize = 32 << 20;
/// Replies that run or wait at the same time.
const MOST_REPLIES: usize = 128;
/// Threads that read requests and write replies; the engine has its own.
const WORKERS: usize = 2;
/// For tasks that still write when the server has ended.
const LAST: Duration = Duration::from_secs(1);
/// The context of a model that could take more.
const DEFAULT_CONTEXT: usize = 32_768;

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Failure {
        Failure::failed("token", error.to_string()).hint(error.hint())
    }
}

/// Runs the subcommand.
pub fn run(run: &CliContext, args: &ServeArgs, settings: Settings) -> Result<i32, Failure> {
    let beyond = !args.listen.ip().is_loopback();
    if beyond && !args.allow_remote {
        return Err(Failure::usage(
            format!("{} is not an address of this machine alone", args.listen),
            "add --allow-remote if others may call this server; they need its token then",
        ));
    }
    let script = args.script.as_deref().map(ReplyScript::load).transpose()?;
    let settings = with_a_model(run, settings, None)?;
    let options = options(run, &settings, None)?;
    let token = AccessToken::of(&run.places.home)?;
    if let Some(client) = args.print_config {
        return print(client, args, &options, &token);
    }
    let (listener, address) = listen(args.listen)?;
    let folder = std::env::current_dir()
        .map_err(|e| Failure::failed("io", format!("the current folder is gone: {e}")))?;
    let access = Access {
        token,
        required: args.require_token || beyond,
        beyond,
        hosts: args
            .hosts
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect(),
        origins: args.origins.clone(),
    };
    let gateway = http::GatewaySettings {
        access,
        home: run.places.home.clone(),
        folder: folder.to_string_lossy().into_owned(),
        turn: TurnOptions {
            sampling: settings.sampling.clone(),
            max_tokens: settings.max_tokens,
            stop: settings.stop.clone(),
            ..TurnOptions::default()
        },
        script,
        body: MOST_BODY,
        replies: MOST_REPLIES,
    };
    let interrupt = Interrupt::listen();
    let engine = load(&options, &interrupt, &mut ProgressLine::here(!run.json))?;
    let projects = Arc::new(Projects::new(run.places.clone(), settings));
    let service = Service::new(engine, projects, true);
    for (text, hint) in service.notices() {
        notice(&text, hint.as_deref());
    }
    serve(run, service, gateway, listener, address)
}

/// Serves until somebody ends it.
fn serve(
    run: &CliContext,
    service: Service,
    settings: http::GatewaySettings,
    listener: TcpListener,
    address: SocketAddr,
) -> Result<i32, Failure> {
    let failed = |e: std::io::Error| Failure::failed("io", format!("the server failed: {e}"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("npast-http")
        .enable_all()
        .build()
        .map_err(failed)?;
    let gateway = Gateway::new(service.clone(), settings);
    let router = http::router(gateway.clone());
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        let (stop, at_once) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        signals(stop.clone(), at_once.clone()).map_err(failed)?;
        // Whoever reads this can call.
        say(run, &gateway, address)?;
        let stopped = stop.notified();
        let served = http::serve(listener, router, ServerLimits::default(), stopped);
        tokio::select! {
            () = served => {}
            () = at_once.notified() => {}
        }
        Ok::<(), Failure>(())
    })?;
    // Requests that still run are dropped with their tasks, which stops them.
    runtime.shutdown_timeout(LAST);
    drop(gateway);
    let closed = service.close();
    for (text, hint) in service.notices() {
        notice(&text, hint.as_deref());
    }
    closed?;
    Ok(0)
}

fn say(run: &CliContext, gateway: &Gateway, address: SocketAddr) -> Result<(), Failure> {
    let url = format!("http://{address}");
    if run.json {
        let event = json!({ "type": "listening", "url": url, "model": gateway.model() });
        output::json::lines(&[event])?;
    } else if !run.quiet {
        output::say(&format!("{} is served at {url}", gateway.model()));
    }
    Ok(())
}

/// The first signal stops the server, the second one does not wait.
fn signals(stop: Arc<Notify>, at_once: Arc<Notify>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for one in [stop, at_once] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            one.notify_one();
        }
    });
    Ok(())
}

/// Before the model is loaded: an address that is taken is said at once.
fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let failed = |e: std::io::Error| Failure {
        exit: if e.kind() == std::io::ErrorKind::AddrInUse {
            FAILED
        } else {
            USAGE
        },
        ..Failure::failed("listen", format!("{address} cannot be listened on: {e}"))
            .hint("another process may have it; --listen takes another address or port")
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

fn print(
    client: ClientProgram,
    args: &ServeArgs,
    options: &Options,
    token: &AccessToken,
) -> Result<i32, Failure> {
    let context = match options.limit {
        Some(limit) => limit,
        None => trained(&options.model)?,
    };
    let name = options.model.file_stem().unwrap_or_default();
    let mut address = args.listen;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let facts = clients::ServerFacts {
        url: format!("http://{address}"),
        model: name.to_string_lossy().into_owned(),
        context,
        token: token.text().to_owned(),
    };
    let (text, hint) = client.config(&facts);
    if let Some(hint) = hint {
        output::say(hint);
    }
    output::page(text.trim_end())
}

/// What a session of this model gets where nobody says it. No weight is read for it.
fn trained(model: &Path) -> Result<usize, Failure> {
    let plan = Model::plan(model, &ModelOptions::default());
    let plan = plan.map_err(|e| Failure::failed("model", e.to_string()))?;
    Ok(match plan.trained_context() {
        0 => DEFAULT_CONTEXT,
        trained => trained.min(DEFAULT_CONTEXT),
    })
}
