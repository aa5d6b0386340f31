//! Who may call. A web page that a browser shows can reach every port of its machine: a foreign Origin
//! is refused, and so is a Host that is not this server's (a name that was made to point here). The
//! token is asked for where it is required.

use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};

use super::token::AccessToken;
use crate::gateway::wire::{RefusalKind, RequestRefusal};

/// Who calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The caller showed this server's token.
    pub trusted: bool,
}

/// The rules of a server.
#[derive(Clone, Debug)]
pub struct Access {
    /// The token of the data folder.
    pub token: AccessToken,
    /// Whether every caller must show it. npast's own sessions want it always: who can read them, or
    /// have tools run in them, is somebody that can read the data folder.
    pub required: bool,
    /// The server listens beyond loopback, so that it may be called by any address.
    pub beyond: bool,
    /// Names by which it may be called besides `localhost`, without port, in lower case.
    pub hosts: Vec<String>,
    /// Origins of web pages that may call it, such as `http://localhost:3000`.
    pub origins: Vec<String>,
}

/// Whether a path tells nothing: nobody is asked for a token there, and nobody is counted.
pub fn asks_nobody(path: &str) -> bool {
    matches!(path, "/" | "/health" | "/v1/health")
}

impl Access {
    /// Whether a request may go on.
    ///
    /// # Errors
    /// The refusal, before anything of the body is read.
    pub fn check(&self, request: &Parts) -> Result<Caller, RequestRefusal> {
        self.host(request)?;
        self.origin(&request.headers)?;
        self.token(request)
    }

    fn host(&self, request: &Parts) -> Result<(), RequestRefusal> {
        let forbidden = |given: &str| {
            let given: String = given.chars().take(80).collect();
            RequestRefusal::new(
                RefusalKind::Forbidden,
                format!(
                    "this server is not called {given:?}; call it by its address, or start it with \
                     --host and that name"
                ),
            )
        };
        let header = request.headers.get(header::HOST);
        let named = header.map(|value| value.to_str().unwrap_or_default());
        let in_line = request.uri.authority().map(Authority::as_str);
        if named.is_none() && in_line.is_none() {
            return Err(RequestRefusal::new(
                RefusalKind::Invalid,
                "the request has no Host header",
            ));
        }
        for given in named.into_iter().chain(in_line) {
            let host = given.parse::<Authority>();
            let host = host.map_err(|_| forbidden(given))?;
            if given.contains('@') || !self.is_own(host.host()) {
                return Err(forbidden(given));
            }
        }
        Ok(())
    }

    /// A rebinding attack needs a name: an address is the server's own.
    fn is_own(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        match bare.unwrap_or(host).parse::<IpAddr>() {
            Ok(address) => self.beyond || address.is_loopback(),
            Err(_) => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                host == "localhost" || self.hosts.contains(&host)
            }
        }
    }

    fn origin(&self, headers: &HeaderMap) -> Result<(), RequestRefusal> {
        let text = |name: header::HeaderName| {
            let value = headers.get(name)?;
            Some(value.to_str().unwrap_or("?"))
        };
        let forbidden = |what: String| {
            RequestRefusal::new(
                RefusalKind::Forbidden,
                format!("{what} may not call this server; --allow-origin lets it"),
            )
        };
        match text(header::ORIGIN) {
            Some(origin) => {
                let listed = self.origins.iter().any(|o| o.eq_ignore_ascii_case(origin));
                // A page of this server's own.
                let own = text(header::HOST)
                    .is_some_and(|host| origin.eq_ignore_ascii_case(&format!("http://{host}")));
                if listed || own {
                    return Ok(());
                }
                let origin: String = origin.chars().take(80).collect();
                Err(forbidden(format!("a web page of {origin:?}")))
            }
            // A page that loads this address as a picture or a script sends no origin.
            None => {
                let site = headers.get("sec-fetch-site");
                let site = site.map(|value| value.to_str().unwrap_or("?"));
                match site {
                    None | Some("same-origin" | "none") => Ok(()),
                    Some(_) => Err(forbidden("a web page of another site".to_owned())),
                }
            }
        }
    }

    /// `Authorization: Bearer`, or Anthropic's `x-api-key`. `/health` tells nothing and asks nobody.
    fn token(&self, request: &Parts) -> Result<Caller, RequestRefusal> {
        let text = |name: &str| request.headers.get(name)?.to_str().ok();
        let bearer = text("authorization").and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        // Some clients send both, one of them a placeholder.
        let given = [bearer, text("x-api-key")];
        let given: Vec<&str> = given.into_iter().flatten().collect();
        let caller = Caller {
            trusted: given.iter().any(|given| self.token.is(given)),
        };
        let path = request.uri.path();
        let asked = match path {
            path if asks_nobody(path) => false,
            _ => {
                self.required || path.starts_with("/v1/sessions") || path.starts_with("/v1/streams")
            }
        };
        if caller.trusted || !asked {
            return Ok(caller);
        }
        let what = match given.is_empty() {
            true => {
                "this server wants its token, as `Authorization: Bearer TOKEN` or `x-api-key: TOKEN`"
            }
            false => "this is not the token of this server",
        };
        Err(RequestRefusal::new(
            RefusalKind::Token,
            format!("{what}; it is in the file `token` of its data folder"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn access() -> Access {
        let dir = tempfile::tempdir().unwrap();
        Access {
            token: AccessToken::of(dir.path()).unwrap(),
            required: false,
            beyond: false,
            hosts: Vec::new(),
            origins: Vec::new(),
        }
    }

    fn parts(path: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn status(access: &Access, headers: &[(&str, &str)]) -> u16 {
        let path = "/v1/models";
        let checked = access.check(&parts(path, headers));
        checked.map_or_else(|refusal| refusal.kind.status(), |_| 200)
    }

    #[test]
    fn a_name_that_was_made_to_point_here_is_refused() {
        let local = access();
        let remote = Access {
            beyond: true,
            hosts: vec!["box.lan".into()],
            ..access()
        };
        let table = [
            ("127.0.0.1:8080", 200, 200),
            ("localhost", 200, 200),
            ("LOCALHOST.:8080", 200, 200),
            ("[::1]:8080", 200, 200),
            ("127.9.9.9", 200, 200),
            ("192.168.1.5:8080", 403, 200),
            ("box.lan:8080", 403, 200),
            ("Box.Lan", 403, 200),
            ("evil.example", 403, 403),
            ("localhost.evil.example", 403, 403),
            ("127.0.0.1.evil.example", 403, 403),
            ("localhost@evil.example", 403, 403),
            ("evil.example@localhost", 403, 403),
            ("a b", 403, 403),
            ("", 403, 403),
        ];
        for (host, alone, beyond) in table {
            let headers = [("host", host)];
            assert_eq!(status(&local, &headers), alone, "{host:?}");
            assert_eq!(status(&remote, &headers), beyond, "{host:?}");
        }
        assert_eq!(status(&local, &[]), 400);
        let absolute = parts("http://evil.example/v1/models", &[("host", "localhost")]);
        assert_eq!(
            local.check(&absolute).unwrap_err().kind,
            RefusalKind::Forbidden
        );
    }

    #[test]
    fn a_foreign_page_is_refused_and_a_listed_one_is_not() {
        let access = Access {
            origins: vec!["http://localhost:3000".into()],
            ..access()
        };
        let table = [
            ("origin", "http://localhost:3000", 200),
            ("origin", "http://localhost:8080", 200),
            ("origin", "http://localhost:3001", 403),
            ("origin", "https://evil.example", 403),
            ("origin", "null", 403),
            ("sec-fetch-site", "cross-site", 403),
            ("sec-fetch-site", "same-site", 403),
            ("sec-fetch-site", "same-origin", 200),
            ("sec-fetch-site", "none", 200),
        ];
        for (name, value, want) in table {
            let headers = [("host", "localhost:8080"), (name, value)];
            assert_eq!(status(&access, &headers), want, "{name}: {value}");
        }
    }

    #[test]
    fn the_token_is_taken_in_both_headers_and_a_wrong_one_is_told_apart_from_none() {
        let access = Access {
            required: true,
            ..access()
        };
        let token = access.token.clone();
        let bearer = format!("bearer {}", token.text());
        let table = [
            (vec![("authorization", bearer.as_str())], 200),
            (vec![("x-api-key", token.text())], 200),
            (
                vec![
                    ("authorization", "Bearer none"),
                    ("x-api-key", token.text()),
                ],
                200,
            ),
            (vec![("authorization", token.text())], 401),
            (vec![("authorization", "Bearer sk-none")], 401),
            (vec![("x-api-key", "")], 401),
            (vec![], 401),
        ];
        for (mut headers, want) in table {
            headers.push(("host", "localhost"));
            assert_eq!(status(&access, &headers), want, "{headers:?}");
        }
        let health = parts("/health", &[("host", "localhost")]);
        assert!(access.check(&health).is_ok());
    }

    #[test]
    fn where_no_token_is_required_npasts_own_sessions_still_want_it() {
        let access = access();
        let placeholder = [("host", "localhost"), ("authorization", "Bearer sk-none")];
        let shown = [("host", "localhost"), ("x-api-key", access.token.text())];
        let call = |path: &str, headers: &[(&str, &str)]| {
            let checked = access.check(&parts(path, headers));
            checked.map_err(|refusal| refusal.kind)
        };
        let trusted = |trusted| Ok(Caller { trusted });
        assert_eq!(call("/v1/chat/completions", &placeholder), trusted(false));
        assert_eq!(call("/v1/chat/completions", &shown), trusted(true));
        assert_eq!(call("/v1/sessions", &placeholder), Err(RefusalKind::Token));
        assert_eq!(
            call("/v1/sessions/work", &placeholder),
            Err(RefusalKind::Token)
        );
        assert_eq!(call("/v1/sessions/work", &shown), trusted(true));
    }
}
