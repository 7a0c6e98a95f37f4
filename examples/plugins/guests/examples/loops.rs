//! A plugin that never comes back.

use guests::{Cart, Guest, Line, Offer, carts, export};

struct Loops;

impl Guest for Loops {
    fn quote(_line: Line) -> Offer {
        loop {}
    }

    fn quotes() -> u32 {
        0
    }
}

impl carts::Guest for Loops {
    type Cart = Cart;
}

export!(Loops with_types_in guests::bindings);
