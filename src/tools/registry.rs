//! The tools of a session: sorted by name, so that their JSON is the same bytes in every process,
//! and the one way to run a call, which checks before and shrinks after.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::Value;

use super::{
    CallContext, Effect, FileChange, ForeseenRefusal, Spec, Subject, Tool, ToolAnswer, check,
    coerce, shrink,
};

/// Longest name of a tool, in bytes: what the APIs that templates were made for allow.
const MAX_NAME: usize = 64;

/// Why tools make no registry.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RegistryError {
    /// Two of one name.
    #[error("there are two tools named {0}")]
    Twice(String),
    /// A name that templates could not write.
    #[error("{0:?} is no name of a tool: 1 to 64 ASCII letters, digits, _ and -")]
    Name(String),
    /// Frozen tools that are none.
    #[error("the session's stored tools cannot be read: {0}")]
    Frozen(String),
}

/// The tools of a session. It never changes.
pub struct Registry {
    /// Sorted by name, names unique.
    tools: Vec<Box<dyn Tool>>,
}

impl Registry {
    /// Sorts the tools.
    ///
    /// # Errors
    /// Two tools of one name, or a name that is none.
    pub fn new(mut tools: Vec<Box<dyn Tool>>) -> Result<Registry, RegistryError> {
        tools.sort_by(|a, b| a.spec().name.cmp(&b.spec().name));
        if let Some(tool) = tools.iter().find(|tool| !is_name(&tool.spec().name)) {
            return Err(RegistryError::Name(tool.spec().name.clone()));
        }
        let twice = tools
            .windows(2)
            .find(|two| two[0].spec().name == two[1].spec().name);
        match twice {
            Some(two) => Err(RegistryError::Twice(two[0].spec().name.clone())),
            None => Ok(Registry { tools }),
        }
    }

    /// The tools that a session froze at its start, as [`Registry::specs_json`] gave them: each is
    /// served by the tool of that name in `live`, under the frozen description and schema. Where
    /// there is none any more its calls are answered with a sentence. Tools that are only in `live`
    /// join the next session.
    ///
    /// # Errors
    /// When `specs` is no list of tools.
    pub fn frozen(specs: &Value, live: Vec<Box<dyn Tool>>) -> Result<Registry, RegistryError> {
        let specs = specs
            .as_array()
            .ok_or_else(|| RegistryError::Frozen("it is no list".into()))?;
        let mut live: Vec<Option<Box<dyn Tool>>> = live.into_iter().map(Some).collect();
        let mut tools: Vec<Box<dyn Tool>> = Vec::with_capacity(specs.len());
        for (at, value) in specs.iter().enumerate() {
            let spec = Spec::from_json(value)
                .ok_or_else(|| RegistryError::Frozen(format!("tool {at} has no name")))?;
            let tool = live
                .iter_mut()
                .find(|tool| tool.as_ref().is_some_and(|t| t.spec().name == spec.name))
                .and_then(Option::take);
            tools.push(Box::new(FrozenTool { spec, tool }));
        }
        Registry::new(tools)
    }

    /// All tools, in order of their names.
    pub fn tools(&self) -> impl Iterator<Item = &dyn Tool> {
        self.tools.iter().map(|tool| &**tool)
    }

    /// The tools in OpenAI form, in order of their names.
    pub fn specs_json(&self) -> Value {
        self.tools().map(|tool| tool.spec().to_json()).collect()
    }

    /// The tool of this name.
    pub fn get(&self, name: &str) -> Option<&dyn Tool> {
        let at = self
            .tools
            .binary_search_by(|tool| tool.spec().name.as_str().cmp(name))
            .ok()?;
        Some(&*self.tools[at])
    }

    /// Whether a call can be run.
    ///
    /// # Errors
    /// A sentence for the model: no such tool and which is most like it, or what is wrong with the
    /// arguments.
    pub fn check(&self, name: &str, arguments: &Value) -> Result<(), String> {
        match self.get(name) {
            Some(tool) => check::arguments(tool.spec(), arguments),
            None => Err(check::unknown(
                name,
                self.tools().map(|tool| tool.spec().name.as_str()),
            )),
        }
    }

    /// The arguments of a call as its tool wants them, where one reading is possible.
    pub fn coerced(&self, name: &str, arguments: &Value) -> Value {
        match self.get(name) {
            Some(tool) => coerce::coerced(&tool.spec().parameters, arguments),
            None => arguments.clone(),
        }
    }

    /// Checks a call, runs it and shrinks what it gave. Approval is the caller's. A tool that
    /// panics has failed, and nothing else.
    pub fn run(&self, name: &str, arguments: &Value, room: &CallContext<'_>) -> ToolAnswer {
        if let Err(reason) = self.check(name, arguments) {
            return ToolAnswer::bad(reason);
        }
        let Some(tool) = self.get(name) else {
            return ToolAnswer::bad(format!("There is no tool {name}."));
        };
        let answer =
            catch_unwind(AssertUnwindSafe(|| tool.run(arguments, room))).unwrap_or_else(|_| {
                ToolAnswer::bad(format!("The tool {name} failed inside. Try another way."))
            });
        ToolAnswer {
            ok: answer.ok,
            text: shrink::shrink(&answer.text, room),
        }
    }
}

fn is_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(good)
}

/// A tool as a session froze it, over what serves it today.
struct FrozenTool {
    spec: Spec,
    tool: Option<Box<dyn Tool>>,
}

impl Tool for FrozenTool {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn effect(&self, arguments: &Value) -> Effect {
        self.tool
            .as_ref()
            .map_or(Effect::Reads, |tool| tool.effect(arguments))
    }

    fn subject(&self, arguments: &Value, project: &Path) -> Subject {
        self.tool
            .as_ref()
            .map_or(Subject::Own, |tool| tool.subject(arguments, project))
    }

    fn caution(&self) -> Option<&str> {
        self.tool.as_ref().and_then(|tool| tool.caution())
    }

    fn foresee(
        &self,
        arguments: &Value,
        room: &CallContext<'_>,
    ) -> Result<Option<FileChange>, ForeseenRefusal> {
        let Some(tool) = &self.tool else {
            return Ok(None);
        };
        // As in `run`.
        let arguments = &coerce::coerced(&tool.spec().parameters, arguments);
        check::arguments(tool.spec(), arguments).map_err(ForeseenRefusal::of_arguments)?;
        tool.foresee(arguments, room)
    }

    fn run(&self, arguments: &Value, room: &CallContext<'_>) -> ToolAnswer {
        let Some(tool) = &self.tool else {
            return ToolAnswer::bad(format!(
                "The tool {} is not there now: this session was started with it, and what gave it \
                 is missing. Go on without it.",
                self.spec.name
            ));
        };
        // The tool may have changed since: it must see only what it can read.
        let arguments = &coerce::coerced(&tool.spec().parameters, arguments);
        match check::arguments(tool.spec(), arguments) {
            Ok(()) => tool.run(arguments, room),
            Err(reason) => ToolAnswer::bad(reason),
        }
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
