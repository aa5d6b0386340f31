//! `{a,b}` and `{1..9}`: one word made into several.

use super::tree::WordPiece;
use crate::tools::command::steps::Steps;

/// Most words of one `{1..9}`: a number more or less changes nothing that is judged.
const MAX_SEQUENCE: usize = 64;
/// Most braces around a place; what would open one more is an ordinary character.
const MAX_DEPTH: usize = 40;
/// Most words that one word may become.
const MAX_WORDS: usize = 4_096;

/// What a word becomes.
pub(super) struct Alternatives {
    pub words: Vec<Vec<WordPiece>>,
    /// Whether there are more of them.
    pub cut: bool,
}

/// Part of a word that has braces.
#[derive(Clone)]
enum BraceNode {
    Piece(WordPiece),
    /// Words that stand for each other; each is made of nodes.
    Any(Vec<Vec<BraceNode>>),
}

/// An open brace: what was read behind it, by commas.
#[derive(Default)]
struct OpenBrace {
    done: Vec<Vec<BraceNode>>,
    now: Vec<BraceNode>,
}

/// The words that `pieces` becomes; `None` where it holds no braces that say something.
pub(super) fn alternatives(pieces: &[WordPiece], steps: &mut Steps) -> Option<Alternatives> {
    let brace = |piece: &WordPiece| matches!(piece, WordPiece::Plain(text) if text.contains('{'));
    if !pieces.iter().any(brace) {
        return None;
    }
    let nodes = nodes(pieces, steps);
    if nodes.iter().all(|node| matches!(node, BraceNode::Piece(_))) {
        return None;
    }
    let mut cut = false;
    let words = spread(&nodes, steps, &mut cut);
    Some(Alternatives { words, cut })
}

fn nodes(pieces: &[WordPiece], steps: &mut Steps) -> Vec<BraceNode> {
    let mut outer: Vec<OpenBrace> = Vec::new();
    let mut here = OpenBrace::default();
    for piece in pieces {
        let WordPiece::Plain(text) = piece else {
            here.now.push(BraceNode::Piece(piece.clone()));
            continue;
        };
        let mut rest = text.as_str();
        while let Some(at) = rest.find(['{', '}', ',']) {
            steps.took(at + size_of::<BraceNode>());
            let (before, mark) = rest.split_at(at);
            here.push(before);
            rest = &mark[1..];
            match &mark[..1] {
                "{" if outer.len() < MAX_DEPTH => outer.push(std::mem::take(&mut here)),
                "," if !outer.is_empty() => {
                    let now = std::mem::take(&mut here.now);
                    here.done.push(now);
                }
                "}" if !outer.is_empty() => {
                    let closed = std::mem::replace(&mut here, outer.pop().unwrap_or_default());
                    here.close(closed);
                }
                mark => here.push(mark),
            }
        }
        here.push(rest);
    }
    // Braces that are not closed are ordinary characters.
    while let Some(mut before) = outer.pop() {
        before.push("{");
        before.literal(here);
        here = before;
    }
    here.now
}

impl OpenBrace {
    fn push(&mut self, text: &str) {
        match self.now.last_mut() {
            _ if text.is_empty() => {}
            Some(BraceNode::Piece(WordPiece::Plain(last))) => last.push_str(text),
            _ => self
                .now
                .push(BraceNode::Piece(WordPiece::Plain(text.into()))),
        }
    }

    /// A brace that closed.
    fn close(&mut self, mut closed: OpenBrace) {
        if closed.done.is_empty() {
            if let [BraceNode::Piece(WordPiece::Plain(text))] = closed.now.as_slice()
                && let Some(words) = sequence(text)
            {
                let words = words.into_iter();
                let nodes = words.map(|word| vec![BraceNode::Piece(WordPiece::Plain(word))]);
                return self.now.push(BraceNode::Any(nodes.collect()));
            }
            self.push("{");
            self.literal(closed);
            return self.push("}");
        }
        closed.done.push(closed.now);
        self.now.push(BraceNode::Any(closed.done));
    }

    /// What a brace held that is none.
    fn literal(&mut self, open: OpenBrace) {
        for nodes in open.done {
            self.extend(nodes);
            self.push(",");
        }
        self.extend(open.now);
    }

    fn extend(&mut self, nodes: Vec<BraceNode>) {
        for node in nodes {
            match node {
                BraceNode::Piece(WordPiece::Plain(text)) => self.push(&text),
                node => self.now.push(node),
            }
        }
    }
}

/// `1..9`, `a..e`, `1..9..2`: both ends and what lies between, up to a bound.
fn sequence(text: &str) -> Option<Vec<String>> {
    let (low, high) = text.split_once("..")?;
    let high = high.split_once("..").map_or(high, |(high, _)| high);
    if let (Ok(low), Ok(high)) = (low.parse::<i64>(), high.parse::<i64>()) {
        let (low, high) = (low.min(high), low.max(high));
        let all = (low..=high).take(MAX_SEQUENCE).chain([high]);
        let mut words: Vec<String> = all.map(|n| n.to_string()).collect();
        words.dedup();
        return Some(words);
    }
    let (low, high) = (low.parse::<char>().ok()?, high.parse::<char>().ok()?);
    let all = (low.min(high)..=low.max(high)).take(MAX_SEQUENCE);
    Some(all.map(String::from).collect())
}

fn spread(nodes: &[BraceNode], steps: &mut Steps, cut: &mut bool) -> Vec<Vec<WordPiece>> {
    let mut words: Vec<Vec<WordPiece>> = vec![Vec::new()];
    for node in nodes {
        match node {
            BraceNode::Piece(piece) => {
                for word in &mut words {
                    *cut |= !steps.pay(cost(piece));
                    if *cut {
                        return words;
                    }
                    word.push(piece.clone());
                }
            }
            BraceNode::Any(all) => {
                let mut ends = Vec::new();
                for nodes in all {
                    ends.extend(spread(nodes, steps, cut));
                }
                let mut product = Vec::new();
                'all: for word in &words {
                    for end in &ends {
                        let price: usize = word.iter().chain(end).map(cost).sum();
                        if product.len() >= MAX_WORDS || !steps.pay(price + size_of::<WordPiece>())
                        {
                            *cut = true;
                            break 'all;
                        }
                        product.push([word.as_slice(), end.as_slice()].concat());
                    }
                }
                words = product;
            }
        }
    }
    words
}

fn cost(piece: &WordPiece) -> usize {
    let text = match piece {
        WordPiece::Plain(text) | WordPiece::Quoted(text) | WordPiece::Home(text) => text.len(),
        WordPiece::Parameter { name, .. } => name.len(),
        _ => 0,
    };
    size_of::<WordPiece>() + text
}
