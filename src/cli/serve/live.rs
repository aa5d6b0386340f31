//! A server while it serves. SIGTERM and Ctrl-C let what runs come to its end, store everything and end
//! the process; a second one does not wait for what runs. SIGHUP, or a changed configuration file, has
//! the configuration read again; the model, its slot and the open sessions stay.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::super::CliContext;
use super::super::args::ServeArgs;
use super::super::error::Failure;
use super::super::output::{self, notice};
use super::{log, manager, say, web};
use crate::attach::{self, Clients, Hello, Seat};
use crate::chat::ReplyScript;
use crate::config::{ConfigLayer, Settings};
use crate::gateway::http::{self, Gateway, ServerLimits};
use crate::service::{Projects, Service};

/// Threads that read requests and write replies; the engine has its own.
const WORKERS: usize = 2;
/// For tasks that still write when the server has ended.
const LAST: Duration = Duration::from_secs(1);
/// How often is looked whether the configuration file is another one.
const LOOK: Duration = Duration::from_secs(2);

/// A server and what it is made of.
pub struct Live<'a> {
    pub run: &'a CliContext,
    pub args: &'a ServeArgs,
    pub service: Service,
    pub projects: Arc<Projects>,
    /// What the model was loaded with.
    pub loaded: Settings,
    pub script: Option<ReplyScript>,
    pub address: SocketAddr,
}

/// What somebody wants of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Instruction {
    /// Read the configuration again.
    Reload,
    /// End; the second time, at once.
    End,
}

/// A file as it was looked at: when it was written, its length and its inode.
type FileMark = Option<(i64, i64, u64, u64)>;

impl Live<'_> {
    /// Serves until somebody ends it.
    ///
    /// # Errors
    /// When the server fails, or something could not be stored at its end.
    pub fn serve(
        self,
        listener: TcpListener,
        seat: Option<Seat>,
        hello: Hello,
        web: http::GatewaySettings,
    ) -> Result<i32, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("npast-http")
            .enable_all()
            .build()
            .map_err(failed)?;
        let gateway = Gateway::new(self.service.clone(), web);
        let clients = Clients::new(self.service.clone(), hello, self.script.clone());
        let served = self.until_the_end(listener, seat.as_ref(), gateway, Arc::new(clients));
        let served = runtime.block_on(served);
        // Requests that still run are dropped with their tasks, which stops them.
        runtime.shutdown_timeout(LAST);
        let closed = self.service.close();
        for (text, hint) in self.service.notices() {
            notice(&text, hint.as_deref());
        }
        // Command lines load the model themselves from now on.
        drop(seat);
        served?;
        closed?;
        Ok(0)
    }

    async fn until_the_end(
        &self,
        listener: TcpListener,
        seat: Option<&Seat>,
        gateway: Gateway,
        clients: Arc<Clients>,
    ) -> Result<(), Failure> {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        let (routers, router) = watch::channel(http::router(gateway.clone()));
        let (stop, stopped) = watch::channel(false);
        let drain = Duration::from_secs(self.args.drain);
        let lines = async {
            let Some(seat) = seat else { return };
            let stopped = told(stopped.clone());
            if let Err(error) =
                attach::serve(seat.listener(), clients.clone(), drain, stopped).await
            {
                notice(&format!("command lines are served no more: {error}"), None);
            }
        };
        let limits = ServerLimits {
            drain,
            ..ServerLimits::default()
        };
        let mut orders = orders(self.run).map_err(failed)?;
        manager::watched();
        // Whoever reads this can call.
        self.say(&gateway)?;
        manager::ready(&format!("serves {} at {}", gateway.model(), self.address));
        let (lined, others) = tokio::sync::oneshot::channel::<()>();
        let lines = async {
            lines.await;
            drop(lined);
        };
        let others = async { drop(others.await) };
        let stopped = told(stopped.clone());
        let web = http::serve(listener, router, http::ending(), limits, stopped, others);
        let mut served = std::pin::pin!(async { tokio::join!(web, lines) });
        let mut gateway = gateway;
        let mut ending = false;
        loop {
            let order = tokio::select! {
                _ = &mut served => return Ok(()),
                order = orders.recv() => order.unwrap_or(Instruction::End),
            };
            match order {
                Instruction::End if ending => return Ok(()),
                Instruction::End => {
                    ending = true;
                    manager::stopping();
                    stop.send_replace(true);
                }
                Instruction::Reload if ending => {}
                Instruction::Reload => {
                    manager::reloading();
                    match self.reload(&gateway, &clients) {
                        Ok((next, kept)) => {
                            let _ = routers.send_replace(http::router(next.clone()));
                            gateway = next;
                            // Only now: whoever reads this finds the new configuration in force.
                            if let Err(failure) = self.say_reloaded(&kept) {
                                tracing::warn!(failure.message, "the reload could not be reported");
                            }
                        }
                        Err(failure) => notice(
                            &format!(
                                "the configuration was not taken, and the one before stays: {}",
                                failure.message
                            ),
                            failure.hint.as_deref(),
                        ),
                    }
                    manager::ready(&format!("serves {} at {}", gateway.model(), self.address));
                }
            }
        }
    }

    /// Reads the configuration again, whole or not at all. Gives the gateway under it, and the keys that
    /// only another start reads.
    fn reload(
        &self,
        gateway: &Gateway,
        clients: &Clients,
    ) -> Result<(Gateway, Vec<String>), Failure> {
        let env = |name: &str| std::env::var_os(name);
        let places = &self.run.places;
        let new = places.resolve(&env, self.args.layer())?;
        let web = web(self.run, self.args, &new, self.script.clone(), self.address)?;
        log::set(new.tables.serve.log.as_deref())?;
        let kept = needs_a_start(&self.loaded, &new);
        clients.set(in_force(&self.loaded, &new));
        self.projects.replace(new);
        Ok((gateway.with(web), kept))
    }

    /// Says that the configuration was read again, and which keys only another start reads.
    fn say_reloaded(&self, kept: &[String]) -> Result<(), Failure> {
        match self.run.json {
            true => {
                let event = json!({ "type": "reloaded", "kept": kept });
                output::json::lines(&[event])?;
            }
            false if !self.run.quiet => say("The configuration was read again."),
            false => {}
        }
        if !kept.is_empty() {
            notice(
                &format!(
                    "{} changed, which only another start reads",
                    kept.join(", ")
                ),
                Some("end the gateway and start it again; every session goes on"),
            );
        }
        Ok(())
    }

    fn say(&self, gateway: &Gateway) -> Result<(), Failure> {
        let url = format!("http://{}", self.address);
        if self.run.json {
            let event = json!({ "type": "listening", "url": url, "model": gateway.model() });
            output::json::lines(&[event])?;
        } else if !self.run.quiet {
            say(&format!("{} is served at {url}", gateway.model()));
        }
        Ok(())
    }
}

fn failed(error: std::io::Error) -> Failure {
    Failure::failed("io", format!("the server failed: {error}"))
}

/// Waits until the server is to end.
async fn told(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn is_loaded(key: &str) -> bool {
    ConfigLayer::LOADED.contains(&key)
}

/// What the keys say that count now: of a model and its context, what it was loaded with.
fn in_force(loaded: &Settings, new: &Settings) -> BTreeMap<String, Value> {
    let old = loaded.laid.said().into_iter();
    let new = new.laid.said().into_iter();
    let old = old.filter(|(key, _)| is_loaded(key));
    old.chain(new.filter(|(key, _)| !is_loaded(key))).collect()
}

/// The keys by which a model was loaded and that say something else now.
fn needs_a_start(loaded: &Settings, new: &Settings) -> Vec<String> {
    let said = |settings: &Settings| -> BTreeMap<String, Value> {
        let mut said = settings.laid.said();
        said.retain(|key, _| is_loaded(key));
        if let Some(model) = &settings.default_model {
            said.insert("model".to_owned(), json!(model));
        }
        said
    };
    let (old, new) = (said(loaded), said(new));
    let mut keys: Vec<String> = old.keys().chain(new.keys()).cloned().collect();
    keys.sort();
    keys.dedup();
    keys.retain(|key| old.get(key) != new.get(key));
    keys
}

/// Signals and changes of the configuration file.
fn orders(run: &CliContext) -> std::io::Result<mpsc::Receiver<Instruction>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let on_a_terminal = std::io::stdin().is_terminal();
    let config = run.places.config.clone();
    let (send, orders) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut looks = tokio::time::interval(LOOK);
        let mut taken = seen(&config);
        let mut before = taken;
        loop {
            let order = tokio::select! {
                _ = terminate.recv() => Instruction::End,
                _ = interrupt.recv() => Instruction::End,
                // A terminal that is gone has nobody who could end the server otherwise.
                _ = hangup.recv() => match on_a_terminal && !std::io::stdin().is_terminal() {
                    true => Instruction::End,
                    false => Instruction::Reload,
                },
                _ = looks.tick() => {
                    // Twice the same: whoever writes it is done.
                    let now = seen(&config);
                    let settled = now == before && now != taken;
                    before = now;
                    match settled {
                        true => Instruction::Reload,
                        false => continue,
                    }
                }
            };
            if order == Instruction::Reload {
                taken = seen(&config);
                before = taken;
            }
            if send.send(order).await.is_err() {
                return;
            }
        }
    });
    Ok(orders)
}

fn seen(path: &std::path::Path) -> FileMark {
    let about = std::fs::metadata(path).ok()?;
    Some((about.mtime(), about.mtime_nsec(), about.len(), about.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_another_start_reads_is_named_and_nothing_else() {
        let settings = |ctx: usize, top_k: u32, model: Option<&str>| {
            let layer = ConfigLayer {
                ctx: Some(ctx),
                top_k: Some(top_k),
                ..ConfigLayer::default()
            };
            Settings {
                default_model: model.map(Into::into),
                ..Settings::new(layer).unwrap()
            }
        };
        let old = settings(4096, 40, None);
        assert_eq!(needs_a_start(&old, &settings(4096, 20, None)), [""; 0]);
        let new = settings(8192, 20, Some("other"));
        assert_eq!(needs_a_start(&old, &new), ["ctx", "model"]);
        let want = [("ctx", json!(4096)), ("top-k", json!(20))];
        let want = want.map(|(key, value)| (key.to_owned(), value));
        assert_eq!(in_force(&old, &new), BTreeMap::from(want));
    }
}
