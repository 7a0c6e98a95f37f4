//! Where a request waits that was accepted, so that it can be given up.

use std::sync::Arc;

use crate::post::carrier::Carried;
use crate::post::letter::Letter;
use crate::post::mailbox::{Mailbox, Place};

#[derive(Debug)]
pub(crate) enum Waits {
    /// In the mailbox of its recipient, which is a component of this host.
    Here(Arc<Mailbox>, Place),
    /// With a carrier; it is given up when this is dropped.
    OnItsWay { _carried: Box<dyn Carried> },
}

impl Waits {
    /// The letter, if it waits here and was not taken out.
    pub(crate) fn withdraw(&self) -> Option<Box<Letter>> {
        match self {
            Self::Here(mailbox, place) => mailbox.withdraw(*place),
            Self::OnItsWay { .. } => None,
        }
    }
}
