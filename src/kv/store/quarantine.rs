//! Files that are taken out of use: to quarantine/, with a word to the user.

use crate::kv::index::connection::{Edge, Node};
use crate::kv::record::files;
use crate::kv::record::format::Kind;
use crate::kv::store::handle::{Live, Store};

impl Live {
    /// Takes an edge out of use: file to quarantine, row gone, said once.
    pub(in crate::kv) fn set_aside_edge(&self, edge: &Edge, reason: &str) {
        let name = files::name(Kind::Edge, edge.from, edge.to);
        let dropped = self.sound(|| self.index().drop_edge(self.model(), edge));
        self.lost();
        set_aside(self, &name, dropped, reason);
    }
}

impl Store {
    /// Takes an edge out of use: its file goes to quarantine/, its row goes, a notice says why.
    pub fn quarantine_edge(&self, edge: &Edge, reason: &str) {
        if let Some(live) = self.changing() {
            live.set_aside_edge(edge, reason);
        }
    }

    /// [`Store::quarantine_edge`] for a node.
    pub fn quarantine_node(&self, node: &Node, reason: &str) {
        if let Some(live) = self.changing() {
            let name = files::name(Kind::Node, node.digest, node.digest);
            let dropped = live.sound(|| live.index().drop_node(live.model(), node.digest));
            set_aside(live, &name, dropped, reason);
        }
    }

    /// Takes edges and a node out of use whose numbers another machine made and that are not this
    /// one's; told once for all of them.
    pub fn refuse(&self, edges: &[Edge], node: Option<&Node>, reason: &str) {
        let Some(live) = self.changing() else {
            return;
        };
        let mut trouble = String::new();
        for edge in edges {
            let name = files::name(Kind::Edge, edge.from, edge.to);
            let dropped = live.sound(|| live.index().drop_edge(live.model(), edge));
            trouble = moved(live, &name, dropped).unwrap_or(trouble);
        }
        if let Some(node) = node {
            let name = files::name(Kind::Node, node.digest, node.digest);
            let dropped = live.sound(|| live.index().drop_node(live.model(), node.digest));
            trouble = moved(live, &name, dropped).unwrap_or(trouble);
        }
        let files = edges.len() + usize::from(node.is_some());
        live.notices.add(
            format!("Stored KV was not used ({files} files): {reason}.{trouble}"),
            "Nothing to do: what it held is evaluated again; kv/quarantine can be deleted.",
        );
    }
}

/// Moves a file to quarantine; what went wrong, if anything, in a sentence.
fn moved(live: &Live, name: &str, dropped: Result<(), rusqlite::Error>) -> Option<String> {
    match (live.files.quarantine(name), dropped) {
        (Ok(()), Ok(())) => None,
        (Err(error), _) => Some(format!(" It could not be moved away: {error}.")),
        (_, Err(error)) => Some(format!(" Its index row could not be removed: {error}.")),
    }
}

fn set_aside(live: &Live, name: &str, dropped: Result<(), rusqlite::Error>, reason: &str) {
    let trouble = moved(live, name, dropped).unwrap_or_default();
    // A file that cannot be moved is met again: it is told once.
    live.notices.add_once(
        name,
        format!("A KV file was not used: {reason}.{trouble}"),
        "Nothing to do: what it held is evaluated again; kv/quarantine can be deleted.",
    );
}
