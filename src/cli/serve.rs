//! `npast serve`: one process with the model and the slot, for the people and programs of a machine.
//!
//! - `live`: while it serves: signals, reading the configuration again, the end.
//! - `manager`: what a service manager hands over, and what it is told.
//! - `clients`: what a client needs to use it.

mod clients;
mod live;
mod manager;

use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

pub use clients::ClientProgram;

use super::CliContext;
use super::args::ServeArgs;
use super::engine::{load, options, with_a_model};
use super::error::{FAILED, Failure, USAGE};
use super::interrupt::Interrupt;
use super::output::{self, ProgressLine, notice};
use super::{log, output::say};
use crate::agent::{Options, TurnOptions};
use crate::attach::{Hello, PROTOCOL, Seat, SeatError};
use crate::chat::ReplyScript;
use crate::config::Settings;
use crate::gateway::http::{self, Access, AccessToken, BodyLimits, TokenError};
use crate::llama::{Model, ModelOptions};
use crate::service::{Projects, Service};
use live::Live;

/// Requests a minute of each address, where others than this machine may ask.
const RATE_BEYOND: u32 = 600;
/// Replies that run or wait at the same time.
const MOST_REPLIES: usize = 128;
/// The context of a model that could take more.
const DEFAULT_CONTEXT: usize = 32_768;

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Failure {
        Failure::failed("token", error.to_string()).hint(error.hint())
    }
}

/// Runs the subcommand.
pub fn run(run: &CliContext, args: &ServeArgs, settings: Settings) -> Result<i32, Failure> {
    // Before any thread runs: it takes variables away.
    let mut given = manager::Given::take();
    let script = args.script.as_deref().map(ReplyScript::load).transpose()?;
    let settings = with_a_model(run, settings, None)?;
    let options = options(run, &settings, None)?;
    if let Some(client) = args.print_config {
        return print(client, args, &options, &AccessToken::of(&run.places.home)?);
    }
    let (listener, address) = match given.listener()? {
        Some(listener) => listener,
        None => listen(args.listen)?,
    };
    let beyond = !address.ip().is_loopback();
    if beyond && !args.allow_remote {
        return Err(Failure::usage(
            format!("{} is not an address of this machine alone", address),
            "add --allow-remote if others may call this server; they need its token then",
        ));
    }
    log::set(settings.tables.serve.log.as_deref())?;
    // From here on command lines wait for this process, and load no model.
    let seat = match args.alone {
        true => None,
        false => seat(&run.places.home)?,
    };
    let web = web(run, args, &settings, script.clone(), address)?;
    let interrupt = Interrupt::listen();
    let engine = load(&options, &interrupt, &mut ProgressLine::here(!run.json))?;
    let path = &options.model;
    let hello = Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        model: engine.facts().model,
        path: path.canonicalize().unwrap_or_else(|_| path.clone()),
        limit: engine.facts().limit,
        settings: settings.laid.said(),
    };
    let projects = Arc::new(Projects::new(run.places.clone(), settings.clone()));
    let service = Service::new(engine, projects.clone(), settings.idle);
    for (text, hint) in service.notices() {
        notice(&text, hint.as_deref());
    }
    let live = Live {
        run,
        args,
        service,
        projects,
        loaded: settings,
        script,
        address,
    };
    live.serve(listener, seat, hello, web)
}

/// The place of the data folder's gateway; none where the file system has no sockets.
fn seat(home: &Path) -> Result<Option<Seat>, Failure> {
    match Seat::take(home) {
        Ok(seat) => Ok(Some(seat)),
        Err(SeatError::Held(error)) => Err(Failure::from(error)
            .hint("send it the work; --alone starts another one, which command lines do not use")),
        Err(error) => {
            let hint = "they load the model themselves";
            notice(&error.to_string(), Some(hint));
            Ok(None)
        }
    }
}

/// How the server is set by flags and the configuration file; flags and file add to each other.
fn web(
    run: &CliContext,
    args: &ServeArgs,
    settings: &Settings,
    script: Option<ReplyScript>,
    address: SocketAddr,
) -> Result<http::GatewaySettings, Failure> {
    let beyond = !address.ip().is_loopback();
    let table = &settings.tables.serve;
    let folder = std::env::current_dir()
        .map_err(|e| Failure::failed("io", format!("the current folder is gone: {e}")))?;
    let hosts = args.hosts.iter().chain(&table.hosts);
    let origins = args.origins.iter().chain(&table.allow_origins);
    Ok(http::GatewaySettings {
        access: Access {
            token: AccessToken::of(&run.places.home)?,
            required: args.require_token || table.require_token || beyond,
            beyond,
            hosts: hosts.map(|name| name.to_ascii_lowercase()).collect(),
            origins: origins.cloned().collect(),
        },
        home: run.places.home.clone(),
        folder: folder.to_string_lossy().into_owned(),
        turn: TurnOptions {
            sampling: settings.sampling.clone(),
            max_tokens: settings.max_tokens,
            stop: settings.stop.clone(),
            repeats: settings.stop_repeats,
            ..TurnOptions::default()
        },
        script,
        body: match table.max_body {
            Some(most) => BodyLimits {
                bytes: most << 20,
                ..BodyLimits::default()
            },
            None => BodyLimits::default(),
        },
        replies: args
            .max_replies
            .map(NonZeroUsize::get)
            .or(table.max_replies)
            .unwrap_or(MOST_REPLIES),
        rate: match args.rate_limit.or(table.rate_limit) {
            Some(0) => None,
            None => beyond.then_some(RATE_BEYOND),
            most => most,
        },
    })
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
