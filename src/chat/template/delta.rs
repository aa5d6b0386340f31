//! Openings, deltas and whole renderings, taken apart into pieces.
//!
//! A delta is rendered after a short anchor: the session's head, a user message and a reply, all
//! with sentinels, the reply with the real calls' names, ids, count and order. What the template
//! writes after the reply's last sentinel, from the end of turn on, is the delta; it does not
//! depend on how long the conversation is.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::adapt::{self, AnchorText, DraftPart, DraftWriter, HeadDraft, MessageDraft};
use super::forms::{After, ChatError, Delta, Opening, RenderedReply, ReplyFormat, TemplateFrame};
use super::names::{self, TrueNames};
use super::pieces::{self, ContentOwner, Piece, Placeholder, common};
use super::renderer::Renderer;
use super::thinking::Thinking;
use crate::chat::message::wish::{Calls, ReplyWish};
use crate::chat::message::{Message, Role, ToolCall};
use crate::llama::bridge::{Applied, BridgeError};

const ANCHOR_USER: &str = "Anchor user text";
const ANCHOR_SYSTEM: &str = "Anchor system text";

/// One rendering with sentinels and one without.
struct Pair {
    sketch: String,
    real: String,
    slots: Vec<Placeholder>,
    tag: String,
}

impl Renderer {
    pub fn opening(
        &self,
        frame: &TemplateFrame,
        first: &[Message],
        generation: bool,
    ) -> Result<Opening, ChatError> {
        if first.is_empty() {
            return Err(ChatError::Empty);
        }
        let (head, drafts) = self.conversation(frame, first);
        let pair = self.pair(frame, &head, &drafts, generation, "")?;
        let pieces = self.place(frame, &head, &drafts, generation, &pair, 0)?;
        let user = first.iter().position(|m| m.role == Role::User);
        let head_bytes = pieces
            .iter()
            .take_while(|piece| {
                !matches!(piece, Piece::Content { owner: ContentOwner::Message(message), .. } if user.is_none_or(|u| *message >= u))
            })
            .map(|piece| piece.text().len())
            .sum();
        Ok(Opening { pieces, head_bytes })
    }

    pub fn full(
        &self,
        frame: &TemplateFrame,
        messages: &[Message],
        generation: bool,
    ) -> Result<Vec<Piece>, ChatError> {
        if messages.is_empty() {
            return Err(ChatError::Empty);
        }
        let (head, drafts) = self.conversation(frame, messages);
        let mut pair = self.pair(frame, &head, &drafts, generation, "")?;
        // Templates may leave earlier reasoning and texts beside calls out; nothing else.
        let sketch = std::mem::take(&mut pair.sketch);
        pair.slots.retain(|slot| {
            let reply = match slot.owner {
                ContentOwner::Message(index) => messages.get(index).map(|m| m.role),
                ContentOwner::System | ContentOwner::Tools | ContentOwner::Preface => None,
            };
            reply != Some(Role::Assistant) || sketch.contains(&slot.sentinel)
        });
        pair.sketch = sketch;
        self.place(frame, &head, &drafts, generation, &pair, 0)
    }

    pub fn delta(
        &self,
        frame: &TemplateFrame,
        reply: &Message,
        messages: &[Message],
        generation: bool,
    ) -> Result<Delta, ChatError> {
        if messages.is_empty() {
            return Err(ChatError::Empty);
        }
        // What is appended holds no tools.
        let frame = &*self.harmless(frame);
        let messages = named_results(reply, messages);
        let results = messages.iter().take_while(|m| m.role == Role::Tool).count();
        if !self.plan.results_one_by_one || results < 2 {
            return self.delta_after(frame, reply, &messages, 0, generation);
        }
        let mut whole: Option<Delta> = None;
        for index in 0..results {
            let last = index + 1 == results;
            let to = if last { messages.len() } else { index + 1 };
            let mut alone = reply.clone();
            let call = call_of(reply, &messages[index], index);
            alone.calls = call.into_iter().cloned().collect();
            let part = self.delta_after(
                frame,
                &alone,
                &messages[index..to],
                index,
                last && generation,
            )?;
            match &mut whole {
                None => whole = Some(part),
                Some(whole) => {
                    let mut pieces = part.pieces;
                    if let Some(Piece::Template(text)) = pieces.first_mut() {
                        *text = text[part.end_of_turn.len()..].to_owned();
                    }
                    whole.pieces.append(&mut pieces);
                }
            }
        }
        whole.ok_or(ChatError::Empty)
    }

    fn delta_after(
        &self,
        frame: &TemplateFrame,
        reply: &Message,
        messages: &[Message],
        offset: usize,
        generation: bool,
    ) -> Result<Delta, ChatError> {
        let new = adapt::drafts(messages, false, self.plan);
        let tag = self.tag(frame, &new);
        let anchor = format!("{tag}a");
        let mut drafts = self.anchor(reply, &anchor);
        let mut head = adapt::head(
            frame.system.as_ref().map(|_| ANCHOR_SYSTEM),
            frame.tools.as_ref(),
            self.plan,
        );
        if self.plan.plain_tools && head.system.is_some() {
            head.system = Some(vec![DraftPart::ours(ANCHOR_SYSTEM)]);
        }
        for part in head.system.iter_mut().flatten() {
            part.owner = None;
        }
        adapt::with_system(&mut head, &mut drafts, self.plan);
        drafts.extend(new);
        let pair = self.pair(frame, &head, &drafts, generation, &tag)?;
        let (from, end_of_turn, closing) = self.cut(&pair, &anchor)?;
        let mut pieces = self.place(frame, &head, &drafts, generation, &pair, from)?;
        for piece in &mut pieces {
            if let Piece::Content { owner, .. } = piece
                && let ContentOwner::Message(index) = owner
            {
                *index += offset;
            }
        }
        Ok(Delta {
            pieces,
            end_of_turn,
            closing,
        })
    }

    /// The user message and the reply that the new messages are rendered after.
    fn anchor(&self, reply: &Message, anchor: &str) -> Vec<MessageDraft> {
        let user = MessageDraft::ours(Role::User, ANCHOR_USER);
        let calls = if self.plan.plain_tools {
            Vec::new()
        } else {
            let mut number = 0;
            reply
                .calls
                .iter()
                .map(|call| {
                    number += 1;
                    // Some formats close an argument with its name.
                    let keys = call.arguments.as_object().map(|a| a.keys());
                    let key = keys.and_then(|mut k| k.next_back()).map(String::as_str);
                    let mut arguments = Map::new();
                    arguments.insert(
                        adapt::plain_name(key.unwrap_or("value")),
                        json!(format!("{anchor}{number}z")),
                    );
                    ToolCall {
                        id: adapt::call_id(&call.id, self.plan),
                        name: adapt::plain_name(&call.name),
                        arguments: Value::Object(arguments),
                    }
                })
                .collect()
        };
        let silent = !calls.is_empty()
            && match self.plan.anchor {
                AnchorText::AsReply => reply.text.trim().is_empty(),
                AnchorText::Never => true,
                AnchorText::Always => false,
            };
        let mut assistant = MessageDraft::ours(
            Role::Assistant,
            &if silent {
                String::new()
            } else {
                format!("{anchor}0z")
            },
        );
        assistant.calls = calls;
        vec![user, assistant]
    }

    /// Where the delta begins in the sketch: at the first end of turn after the reply's last
    /// sentinel, or right after it if the template writes none before the new contents.
    fn cut(&self, pair: &Pair, anchor: &str) -> Result<(usize, String, String), ChatError> {
        let (at, _) = pair
            .sketch
            .rmatch_indices(anchor)
            .next()
            .ok_or(ChatError::NoAnchor)?;
        let from = at + pair.sketch[at..].find('z').ok_or(ChatError::NoAnchor)? + 1;
        let rest = &pair.sketch[from..];
        let limit = pair
            .slots
            .iter()
            .filter_map(|slot| rest.find(&slot.sentinel))
            .min()
            .unwrap_or(rest.len());
        let (offset, mark) = self.turn_end_in(&rest[..limit]).unwrap_or((0, ""));
        Ok((from + offset, mark.to_owned(), rest[..offset].to_owned()))
    }

    /// The first end of turn in a text: its position and its text. An end-of-generation token
    /// counts before the mark that plain replies end with.
    pub fn turn_end_in(&self, text: &str) -> Option<(usize, &str)> {
        let eog = self.marks.eog.iter().filter(|mark| !mark.is_empty());
        eog.filter_map(|mark| Some((text.find(mark.as_str())?, mark.as_str())))
            .min_by_key(|(at, mark)| (*at, usize::MAX - mark.len()))
            .or_else(|| {
                let mark = self.turn_end.as_deref()?;
                Some((text.find(mark)?, mark))
            })
    }

    pub fn reply(
        &self,
        frame: &TemplateFrame,
        reply: &Message,
        thinking: &Thinking,
    ) -> Result<RenderedReply, ChatError> {
        // A reply holds no tools.
        let frame = &*self.harmless(frame);
        let mut head = adapt::head(
            frame.system.as_ref().map(|_| ANCHOR_SYSTEM),
            frame.tools.as_ref(),
            self.plan,
        );
        for part in head.system.iter_mut().flatten() {
            part.owner = None;
        }
        let mut drafts = vec![MessageDraft::ours(Role::User, ANCHOR_USER)];
        adapt::with_system(&mut head, &mut drafts, self.plan);
        let prompt = self.render(frame, &head, &drafts, true)?;
        drafts.extend(adapt::drafts(std::slice::from_ref(reply), false, self.plan));
        let mut pair = self.pair(frame, &head, &drafts, false, "")?;
        let shared = common(&prompt, &pair.real).min(common(&prompt, &pair.sketch));
        let shared = whole_marks(&prompt, shared);
        let tail = &prompt[prompt.rfind(ANCHOR_USER).unwrap_or(0).min(shared)..];
        let text = pair.slots.iter().find(|slot| slot.text == reply.text);
        let until = text.and_then(|slot| pair.sketch[shared..].find(&slot.sentinel));
        let before_text = &pair.sketch[shared..][..until.unwrap_or(pair.sketch.len() - shared)];
        let ended = thinking.ended(before_text);
        // Reasoning that the history leaves out stands where the model would have written it.
        let unwritten = pair.slots.iter().position(|slot| {
            Some(&slot.text) == reply.reasoning.as_ref() && !pair.sketch.contains(&slot.sentinel)
        });
        let reasoning = unwritten.map(|index| pair.slots.remove(index).text);
        let opened = thinking.opens(tail);
        let mut pieces = Vec::new();
        // Where a template has no form for reasoning, none is written.
        let unopened = reasoning.is_some() && !thinking.start.trim().is_empty();
        if opened || (unopened && !thinking.ended(tail)) {
            if !opened {
                let control = thinking.start.starts_with("<|");
                let space = if control { "" } else { "\n" };
                pieces.push(Piece::Template(thinking.start.clone() + space));
            }
            pieces.extend(reasoning.map(|text| Piece::Content {
                text,
                form: pieces::ContentForm::Verbatim,
                owner: ContentOwner::Message(0),
            }));
            if !opened || !ended {
                pieces.push(Piece::Template(thinking.close.clone()));
            }
        }
        // A header that both have, behind something that only the prompt has.
        let body = &pair.sketch[shared..];
        let before = prompt.clone() + &pieces::join(&pieces);
        let repeated = (0..=body.len().min(before.len() - shared))
            .rev()
            .find(|n| body.is_char_boundary(*n) && before.ends_with(&body[..*n]))
            .unwrap_or(0);
        let from = shared + repeated;
        let sketch = &pair.sketch[from..];
        let last = pair
            .slots
            .iter()
            .filter_map(|slot| {
                sketch
                    .find(&slot.sentinel)
                    .map(|at| at + slot.sentinel.len())
            })
            .max()
            .unwrap_or(0);
        let silent = reply.calls.is_empty() || self.plan.plain_tools;
        let open_end = if silent { 0 } else { sketch.len() - last };
        let (offset, mark) = self.turn_end_in(&sketch[last..]).unwrap_or((open_end, ""));
        let tail = sketch.len() - last - offset;
        let real = &pair.real[from..pair.real.len() - tail];
        pieces.extend(pieces::place(
            &sketch[..last + offset],
            real,
            &pair.slots,
            |_| None,
        )?);
        Ok(RenderedReply {
            pieces,
            end_of_turn: mark.to_owned(),
        })
    }

    pub fn format(&self, frame: &TemplateFrame, after: After) -> Result<ReplyFormat, ChatError> {
        self.format_for(frame, after, &ReplyWish::default())
    }

    pub fn format_for(
        &self,
        frame: &TemplateFrame,
        after: After,
        wish: &ReplyWish,
    ) -> Result<ReplyFormat, ChatError> {
        let mut head = adapt::head(
            frame.system.as_ref().map(|_| ANCHOR_SYSTEM),
            frame.tools.as_ref(),
            self.plan,
        );
        let mut drafts = vec![MessageDraft::ours(Role::User, ANCHOR_USER)];
        if after == After::Results && !self.plan.plain_tools {
            let name = head
                .tools
                .as_ref()
                .and_then(|t| t[0]["function"]["name"].as_str())
                .unwrap_or("tool")
                .to_owned();
            let mut reply = Message::assistant("");
            reply.calls.push(ToolCall {
                id: "call00001".into(),
                name: name.clone(),
                arguments: Value::Object(Map::new()),
            });
            let result =
                named_results(&reply, &[Message::tool_result("call00001", name, "result")]);
            drafts.extend(self.anchor(&reply, "value").split_off(1));
            drafts.extend(adapt::drafts(&result, false, self.plan));
        }
        adapt::with_system(&mut head, &mut drafts, self.plan);
        let mut writer = DraftWriter::real();
        let messages = drafts.iter().map(|d| writer.message(d)).collect();
        let (tools, exchanged) = match &head.tools {
            Some(tools) => {
                let (tools, exchanged) = names::exchanged(tools);
                (Some(tools), exchanged)
            }
            None => (None, names::Exchanged::default()),
        };
        let mut request = self.request(frame, tools.as_ref(), messages, true);
        wish.lay(&mut request);
        // Where the request wants none, or JSON of its own, what looks like a call is text.
        let wanted = wish.calls != Calls::None && wish.schema.is_none();
        let plain_calls = self.plan.plain_tools && frame.tools.is_some() && wanted;
        let applied = match self.bridge.apply(&request) {
            Ok(mut applied) => {
                applied.prompt.clear();
                exchanged.put_back(&mut applied);
                applied
            }
            // A plain parser reads the reply alone, whatever opened it.
            Err(BridgeError::NoParser(_)) => Applied::plain(String::new(), String::new()),
            Err(error) => return Err(error.into()),
        };
        Ok(ReplyFormat {
            applied,
            plain_calls,
            plain_tools: match plain_calls {
                true => tool_names(frame.tools.as_ref()),
                false => Vec::new(),
            },
            ends: Vec::new(),
            names: TrueNames::of(frame.tools.as_ref()),
            held: wish.schema.is_some(),
        })
    }

    /// The frame with tools that hold no control text, where they do.
    fn harmless<'a>(&self, frame: &'a TemplateFrame) -> Cow<'a, TemplateFrame> {
        match &frame.tools {
            Some(tools) if adapt::holds(tools, &|text| self.hostile(text)) => {
                Cow::Owned(TemplateFrame {
                    tools: Some(adapt::harmless(tools, &|text| self.hostile(text))),
                    ..frame.clone()
                })
            }
            _ => Cow::Borrowed(frame),
        }
    }

    fn conversation(
        &self,
        frame: &TemplateFrame,
        messages: &[Message],
    ) -> (HeadDraft, Vec<MessageDraft>) {
        let mut head = adapt::head(frame.system.as_deref(), frame.tools.as_ref(), self.plan);
        let first = head.system.is_none();
        let mut drafts = adapt::drafts(messages, first, self.plan);
        adapt::with_preface(frame.preface.as_deref(), &mut drafts);
        adapt::with_system(&mut head, &mut drafts, self.plan);
        (head, drafts)
    }

    fn tag(&self, frame: &TemplateFrame, drafts: &[MessageDraft]) -> String {
        let mut writer = DraftWriter::real();
        let mut texts = String::new();
        for draft in drafts {
            texts.push_str(&writer.message(draft).to_string());
        }
        texts.extend(frame.system.as_deref());
        if let Some(tools) = &frame.tools {
            texts.push_str(&tools.to_string());
        }
        adapt::tag_for(&texts)
    }

    fn write(
        &self,
        frame: &TemplateFrame,
        head: &HeadDraft,
        drafts: &[MessageDraft],
        generation: bool,
        writer: &mut DraftWriter,
    ) -> Result<String, ChatError> {
        let hostile = |text: &str| self.hostile(text);
        let tools = match &head.tools {
            Some(tools) if adapt::hostile_names(tools, &hostile) => {
                return Err(ChatError::HostileTools);
            }
            Some(tools) => Some(writer.tools(tools, &hostile)),
            None => None,
        };
        let messages = drafts.iter().map(|d| writer.message(d)).collect();
        let request = self.request(frame, tools.as_ref(), messages, generation);
        Ok(self.bridge.render(&request)?)
    }

    fn render(
        &self,
        frame: &TemplateFrame,
        head: &HeadDraft,
        drafts: &[MessageDraft],
        generation: bool,
    ) -> Result<String, ChatError> {
        self.write(frame, head, drafts, generation, &mut DraftWriter::real())
    }

    /// Both renderings; `tag` empty: one is chosen.
    fn pair(
        &self,
        frame: &TemplateFrame,
        head: &HeadDraft,
        drafts: &[MessageDraft],
        generation: bool,
        tag: &str,
    ) -> Result<Pair, ChatError> {
        let tag = match tag {
            "" => self.tag(frame, drafts),
            tag => tag.to_owned(),
        };
        let mut writer = DraftWriter::sketch(&tag);
        let sketch = self.write(frame, head, drafts, generation, &mut writer)?;
        let real = self.render(frame, head, drafts, generation)?;
        Ok(Pair {
            sketch,
            real,
            slots: writer.slots,
            tag,
        })
    }

    /// The pieces of a pair from byte `from` of the sketch on; before it both must be equal.
    fn place(
        &self,
        frame: &TemplateFrame,
        head: &HeadDraft,
        drafts: &[MessageDraft],
        generation: bool,
        pair: &Pair,
        from: usize,
    ) -> Result<Vec<Piece>, ChatError> {
        let before = &pair.sketch[..from];
        let real = pair.real.strip_prefix(before).ok_or(ChatError::NoAnchor)?;
        let slots: Vec<Placeholder> = pair
            .slots
            .iter()
            .filter(|slot| !before.contains(&slot.sentinel))
            .cloned()
            .collect();
        let alone = |index: usize| {
            let slot: &Placeholder = &slots[index];
            let number = slot.sentinel[pair.tag.len() + 1..].trim_end_matches('z');
            let mut writer = DraftWriter::alone(&pair.tag, number.parse().ok()?);
            let text = self
                .write(frame, head, drafts, generation, &mut writer)
                .ok()?;
            text.strip_prefix(before).map(str::to_owned)
        };
        Ok(pieces::place(&pair.sketch[from..], real, &slots, alone)?)
    }
}

/// A length of `text` that cuts no mark such as `<|im_start|>` in two.
fn whole_marks(text: &str, len: usize) -> usize {
    let before = &text[..len];
    match before.rfind(['<', '>', '[', ']']) {
        Some(at) if len - at < 48 && before[at..].starts_with(['<', '[']) => at,
        _ => len,
    }
}

/// The names of tools in OpenAI form.
fn tool_names(tools: Option<&Value>) -> Vec<String> {
    let list = tools.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|tool| tool.get("function").unwrap_or(tool)["name"].as_str())
        .map(str::to_owned)
        .collect()
}

fn call_of<'a>(reply: &'a Message, result: &Message, index: usize) -> Option<&'a ToolCall> {
    reply
        .calls
        .iter()
        .find(|call| Some(&call.id) == result.call_id.as_ref())
        .or_else(|| reply.calls.get(index))
}

/// Results get the names and ids of their calls where they have none.
fn named_results(reply: &Message, messages: &[Message]) -> Vec<Message> {
    let mut messages = messages.to_vec();
    for (index, message) in messages.iter_mut().enumerate() {
        if message.role != Role::Tool {
            continue;
        }
        if let Some(call) = call_of(reply, message, index) {
            message.call_id.get_or_insert_with(|| call.id.clone());
            message.name.get_or_insert_with(|| call.name.clone());
        }
    }
    messages
}
