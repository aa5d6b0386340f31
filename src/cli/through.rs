//! A run that works through the gateway of its data folder: whether the gateway serves what the run asks
//! for, said before anything is asked.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::Failure;
use super::interrupt::Interrupt;
use super::output::{ProgressLine, notice};
use super::{CliContext, models};
use crate::agent::{Done, Event, NewSession, WhichSession};
use crate::attach::{self, AttachError, Greeting, Hello, Joining, Peer};
use crate::config::{ConfigLayer, Settings};
use crate::harmless;
use crate::models::has_tensors_of;
use crate::service::{Request, Tooling};
use crate::session::{Db, LockError, ModelFile, Session};

/// How often is looked for a word of the gateway, 20 ms each.
const LOOKS: usize = 250;

/// The gateway, and what this run would have of it.
pub struct Through {
    greeting: Option<Greeting>,
    /// The file of a model that was asked for.
    model: Option<PathBuf>,
    /// A stored session, and its model.
    stored: Option<ModelOfSession>,
    /// What flags and variables said.
    asked: ConfigLayer,
    /// Prepared replies, as a script's text.
    pub replies: Option<String>,
}

/// The model of a stored session.
struct ModelOfSession {
    session: String,
    /// Its file name.
    model: String,
    /// Its file, where that is known.
    file: Option<ModelFile>,
}

impl ModelOfSession {
    fn of(run: &CliContext, session: &Session) -> Result<ModelOfSession, Failure> {
        let db = Db::open(&run.places.db())?;
        let newest = models::continued(&db, session)?;
        Ok(ModelOfSession {
            session: session.name.clone(),
            model: newest.model.clone(),
            file: db.model_file(newest.id)?,
        })
    }

    /// Whether the gateway serves it, wherever its file is now.
    fn is_served(&self, hello: &Hello) -> bool {
        match &self.file {
            Some(file) => {
                let real = file.path.canonicalize();
                let same = real.is_ok_and(|path| path == hello.path)
                    && hello.path.metadata().is_ok_and(|meta| file.is_as(&meta));
                same || has_tensors_of(&hello.path, file)
            }
            None => self.model == hello.model,
        }
    }

    fn shown(&self) -> String {
        let shown = match &self.file {
            Some(file) => file.path.to_string_lossy(),
            None => self.model.as_str().into(),
        };
        harmless::line(&shown).into_owned()
    }
}

impl From<AttachError> for Failure {
    fn from(error: AttachError) -> Failure {
        match error {
            AttachError::Interrupted => Failure::interrupted(),
            error => Failure::failed("gateway", error.to_string()).hint(error.hint()),
        }
    }
}

impl Through {
    /// For a run that found a gateway.
    ///
    /// # Errors
    /// The model that was asked for is not there.
    pub fn new(
        run: &CliContext,
        greeting: Greeting,
        settings: &Settings,
        stored: Option<&Session>,
        replies: Option<String>,
    ) -> Result<Through, Failure> {
        let model = settings.model.as_deref();
        let model = model.map(|model| models::find(Some(model), &models::places(run)));
        let model = model.transpose()?;
        Ok(Through {
            greeting: Some(greeting),
            model: model.map(|path| path.canonicalize().unwrap_or(path)),
            stored: match stored {
                Some(session) => Some(ModelOfSession::of(run, session)?),
                None => None,
            },
            asked: settings.asked.clone(),
            replies,
        })
    }

    /// Waits for the gateway to be ready.
    ///
    /// # Errors
    /// It serves another model, or programs there run otherwise; [`Failure::interrupted`] after Ctrl-C.
    pub fn greet(
        &mut self,
        interrupt: &Interrupt,
        progress: &mut ProgressLine,
    ) -> Result<Peer, Failure> {
        let Some(greeting) = self.greeting.take() else {
            return Err(Failure::failed(
                "internal",
                "the gateway was greeted before",
            ));
        };
        let greeted = greeting.greeted(&mut || {
            progress.gateway();
            !interrupt.asked()
        });
        progress.clear();
        let peer = greeted?;
        self.agrees(peer.hello())?;
        Ok(peer)
    }

    /// Whether this gateway does what the run asks for.
    fn agrees(&self, hello: &Hello) -> Result<(), Failure> {
        let (pid, serves) = (hello.pid, harmless::line(&hello.model));
        let alone = "--alone loads it in this process";
        if let Some(asked) = &self.model {
            if *asked != hello.path {
                let name = asked.file_name().unwrap_or_default().to_string_lossy();
                let name = harmless::line(&name);
                return Err(Failure::usage(
                    format!("the gateway (process {pid}) serves {serves}, and not {name}"),
                    format!("leave -m away to work with {serves}; {alone}, beside the gateway"),
                ));
            }
        } else if let Some(stored) = &self.stored
            && !stored.is_served(hello)
        {
            let (session, model) = (harmless::line(&stored.session), stored.shown());
            let path = harmless::line(&hello.path.to_string_lossy()).into_owned();
            let serves = match stored.file.is_some() {
                true => path.as_str(),
                false => &*serves,
            };
            return Err(Failure::usage(
                format!(
                    "session {session} was used with {model}, and the gateway (process {pid}) \
                     serves {serves}"
                ),
                format!("-m {serves} goes on with it there; {alone}, beside the gateway"),
            ));
        }
        let asked = self.asked.said();
        let sandbox = |word: Option<&serde_json::Value>| {
            word.and_then(|word| word.as_str())
                .unwrap_or("on")
                .to_owned()
        };
        let theirs = sandbox(hello.settings.get("sandbox"));
        if asked.contains_key("sandbox") && sandbox(asked.get("sandbox")) != theirs {
            return Err(Failure::usage(
                format!("the gateway (process {pid}) runs programs with --sandbox {theirs}"),
                format!("leave --sandbox away; {alone}, beside the gateway"),
            ));
        }
        let other = asked.iter().filter(|(key, value)| {
            let theirs = hello.settings.get(*key);
            let chosen = *key == "ctx" && **value == hello.limit;
            ConfigLayer::LOADED.contains(&key.as_str()) && theirs != Some(*value) && !chosen
        });
        let other: Vec<String> = other.map(|(key, _)| format!("--{key}")).collect();
        if !other.is_empty() {
            notice(
                &format!(
                    "the gateway (process {pid}) has loaded its model already, so {} of this run \
                     count for nothing",
                    other.join(", ")
                ),
                Some("--alone loads the model in this process, with them"),
            );
        }
        Ok(())
    }
}

/// Asks for something in a stored session that another process holds: the gateway does it where it is
/// the one.
///
/// # Errors
/// That the session is held, where the gateway is not; the request's.
pub fn asked(
    run: &CliContext,
    held: LockError,
    session: &Session,
    request: Request,
) -> Result<Done, Failure> {
    let found = attach::find(&run.places.home);
    let Ok(Some(greeting)) = found else {
        return Err(held.into());
    };
    // It has loaded its model: it has a session open.
    let mut left = LOOKS;
    let peer = greeting.greeted(&mut || {
        left -= 1;
        left > 0
    });
    let peer = match peer {
        Ok(peer) if held.pid() == Some(peer.hello().pid) => peer,
        _ => return Err(held.into()),
    };
    let there = peer.open(Joining {
        open: WhichSession::Named(session.name.clone()),
        new: NewSession {
            folder: session.folder.clone(),
            ..NewSession::default()
        },
        agent: false,
        attended: false,
        tooling: Tooling::default(),
        script: None,
    })?;
    for event in there.ask_until(request, &Arc::default())? {
        match event {
            Event::Done(done) => return Ok(done),
            Event::Error {
                kind,
                message,
                hint,
                exit,
            } => {
                return Err(Failure {
                    kind: kind.into(),
                    message,
                    hint,
                    exit,
                });
            }
            Event::Notice { text, hint } => notice(&text, hint.as_deref()),
            _ => {}
        }
    }
    Err(held.into())
}

/// A request that came to something else than it can.
pub fn strange(done: &Done) -> Failure {
    Failure::failed("internal", format!("the gateway answered with {done:?}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::attach::PROTOCOL;

    fn hello() -> Hello {
        let settings = [("sandbox", json!("on")), ("ubatch", json!(64))];
        Hello {
            protocol: PROTOCOL,
            version: "1".into(),
            pid: 7,
            model: "a.gguf".into(),
            path: "/models/a.gguf".into(),
            limit: 4096,
            settings: BTreeMap::from(settings.map(|(key, value)| (key.to_owned(), value))),
        }
    }

    fn run(model: Option<&str>, stored: Option<&str>, asked: ConfigLayer) -> Through {
        Through {
            greeting: None,
            model: model.map(PathBuf::from),
            stored: stored.map(|model| ModelOfSession {
                session: "work".to_owned(),
                model: model.to_owned(),
                file: None,
            }),
            asked,
            replies: None,
        }
    }

    #[test]
    fn a_gateway_with_another_model_or_another_sandbox_is_not_used() {
        let sandbox = |word: &str| ConfigLayer {
            sandbox: Some(word.into()),
            ctx: Some(4096),
            ubatch: Some(64),
            ..ConfigLayer::default()
        };
        let none = ConfigLayer::default;
        let table = [
            (run(None, None, none()), None),
            (run(Some("/models/a.gguf"), Some("b.gguf"), none()), None),
            (run(None, Some("a.gguf"), sandbox("on")), None),
            (
                run(Some("/other/a.gguf"), None, none()),
                Some("the gateway (process 7) serves a.gguf, and not a.gguf"),
            ),
            (
                run(None, Some("b.gguf"), none()),
                Some(
                    "session work was used with b.gguf, and the gateway (process 7) serves a.gguf",
                ),
            ),
            (
                run(None, None, sandbox("off")),
                Some("the gateway (process 7) runs programs with --sandbox on"),
            ),
        ];
        for (run, want) in table {
            let said = run.agrees(&hello()).map_err(|failure| {
                assert_eq!(failure.exit, 2);
                failure.message
            });
            assert_eq!(said.err().as_deref(), want);
        }
    }
}
