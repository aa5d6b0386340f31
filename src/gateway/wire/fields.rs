//! Reading fields of a request: what is absent and what is null say the same, unknown fields say
//! nothing, and a value of another kind is refused with the field's name.

use serde_json::{Map, Value};

use super::RequestRefusal;

/// Most texts that can end a reply.
pub const MAX_STOPS: usize = 64;
/// Most likely tokens that are told in the place of one.
pub const MOST_ODDS: i64 = 20;
/// Most bytes of such a text.
pub const MAX_STOP_BYTES: usize = 1024;

/// The fields of an object.
#[derive(Clone, Copy)]
pub struct RequestFields<'a> {
    map: &'a Map<String, Value>,
}

/// What kind of value this is, with its article.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

impl<'a> RequestFields<'a> {
    /// The fields of `value`, which is called `what` in errors.
    ///
    /// # Errors
    /// When it is no object.
    pub fn of(what: &str, value: &'a Value) -> Result<RequestFields<'a>, RequestRefusal> {
        match value {
            Value::Object(map) => Ok(RequestFields { map }),
            other => Err(RequestRefusal::field(
                what,
                format!("{what} must be an object, not {}", kind(other)),
            )),
        }
    }

    /// A field that is there and not null.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    fn wrong(name: &str, want: &str, value: &Value) -> RequestRefusal {
        RequestRefusal::field(name, format!("{name} must be {want}, not {}", kind(value)))
    }

    /// A string.
    ///
    /// # Errors
    /// When it is something else.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, RequestRefusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(Self::wrong(name, "a string", other)),
        }
    }

    /// A boolean; `false` where it is absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn flag(&self, name: &str) -> Result<bool, RequestRefusal> {
        Ok(self.choice(name)?.unwrap_or(false))
    }

    /// A boolean.
    ///
    /// # Errors
    /// When it is something else.
    pub fn choice(&self, name: &str) -> Result<Option<bool>, RequestRefusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(Self::wrong(name, "true or false", other)),
        }
    }

    /// A number from `low` to `high`.
    ///
    /// # Errors
    /// When it is something else or outside.
    pub fn number(&self, name: &str, low: f64, high: f64) -> Result<Option<f32>, RequestRefusal> {
        let want = || format!("a number from {low} to {high}");
        match self.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => match number.as_f64() {
                Some(x) if low <= x && x <= high => Ok(Some(x as f32)),
                _ => Err(RequestRefusal::field(
                    name,
                    format!("{name} must be {}, not {number}", want()),
                )),
            },
            Some(other) => Err(Self::wrong(name, &want(), other)),
        }
    }

    /// A whole number from `low` to `high`. `2.0` is one.
    ///
    /// # Errors
    /// When it is something else or outside.
    pub fn whole(&self, name: &str, low: i64, high: i64) -> Result<Option<i64>, RequestRefusal> {
        let want = || format!("a whole number from {low} to {high}");
        let value = match self.get(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => number,
            Some(other) => return Err(Self::wrong(name, &want(), other)),
        };
        let whole = value.as_i64().or_else(|| {
            let x = value.as_f64()?;
            (x.fract() == 0.0 && x.abs() < 9e15).then_some(x as i64)
        });
        match whole {
            Some(n) if (low..=high).contains(&n) => Ok(Some(n)),
            _ => Err(RequestRefusal::field(
                name,
                format!("{name} must be {}, not {value}", want()),
            )),
        }
    }

    /// A list; nothing where it is absent.
    ///
    /// # Errors
    /// When it is something else.
    pub fn list(&self, name: &str) -> Result<&'a [Value], RequestRefusal> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => Err(Self::wrong(name, "a list", other)),
        }
    }

    /// An object.
    ///
    /// # Errors
    /// When it is something else.
    pub fn object(&self, name: &str) -> Result<Option<RequestFields<'a>>, RequestRefusal> {
        self.get(name)
            .map(|v| RequestFields::of(name, v))
            .transpose()
    }

    /// Most tokens of a reply, under any of these names; the first that is there counts. -1 is no
    /// limit, as llama.cpp has it.
    ///
    /// # Errors
    /// When it is no whole number, or 0.
    pub fn max_tokens(&self, names: &[&str]) -> Result<Option<usize>, RequestRefusal> {
        let Some(name) = names.iter().find(|name| self.get(name).is_some()) else {
            return Ok(None);
        };
        let most = self.whole(name, -1, i64::from(u32::MAX))?;
        match most {
            Some(0) => Err(RequestRefusal::field(
                *name,
                format!("{name} must be at least 1: a reply has at least one token"),
            )),
            Some(-1) | None => Ok(None),
            Some(most) => Ok(usize::try_from(most).ok()),
        }
    }

    /// Texts that end a reply: a string or a list of strings. Empty ones say nothing.
    ///
    /// # Errors
    /// When it is something else, or too much.
    pub fn stops(&self, name: &str) -> Result<Vec<String>, RequestRefusal> {
        let mut stops = Vec::new();
        let texts = match self.get(name) {
            None => return Ok(stops),
            Some(one @ Value::String(_)) => std::slice::from_ref(one),
            Some(Value::Array(list)) => list,
            Some(other) => return Err(Self::wrong(name, "a string or a list of strings", other)),
        };
        for text in texts {
            match text {
                Value::String(text) if text.is_empty() => {}
                Value::String(text) if text.len() <= MAX_STOP_BYTES && stops.len() < MAX_STOPS => {
                    stops.push(text.clone());
                }
                Value::String(_) => {
                    return Err(RequestRefusal::field(
                        name,
                        format!("{name} takes {MAX_STOPS} texts of {MAX_STOP_BYTES} bytes each"),
                    ));
                }
                other => return Err(Self::wrong(name, "a string or a list of strings", other)),
            }
        }
        Ok(stops)
    }
}
