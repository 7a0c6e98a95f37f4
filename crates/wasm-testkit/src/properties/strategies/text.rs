/// Text of which nothing is required.
pub(super) const TEXT: &str = r"\PC{0,24}|(?s:.{0,24})";
