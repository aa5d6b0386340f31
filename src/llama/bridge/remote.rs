//! A template in a child of npast, and the child's side. A template is an untrusted
//! program: one step of it can double a text, walk a value that holds itself, or divide by zero. The
//! child has a limit of processor time and memory for each request; when it ends, it is started
//! again by the next request, so a failure costs one rendering.
//!
//! A message is a byte (the operation, or whether there is an answer), eight bytes of processor time
//! in nanoseconds (in answers), a length of eight bytes and a text. A request and its answer cost two
//! copies through a pipe, so rendering stays O(new).

use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ExitCode};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded as channel};
use serde::{Deserialize, Serialize};

use super::answer::{BridgeError, MAX_REQUEST_BYTES, MAX_TEMPLATE_BYTES, refusal};
use super::raw::{Op, TemplateHandle, confine};
use crate::llama::apart::{self, Apart};

/// What a child is started for.
pub const TASK: &str = "template";

/// Processor time of one request, and more of it for each MiB of the conversation. Known templates
/// take a hundredth of a second for a MiB.
const SECONDS: u64 = 2;
const SECONDS_PER_MIB: u64 = 1;
/// Memory of one request, and more of it for each byte of the conversation: it stands there as JSON,
/// as values and as text.
const MEMORY: u64 = 384 << 20;
const MEMORY_PER_BYTE: u64 = 24;
/// Where the system does not end a child that takes too much processor time, a clock does; on a busy
/// machine a second of processor time takes long.
const WALL: u32 = 20;
/// How often is looked whether the user wants to stop, and how long a rendering may go on then: what
/// closes an interrupted reply is rendered too.
const LOOK: Duration = Duration::from_millis(50);
const GRACE: Duration = Duration::from_secs(1);
/// The byte of a message that makes the child's template.
const MAKE: u8 = 0;

/// What a template is made of.
#[derive(Debug, Serialize, Deserialize)]
struct TemplateSource {
    source: String,
    bos: String,
    eos: String,
}

/// A template in a child.
#[derive(Debug)]
pub(super) struct Remote {
    apart: Apart,
    /// JSON of a [`TemplateSource`].
    source: String,
    link: Mutex<Option<TemplateChild>>,
}

/// An answer of the bridge, and the processor time that it took.
type TimedAnswer = (Option<String>, Duration);

/// A child that holds the template.
#[derive(Debug)]
struct TemplateChild {
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<TimedAnswer>,
}

/// Seconds of processor time for a request of so many bytes.
fn seconds(bytes: usize) -> u64 {
    SECONDS + (bytes as u64 >> 20) * SECONDS_PER_MIB
}

impl Remote {
    /// Starts a child and has it parse the template.
    pub(super) fn new(
        source: &str,
        bos: &str,
        eos: &str,
        apart: Apart,
    ) -> Result<Remote, BridgeError> {
        let source = TemplateSource {
            source: source.to_owned(),
            bos: bos.to_owned(),
            eos: eos.to_owned(),
        };
        let remote = Remote {
            apart,
            source: serde_json::to_string(&source)
                .map_err(|e| BridgeError::Bridge(e.to_string()))?,
            link: Mutex::new(None),
        };
        let link = remote.start()?;
        *remote.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
        Ok(remote)
    }

    /// The child's answer; a child that is gone is started again first.
    pub(super) fn call(&self, op: Op, text: &str) -> Result<TimedAnswer, BridgeError> {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let mut live = match link.take() {
            Some(live) => live,
            None => self.start()?,
        };
        let answer = live.ask(op as u8, text, &self.apart)?;
        // A child that met a bound may have lost memory on the way: the next request gets a new one.
        if !matches!(&answer.0, Some(text) if !text.starts_with(r#"{"stopped":"#)) {
            return Ok(answer);
        }
        *link = Some(live);
        Ok(answer)
    }

    fn start(&self) -> Result<TemplateChild, BridgeError> {
        let failed = |e: io::Error| {
            BridgeError::Bridge(format!(
                "the process that renders templates does not start: {e}"
            ))
        };
        let mut child = self.apart.start(TASK).map_err(failed)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (sender, answers) = channel(1);
        let reader = std::thread::Builder::new().name("npast-template".to_owned());
        let reader = reader.spawn(move || {
            let mut output = io::BufReader::new(output?);
            while let Ok((there, took, text)) = receive(&mut output) {
                let text = String::from_utf8_lossy(&text).into_owned();
                if sender.send(((there == 1).then_some(text), took)).is_err() {
                    break;
                }
            }
            Some(())
        });
        let mut link = TemplateChild {
            child,
            input,
            answers,
        };
        reader.map_err(failed)?;
        match link.ask(MAKE, &self.source, &self.apart)?.0 {
            Some(text) if text == "null" => Ok(link),
            refused => Err(refusal(refused, BridgeError::Template)),
        }
    }
}

impl TemplateChild {
    fn ask(&mut self, what: u8, text: &str, apart: &Apart) -> Result<TimedAnswer, BridgeError> {
        let began = Instant::now();
        let sent = match &mut self.input {
            Some(input) => send(input, what, Duration::ZERO, text.as_bytes()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        // A child that ended while it was idle gives no answer either.
        if let Err(error) = sent {
            tracing::debug!(%error, "a request to the process that renders templates");
        }
        let seconds = seconds(text.len());
        let most = Duration::from_secs(seconds) * WALL;
        loop {
            match self.answers.recv_timeout(LOOK) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Disconnected) => return Err(self.died(seconds)),
                Err(RecvTimeoutError::Timeout) if apart.stop() && began.elapsed() > GRACE => {
                    return Err(BridgeError::Interrupted);
                }
                Err(RecvTimeoutError::Timeout) if began.elapsed() > most => {
                    return Err(BridgeError::Stopped(format!(
                        "it took more than {} s",
                        most.as_secs()
                    )));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn died(&mut self, seconds: u64) -> BridgeError {
        BridgeError::Stopped(match self.child.wait() {
            Ok(status) if is_time(status) => {
                format!("it takes more than {seconds} s of processor time")
            }
            Ok(status) => format!("its process ended with {}", apart::cause_of_death(status)),
            Err(error) => format!("its process is gone: {error}"),
        })
    }
}

#[cfg(unix)]
fn is_time(status: std::process::ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(rustix::process::Signal::XCPU.as_raw())
}

#[cfg(not(unix))]
fn is_time(_: std::process::ExitStatus) -> bool {
    false
}

impl Drop for TemplateChild {
    fn drop(&mut self) {
        drop(self.input.take());
        // It ends with its input; where it is busy, it is ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child: one template, requests on standard input, answers on standard output.
pub fn serve() -> ExitCode {
    let base = apart::own_memory();
    apart::no_core_file();
    confine();
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut template: Option<TemplateHandle> = None;
    loop {
        // An end of the input is npast's end.
        let Ok((what, _, text)) = receive(&mut input) else {
            return ExitCode::SUCCESS;
        };
        let before = apart::processor_time();
        let Ok(text) = String::from_utf8(text) else {
            return ExitCode::FAILURE;
        };
        let bytes = text.len();
        let memory = MEMORY + bytes as u64 * MEMORY_PER_BYTE;
        apart::limit(base, seconds(bytes), memory);
        let answer = match (what, Op::of(what), &template) {
            (MAKE, _, _) => match make(&text) {
                Ok(made) => {
                    template = Some(made);
                    Some("null".to_owned())
                }
                Err(answer) => answer,
            },
            (_, Some(op), Some(template)) => template.call(op, &text),
            _ => return ExitCode::FAILURE,
        };
        let there = u8::from(answer.is_some());
        let text = answer.unwrap_or_default();
        let took = apart::processor_time().saturating_sub(before);
        if send(&mut output, there, took, text.as_bytes()).is_err() {
            return ExitCode::FAILURE;
        }
    }
}

fn make(text: &str) -> Result<TemplateHandle, Option<String>> {
    let refuse =
        |e: serde_json::Error| Some(serde_json::json!({ "error": e.to_string() }).to_string());
    let source: TemplateSource = serde_json::from_str(text).map_err(refuse)?;
    TemplateHandle::new(&source.source, &source.bos, &source.eos)
}

fn send(to: &mut impl Write, what: u8, took: Duration, text: &[u8]) -> io::Result<()> {
    let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    let mut head = [what; 17];
    head[1..9].copy_from_slice(&took.to_le_bytes());
    head[9..].copy_from_slice(&(text.len() as u64).to_le_bytes());
    to.write_all(&head)?;
    to.write_all(text)?;
    to.flush()
}

fn receive(from: &mut impl Read) -> io::Result<(u8, Duration, Vec<u8>)> {
    let mut what = [0];
    from.read_exact(&mut what)?;
    let mut number = || {
        let mut bytes = [0; 8];
        from.read_exact(&mut bytes)
            .map(|()| u64::from_le_bytes(bytes))
    };
    let (took, length) = (number()?, number()?);
    // A rendering can be longer than what it renders.
    let most = (2 * MAX_REQUEST_BYTES + MAX_TEMPLATE_BYTES) as u64;
    if length > most {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = Vec::new();
    from.take(length).read_to_end(&mut text)?;
    match text.len() as u64 == length {
        true => Ok((what[0], Duration::from_nanos(took), text)),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
