//! A plugin that wants all the memory there is.

use guests::{Cart, Guest, Line, Offer, carts, export};

struct Allocates;

impl Guest for Allocates {
    fn quote(_line: Line) -> Offer {
        let mut hoard = Vec::new();
        loop {
            hoard.push(vec![1_u8; 64 << 10]);
        }
    }

    fn quotes() -> u32 {
        0
    }
}

impl carts::Guest for Allocates {
    type Cart = Cart;
}

export!(Allocates with_types_in guests::bindings);
