//! The state of a shell while a command line is read. `walk`, `word` and `unwrap` change it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use super::names::ShellNames;
use super::tree::CommandNode;
use crate::tools::command::steps::Steps;
use crate::tools::command::{ShellPlaces, ShellScript};

/// The state of the shell while it is read.
pub(in crate::tools::command) struct ShellState<'a> {
    pub(super) places: &'a ShellPlaces,
    pub(super) names: ShellNames,
    /// What was found so far.
    pub script: ShellScript,
    /// What the line may still cost.
    pub steps: Steps,
    /// The current folder, where it is known.
    pub(super) folder: Option<PathBuf>,
    /// What the command before in the pipe writes, where that is known.
    pub(super) piped: Option<String>,
    /// Shells, wrapped commands and function calls around this.
    pub(super) depth: usize,
    pub(super) functions: HashMap<String, Rc<CommandNode>>,
    /// Functions whose bodies are being read, for those that call themselves.
    pub(super) defining: Vec<String>,
    /// Whether what is read runs beside something else: in a pipe or in the background.
    pub(super) beside: usize,
    /// Commands sent to the background so far.
    pub(super) background: usize,
    /// Substitutions around this, and around each of the commands found.
    pub(super) inside: usize,
    pub(super) levels: Vec<usize>,
}

impl<'a> ShellState<'a> {
    /// A shell that nothing was read for.
    pub fn new(places: &'a ShellPlaces) -> ShellState<'a> {
        ShellState {
            places,
            names: ShellNames::default(),
            script: ShellScript::default(),
            steps: Steps::default(),
            folder: Some(places.project.clone()),
            piped: None,
            depth: 0,
            functions: HashMap::new(),
            defining: Vec::new(),
            beside: 0,
            background: 0,
            inside: 0,
            levels: Vec::new(),
        }
    }
}
