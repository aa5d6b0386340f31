//! Why a request is not answered: one sentence, and the status and words that each API has for it.

use serde_json::{Value, json};

use super::Api;

/// What kind of thing went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The request cannot be read, or asks for what this server does not do.
    Invalid,
    /// More tokens than the context has.
    TooLong,
    /// No token, or a wrong one.
    Token,
    /// A foreign Host or Origin.
    Forbidden,
    /// No such path, session or response.
    NotFound,
    /// Another method than the path has.
    Method,
    /// The body is larger than the limit.
    TooLarge,
    /// The body did not come in time.
    Slow,
    /// Something else is at work on the same session.
    Conflict,
    /// The caller asks too often; it may ask again after so many seconds.
    Often(u64),
    /// The queue is full, or this server stops.
    Busy,
    /// The slot died, the disk is full, the database is locked.
    Broken,
}

impl Kind {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Kind::Invalid | Kind::TooLong => 400,
            Kind::Token => 401,
            Kind::Forbidden => 403,
            Kind::NotFound => 404,
            Kind::Method => 405,
            Kind::Slow => 408,
            Kind::Conflict => 409,
            Kind::TooLarge => 413,
            Kind::Often(_) => 429,
            Kind::Busy | Kind::Broken => 503,
        }
    }

    /// The `type` of OpenAI's and llama.cpp's errors.
    fn openai(self) -> &'static str {
        match self {
            Kind::Invalid | Kind::TooLong | Kind::TooLarge | Kind::Method | Kind::Slow => {
                "invalid_request_error"
            }
            Kind::Token => "authentication_error",
            Kind::Forbidden => "permission_error",
            Kind::NotFound => "not_found_error",
            Kind::Conflict => "conflict_error",
            Kind::Often(_) => "rate_limit_error",
            Kind::Busy => "unavailable_error",
            Kind::Broken => "server_error",
        }
    }

    /// The `code` of OpenAI's errors, where it has one that programs read.
    fn code(self) -> Option<&'static str> {
        match self {
            Kind::TooLong => Some("context_length_exceeded"),
            Kind::Token => Some("invalid_api_key"),
            Kind::Often(_) => Some("rate_limit_exceeded"),
            _ => None,
        }
    }

    /// The `type` of Anthropic's errors.
    fn anthropic(self) -> &'static str {
        match self {
            Kind::Invalid | Kind::TooLong | Kind::Method | Kind::Slow | Kind::Conflict => {
                "invalid_request_error"
            }
            Kind::Token => "authentication_error",
            Kind::Forbidden => "permission_error",
            Kind::NotFound => "not_found_error",
            Kind::TooLarge => "request_too_large",
            Kind::Often(_) => "rate_limit_error",
            Kind::Busy => "overloaded_error",
            Kind::Broken => "api_error",
        }
    }
}

/// A request that is not answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What kind of thing went wrong.
    pub kind: Kind,
    /// One sentence, with what to do where something can be done.
    pub message: String,
    /// The field of the request that is wrong.
    pub param: Option<String>,
}

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(kind: Kind, message: impl Into<String>) -> Refusal {
        Refusal {
            kind,
            message: message.into(),
            param: None,
        }
    }

    /// A field that is wrong.
    pub fn field(param: impl Into<String>, message: impl Into<String>) -> Refusal {
        Refusal {
            param: Some(param.into()),
            ..Refusal::new(Kind::Invalid, message)
        }
    }

    /// The body of the error response, in the API's own shape. llama.cpp's and OpenAI's are one:
    /// `error` with `message`, `type`, `param`, `code`. A streamed error has the same shape but in
    /// the Responses API.
    pub fn body(&self, api: Api) -> Value {
        match api {
            Api::Messages => json!({
                "type": "error",
                "error": { "type": self.kind.anthropic(), "message": self.message },
            }),
            Api::Chat | Api::Completions | Api::Responses | Api::Own => json!({
                "error": {
                    "message": self.message,
                    "type": self.kind.openai(),
                    "param": self.param,
                    "code": self.code(),
                },
            }),
        }
    }

    /// The `code` of an error, as a word.
    pub fn code(&self) -> Option<&'static str> {
        self.kind.code()
    }

    /// The code of a failed response (Responses API), where every error has one.
    pub fn response_code(&self) -> &'static str {
        match self.kind {
            Kind::TooLong => "context_length_exceeded",
            Kind::Busy => "server_is_overloaded",
            Kind::Often(_) => "rate_limit_exceeded",
            Kind::Broken => "server_error",
            _ => "invalid_prompt",
        }
    }
}
