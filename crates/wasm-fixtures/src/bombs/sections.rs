//! Bombs whose sections are not what they say.

use super::encoding::{component, component_of, copies, function_type, join, leb, room, section};

/// Four billion, where a count is expected.
const HUGE: u64 = u32::MAX as u64;

/// Behind sections that are in order, each count is of four billion.
pub(super) fn huge_counts(bytes: usize) -> Vec<u8> {
    let filler = section(0, join([leb(1), b"c".to_vec(), vec![0; room(bytes) - 64]]));
    let counts = [7, 10, 2].map(|id| section(id, leb(HUGE)));
    component([filler, counts.concat()])
}

pub(super) fn huge_count_of_bodies(bytes: usize) -> Vec<u8> {
    let padding = vec![0; room(bytes)];
    component_of([
        function_type(0, 0),
        section(3, join([leb(HUGE), padding])),
        section(10, leb(HUGE)),
    ])
}

/// A function that declares four billion locals, four billion times.
pub(super) fn huge_count_of_locals(bytes: usize) -> Vec<u8> {
    let locals = join([leb(HUGE), vec![0x7f]]);
    let count = room(bytes) / locals.len();
    let body = join([leb(count as u64), locals.repeat(count), vec![0x0b]]);
    let body = join([leb(body.len() as u64), body]);
    component_of([
        function_type(0, 0),
        section(3, vec![1, 0]),
        section(10, join([vec![1], body])),
    ])
}

pub(super) fn truncated_section(bytes: usize) -> Vec<u8> {
    let mut whole = super::modules::long_function(bytes);
    whole.truncate(whole.len() / 2);
    whole
}

/// Its last section claims to be of four billion bytes.
pub(super) fn overlong_section(bytes: usize) -> Vec<u8> {
    component([join([vec![1], leb(HUGE), vec![0; room(bytes)]])])
}

/// Sections without an item.
pub(super) fn empty_sections(bytes: usize) -> Vec<u8> {
    component([copies(room(bytes), &section(7, vec![0]))])
}

pub(super) fn zeros(bytes: usize) -> Vec<u8> {
    component([vec![0; room(bytes)]])
}

pub(super) fn ones(bytes: usize) -> Vec<u8> {
    component([vec![0xff; room(bytes)]])
}
