//! The plan of a session: npast stores it nowhere else than in the messages that set it.

use serde_json::Value;

use crate::agent::conversation::stored::FIELD;
use crate::chat::Message;
use crate::chat::message::ToolCall;
use crate::session::{self, Db, SessionId};
use crate::tools::{TodoItem, plan_of, plan_set_by};

/// The tool that sets the plan.
pub(in crate::agent) const PLANNER: &str = "todo";

/// The plan that the messages hold: the last call that set it, or the hand-over of a compression that
/// stands behind it. Of a reply whose calls still run, their marks do.
pub(in crate::agent) fn plan(
    db: &Db,
    session: SessionId,
) -> Result<Vec<TodoItem>, session::DbError> {
    let messages = db.messages(session)?;
    let read = |message: &session::StoredMessage| Message::from_json(&message.body).ok();
    for (at, row) in messages.iter().enumerate().rev() {
        let calls = match row.role.as_str() {
            "assistant" => read(row).map(|reply| reply.calls).unwrap_or_default(),
            _ => match plan_in(&row.body) {
                Some(plan) => return Ok(plan),
                None => continue,
            },
        };
        if !calls.iter().any(|call| call.name == PLANNER) {
            continue;
        }
        let after = messages[at + 1..].iter().take_while(|m| m.role == "tool");
        let mut results: Vec<String> = after.filter_map(read).map(|m| m.text).collect();
        if results.is_empty() {
            results.resize(calls.len(), String::new());
            for run in db.runs(row.id)? {
                if let (Some(result), Some((true, text))) = (results.get_mut(run.call), run.result)
                {
                    *result = text;
                }
            }
        }
        let set = |(call, result): (&ToolCall, &String)| match call.name == PLANNER {
            true => plan_set_by(&call.arguments, result),
            false => None,
        };
        if let Some(plan) = calls.iter().zip(&results).rev().find_map(set) {
            return Ok(plan);
        }
    }
    Ok(Vec::new())
}

/// The plan that a hand-over carries.
pub(in crate::agent) fn plan_in(body: &Value) -> Option<Vec<TodoItem>> {
    let steps = body.get(FIELD)?.get("plan")?.as_array()?;
    Some(plan_of(steps))
}
