//! Why a call would be refused whatever somebody answers who is asked about it. That a file is not there,
//! or what is in it, is for those who may read it: such a reason is kept apart from those that tell
//! nothing of any file.

/// Why a call would be refused whatever the answer is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForeseenRefusal {
    text: String,
    tells_of_file: bool,
}

impl ForeseenRefusal {
    /// The call's arguments alone say it: it is the same whatever files there are.
    pub(super) fn of_arguments(text: String) -> ForeseenRefusal {
        ForeseenRefusal {
            text,
            tells_of_file: false,
        }
    }

    /// Whether it tells something of a file: that it is there or not, where it leads, what it holds.
    pub fn tells_of_file(&self) -> bool {
        self.tells_of_file
    }

    /// The call's result.
    pub fn into_text(self) -> String {
        self.text
    }
}

/// Whoever looked at files must say so, and who says nothing has looked.
impl From<String> for ForeseenRefusal {
    fn from(text: String) -> ForeseenRefusal {
        ForeseenRefusal {
            text,
            tells_of_file: true,
        }
    }
}
