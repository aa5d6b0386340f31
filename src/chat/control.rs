//! Where the special tokens of a text are, and who wrote them.
