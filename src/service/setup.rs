//! What a session whose tools npast runs is started with: which tools, and the prompt. It is frozen
//! then.

use super::{ProjectTools, Tooling};
use crate::agent::{AgentError, AgentPrompt, AgentSetup, ErrorKind, Notice, PromptSurroundings};
use crate::session::{local_day, now_ms};
use crate::tools::{Registry, Tool};

/// Those of a project's tools that a session which starts now gets, and what there is to say about
/// names in the configuration that no tool has. `fetch_url` has to be asked for.
fn chosen(tooling: &Tooling, project: &mut ProjectTools) -> (Vec<Box<dyn Tool>>, Vec<Notice>) {
    let all = project.tools(None);
    let names: Vec<String> = all.iter().map(|t| t.spec().name.clone()).collect();
    let mut notices = Vec::new();
    for name in tooling.with_tools.iter().chain(&tooling.without_tools) {
        if !names.contains(name) {
            notices.push((
                format!("the configuration names a tool {name:?}, and there is none"),
                Some(format!("there are: {}", names.join(", "))),
            ));
        }
    }
    let kept = all.into_iter().filter(|tool| {
        let name = &tool.spec().name;
        let on = tooling.with_tools.contains(name) || name != "fetch_url";
        on && !tooling.without_tools.contains(name)
    });
    (kept.collect(), notices)
}

/// The built prompt and the tools of a session that starts now, with what there is to say of them.
///
/// # Errors
/// When the tools make no list, which no user can cause.
pub fn setup(
    project: &mut ProjectTools,
    tooling: &Tooling,
    system: Option<&str>,
) -> Result<(AgentSetup, AgentPrompt), AgentError> {
    let (tools, mut notices) = chosen(tooling, project);
    let tools =
        Registry::new(tools).map_err(|e| AgentError::new(ErrorKind::Internal, e.to_string()))?;
    let names: Vec<String> = tools.tools().map(|t| t.spec().name.clone()).collect();
    for tool in tools.tools().filter(|tool| !tool.odd().is_empty()) {
        let (name, odd) = (&tool.spec().name, tool.odd().join(", "));
        notices.push((
            format!("the tool {name} is offered with a simpler schema: {odd}"),
            None,
        ));
    }
    let secret = project.secrets();
    let prompt = AgentPrompt::build(&PromptSurroundings {
        home: &project.home,
        secret: &secret,
        project: &project.project,
        day: &local_day(now_ms())?,
        tools: &names,
        system,
    });
    notices.extend(prompt.notices.iter().cloned());
    let setup = AgentSetup {
        system: prompt.text(),
        preface: prompt.preface(),
        tools: tools.specs_json(),
        notices,
    };
    Ok((setup, prompt))
}
