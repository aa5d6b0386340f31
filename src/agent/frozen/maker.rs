//! The tools of a session as its model can be offered them. When a session freezes its tools each
//! schema gets its normal form, and everything that a call will need is tried: the template writes
//! the tools, llama.cpp makes their grammar. A tool that fails is simplified, then
//! left out, and named. Before a call of any session the same is done for its grammar alone: what
//! is frozen stays as it is.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use crate::agent::engine::shared::EngineShared;
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::agent::values::notice::Notice;
use crate::chat::template::{After, ChatTemplate, ReplyFormat, TemplateFrame};
use crate::chat::wish::{Calls, ReplyWish};
use crate::chat::{Message, names};
use crate::llama::Vocab;
use crate::tools::Spec;
use crate::tools::schema::{self, GrammarDetail, GrammarRoom};

use super::grammar::grammar;
use super::time_limit::{GRAMMAR_LIMIT, ThreadResult, within};
use super::tool_forms::{fewer, left_out, loosened, name_of, named_types, typed, with_parameters};

/// Largest grammar, in bytes: llama.cpp needs some hundred times as much memory for one.
const MOST_GRAMMAR: usize = 4 << 20;

/// What makes and tries grammars.
#[derive(Clone)]
pub struct Maker {
    template: Arc<ChatTemplate>,
    vocab: Vocab,
}

/// A format of replies, and what there is to say of the tools in it.
pub struct OfferedFormat {
    /// The format.
    pub format: ReplyFormat,
    /// Tools that are followed less closely, or cannot be called.
    pub notices: Vec<Notice>,
}

impl Maker {
    /// For replies under this template, in tokens of this vocabulary.
    pub fn new(template: Arc<ChatTemplate>, vocab: Vocab) -> Maker {
        Maker { template, vocab }
    }

    pub(in crate::agent) fn of(shared: &EngineShared) -> Maker {
        let vocab = shared.model.vocab().clone();
        Maker::new(shared.template.clone(), vocab)
    }

    /// The tools as a session freezes them, and what was loosened or left out. `frame` has the
    /// session's system text and the tools as they were given.
    pub fn freeze(&self, frame: &TemplateFrame) -> (Option<Value>, Vec<Notice>) {
        let Some(given) = frame.tools.as_ref().and_then(Value::as_array) else {
            return (frame.tools.clone(), Vec::new());
        };
        let mut notices = Vec::new();
        let mut tools: Vec<Value> = Vec::with_capacity(given.len());
        let mut taken: Vec<String> = Vec::with_capacity(given.len());
        for tool in given {
            let Some(spec) = Spec::from_json(tool).filter(|spec| !spec.name.is_empty()) else {
                notices.push((
                    "a tool without a name is left out of this session".to_owned(),
                    None,
                ));
                continue;
            };
            if taken.contains(&spec.name) {
                notices.push(left_out(&spec.name, "there are two of that name"));
                continue;
            }
            let normal = schema::normal(&spec.parameters, schema::MOST_BYTES);
            if !normal.odd.is_empty() {
                notices.push(loosened(&spec.name, &normal.odd.join(", ")));
            }
            let parameters = normal.schema;
            let mut tool = match tool["function"]["parameters"] == parameters {
                true => tool.clone(),
                false => with_parameters(tool, parameters),
            };
            tool["type"] = "function".into();
            let tool = names::writable(&tool, &taken, &|text| self.template.hostile(text));
            taken.push(spec.name);
            taken.extend(name_of(&tool).map(str::to_owned));
            tools.push(tool);
        }
        let alone = |tools: &[Value]| TemplateFrame {
            tools: (!tools.is_empty()).then(|| Value::from(tools)),
            ..frame.clone()
        };
        if self.in_time(alone(&tools)) {
            return (Some(tools.into()), notices);
        }
        if !self.in_time(alone(&[])) {
            // Not the tools are at fault: whoever renders says what is.
            return (Some(tools.into()), notices);
        }
        let mut kept: Vec<Value> = Vec::with_capacity(tools.len());
        for tool in tools {
            let name = name_of(&tool).unwrap_or_default().to_owned();
            let quiet = self.quiet(&tool);
            let bare = typed(&quiet);
            let few = fewer(&bare);
            let forms = [tool.clone(), quiet.clone(), named_types(&quiet), bare, few];
            let fits = |form: &Value| self.in_time(alone(std::slice::from_ref(form)));
            match forms.iter().position(fits) {
                Some(at) => {
                    if at > 0 {
                        notices.push(loosened(&name, "cannot be written by this chat template"));
                    }
                    kept.extend(forms.into_iter().nth(at));
                }
                None => notices.push(left_out(&name, "this chat template cannot write it")),
            }
        }
        // Each can be had, and not all together.
        while !kept.is_empty() && !self.in_time(alone(&kept)) {
            let largest = (0..kept.len()).max_by_key(|at| kept[*at].to_string().len());
            let gone = kept.remove(largest.unwrap_or_default());
            let name = name_of(&gone).unwrap_or_default();
            notices.push(left_out(name, "it is too large beside the others"));
        }
        (Some(kept.into()), notices)
    }

    /// Whether the template writes the tools and grammars can be made, in time.
    fn in_time(&self, frame: TemplateFrame) -> bool {
        let maker = self.clone();
        let tried = within(&AtomicBool::new(false), move || maker.tried(&frame));
        matches!(tried, ThreadResult::Done(true))
    }

    fn tried(&self, frame: &TemplateFrame) -> bool {
        let opening = self.template.opening(frame, &[Message::user("One.")]);
        let both = [After::User, After::Results];
        opening.is_ok()
            && both
                .iter()
                .all(|after| self.at(frame, *after, &[]).is_some())
    }

    /// The format of replies in a session with these frozen tools; nothing where `cancel` came
    /// first.
    ///
    /// # Errors
    /// When the template cannot be used even without tools.
    pub fn format(
        &self,
        frame: &TemplateFrame,
        after: After,
        cancel: &AtomicBool,
    ) -> Result<Option<OfferedFormat>, AgentError> {
        let (maker, frame_of_thread) = (self.clone(), frame.clone());
        match within(cancel, move || maker.made(&frame_of_thread, after)) {
            ThreadResult::Done(made) => made.map(Some),
            ThreadResult::Cancelled => Ok(None),
            ThreadResult::TooLong => {
                let bare = TemplateFrame {
                    tools: None,
                    ..frame.clone()
                };
                let format = self.template.format(&bare, after)?;
                let why = format!(
                    "the grammar of this session's tools was not made within {} s: they cannot be \
                     called",
                    GRAMMAR_LIMIT.as_secs()
                );
                Ok(Some(OfferedFormat {
                    format,
                    notices: vec![(why, Some(HINT.to_owned()))],
                }))
            }
        }
    }

    fn made(&self, frame: &TemplateFrame, after: After) -> Result<OfferedFormat, AgentError> {
        let whole = |format| OfferedFormat {
            format,
            notices: Vec::new(),
        };
        let tools = frame.tools.as_ref().and_then(Value::as_array);
        let Some(tools) = tools.filter(|tools| !tools.is_empty()) else {
            return Ok(whole(self.template.format(frame, after)?));
        };
        if let Some(format) = self.at(frame, after, &[]) {
            return Ok(whole(format));
        }
        let mut notices = Vec::new();
        let mut levels: Vec<Option<GrammarDetail>> = Vec::with_capacity(tools.len());
        for tool in tools {
            let name = name_of(tool).unwrap_or_default();
            let one = TemplateFrame {
                tools: Some(json!([tool])),
                ..frame.clone()
            };
            let fits = |level: &GrammarDetail| self.at(&one, after, &[Some(*level)]).is_some();
            let level = [GrammarDetail::Whole, GrammarDetail::Types]
                .into_iter()
                .find(fits);
            match level {
                Some(GrammarDetail::Whole) => {}
                Some(GrammarDetail::Types) => notices.push((
                    format!("the grammar of the tool {name} is only that of its types"),
                    None,
                )),
                None => notices.push((
                    format!("no grammar can be made of the tool {name}: it cannot be called"),
                    Some(HINT.to_owned()),
                )),
            }
            levels.push(level);
        }
        let typed: Vec<_> = levels
            .iter()
            .map(|l| l.map(|_| GrammarDetail::Types))
            .collect();
        for levels in [levels, typed] {
            if let Some(format) = self.at(frame, after, &levels) {
                return Ok(OfferedFormat { format, notices });
            }
        }
        let bare = TemplateFrame {
            tools: None,
            ..frame.clone()
        };
        notices.push((
            "no grammar can be made of this session's tools: they cannot be called".to_owned(),
            Some(HINT.to_owned()),
        ));
        Ok(OfferedFormat {
            format: self.template.format(&bare, after)?,
            notices,
        })
    }

    /// The format with the grammar of each tool at its level; without it where it has none. All
    /// whole where `levels` is empty.
    fn at(
        &self,
        frame: &TemplateFrame,
        after: After,
        levels: &[Option<GrammarDetail>],
    ) -> Option<ReplyFormat> {
        self.at_for(frame, after, levels, &ReplyWish::default())
    }

    /// The format of one reply with further conditions; `None` when `cancel` came first.
    ///
    /// # Errors
    /// When no grammar can be made that holds the reply to it.
    pub(in crate::agent) fn wished(
        &self,
        frame: &TemplateFrame,
        after: After,
        wish: &ReplyWish,
        cancel: &AtomicBool,
    ) -> Result<Option<ReplyFormat>, AgentError> {
        let refused = |why: &str| {
            let text = format!("the reply cannot be constrained as requested: {why}");
            Err(AgentError::new(ErrorKind::Input, text))
        };
        let frame = TemplateFrame {
            tools: wish.tools(frame.tools.as_ref()),
            ..frame.clone()
        };
        let calls = matches!(wish.calls, Calls::Required | Calls::Only(_));
        if calls && frame.tools.is_none() {
            return refused("the session has no such tool");
        }
        let (maker, wish) = (self.clone(), wish.clone());
        match within(cancel, move || maker.first_wished(&frame, after, &wish)) {
            ThreadResult::Done(Some(format)) => Ok(Some(format)),
            ThreadResult::Done(None) => {
                refused("no grammar can be made of it under this chat template")
            }
            ThreadResult::TooLong => refused("its grammar was not made in time"),
            ThreadResult::Cancelled => Ok(None),
        }
    }

    /// The most exact format that can be had.
    fn first_wished(
        &self,
        frame: &TemplateFrame,
        after: After,
        wish: &ReplyWish,
    ) -> Option<ReplyFormat> {
        let tools = frame.tools.as_ref().and_then(Value::as_array);
        let tools = tools.map_or(0, Vec::len);
        [GrammarDetail::Whole, GrammarDetail::Types]
            .into_iter()
            .find_map(|level| {
                let schema = wish.schema.as_ref().map(|given| {
                    let normal = schema::normal(given, schema::MOST_BYTES).schema;
                    schema::for_grammar(&normal, level, &mut GrammarRoom::default())
                });
                let wish = ReplyWish {
                    schema,
                    ..wish.clone()
                };
                let levels = vec![Some(level); tools];
                let format = self.at_for(frame, after, &levels, &wish)?;
                let held = !format.applied.grammar.is_empty() && !format.applied.grammar_lazy;
                (held || !wish.needs_grammar()).then_some(format)
            })
    }

    fn at_for(
        &self,
        frame: &TemplateFrame,
        after: After,
        levels: &[Option<GrammarDetail>],
        wish: &ReplyWish,
    ) -> Option<ReplyFormat> {
        let tools = frame.tools.as_ref().and_then(Value::as_array);
        let mut room = GrammarRoom::default();
        let tools = tools.into_iter().flatten().enumerate();
        let tools: Vec<Value> = tools
            .filter_map(|(at, tool)| {
                let level = levels
                    .get(at)
                    .copied()
                    .unwrap_or(Some(GrammarDetail::Whole))?;
                let spec = Spec::from_json(tool)?;
                // Sessions of before have schemas as they came.
                let normal = schema::normal(&spec.parameters, schema::MOST_BYTES).schema;
                let parameters = schema::for_grammar(&normal, level, &mut room);
                let mut tool = with_parameters(tool, parameters);
                tool["type"] = "function".into();
                Some(tool)
            })
            .collect();
        let frame = TemplateFrame {
            tools: (!tools.is_empty()).then(|| tools.into()),
            ..frame.clone()
        };
        let format = self.template.format_for(&frame, after, wish).ok()?;
        let fits = match grammar(&self.vocab, &format) {
            Some(grammar) => {
                grammar.text.len() <= MOST_GRAMMAR && grammar.check(&self.vocab).is_ok()
            }
            None => true,
        };
        fits.then_some(format)
    }

    /// A tool without the text of control tokens.
    fn quiet(&self, tool: &Value) -> Value {
        match tool {
            Value::String(text) if self.template.hostile(text) => {
                text.replace(['<', '>', '[', ']', '|'], " ").into()
            }
            Value::Array(list) => list.iter().map(|v| self.quiet(v)).collect(),
            Value::Object(map) => {
                let all = map.iter().map(|(k, v)| (k.clone(), self.quiet(v)));
                Value::Object(all.collect())
            }
            other => other.clone(),
        }
    }
}

const HINT: &str = "npast doctor -m MODEL lists what the template can write";
