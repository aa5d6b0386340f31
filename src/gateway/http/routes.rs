//! Every path that is served, with what it is: the router and the document of the API are both made of this
//! table, so that neither has a path that the other has not.

use axum::handler::Handler;
use axum::routing::MethodRouter;
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::{ContentBuilder, HttpMethod, Ref, Required, ResponseBuilder};

use super::state::Gateway;
use super::{about, reply, sessions, tokens};

/// A path.
pub struct Route {
    /// As the router and the document write it.
    pub path: &'static str,
    /// It is served without `/v1` as well: clients differ in whether that is part of the address that
    /// they are given.
    pub bare: bool,
    /// What serves it.
    pub serves: MethodRouter<Gateway>,
    /// What the document says of it.
    pub operations: Vec<(HttpMethod, OperationBuilder)>,
}

impl Route {
    fn new(path: &'static str) -> Route {
        Route {
            path,
            bare: false,
            serves: MethodRouter::new(),
            operations: Vec::new(),
        }
    }

    fn also_bare(mut self) -> Route {
        self.bare = true;
        self
    }

    fn get<H: Handler<T, Gateway>, T: 'static>(mut self, handler: H, about: About) -> Route {
        self.serves = self.serves.get(handler);
        self.add(HttpMethod::Get, about)
    }

    fn post<H: Handler<T, Gateway>, T: 'static>(mut self, handler: H, about: About) -> Route {
        self.serves = self.serves.post(handler);
        self.add(HttpMethod::Post, about)
    }

    fn delete<H: Handler<T, Gateway>, T: 'static>(mut self, handler: H, about: About) -> Route {
        self.serves = self.serves.delete(handler);
        self.add(HttpMethod::Delete, about)
    }

    fn add(mut self, method: HttpMethod, about: About) -> Route {
        let operation = about.operation(self.path);
        self.operations.push((method, operation));
        self
    }
}

/// What is said of one method of a path.
struct About {
    summary: &'static str,
    /// Of the body, by its name among the document's schemas.
    body: Option<&'static str>,
    /// Of a good response.
    gives: &'static str,
    /// Of an error.
    error: &'static str,
    /// A request may ask for events.
    events: bool,
    /// A parameter behind `?`.
    query: Option<&'static str>,
}

fn doc(summary: &'static str) -> About {
    About {
        summary,
        body: None,
        gives: "Object",
        error: "Error",
        events: false,
        query: None,
    }
}

impl About {
    fn body(mut self, schema: &'static str) -> About {
        self.body = Some(schema);
        self
    }

    fn gives(mut self, schema: &'static str) -> About {
        self.gives = schema;
        self
    }

    fn fails(mut self, schema: &'static str) -> About {
        self.error = schema;
        self
    }

    fn events(mut self) -> About {
        self.events = true;
        self
    }

    fn query(mut self, name: &'static str) -> About {
        self.query = Some(name);
        self
    }

    fn operation(self, path: &str) -> OperationBuilder {
        let content = |schema: &str| {
            let schema = Ref::from_schema_name(schema);
            ContentBuilder::new().schema(Some(schema)).build()
        };
        let text = |name: &str, within: ParameterIn| {
            ParameterBuilder::new()
                .name(name)
                .required(match within {
                    ParameterIn::Path => Required::True,
                    _ => Required::False,
                })
                .parameter_in(within)
                .schema(Some(Ref::from_schema_name("Text")))
        };
        let good = ResponseBuilder::new().description("What was asked for.");
        let good = match self.gives {
            "Plain" => good.content("text/plain", content("Text")),
            schema => good.content("application/json", content(schema)),
        };
        let good = match self.events {
            true => good.content("text/event-stream", content("Events")),
            false => good,
        };
        let error = ResponseBuilder::new()
            .description("Why not, in one sentence.")
            .content("application/json", content(self.error));
        let mut operation = OperationBuilder::new()
            .summary(Some(self.summary))
            .response("200", good)
            .response("default", error);
        if path.contains("{name}") {
            operation = operation.parameter(text("name", ParameterIn::Path));
        }
        if let Some(name) = self.query {
            operation = operation.parameter(text(name, ParameterIn::Query));
        }
        if let Some(schema) = self.body {
            let body = RequestBodyBuilder::new()
                .content("application/json", content(schema))
                .required(Some(Required::True));
            operation = operation.request_body(Some(body.build()));
        }
        operation
    }
}

/// All of them.
pub fn all() -> Vec<Route> {
    vec![
        Route::new("/").get(reply::nothing, doc("Whether somebody is there").gives("Plain")),
        Route::new("/health").get(about::health, doc("Whether the model is loaded")),
        Route::new("/v1/health").get(about::health, doc("Whether the model is loaded")),
        Route::new("/props").get(about::props, doc("Model and settings, as llama.cpp's server says them")),
        Route::new("/metrics").get(about::metrics, doc("Figures for Prometheus").gives("Plain")),
        Route::new("/openapi.json").get(about::document, doc("This document")),
        Route::new("/v1/models")
            .also_bare()
            .get(about::models, doc("The model")),
        Route::new("/v1/models/{name}")
            .also_bare()
            .get(about::one_model, doc("The model, by its name")),
        Route::new("/v1/tokenize")
            .also_bare()
            .post(tokens::tokenize, doc("The tokens of a text").body("Tokenize")),
        Route::new("/v1/detokenize")
            .also_bare()
            .post(tokens::detokenize, doc("The text of tokens").body("Detokenize")),
        Route::new("/v1/chat/completions").also_bare().post(
            reply::chat,
            doc("A reply to a history (OpenAI's chat completions)")
                .body("ChatRequest")
                .gives("Chat")
                .events(),
        ),
        Route::new("/v1/completions").also_bare().post(
            reply::completions,
            doc("What follows a text or tokens, without a chat template")
                .body("CompletionRequest")
                .gives("Completion")
                .events(),
        ),
        Route::new("/v1/responses").also_bare().post(
            reply::responses,
            doc("A reply to a history or to what follows a response (OpenAI's responses)")
                .body("ResponseRequest")
                .gives("Response")
                .events(),
        ),
        Route::new("/v1/messages").also_bare().post(
            reply::messages,
            doc("A reply to a history (Anthropic's messages)")
                .body("MessagesRequest")
                .gives("Message")
                .fails("MessagesError")
                .events(),
        ),
        Route::new("/v1/messages/count_tokens").also_bare().post(
            tokens::count,
            doc("How many tokens a request would have")
                .body("CountRequest")
                .gives("Count")
                .fails("MessagesError"),
        ),
        Route::new("/v1/streams/{name}")
            .get(
                reply::resume,
                doc("The last stream of a conversation (X-Conversation-Id), from an event on")
                    .gives("Plain")
                    .query("from")
                    .events(),
            )
            .delete(reply::stop, doc("Stops that stream's reply")),
        Route::new("/v1/sessions")
            .get(sessions::list, doc("All sessions, the last used first").gives("List"))
            .post(
                sessions::create,
                doc("Opens a session, or starts it").body("NewSession"),
            ),
        Route::new("/v1/sessions/search").get(
            sessions::search,
            doc("The messages that hold these words").gives("List").query("q"),
        ),
        Route::new("/v1/sessions/{name}")
            .get(sessions::show, doc("A session and what was said in it"))
            .delete(sessions::remove, doc("Removes a session for good")),
        Route::new("/v1/sessions/{name}/why")
            .get(sessions::why, doc("What the last call cost, and why anything was read again")),
        Route::new("/v1/sessions/{name}/requests").post(
            sessions::ask,
            doc("A request of the service: say, retry, edit, undo, redo, fork, aside, compress, prune, \
                   info, steer, interrupt, answer")
                .body("SessionRequest")
                .gives("List")
                .events(),
        ),
        Route::new("/v1/sessions/{name}/events").get(
            sessions::watch,
            doc("Everything that happens in a session from now on").gives("Plain").events(),
        ),
    ]
}
