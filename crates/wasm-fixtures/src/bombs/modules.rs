//! Bombs that are core modules.

use super::encoding::{
    I32, body, body_with, code, component, component_of, copies, fill, filled, function_type, join,
    leb, module, name, room, section, vector,
};

/// The longest constant expression is bounded by the format's longest function.
const LONGEST_CONSTANT: usize = 256 << 10;

/// The longest function that the format allows has 7,654,321 bytes.
const LONGEST_FUNCTION: usize = 7_000_000;

/// An expression of i32 of about so many bytes.
fn constant(bytes: usize) -> Vec<u8> {
    let mut out = vec![0x41, 0];
    out.extend(b"\x41\x01\x6a".repeat(bytes.min(LONGEST_CONSTANT) / 3));
    out.push(0x0b);
    out
}

/// Modules that are one section each, with a long constant in it.
fn constants(bytes: usize, of: impl Fn(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let each = room(bytes).min(LONGEST_CONSTANT);
    let one = section(1, of(constant(each - 128)));
    component([copies(room(bytes), &one)])
}

pub(super) fn constant_of_global(bytes: usize) -> Vec<u8> {
    constants(bytes, |value| {
        module([section(6, vector([join([vec![I32, 0], value])]))])
    })
}

pub(super) fn constant_of_element(bytes: usize) -> Vec<u8> {
    constants(bytes, |offset| {
        module([
            section(4, vector([vec![0x70, 0, 1]])),
            section(9, vector([join([vec![0], offset, vec![0]])])),
        ])
    })
}

pub(super) fn constant_of_data(bytes: usize) -> Vec<u8> {
    constants(bytes, |offset| {
        module([
            section(5, vector([vec![0, 1]])),
            section(11, vector([join([vec![0], offset, vec![0]])])),
        ])
    })
}

/// 700 types, chosen by the bits of a number: no two are the same.
fn wide(number: u64) -> Vec<u8> {
    let bits = (0..20).map(|bit| if number >> bit & 1 == 1 { I32 } else { 0x7e });
    let bits: Vec<u8> = bits.collect();
    join([leb(700), bits.repeat(35)])
}

pub(super) fn wide_parameters(bytes: usize) -> Vec<u8> {
    component_of([section(
        1,
        fill(room(bytes), |n| join([vec![0x60], wide(n), vec![0]])),
    )])
}

pub(super) fn wide_results(bytes: usize) -> Vec<u8> {
    component_of([section(
        1,
        fill(room(bytes), |n| join([vec![0x60, 0], wide(n)])),
    )])
}

pub(super) fn small_types(bytes: usize) -> Vec<u8> {
    component_of([section(1, fill(room(bytes), |_| vec![0x60, 0, 0]))])
}

/// One group of types that refer to each other.
pub(super) fn recursive_types(bytes: usize) -> Vec<u8> {
    let group = fill(room(bytes), |_| vec![0x5f, 1, 0x63, 0, 1]);
    component_of([section(1, vector([join([vec![0x4e], group])]))])
}

/// Groups of two that refer to the group before.
pub(super) fn recursive_groups(bytes: usize) -> Vec<u8> {
    component_of([section(
        1,
        fill(room(bytes), |n| {
            let before = super::encoding::type_index((2 * n).saturating_sub(1));
            let structure = join([vec![0x5f, 1, 0x63], before, vec![1]]);
            join([vec![0x4e, 2], structure.clone(), structure])
        }),
    )])
}

fn functions_of(bytes: usize, one: &[u8]) -> Vec<u8> {
    let count = (room(bytes) / (one.len() + 1)).max(1);
    code(vec![one.to_vec(); count])
}

pub(super) fn functions(bytes: usize) -> Vec<u8> {
    component_of([function_type(0, 0), functions_of(bytes, &body(vec![]))])
}

/// 50,000 locals in each function, which is what the format allows.
pub(super) fn locals(bytes: usize) -> Vec<u8> {
    let locals = vector([join([leb(50_000), vec![0x7e]])]);
    component_of([
        function_type(0, 0),
        functions_of(bytes, &body_with(locals, vec![])),
    ])
}

pub(super) fn parameters(bytes: usize) -> Vec<u8> {
    component_of([
        function_type(1_000, 0),
        functions_of(bytes.saturating_sub(2_000), &body(vec![])),
    ])
}

/// Function after function, each as long as allowed, of the same instructions.
fn long(bytes: usize, types: Vec<u8>, before: &[u8], unit: &[u8], after: &[u8]) -> Vec<u8> {
    let mut bodies = Vec::new();
    let mut left = room(bytes).saturating_sub(types.len());
    let fixed = before.len() + after.len() + 32;
    while left > fixed + unit.len() {
        let units = (left.min(LONGEST_FUNCTION) - fixed) / unit.len();
        let instructions = [before, &unit.repeat(units), after].concat();
        left -= instructions.len() + 16;
        bodies.push(body(instructions));
    }
    component_of([types, code(bodies)])
}

pub(super) fn long_function(bytes: usize) -> Vec<u8> {
    long(bytes, function_type(1, 1), &[0x20, 0], b"\x41\x03\x6c", &[])
}

/// Functions of 60 KB, just long enough that each is a little work.
pub(super) fn long_functions(bytes: usize) -> Vec<u8> {
    let instructions = [&[0x20, 0][..], &b"\x20\0\x6a".repeat(20_000)].concat();
    component_of([
        function_type(1, 1),
        functions_of(bytes, &body(instructions)),
    ])
}

pub(super) fn branch_table(bytes: usize) -> Vec<u8> {
    let targets = |count: usize| join([leb(count as u64), vec![0; count + 1]]);
    let one = join([
        vec![0x02, 0x40, 0x20, 0, 0x0e],
        targets(room(bytes).min(60_000) - 64),
        vec![0x0b],
    ]);
    let per_function = (LONGEST_FUNCTION / one.len()).min(room(bytes) / one.len());
    let bodies = room(bytes) / (one.len() * per_function + 16);
    let one = body(one.repeat(per_function));
    component_of([function_type(1, 0), code(vec![one; bodies.max(1)])])
}

fn deep(bytes: usize, opening: &[u8]) -> Vec<u8> {
    let each = opening.len() + 1;
    let mut bodies = Vec::new();
    let mut left = room(bytes);
    while left > 64 {
        let depth = (left.min(LONGEST_FUNCTION) - 32) / each;
        let instructions = [opening.repeat(depth), vec![0x0b; depth]].concat();
        left = left.saturating_sub(instructions.len() + 32);
        bodies.push(body(instructions));
    }
    component_of([function_type(1, 0), code(bodies)])
}

pub(super) fn deep_blocks(bytes: usize) -> Vec<u8> {
    deep(bytes, &[0x02, 0x40])
}

pub(super) fn deep_ifs(bytes: usize) -> Vec<u8> {
    deep(bytes, &[0x20, 0, 0x04, 0x40])
}

pub(super) fn branches(bytes: usize) -> Vec<u8> {
    let unit = [0x20, 0, 0x04, 0x40, 0x0b];
    long(bytes, function_type(1, 0), &[], &unit, &[])
}

/// A loop for each of 2,000 locals, all of which are needed in the end.
pub(super) fn locals_across_loops(bytes: usize) -> Vec<u8> {
    const LOCALS: u64 = 2_000;
    let locals = vector([join([leb(LOCALS), vec![I32]])]);
    let each = |what: &dyn Fn(u64) -> Vec<u8>| -> Vec<u8> { (1..=LOCALS).flat_map(what).collect() };
    let set = each(&|local| join([vec![0x20, 0, 0x21], leb(local)]));
    let sum = each(&|local| join([vec![0x20], leb(local), vec![0x6a]]));
    let fixed = set.len() + sum.len() + 64;
    let mut bodies = Vec::new();
    let mut left = room(bytes);
    while left > 2 * fixed {
        let loops = (left.min(256 << 10) - fixed) / 7;
        let looped = [0x03, 0x40, 0x20, 0, 0x0d, 0, 0x0b].repeat(loops);
        let one = [&set[..], &looped, &[0x41, 0], &sum, &[0x1a]].concat();
        left -= one.len() + 16;
        bodies.push(body_with(locals.clone(), one));
    }
    component_of([function_type(1, 0), code(bodies)])
}

/// Blocks that take and give 500 values each.
pub(super) fn operands_across_blocks(bytes: usize) -> Vec<u8> {
    const VALUES: usize = 500;
    let value = |_| vec![I32];
    let wide = join([
        vec![0x60],
        vector((0..VALUES).map(value)),
        vector((0..VALUES).map(value)),
    ]);
    let types = section(1, vector([vec![0x60, 0, 0], wide]));
    let before = [0x41, 0].repeat(VALUES);
    long(bytes, types, &before, &[0x02, 1, 0x0b], &[0x1a; VALUES])
}

/// Calls of a function that returns 1,000 values.
pub(super) fn wide_calls(bytes: usize) -> Vec<u8> {
    let types = join([vec![0x60, 0], vector((0..1_000).map(|_| vec![I32]))]);
    let types = section(1, vector([types, vec![0x60, 0, 0]]));
    let unit = [&[0x10, 0][..], &[0x1a; 1_000]].concat();
    let calls = (room(bytes).min(1 << 20) - 4_096) / unit.len();
    let caller = body(unit.repeat(calls.max(1)));
    let count = ((room(bytes) - 2_048) / (caller.len() + 2)).max(1);
    let kinds = std::iter::once(vec![0]).chain(std::iter::repeat_n(vec![1], count));
    let bodies = std::iter::once(body(vec![0])).chain(std::iter::repeat_n(caller, count));
    component_of([
        types,
        section(3, vector(kinds)),
        section(10, vector(bodies)),
    ])
}

/// Every function calls 100 others.
pub(super) fn call_graph(bytes: usize) -> Vec<u8> {
    let count = (room(bytes) / 420).max(2) as u64;
    let bodies = (0..count).map(|n| {
        let called =
            (1..=100).flat_map(|step| join([vec![0x10], leb((n * 7 + step * step) % count)]));
        body(called.collect())
    });
    component_of([function_type(0, 0), code(bodies.collect())])
}

pub(super) fn indirect_calls(bytes: usize) -> Vec<u8> {
    let unit = [0x41, 0, 0x11, 0, 0];
    let count = ((room(bytes) - 64) / unit.len()).min(LONGEST_FUNCTION / unit.len());
    let one = body(unit.repeat(count));
    let bodies = (room(bytes) / one.len()).max(1);
    component_of([
        function_type(0, 0),
        section(3, vector(std::iter::repeat_n(vec![0], bodies))),
        section(4, vector([vec![0x70, 0, 1]])),
        section(10, vector(std::iter::repeat_n(one, bodies))),
    ])
}

/// Multiplications of vectors, the kind that takes several instructions of a processor.
pub(super) fn vectors(bytes: usize) -> Vec<u8> {
    let splat = [0x42, 1, 0xfd, 0x12];
    let multiply = [&splat[..], &[0xfd, 0xd5, 0x01]].concat();
    long(bytes, function_type(0, 0), &splat, &multiply, &[0x1a])
}

/// Conversions that need checks.
pub(super) fn floats(bytes: usize) -> Vec<u8> {
    // i32.trunc_f64_s, f64.convert_i32_s
    let before = [&[0x44][..], &[0; 8]].concat();
    long(bytes, function_type(0, 0), &before, &[0xaa, 0xb7], &[0x1a])
}

pub(super) fn bulk_operations(bytes: usize) -> Vec<u8> {
    let unit = [0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 0x0a, 0, 0];
    let count = ((room(bytes) - 64) / unit.len()).min(LONGEST_FUNCTION / unit.len());
    let one = body(unit.repeat(count));
    let bodies = (room(bytes) / one.len()).max(1);
    component_of([
        function_type(0, 0),
        section(3, vector(std::iter::repeat_n(vec![0], bodies))),
        section(5, vector([vec![0, 1]])),
        section(10, vector(std::iter::repeat_n(one, bodies))),
    ])
}

pub(super) fn globals(bytes: usize) -> Vec<u8> {
    component_of([section(
        6,
        fill(room(bytes), |_| vec![I32, 0, 0x41, 0, 0x0b]),
    )])
}

/// Sections of modules, with as many copies of something as the format allows in one.
fn in_modules(bytes: usize, id: u8, most: u64, one: &[u8]) -> Vec<u8> {
    let items = fill((room(bytes) / 2).min(most as usize * one.len()), |_| {
        one.to_vec()
    });
    let one = section(1, module([section(id, items)]));
    component([copies(room(bytes), &one)])
}

pub(super) fn tables(bytes: usize) -> Vec<u8> {
    in_modules(bytes, 4, 100, &[0x70, 0, 1])
}

/// Each of 10 million elements, which is what wasmtime allows.
pub(super) fn huge_tables(bytes: usize) -> Vec<u8> {
    in_modules(bytes, 4, 100, &join([vec![0x70, 0], leb(10_000_000)]))
}

pub(super) fn memories(bytes: usize) -> Vec<u8> {
    in_modules(bytes, 5, 100, &[0, 1])
}

/// Each of 4 GiB.
pub(super) fn huge_memories(bytes: usize) -> Vec<u8> {
    in_modules(bytes, 5, 100, &join([vec![0], leb(1 << 16)]))
}

/// The format allows 100,000 segments in a module.
const MOST_SEGMENTS: usize = 100_000;

fn with_data(bytes: usize, segment: impl Fn(u64) -> Vec<u8>) -> Vec<u8> {
    let modules = room(bytes).div_ceil(1 << 20).max(1);
    let each = room(bytes) / modules - 64;
    let (count, segments) = filled(each, segment);
    assert!(count <= MOST_SEGMENTS as u64 * 2, "segments are that small");
    let one = section(
        1,
        module([
            section(5, vector([join([vec![0], leb(1_024)])])),
            section(11, join([leb(count), segments])),
        ]),
    );
    component([one.repeat(modules)])
}

fn i32_const(value: u64) -> Vec<u8> {
    join([vec![0x41], super::encoding::type_index(value)])
}

pub(super) fn data_segments(bytes: usize) -> Vec<u8> {
    with_data(bytes, |n| {
        join([vec![0], i32_const(n * 16), vec![0x0b, 8], vec![1; 8]])
    })
}

/// A byte each in the first and the last page of a memory of 64 MiB, and in between.
pub(super) fn sparse_data(bytes: usize) -> Vec<u8> {
    with_data(bytes, |n| {
        let page = n.wrapping_mul(7_919) % 16_384;
        join([vec![0], i32_const(page << 12), vec![0x0b, 1, 1]])
    })
}

pub(super) fn large_data(bytes: usize) -> Vec<u8> {
    let size = room(bytes);
    let data = join([vec![0, 0x41, 0, 0x0b], leb(size as u64), vec![7; size]]);
    component_of([
        section(5, vector([join([vec![0], leb(1 << 10)])])),
        section(11, vector([data])),
    ])
}

/// Nobody knows where they go before there is an instance.
pub(super) fn data_at_globals(bytes: usize) -> Vec<u8> {
    let modules = room(bytes).div_ceil(512 << 10).max(1);
    let each = room(bytes) / modules - 128;
    let one = section(
        1,
        module([
            section(5, vector([vec![0, 1]])),
            section(6, vector([vec![I32, 0, 0x41, 0, 0x0b]])),
            section(11, fill(each, |_| vec![0, 0x23, 0, 0x0b, 1, 1])),
        ]),
    );
    component([one.repeat(modules)])
}

pub(super) fn passive_data(bytes: usize) -> Vec<u8> {
    let modules = room(bytes).div_ceil(128 << 10).max(1);
    let each = room(bytes) / modules - 64;
    let one = section(1, module([section(11, fill(each, |_| vec![1, 0]))]));
    component([one.repeat(modules)])
}

pub(super) fn element_segments(bytes: usize) -> Vec<u8> {
    let modules = room(bytes).div_ceil(384 << 10).max(1);
    let each = room(bytes) / modules - 64;
    let one = section(
        1,
        module([
            section(4, vector([vec![0x70, 0, 1]])),
            section(9, fill(each, |_| vec![0, 0x41, 0, 0x0b, 0])),
        ]),
    );
    component([one.repeat(modules)])
}

fn with_elements(bytes: usize, head: &[u8], item: &[u8]) -> Vec<u8> {
    let items = fill(room(bytes).min(8 << 20), |_| item.to_vec());
    let count = (room(bytes) / items.len()).max(1);
    let segment = [head, &items].concat();
    component_of([
        function_type(0, 0),
        section(3, vector([vec![0]])),
        section(9, vector(std::iter::repeat_n(segment, count))),
        section(10, vector([body(vec![])])),
    ])
}

pub(super) fn elements(bytes: usize) -> Vec<u8> {
    with_elements(bytes, &[1, 0], &[0])
}

pub(super) fn element_expressions(bytes: usize) -> Vec<u8> {
    with_elements(bytes, &[5, 0x70], &[0xd2, 0, 0x0b])
}

pub(super) fn tags(bytes: usize) -> Vec<u8> {
    component_of([
        function_type(1, 0),
        section(13, fill(room(bytes), |_| vec![0, 0])),
    ])
}

pub(super) fn core_imports(bytes: usize) -> Vec<u8> {
    component_of([
        function_type(0, 0),
        section(
            2,
            fill(room(bytes), |n| {
                join([name(""), name(&format!("{n:x}")), vec![0, 0]])
            }),
        ),
    ])
}

/// Long, but shorter than the 100,000 bytes that the format allows.
fn long_name(bytes: usize, number: u64) -> Vec<u8> {
    name(&format!(
        "{number:0>width$}",
        width = room(bytes).min(60_000)
    ))
}

pub(super) fn core_import_names(bytes: usize) -> Vec<u8> {
    component_of([
        function_type(0, 0),
        section(
            2,
            fill(room(bytes), |n| {
                let half = long_name(bytes / 2, n);
                join([half.clone(), half, vec![0, 0]])
            }),
        ),
    ])
}

fn exporting(exports: Vec<u8>) -> Vec<u8> {
    component_of([
        function_type(0, 0),
        section(3, vector([vec![0]])),
        section(7, exports),
        section(10, vector([body(vec![])])),
    ])
}

pub(super) fn core_exports(bytes: usize) -> Vec<u8> {
    exporting(fill(room(bytes), |n| {
        join([name(&format!("{n:x}")), vec![0, 0]])
    }))
}

/// An effective type that is larger than the format allows, or many of them.
pub(super) fn core_export_names(bytes: usize) -> Vec<u8> {
    exporting(fill(room(bytes), |n| {
        join([long_name(room(bytes) - 64, n), vec![0, 0]])
    }))
}

fn named(id: u8, map: Vec<u8>) -> Vec<u8> {
    component_of([
        function_type(0, 0),
        code(vec![body(vec![])]),
        section(0, join([name("name"), section(id, map)])),
    ])
}

pub(super) fn function_names(bytes: usize) -> Vec<u8> {
    named(1, fill(room(bytes), |n| join([leb(n), name("f")])))
}

pub(super) fn one_huge_name(bytes: usize) -> Vec<u8> {
    let text = "n".repeat(room(bytes));
    named(1, vector([join([vec![0], name(&text)])]))
}

pub(super) fn local_names(bytes: usize) -> Vec<u8> {
    let locals = fill(room(bytes), |n| join([leb(n), name("l")]));
    named(2, vector([join([vec![0], locals])]))
}

/// A name of 60 KB for each of a hundred functions of the deepest call stack.
pub(super) fn long_names(bytes: usize) -> Vec<u8> {
    let each = room(bytes).min(60_000) - 64;
    let (count, names) = filled(room(bytes) - 512, |n| {
        join([leb(n), name(&format!("{n:x>each$}"))])
    });
    component_of([
        function_type(0, 0),
        code(vec![body(vec![]); count as usize]),
        section(
            0,
            join([name("name"), section(1, join([leb(count), names]))]),
        ),
    ])
}

pub(super) fn custom_sections(bytes: usize) -> Vec<u8> {
    component([copies(room(bytes), &section(0, name("c")))])
}

pub(super) fn large_custom_section(bytes: usize) -> Vec<u8> {
    component([section(0, join([name("c"), vec![0; room(bytes)]]))])
}

pub(super) fn empty_modules(bytes: usize) -> Vec<u8> {
    component([copies(room(bytes), &section(1, module([])))])
}

/// Each becomes an image of its own.
pub(super) fn modules_with_memory(bytes: usize) -> Vec<u8> {
    let one = module([
        section(5, vector([vec![0, 1]])),
        section(11, vector([join([vec![0, 0x41, 0, 0x0b], name("data")])])),
    ]);
    component([copies(room(bytes), &section(1, one))])
}
