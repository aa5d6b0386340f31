//! Rendered text to tokens. Content cannot become a control token, whatever it says.

pub mod authored;
pub mod control;
pub mod tokenize;
