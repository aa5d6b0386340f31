//! Why a call does not run: one sentence for the model, whose result it is, and one for the person who
//! looks on. The model has to do something about it, the person only has to know.

/// Why a call does not run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallDenial {
    to_model: String,
    to_user: Option<String>,
}

impl CallDenial {
    /// The model reads `to_model` as the call's result, and a person sees `to_user`: a sentence without
    /// its full stop, such as "not run: you said no".
    pub fn new(to_model: impl Into<String>, to_user: impl Into<String>) -> CallDenial {
        CallDenial {
            to_model: to_model.into(),
            to_user: Some(to_user.into()),
        }
    }

    /// The call's result.
    pub fn to_model(&self) -> &str {
        &self.to_model
    }

    /// What a person sees; nothing where the result itself will do.
    pub fn to_user(&self) -> Option<&str> {
        self.to_user.as_deref()
    }
}

/// The result itself says it to the person too.
impl From<String> for CallDenial {
    fn from(to_model: String) -> CallDenial {
        CallDenial {
            to_model,
            to_user: None,
        }
    }
}
