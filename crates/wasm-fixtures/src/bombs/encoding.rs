//! As much of the binary format as bombs are made of.

/// What is kept free for headers and counts when a file is filled up to its size.
const ROOM: usize = 1 << 10;

/// What remains of a file of so many bytes for what it is filled with.
pub(super) fn room(bytes: usize) -> usize {
    bytes.saturating_sub(ROOM)
}

pub(super) fn leb(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

/// The index of a type where a primitive type could stand as well: signed, so that the
/// sixth bit of the last byte must be clear.
pub(super) fn type_index(index: u64) -> Vec<u8> {
    let mut out = leb(index);
    if let Some(last) = out.last_mut()
        && *last & 0x40 != 0
    {
        *last |= 0x80;
        out.push(0);
    }
    out
}

pub(super) fn name(text: &str) -> Vec<u8> {
    join([leb(text.len() as u64), text.as_bytes().to_vec()])
}

pub(super) fn join<const N: usize>(parts: [Vec<u8>; N]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for mut part in parts {
        bytes.append(&mut part);
    }
    bytes
}

pub(super) fn vector(items: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut count = 0;
    let mut body = Vec::new();
    for item in items {
        count += 1;
        body.extend(item);
    }
    join([leb(count), body])
}

/// As many items as have place in so many bytes, numbered from 0.
pub(super) fn filled(bytes: usize, item: impl Fn(u64) -> Vec<u8>) -> (u64, Vec<u8>) {
    let mut body = Vec::new();
    for count in 0.. {
        let next = item(count);
        if body.len() + next.len() > bytes {
            return (count, body);
        }
        body.extend(next);
    }
    unreachable!("there is an end to every file")
}

/// The same as a vector.
pub(super) fn fill(bytes: usize, item: impl Fn(u64) -> Vec<u8>) -> Vec<u8> {
    let (count, body) = filled(bytes, item);
    join([leb(count), body])
}

pub(super) fn section(id: u8, body: Vec<u8>) -> Vec<u8> {
    join([vec![id], leb(body.len() as u64), body])
}

pub(super) fn module<const N: usize>(sections: [Vec<u8>; N]) -> Vec<u8> {
    join([b"\0asm\x01\0\0\0".to_vec(), join(sections)])
}

pub(super) fn component<const N: usize>(sections: [Vec<u8>; N]) -> Vec<u8> {
    join([b"\0asm\x0d\0\x01\0".to_vec(), join(sections)])
}

/// A component that is nothing but a module, which is not instantiated.
pub(super) fn component_of<const N: usize>(sections: [Vec<u8>; N]) -> Vec<u8> {
    component([section(1, module(sections))])
}

/// Copies of one section, as many as have place.
pub(super) fn copies(bytes: usize, one: &[u8]) -> Vec<u8> {
    one.repeat((bytes / one.len()).max(1))
}

/// A section of types with one: a function of so many parameters and results.
pub(super) fn function_type(parameters: usize, results: usize) -> Vec<u8> {
    let of = |count: usize| vector(std::iter::repeat_n(vec![I32], count));
    section(1, vector([join([vec![0x60], of(parameters), of(results)])]))
}

/// A body without locals; its end is added.
pub(super) fn body(instructions: Vec<u8>) -> Vec<u8> {
    body_with(vec![0], instructions)
}

pub(super) fn body_with(locals: Vec<u8>, instructions: Vec<u8>) -> Vec<u8> {
    let body = join([locals, instructions, vec![0x0b]]);
    join([leb(body.len() as u64), body])
}

/// Sections of functions of type 0 with these bodies.
pub(super) fn code(bodies: Vec<Vec<u8>>) -> Vec<u8> {
    let types = vector(bodies.iter().map(|_| vec![0]));
    join([section(3, types), section(10, vector(bodies))])
}

pub(super) const I32: u8 = 0x7f;
