//! What the program is asked to do: a file for each command.

pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod call;
pub(crate) mod check;
pub(crate) mod compile;
pub(crate) mod data;
pub(crate) mod deploy;
pub(crate) mod inspect;
pub(crate) mod new;
pub(crate) mod nodes;
pub(crate) mod remote;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod trial;
pub(crate) mod up;
