//! A request's body: bounded, in time, JSON.

use std::time::Duration;

use axum::body::Body;
use serde_json::Value;
use tokio_stream::StreamExt;

use crate::gateway::wire::{RefusalKind, RequestRefusal};

/// Most bytes of a refused body that are read.
const MOST_DROPPED: usize = 64 << 20;
/// For so long at most.
const DROPPING: Duration = Duration::from_secs(5);

/// What a body may be, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Most bytes.
    pub bytes: usize,
    /// Between two pieces.
    pub pause: Duration,
    /// For all of it.
    pub whole: Duration,
}

impl Default for BodyLimits {
    /// A history of a million tokens has less than 32 MiB.
    fn default() -> BodyLimits {
        BodyLimits {
            bytes: 32 << 20,
            pause: Duration::from_secs(15),
            whole: Duration::from_secs(60),
        }
    }
}

/// Reads a body as JSON; an empty one is an empty object.
///
/// # Errors
/// Too large, too slow, not UTF-8, not JSON.
pub async fn json(body: Body, limits: BodyLimits) -> Result<Value, RequestRefusal> {
    let read = axum::body::to_bytes(body, limits.bytes);
    let read = tokio::time::timeout(limits.whole, read);
    let bytes = match read.await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return Err(unread(&error, limits.bytes)),
        Err(_) => {
            return Err(RequestRefusal::new(
                RefusalKind::Slow,
                format!(
                    "the body did not come within {} seconds",
                    limits.whole.as_secs()
                ),
            ));
        }
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        RequestRefusal::new(
            RefusalKind::Invalid,
            format!("the body is not UTF-8: {error}"),
        )
    })?;
    serde_json::from_str(text).map_err(|error| {
        RequestRefusal::new(
            RefusalKind::Invalid,
            format!("the body is not JSON: {error}"),
        )
    })
}

fn unread(error: &axum::Error, most: usize) -> RequestRefusal {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<tower_http::timeout::TimeoutError>() {
            return RequestRefusal::new(RefusalKind::Slow, "nothing of the body came for too long");
        }
        if error.to_string().contains("length limit exceeded") {
            return too_large(most);
        }
        cause = error.source();
    }
    RequestRefusal::new(
        RefusalKind::Invalid,
        format!("the body cannot be read: {error}"),
    )
}

/// Reads the beginning of a body that nobody wants, for a client that sends all of it before it reads the
/// refusal: with bytes left unread the connection would be reset, and the refusal lost.
pub async fn drop_rest(body: Body) {
    let mut pieces = body.into_data_stream();
    let read = async {
        let mut left = MOST_DROPPED;
        while let Some(Ok(piece)) = pieces.next().await {
            left = match left.checked_sub(piece.len()) {
                Some(left) => left,
                None => break,
            };
        }
    };
    let _ = tokio::time::timeout(DROPPING, read).await;
}

/// The refusal of a body that is larger than `most` bytes.
pub fn too_large(most: usize) -> RequestRefusal {
    RequestRefusal::new(
        RefusalKind::TooLarge,
        format!(
            "the body is larger than the {} MiB that this server takes",
            most >> 20
        ),
    )
}
