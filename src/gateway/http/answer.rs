//! Responses: JSON, refusals in each API's shape, and what every response carries.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::Value;

use crate::gateway::wire::{Api, RefusalKind, RequestRefusal};

/// JSON with a status.
pub fn json(status: StatusCode, value: &Value) -> Response {
    typed(status, "application/json", value.to_string())
}

/// JSON, all well.
pub fn ok(value: &Value) -> Response {
    json(StatusCode::OK, value)
}

/// A body of some type.
pub fn typed(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A refusal, as the API of its path has it.
pub fn refused(api: Api, refusal: &RequestRefusal) -> Response {
    let status = StatusCode::from_u16(refusal.kind.status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, &refusal.body(api));
    let headers = response.headers_mut();
    match refusal.kind {
        RefusalKind::Token => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        RefusalKind::Often(seconds) => {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        RefusalKind::Busy => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        // What is left of the body is not worth reading.
        RefusalKind::TooLarge | RefusalKind::Slow => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

/// Sets a header whose value comes from outside; one that HTTP cannot carry is left out.
pub fn set(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }
}
