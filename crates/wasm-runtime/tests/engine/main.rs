//! The contract of `RuntimeEngine`, on real components.

#![expect(missing_docs, reason = "tests")]

mod support;
mod smoke;
