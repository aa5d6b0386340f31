//! One call to a server, from a thread that is not the server's: its time limit, its cancel, and
//! what went wrong as a sentence.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::{Peer, RoleClient, ServiceError};
use serde_json::{Map, Value};
use tokio::runtime::Handle;

use super::one_line::one_line;
use super::process::Told;
use super::{ServerConfig, said};
use crate::tools::CallContext;

/// How often a waiting call looks whether it should end.
const GLANCE: Duration = Duration::from_millis(20);

/// The way to a server.
pub(super) struct ServerLink {
    /// The server's name.
    pub name: String,
    peer: Peer<RoleClient>,
    runtime: Handle,
    limit: Duration,
    told: Arc<Told>,
}

impl ServerLink {
    /// The way to a server that was met; inside of its runtime.
    pub fn new(config: &ServerConfig, peer: Peer<RoleClient>, told: Arc<Told>) -> ServerLink {
        ServerLink {
            name: config.name.clone(),
            peer,
            runtime: Handle::current(),
            limit: config.call_limit,
            told,
        }
    }

    /// Calls a tool by the server's name for it.
    ///
    /// # Errors
    /// A sentence for the model.
    pub fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
        room: &CallContext<'_>,
    ) -> Result<CallToolResult, String> {
        if self.peer.is_transport_closed() {
            return Err(self.gone());
        }
        let (send, answer) = mpsc::channel();
        let peer = self.peer.clone();
        let limit = self.limit;
        let call = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let task = self.runtime.spawn(async move {
            let answered = tokio::time::timeout(limit, peer.call_tool(call)).await;
            // The receiver is gone when the call was cancelled.
            let _ = send.send(answered);
        });
        loop {
            match answer.recv_timeout(GLANCE) {
                Ok(Ok(Ok(result))) => return Ok(result),
                Ok(Ok(Err(error))) => return Err(self.failed(error)),
                Ok(Err(_)) => {
                    return Err(format!(
                        "The MCP server {} did not answer within {}. What it did is not known.",
                        self.name,
                        said(self.limit)
                    ));
                }
                Err(RecvTimeoutError::Timeout) if room.cancelled() => {
                    task.abort();
                    return Err(format!(
                        "The call of the MCP server {} was interrupted. What it did is not known.",
                        self.name
                    ));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.gone()),
            }
        }
    }

    fn failed(&self, error: ServiceError) -> String {
        match error {
            ServiceError::McpError(error) => {
                format!(
                    "The MCP server {} refused: {}",
                    self.name,
                    one_line(&error.message)
                )
            }
            ServiceError::UnexpectedResponse => format!(
                "The MCP server {} gave an answer that is none to a call of a tool.",
                self.name
            ),
            _ => self.gone(),
        }
    }

    fn gone(&self) -> String {
        let last = match self.told.last() {
            Some(last) => format!(" Its last words: {last}."),
            None => String::new(),
        };
        format!(
            "The MCP server {} has ended.{last} Its tools are back with the next session: go on \
             without them.",
            self.name
        )
    }
}
