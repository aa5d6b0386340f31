//! The command line: arguments become settings, settings become a run, and every error becomes one
//! sentence, one hint and an exit code. Nothing below this room prints.

mod agent;
mod apart;
mod args;
mod chat;
mod config;
mod confirm;
mod console;
mod context;
mod cron;
mod deep;
mod doctor;
mod engine;
mod error;
mod file_limit;
mod fullness;
mod input;
mod interrupt;
mod kv;
mod log;
mod manual;
mod models;
mod names;
mod near;
mod once;
mod output;
mod prompt;
mod question;
mod raw;
mod serve;
mod sessions;
mod state;
mod through;
mod version;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

use args::{CliCommand, CronCommand, KvCommand, ParsedArgs, SessionsArgs, SessionsCommand};
use context::CliContext;
use error::Failure;

use crate::config::{ConfigLayer, Places};
use crate::llama;
use crate::session;
#[cfg(unix)]
use crate::tools::sandbox;

/// Runs npast with the given arguments, the program's name first: parse, dispatch, print one
/// error, make the exit code (0 done, 1 failed, 2 wrong usage, 130 interrupted).
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // Not a command for people: the binary starts itself to run a program in the sandbox.
    #[cfg(unix)]
    if args.get(1).is_some_and(|word| *word == sandbox::SUBCOMMAND) {
        return sandbox::main(&args[2..]);
    }
    if let Some(code) = apart::work(&args) {
        return code;
    }
    apart::say_aborts(args::wants_json(&args));
    output::harmless_panics();
    // Asked before anything else runs: the alternative is a SIGILL without a word.
    let done = match llama::cpu_lacks() {
        Some(feature) => Err(Failure::cpu(feature)),
        None if llama::backends_missing() => Err(Failure::backends()),
        None => run(&args),
    };
    let code = match done {
        Ok(code) => code,
        Err(failure) => {
            if args::wants_json(&args) {
                output::json::error(&failure);
            } else {
                output::failed(&failure);
            }
            failure.exit
        }
    };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn run(args: &[OsString]) -> Result<i32, Failure> {
    let env = |name: &str| std::env::var_os(name);
    let mut typed = match args::parse(args)? {
        ParsedArgs::Run(cli) => cli,
        ParsedArgs::Help(text) => return output::page(&text),
    };
    log::start(typed.verbose, env("NPAST_LOG"))?;
    file_limit::is_an_error();
    session::watch(Box::new(output::Aside));
    if typed.version {
        return output::page(&version::text());
    }
    let run = CliContext {
        places: Places::find(&env)?,
        json: typed.json,
        quiet: typed.quiet,
    };
    match &typed.command {
        Some(CliCommand::Sessions(SessionsArgs {
            command: Some(SessionsCommand::Compress(args)),
            ..
        })) => {
            let settings = run.places.resolve(&env, args.layer())?;
            sessions::compress(&run, args, settings)
        }
        Some(CliCommand::Serve(args)) => {
            let settings = run.places.resolve(&env, args.layer())?;
            serve::run(&run, args, settings)
        }
        Some(CliCommand::Sessions(args)) => sessions::run(&run, args),
        Some(CliCommand::Cron(args)) => match &args.command {
            Some(CronCommand::Run(args)) => {
                let settings = run.places.resolve(&env, args.layer())?;
                cron::due(&run, args, settings)
            }
            _ => cron::run(&run, args),
        },
        Some(CliCommand::Models(args)) => models::run(&run, args),
        Some(CliCommand::Kv(args)) => match &args.command {
            Some(KvCommand::Verify(verify)) if verify.deep => {
                let settings = run.places.resolve(&env, verify.layer())?;
                deep::run(&run, &settings)
            }
            Some(KvCommand::Verify(verify)) if verify.layer() != ConfigLayer::default() => {
                Err(Failure::usage(
                    "a model is of no use to `kv verify` alone: it reads bytes",
                    "add --deep to have some of them evaluated again",
                ))
            }
            _ => {
                let settings = run.places.resolve(&env, args.layer())?;
                kv::run(&run, args, settings.kv_quota)
            }
        },
        Some(CliCommand::Config) => config::run(&run, &env),
        Some(CliCommand::Prompt(args)) => {
            let settings = run.places.resolve(&env, args.layer())?;
            prompt::run(&run, args, &settings)
        }
        Some(CliCommand::Doctor(args)) => {
            let settings = run.places.resolve(&env, args.layer())?;
            doctor::run(&run, &settings)
        }
        Some(CliCommand::Completions { shell }) => manual::completions(*shell),
        Some(CliCommand::Man { words }) => manual::page(words),
        None => {
            if typed.raw {
                output::show_raw();
            }
            let stdin = std::io::stdin();
            if !typed.talk.near.is_empty() {
                near::ask(&run, &typed.talk)?;
            }
            let settings = run.places.resolve(&env, typed.layer())?;
            typed.talk.agent = agent::wanted(&typed, &settings, stdin.is_terminal());
            let asked = input::of_this_process(&typed.talk, stdin.is_terminal())?;
            let start = engine::Start::new(&run, &typed.talk, settings)?;
            match asked {
                input::Invocation::Chat if typed.talk.no_session => Err(Failure::usage(
                    "a chat is a session, and --no-session keeps none",
                    "give a message with it, or leave it away",
                )),
                input::Invocation::Chat => chat::run(&run, start),
                input::Invocation::Turn(input) => {
                    once::run(&run, start, input, typed.talk.no_session)
                }
            }
        }
    }
}
