//! The plan of a session: a list that its agent keeps for itself.

use rusqlite::{OptionalExtension, params};
use serde_json::Value;

use super::db::missing;
use super::rows::{json, place};
use super::{Db, Result, SessionId};

impl Db {
    /// The plan as it was stored last; `Null` if there is none.
    pub fn plan(&self, id: SessionId) -> Result<Value> {
        let text: Option<String> = self
            .conn
            .prepare_cached("SELECT items FROM plans WHERE session = ?")?
            .query_row([id.0], |row| row.get(0))
            .optional()?;
        text.map_or(Ok(Value::Null), |text| json(&text, &place(id, "")))
    }

    /// Replaces the plan. It is on disk when this returns.
    pub fn set_plan(&self, id: SessionId, items: &Value) -> Result<()> {
        let stored = self
            .conn
            .prepare_cached(
                "INSERT INTO plans (session, items) SELECT id, ?2 FROM sessions WHERE id = ?1
                 ON CONFLICT (session) DO UPDATE SET items = excluded.items",
            )?
            .execute(params![id.0, items.to_string()])?;
        match stored {
            0 => Err(missing(id)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::session::testing::disk;
    use crate::session::{Error, SessionId};

    #[test]
    fn a_plan_is_replaced_and_goes_with_its_session() {
        let home = tempfile::tempdir().unwrap();
        let (db, session) = disk(home.path());
        assert_eq!(db.plan(session.id).unwrap(), Value::Null);
        db.set_plan(session.id, &json!(["a"])).unwrap();
        db.set_plan(session.id, &json!(["b", "c"])).unwrap();
        assert_eq!(db.plan(session.id).unwrap(), json!(["b", "c"]));
        db.remove(session.id).unwrap();
        assert_eq!(db.plan(session.id).unwrap(), Value::Null);
        let gone = db.set_plan(SessionId(99), &json!([]));
        assert!(matches!(gone, Err(Error::NotFound(_))));
    }
}
