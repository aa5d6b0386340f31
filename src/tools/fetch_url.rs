//! `fetch_url`: the text of a page. Only sessions that were started with it have it. One call asks
//! one host, the one that was approved: a redirect to another host is reported and not followed.

mod gate;
mod html;

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::http::Uri;
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, Error};

use self::gate::HostGate;
use super::{CallContext, Effect, Spec, Subject, Tool, ToolAnswer, shown};

/// Longest address, in bytes.
const MAX_URL: usize = 2000;

/// Most bytes of a page that are read, unpacked.
const MAX_PAGE: u64 = 4 << 20;

/// Redirects that are followed.
const MAX_REDIRECTS: u32 = 5;

/// How long a request may take.
const MAX_TIME: Duration = Duration::from_secs(30);

/// How often a waiting call looks whether it should end.
const GLANCE: Duration = Duration::from_millis(50);

/// Fetches pages.
pub struct FetchUrl {
    spec: Spec,
    private: bool,
}

impl FetchUrl {
    /// The tool; with `private` it may also reach this machine and the local network.
    pub fn new(private: bool) -> FetchUrl {
        let parameters = json!({
            "type": "object",
            "properties": {"url": {"type": "string"}},
            "required": ["url"],
            "additionalProperties": false,
        });
        FetchUrl {
            spec: Spec::new("fetch_url", "Get a web page as text.", parameters),
            private,
        }
    }
}

impl Tool for FetchUrl {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn effect(&self, _: &Value) -> Effect {
        Effect::Network
    }

    fn subject(&self, arguments: &Value, _: &Path) -> Subject {
        let given = arguments.get("url").and_then(Value::as_str);
        let given = given.unwrap_or_default();
        Subject::Url(address(given).map_or_else(|_| given.to_owned(), |uri| uri.to_string()))
    }

    fn foresee(
        &self,
        arguments: &Value,
        _: &CallContext<'_>,
    ) -> Result<Option<super::FileChange>, super::ForeseenRefusal> {
        address(arguments["url"].as_str().unwrap_or_default())
            .map(|_| None)
            .map_err(super::ForeseenRefusal::of_arguments)
    }

    fn run(&self, arguments: &Value, room: &CallContext<'_>) -> ToolAnswer {
        match self.fetch(arguments, room) {
            Ok(text) => ToolAnswer::good(text),
            Err(reason) => ToolAnswer::bad(reason),
        }
    }
}

impl FetchUrl {
    fn fetch(&self, arguments: &Value, room: &CallContext<'_>) -> Result<String, String> {
        let uri = address(arguments["url"].as_str().unwrap_or_default())?;
        let private = self.private;
        let (send, answer) = mpsc::channel();
        // A request cannot be interrupted from outside; one that nobody waits for ends by its time
        // limit.
        let name = "fetch_url".to_owned();
        let work = move || drop(send.send(get(&uri, private)));
        std::thread::Builder::new()
            .name(name)
            .spawn(work)
            .map_err(|error| format!("The page cannot be fetched: {error}."))?;
        let until = Instant::now() + MAX_TIME + Duration::from_secs(5);
        loop {
            match answer.recv_timeout(GLANCE) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout) if room.cancelled() => {
                    return Err("Fetching the page was interrupted.".to_owned());
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < until => {}
                Err(RecvTimeoutError::Timeout) => return Err(said_late()),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("The page cannot be shown: it breaks its reader.".to_owned());
                }
            }
        }
    }
}

/// Reads an address: http or https, a host, no user and no password, without its fragment. What
/// the host is must be as plain to a person as to us.
fn address(given: &str) -> Result<Uri, String> {
    let wrong = |why: &str| {
        let given: String = given.chars().take(200).collect();
        format!("{given:?} cannot be fetched: {why}.")
    };
    if given.len() > MAX_URL {
        return Err(wrong("it is too long"));
    }
    let plain = given.split('#').next().unwrap_or_default().trim();
    let uri: Uri = plain
        .parse()
        .map_err(|_| wrong("it is no address of the form https://host/path"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("only http and https can be"));
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err(wrong("it must not hold a user or a password"));
    }
    let host = uri.host().unwrap_or_default();
    if host.is_empty() || !authority.is_ascii() {
        return Err(wrong("its host must be written in ASCII"));
    }
    // One host has one name, for patterns and people.
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let scheme = uri.scheme_str().unwrap_or("https");
    let plain = format!("{scheme}://{}{path}", authority.to_ascii_lowercase());
    plain.parse().map_err(|_| wrong("it is no address"))
}

fn get(uri: &Uri, private: bool) -> Result<String, String> {
    let gate = HostGate::new(uri, private);
    let refused = gate.refused();
    let config = Agent::config_builder()
        .timeout_global(Some(MAX_TIME))
        .max_redirects(MAX_REDIRECTS)
        .max_redirects_will_error(true)
        .http_status_as_error(false)
        // Only the host that was approved is reached.
        .proxy(None)
        .user_agent(concat!("npast/", env!("CARGO_PKG_VERSION")))
        .accept("text/html, text/*;q=0.9, */*;q=0.5")
        .build();
    let agent = Agent::with_parts(config, DefaultConnector::default(), gate);
    let answered = agent.get(uri).call();
    if let Some(reason) = refused.lock().ok().and_then(|mut refused| refused.take()) {
        return Err(reason);
    }
    let mut answered = answered.map_err(|error| failed(uri, &error))?;
    let status = answered.status();
    let text = page(uri, answered.body_mut())?;
    match status.is_success() {
        true => Ok(text),
        false => Err(format!("{uri} answered {status}:\n{text}")),
    }
}

/// The text of what came, by its type.
fn page(uri: &Uri, body: &mut Body) -> Result<String, String> {
    let kind = body
        .mime_type()
        .unwrap_or("text/plain")
        .to_ascii_lowercase();
    let known = ["json", "xml", "javascript", "yaml", "toml", "x-sh"];
    let html = matches!(kind.as_str(), "text/html" | "application/xhtml+xml");
    if !html && !kind.starts_with("text/") && !known.iter().any(|known| kind.contains(known)) {
        return Err(match body.content_length() {
            Some(length) => format!("{uri} is no text: {kind}, {}.", shown::size(length)),
            None => format!("{uri} is no text: {kind}."),
        });
    }
    // One byte more than is shown is read, to know whether there is more.
    let mut bytes = Vec::new();
    let charset = body.charset().map(str::to_owned);
    let mut reader = body.with_config().limit(u64::MAX).reader();
    let mut bounded = std::io::Read::take(&mut reader, MAX_PAGE + 1);
    std::io::Read::read_to_end(&mut bounded, &mut bytes)
        .map_err(|error| format!("{uri} broke off: {error}."))?;
    let more = bytes.len() as u64 > MAX_PAGE;
    bytes.truncate(MAX_PAGE as usize);
    let text = decoded(&bytes, charset.as_deref());
    let mut text = match html {
        true => html::text(&text).map_err(|reason| format!("{uri} {reason}."))?,
        false => text,
    };
    text.truncate(text.trim_end().len());
    if text.is_empty() {
        text.push_str("[the page has no text]");
    }
    if more {
        text += &format!("\n[only the first {} were read]", shown::size(MAX_PAGE));
    }
    Ok(text)
}

fn decoded(bytes: &[u8], charset: Option<&str>) -> String {
    let encoding = charset
        .and_then(|label| encoding_rs::Encoding::for_label(label.as_bytes()))
        .unwrap_or(encoding_rs::UTF_8);
    encoding.decode(bytes).0.into_owned()
}

fn failed(uri: &Uri, error: &Error) -> String {
    match error {
        Error::Timeout(_) => said_late(),
        Error::HostNotFound => format!("There is no host {}.", uri.host().unwrap_or_default()),
        Error::TooManyRedirects => {
            format!("{uri} redirects more than {MAX_REDIRECTS} times.")
        }
        error => format!("{uri} cannot be fetched: {error}."),
    }
}

fn said_late() -> String {
    format!("The page did not come within {} s.", MAX_TIME.as_secs())
}

#[cfg(test)]
mod tests;
