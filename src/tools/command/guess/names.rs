//! The variables of a shell that is read: what is known of their values.

use std::collections::HashMap;
use std::rc::Rc;

/// What the shell's names stand for, as far as it was followed.
#[derive(Default)]
pub(super) struct ShellNames {
    /// Assigned in this line: the last value seen.
    values: HashMap<String, String>,
    /// Assignments in their order, with the values before: for shells that end.
    log: Vec<(String, Option<String>)>,
    /// `$1`…, of a function or of `set --`.
    pub positional: Rc<[String]>,
}

impl ShellNames {
    pub fn get(&self, name: &str) -> Option<&String> {
        self.values.get(name)
    }

    pub fn set(&mut self, name: &str, value: String) {
        let before = self.values.insert(name.to_owned(), value);
        self.log.push((name.to_owned(), before));
    }

    /// How many assignments there were.
    pub fn count(&self) -> usize {
        self.log.len()
    }

    /// Takes back all assignments but the first `count`.
    pub fn back(&mut self, count: usize) {
        for (name, before) in self.log.drain(count..).rev() {
            match before {
                Some(value) => self.values.insert(name, value),
                None => self.values.remove(&name),
            };
        }
    }
}
