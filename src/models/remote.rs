//! Requests: to the hub's API, and for the bytes of a file. Every answer is bounded, a token goes to
//! the hub's own host and to no other, and no request waits for ever.

use std::io::Read;
use std::time::Duration;

use serde_json::Value;
use ureq::config::{AutoHeaderValue, RedirectAuthHeaders};
use ureq::http::Response;
use ureq::http::header::{AUTHORIZATION, IF_RANGE, RANGE};
use ureq::{Agent, Body, Proxy};

use super::ModelsError;
use super::known::Env;

/// The hub that is used without `HF_ENDPOINT`.
const HUB: &str = "https://huggingface.co";
/// Largest answer of the API that is read, in bytes.
const MAX_ANSWER: u64 = 32 << 20;
/// How long a connection may take, and how long one may be silent.
const CONNECT: Duration = Duration::from_secs(20);
const SILENT: Duration = Duration::from_secs(30);
/// Redirects that are followed.
const MAX_REDIRECTS: u32 = 5;
/// First wait before something is tried again; each next one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest wait that a server can demand, in seconds.
pub const MAX_WAIT: u64 = 60;

/// How the hub is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HubAccess {
    /// Its address, without a slash at the end.
    pub endpoint: String,
    /// The name that npast gives to servers.
    pub token: Option<String>,
    /// Whether the proxy of this process's environment is used.
    pub proxy: bool,
    /// First wait before something is tried again.
    pub pause: Duration,
}

impl HubAccess {
    /// `HF_ENDPOINT` and `HF_TOKEN`.
    ///
    /// # Errors
    /// [`ModelsError::Variable`] for one that cannot be used.
    pub fn find(env: Env<'_>) -> Result<HubAccess, ModelsError> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let endpoint = match set("HF_ENDPOINT") {
            None => HUB.to_owned(),
            Some(value) => {
                let text = value.to_str().unwrap_or_default().trim_end_matches('/');
                let good = text.starts_with("https://") || text.starts_with("http://");
                let plain = !text.contains(|c: char| c.is_control() || c.is_whitespace());
                if !good || !plain || text.parse::<ureq::http::Uri>().is_err() {
                    return Err(ModelsError::Variable {
                        name: "HF_ENDPOINT",
                        why: "it is no address such as https://huggingface.co",
                    });
                }
                text.to_owned()
            }
        };
        let token = match set("HF_TOKEN") {
            None => None,
            Some(value) => {
                let text = value.to_str().unwrap_or_default().trim();
                let good = text.len() <= 4096 && text.bytes().all(|b| b.is_ascii_graphic());
                if !good || text.is_empty() {
                    return Err(ModelsError::Variable {
                        name: "HF_TOKEN",
                        why: "a token is one word of plain letters and digits",
                    });
                }
                Some(text.to_owned())
            }
        };
        Ok(HubAccess {
            endpoint,
            token,
            proxy: true,
            pause: PAUSE,
        })
    }
}

/// A client for one pull.
pub struct HubClient {
    agent: Agent,
    access: HubAccess,
}

/// From which byte on a file is fetched.
pub struct ByteRange<'a> {
    /// The first byte that is missing.
    pub at: u64,
    /// What the server called the file before, so that no two versions are mixed.
    pub version: Option<&'a str>,
}

impl HubClient {
    /// A client that uses this access.
    pub fn new(access: HubAccess) -> HubClient {
        let proxy = access.proxy.then(Proxy::try_from_env).flatten();
        let config = Agent::config_builder()
            .proxy(proxy)
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(SILENT))
            .timeout_per_write(Some(SILENT))
            .timeout_recv_response(Some(SILENT))
            .max_redirects(MAX_REDIRECTS)
            .max_redirects_will_error(true)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .http_status_as_error(false)
            .user_agent(concat!("npast/", env!("CARGO_PKG_VERSION")))
            // A file's length must be the length of its bytes.
            .accept_encoding(AutoHeaderValue::Provided("identity".to_owned().into()))
            .build();
        HubClient {
            agent: config.new_agent(),
            access,
        }
    }

    /// The hub's address.
    pub fn endpoint(&self) -> &str {
        &self.access.endpoint
    }

    /// How long to wait before the try number `tries`, counted from 1; `demanded` is the server's own wait,
    /// in seconds.
    pub fn wait(&self, tries: u32, demanded: Option<u64>) -> Duration {
        let own = self.access.pause * 2u32.saturating_pow(tries.saturating_sub(1));
        own.max(Duration::from_secs(demanded.unwrap_or(0).min(MAX_WAIT)))
    }

    /// An answer of the API, `path` beginning with a slash.
    ///
    /// # Errors
    /// [`ModelsError::Status`], [`ModelsError::Network`], and [`ModelsError::Wrong`] for one that is no JSON.
    pub fn api(&self, path: &str) -> Result<Value, ModelsError> {
        let url = format!("{}{path}", self.access.endpoint);
        let mut answered = self.get(&url, None)?;
        if !answered.status().is_success() {
            return Err(self.refused(&url, answered.status().as_u16()));
        }
        let mut text = String::new();
        let reader = answered.body_mut().with_config().limit(u64::MAX).reader();
        reader
            .take(MAX_ANSWER)
            .read_to_string(&mut text)
            .map_err(|error| ModelsError::Network {
                what: shown(&url),
                why: error.to_string(),
            })?;
        serde_json::from_str(&text)
            .map_err(|error| ModelsError::wrong(&shown(&url), format!("it is no JSON: {error}")))
    }

    /// The bytes at an address, from a place on. Whatever the status is, it is no error here.
    ///
    /// # Errors
    /// [`ModelsError::Network`].
    pub fn get(
        &self,
        url: &str,
        from: Option<ByteRange<'_>>,
    ) -> Result<Response<Body>, ModelsError> {
        let mut request = self.agent.get(url);
        if let Some(token) = self.token_for(url) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(from) = from {
            request = request.header(RANGE, format!("bytes={}-", from.at));
            if let Some(version) = from.version {
                request = request.header(IF_RANGE, version);
            }
        }
        request.call().map_err(|error| ModelsError::Network {
            what: shown(url),
            why: reason(&error),
        })
    }

    /// A status that ends a pull.
    pub fn refused(&self, url: &str, status: u16) -> ModelsError {
        ModelsError::Status {
            what: shown(url),
            status,
            token: self.token_for(url).is_some(),
        }
    }

    fn token_for(&self, url: &str) -> Option<&str> {
        let rest = url.strip_prefix(&self.access.endpoint)?;
        rest.starts_with('/').then_some(())?;
        self.access.token.as_deref()
    }
}

/// Whether a server that answers so may answer otherwise in a moment.
pub fn passes(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// An address without its query, which may hold a signature.
pub fn shown(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or(url).to_owned()
}

fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::HostNotFound => "no network, or no such host".to_owned(),
        ureq::Error::Timeout(_) => "the server is silent".to_owned(),
        ureq::Error::TooManyRedirects => format!("it redirects more than {MAX_REDIRECTS} times"),
        error => {
            let text = error.to_string();
            match text.contains("failed to lookup address") {
                true => "no network, or no such host".to_owned(),
                false => text,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(vars: &[(&str, &str)]) -> Result<HubAccess, ModelsError> {
        let env = |name: &str| {
            let found = vars.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| value.into())
        };
        HubAccess::find(&env)
    }

    #[test]
    fn the_token_goes_to_the_hub_and_to_no_address_that_only_begins_like_it() {
        let access =
            access(&[("HF_ENDPOINT", "https://hub.test/"), ("HF_TOKEN", "hf_x ")]).unwrap();
        assert_eq!(access.endpoint, "https://hub.test");
        let client = HubClient::new(access);
        let table = [
            ("https://hub.test/api/models/a/b", Some("hf_x")),
            ("https://hub.test.evil/api", None),
            ("https://hub.test@evil/api", None),
            ("http://hub.test/api", None),
        ];
        for (url, want) in table {
            assert_eq!(client.token_for(url), want, "{url}");
        }
    }

    #[test]
    fn variables_that_cannot_be_used_are_said() {
        for (name, value) in [
            ("HF_ENDPOINT", "hub.test"),
            ("HF_ENDPOINT", "https://a b"),
            ("HF_TOKEN", "two words"),
        ] {
            let error = access(&[(name, value)]).unwrap_err();
            assert!(error.is_usage(), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
        assert_eq!(access(&[]).unwrap().endpoint, HUB);
    }
}
