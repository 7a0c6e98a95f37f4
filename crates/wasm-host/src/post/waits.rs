//! Where a request waits that was accepted, so that it can be given up.

use std::sync::Arc;

use crate::caught::isolated;
use crate::post::carrier::Carried;
use crate::post::letter::Letter;
use crate::post::mailbox::{Mailbox, Place};

#[derive(Debug)]
pub(crate) enum Waits {
    /// In the mailbox of its recipient, which is a component of this host.
    Here(Arc<Mailbox>, Place),
    /// With a carrier; it is given up when this is dropped.
    OnItsWay { _carried: GivenUp },
}

/// What a carrier has returned, and gives up when this is dropped.
#[derive(Debug)]
pub(crate) struct GivenUp(Option<Box<dyn Carried>>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        let carried = self.0.take();
        isolated("the carrier", || drop(carried));
    }
}

impl Waits {
    pub(crate) fn on_its_way(carried: Box<dyn Carried>) -> Self {
        let _carried = GivenUp(Some(carried));
        Self::OnItsWay { _carried }
    }

    /// The letter, if it waits here and was not taken out.
    pub(crate) fn withdraw(&self) -> Option<Box<Letter>> {
        match self {
            Self::Here(mailbox, place) => mailbox.withdraw(*place),
            Self::OnItsWay { .. } => None,
        }
    }
}
