//! A model that is not known yet loads in a process of its own first. llama.cpp checks few of a
//! file's values: a wrong one breaks an assertion, divides by zero or walks out of its memory, and
//! the process ends. The child does what the start does then: weights, context, the probe of the
//! memory class, some text through the vocabulary. What went well is remembered by what the system
//! says of the files, so the next start costs nothing.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use serde::{Deserialize, Serialize};

use crate::agent::values::error::{AgentError, ErrorKind};
use crate::agent::values::event::Stage;
use crate::agent::values::options::{Leeway, Options};
use crate::durable::{self, Attributes, Links};
use crate::kv::Store;
use crate::llama::{self, Apart, ContextOptions, Model, ModelOptions, apart, gguf};
use crate::slot::Slot;

use super::fit;
use super::load::{load, sizes};
use super::model_files::files_identity;
use super::template::examine_vocab;

/// What a child is started for.
pub const TASK: &str = "load";

/// The child found out that the model does not load, and why in words.
const REFUSED: u8 = 3;
/// llama.cpp aborted the child; its words are the child's output.
const ABORTED: u8 = 4;
/// How often is looked whether the user wants to stop.
const LOOK: Duration = Duration::from_millis(50);
/// Bytes of a job and of a child's words that are read.
const MOST_BYTES: u64 = 1 << 20;
/// Where models that loaded are remembered, in the data folder, and how many.
const LIST: &str = "loaded.json";
const MOST: usize = 256;

/// What a child loads.
#[derive(Debug, Serialize, Deserialize)]
struct ProbeJob {
    /// The path's bytes: it need not be UTF-8.
    model: Vec<u8>,
    weights: ModelOptions,
    limit: Option<usize>,
    context: ContextOptions,
    cache: bool,
    session: usize,
    ubatch: Option<usize>,
}

impl ProbeJob {
    fn options(self) -> Options {
        Options {
            home: PathBuf::new(),
            model: OsString::from_vec(self.model).into(),
            weights: self.weights,
            limit: self.limit,
            context: self.context,
            leeway: Leeway {
                cache: self.cache,
                session: self.session,
            },
            ubatch: self.ubatch,
            policy: None,
            shift: None,
            store_kv: false,
            kv_quota: None,
            chat_template: None,
            thinking: None,
            apart: None,
        }
    }
}

/// Names of models that loaded well.
#[derive(Default, Serialize, Deserialize)]
struct LoadedBefore {
    models: Vec<String>,
}

impl LoadedBefore {
    /// What cannot be read is an empty list: the model is checked again.
    fn read(home: &Path) -> LoadedBefore {
        let file = fs::File::open(home.join(LIST));
        let text = file.and_then(|f| io::read_to_string(f.take(MOST_BYTES)));
        let text = text.unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    fn write(mut self, home: &Path, name: String) -> io::Result<()> {
        self.models.push(name);
        let surplus = self.models.len().saturating_sub(MOST);
        self.models.drain(..surplus);
        let text = serde_json::to_vec(&self)?;
        durable::private::folder(home)?;
        let path = home.join(LIST);
        durable::replace(&path, &text, Attributes::Private, Links::Refuse)
            .map_err(|e| io::Error::other(e.to_string()))
    }
}

/// Loads a model in a child if it is not known to load; nothing where there is no child to be had.
///
/// # Errors
/// The model ends llama.cpp's process, or the user stops the check. A model that llama.cpp refuses
/// in words is no error here: it refuses it again.
pub(in crate::agent) fn check(
    options: &Options,
    progress: &mut dyn FnMut(Stage) -> bool,
) -> Result<(), AgentError> {
    let Some(apart) = &options.apart else {
        return Ok(());
    };
    let known = LoadedBefore::read(&options.home);
    let whole = files_identity(options, false);
    let own = files_identity(options, options.weights.vocab_only);
    let is_known = |name: &Option<String>| {
        let name = name.as_ref();
        name.is_some_and(|name| known.models.contains(name))
    };
    // Who loaded a model whole has loaded its vocabulary.
    if is_known(&whole) || is_known(&own) {
        return Ok(());
    }
    if try_apart(apart, options, progress)?
        && let Some(name) = own
        && let Err(error) = known.write(&options.home, name)
    {
        tracing::warn!(%error, "the model will be checked again at the next start");
    }
    Ok(())
}

/// Whether the model loads, as a child finds out.
fn try_apart(
    apart: &Apart,
    options: &Options,
    progress: &mut dyn FnMut(Stage) -> bool,
) -> Result<bool, AgentError> {
    let unusable = |what: String| AgentError::new(ErrorKind::Engine, what);
    let mut child = Loading::start(apart, options).map_err(|e| {
        unusable(format!(
            "the process that tries the model does not start: {e}"
        ))
    })?;
    let (sender, said) = bounded(1);
    let output = child.0.stdout.take();
    std::thread::spawn(move || {
        let mut words = String::new();
        if let Some(output) = output {
            let _ = output.take(MOST_BYTES).read_to_string(&mut words);
        }
        let _ = sender.send(words);
    });
    let words = loop {
        match said.recv_timeout(LOOK) {
            Ok(words) => break words,
            Err(RecvTimeoutError::Timeout) if progress(Stage::Check) => {}
            Err(RecvTimeoutError::Disconnected) => break String::new(),
            Err(RecvTimeoutError::Timeout) => {
                let text = format!("loading {} was interrupted", options.model.display());
                return Err(AgentError::new(ErrorKind::Interrupted, text));
            }
        }
    };
    let status = child.0.wait();
    let status = status.map_err(|e| unusable(format!("the process that tries the model: {e}")))?;
    if status.success() {
        return Ok(true);
    }
    let reason = match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(REFUSED) => return Ok(false),
        Some(ABORTED) => words,
        _ => format!("it ended with {}", apart::cause_of_death(status)),
    };
    let model = options.model.display();
    Err(match status.signal() {
        Some(9) => AgentError::new(
            ErrorKind::Memory,
            format!("the system ended the loading of {model}, as it does when memory runs out"),
        )
        .hinted("take a smaller --ctx, fewer --gpu-layers, or a smaller model"),
        Some(4) => AgentError::new(
            ErrorKind::Model,
            format!("llama.cpp does not run {model} on this CPU: {reason}"),
        )
        .hinted(
            "npast was built for another CPU, or the system keeps programs from a part of this one: build \
             npast on this machine, or take the package for every CPU",
        ),
        _ => AgentError::new(
            ErrorKind::Model,
            format!("{model} breaks llama.cpp when it is loaded: {reason}"),
        )
        .hinted(
            "the file is damaged, or made for another llama.cpp: download it again and compare its \
             checksum, or take another model",
        ),
    })
}

/// A child at work; it ends with this value.
struct Loading(Child);

impl Loading {
    fn start(apart: &Apart, options: &Options) -> io::Result<Loading> {
        let job = ProbeJob {
            model: options.model.as_os_str().as_bytes().to_vec(),
            weights: options.weights.clone(),
            limit: options.limit,
            context: options.context.clone(),
            cache: options.leeway.cache,
            session: options.leeway.session,
            ubatch: options.ubatch,
        };
        let mut text = serde_json::to_vec(&job)?;
        text.push(b'\n');
        let child = Loading(apart.start(TASK)?);
        // The input stays open: its end is npast's end, and the child's.
        if let Some(mut input) = child.0.stdin.as_ref() {
            input.write_all(&text)?;
        }
        Ok(child)
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The child: loads what standard input names, and goes.
pub fn serve() -> ExitCode {
    llama::on_abort(|words| {
        let mut output = io::stdout();
        let _ = output.write_all(words.as_bytes());
        let _ = output.flush();
        i32::from(ABORTED)
    });
    let mut input = BufReader::new(io::stdin());
    let mut line = String::new();
    let read = (&mut input).take(MOST_BYTES).read_line(&mut line);
    let job: Option<ProbeJob> = read.ok().and_then(|_| serde_json::from_str(&line).ok());
    let Some(job) = job else {
        return ExitCode::FAILURE;
    };
    std::thread::spawn(move || {
        let _ = io::copy(&mut input, &mut io::sink());
        std::process::exit(1);
    });
    apart::no_core_file();
    match load_once(&job.options()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::info!("{error}");
            ExitCode::from(REFUSED)
        }
    }
}

/// All that a start does with a model that could end the process.
fn load_once(options: &Options) -> Result<(), AgentError> {
    if options.weights.vocab_only {
        let model = Model::load(&options.model, &options.weights, &mut |_| true)?;
        return examine_vocab(&model);
    }
    let file = gguf::facts(&options.model)?;
    let options = &fit::fitted(options, &file)?.options;
    let model = load(options, &mut |_| true)?;
    examine_vocab(&model)?;
    let sizes = sizes(options, &model)?;
    drop(Slot::start(&model, &sizes, |_| Store::off())?);
    Ok(())
}
