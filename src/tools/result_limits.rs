//! How much of a result the model sees.

/// The largest result that the model sees whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResultLimits {
    /// Most bytes of a result.
    pub bytes: usize,
    /// Most lines of a result.
    pub lines: usize,
}

impl Default for ResultLimits {
    fn default() -> ResultLimits {
        ResultLimits {
            bytes: 16 * 1024,
            lines: 400,
        }
    }
}
