//! What the plugins in `examples/` have in common: bindings of the world, and a cart.

use std::cell::Cell;

pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "plugin",
        pub_export_macro: true,
    });
}

pub use bindings::acme::shop::catalog::{ask, own_coupon};
pub use bindings::exports::acme::shop::carts;
pub use bindings::{Guest, Line, Offer, export};

/// A cart that asks the shop for its prices.
pub struct Cart {
    customer: String,
    cents: Cell<u64>,
}

impl carts::GuestCart for Cart {
    fn new(customer: String) -> Self {
        Self {
            customer,
            cents: Cell::new(0),
        }
    }

    fn add(&self, line: Line) -> Offer {
        let offer = ask(&line);
        if let Offer::Sold(cents) = offer {
            self.cents.set(self.cents.get() + cents);
        }
        offer
    }

    fn total(&self) -> u64 {
        let percent = own_coupon().map_or(0, |coupon| coupon.percent());
        self.cents.get() * u64::from(100 - percent) / 100
    }

    fn customer(&self) -> String {
        self.customer.clone()
    }
}
