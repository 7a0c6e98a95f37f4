//! A plugin that gives up.

use guests::{Cart, Guest, Line, Offer, carts, export};

struct Panics;

impl Guest for Panics {
    fn quote(line: Line) -> Offer {
        panic!("no {} today", line.item)
    }

    fn quotes() -> u32 {
        0
    }
}

impl carts::Guest for Panics {
    type Cart = Cart;
}

export!(Panics with_types_in guests::bindings);
