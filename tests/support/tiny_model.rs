//! `tiny-model`: writes one of the tests' models to a file, for demos and benchmarks.
//!
//! `cargo run --example tiny-model -- CLASS PATH [--template FILE] [--bench]`

#[path = "model.rs"]
mod model;

use std::{path::PathBuf, process::ExitCode};

use model::{Class, Options};

const USAGE: &str = "usage: tiny-model CLASS PATH [--template FILE] [--seed N] [--bench]
CLASS is dense, swa, hybrid or recurrent; --bench makes the larger dense model";

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: impl Iterator<Item = String>) -> Result<(), String> {
    let (mut plain, mut template, mut seed, mut bench) = (Vec::new(), None, 1, false);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} wants a value\n{USAGE}"));
        match arg.as_str() {
            "--bench" => bench = true,
            "--template" => {
                let file = value()?;
                let text = std::fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
                template = Some(text);
            }
            "--seed" => {
                seed = value()?
                    .parse()
                    .map_err(|_| format!("--seed wants a number\n{USAGE}"))?;
            }
            _ if arg.starts_with('-') => return Err(USAGE.into()),
            _ => plain.push(arg),
        }
    }
    let [class, path] = <[String; 2]>::try_from(plain).map_err(|_| USAGE)?;
    let class = Class::parse(&class).ok_or(USAGE)?;
    if bench && class != Class::Dense {
        return Err("the benchmark model is dense".into());
    }
    let mut options = Options {
        seed,
        ..Options::default()
    };
    if template.is_some() {
        options.chat_template = template.as_deref();
    }
    let path = PathBuf::from(path);
    let written = if bench {
        model::write_bench_model(&options, &path)
    } else {
        model::write_tiny_model(class, &options, &path)
    };
    written.map_err(|error| error.to_string())
}
