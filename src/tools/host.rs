//! What tools need of the agent: its memory, its plan, its past. The agent implements it.

/// A place in an earlier conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionHit {
    /// The session's name.
    pub session: String,
    /// The day of the message, `2026-11-23`.
    pub day: String,
    /// The role of the message: `user`, `assistant`, `tool`.
    pub role: String,
    /// Some words around what was found.
    pub snippet: String,
}

/// Which of the two files.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MemoryFile {
    /// MEMORY.md: what the agent learned about its work.
    Memory,
    /// USER.md: who the user is and what they like.
    User,
}

/// One change of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MemoryEdit {
    /// A new entry.
    Add {
        /// Where.
        file: MemoryFile,
        /// The entry.
        text: String,
    },
    /// The one entry that contains `find` becomes `text`.
    Replace {
        /// Where.
        file: MemoryFile,
        /// Part of the entry.
        find: String,
        /// The entry from now on.
        text: String,
    },
    /// The one entry that contains `find` goes.
    Remove {
        /// Where.
        file: MemoryFile,
        /// Part of the entry.
        find: String,
    },
}

/// How far a step of the plan is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TodoState {
    /// Not begun.
    Open,
    /// At work.
    Doing,
    /// Done.
    Done,
}

impl TodoState {
    /// The name in arguments.
    pub fn as_str(self) -> &'static str {
        match self {
            TodoState::Open => "open",
            TodoState::Doing => "doing",
            TodoState::Done => "done",
        }
    }

    /// The inverse of [`TodoState::as_str`].
    pub fn parse(name: &str) -> Option<TodoState> {
        [TodoState::Open, TodoState::Doing, TodoState::Done]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// A step of the plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TodoItem {
    /// What to do.
    pub text: String,
    /// How far it is.
    pub state: TodoState,
}

/// What tools need of the agent. Errors are sentences for the model.
pub trait ToolHost: Send + Sync {
    /// Searches all sessions but this one; best first, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read, or the query holds no word.
    fn search_sessions(&self, query: &str, limit: usize) -> Result<Vec<SessionHit>, String>;

    /// Makes all the edits or none, and says what the files hold now.
    ///
    /// # Errors
    /// Why none was made, with the entries that are there where that helps.
    fn memory(&self, edits: &[MemoryEdit]) -> Result<String, String>;

    /// The session's plan: what the last call of `todo` set in the conversation as it is now.
    fn todo(&self) -> Vec<TodoItem>;
}
