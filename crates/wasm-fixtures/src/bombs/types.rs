//! Bombs that are made of what only components have: instances, types, adapters.

use super::encoding::{
    I32, body, component, copies, fill, filled, function_type, join, leb, module, name, room,
    section, type_index, vector,
};

const U8: u8 = 0x7d;
const U32: u8 = 0x79;
const STRING: u8 = 0x73;

/// The name of an import or an export.
fn plain(text: &str) -> Vec<u8> {
    join([vec![0], name(text)])
}

/// A module with one function of so many parameters, exported as `f`, and its instance;
/// the function is aliased as the first of the core functions.
fn one_function(parameters: usize) -> Vec<u8> {
    let module = module([
        function_type(parameters, 0),
        section(3, vector([vec![0]])),
        section(7, vector([join([name("f"), vec![0, 0]])])),
        section(10, vector([body(vec![])])),
    ]);
    join([
        section(1, module),
        section(2, vector([vec![0, 0, 0]])),
        section(6, vector([join([vec![0, 0, 1, 0], name("f")])])),
    ])
}

/// So many functions of the type, lifted from the first core function, and exported.
fn lifted(count: u64, of_type: u8) -> Vec<u8> {
    let lifts = (0..count).map(|_| vec![0, 0, 0, 0, of_type]);
    let exports = (0..count).map(|f| {
        let index = join([vec![1], leb(f), vec![0]]);
        join([plain(&format!("f{f}")), index])
    });
    // An export is a function of its own, so that all of them are lifted first.
    join([section(8, vector(lifts)), section(11, vector(exports))])
}

/// A component with a resource and functions of it, instantiated again and again.
pub(super) fn instances(bytes: usize) -> Vec<u8> {
    let functions = (room(bytes) / 2 / 16).min(900) as u64;
    let inner = component([
        one_function(1),
        section(7, vector([vec![0x3f, 0x7f, 0]])),
        section(11, vector([join([plain("r"), vec![3, 0, 0]])])),
        section(
            7,
            vector([
                vec![0x68, 1],
                join([vec![0x40, 1], name("self"), vec![2, 1, 0]]),
            ]),
        ),
        lifted(functions, 3),
    ]);
    let copies = (room(bytes) - inner.len()) / 3;
    component([
        section(4, inner),
        section(5, vector(std::iter::repeat_n(vec![0, 0, 0], copies))),
    ])
}

pub(super) fn core_instances(bytes: usize) -> Vec<u8> {
    component([
        section(1, module([])),
        section(2, fill(room(bytes), |_| vec![0, 0, 0])),
    ])
}

pub(super) fn inline_instances(bytes: usize) -> Vec<u8> {
    component([section(5, fill(room(bytes), |_| vec![1, 0]))])
}

pub(super) fn nested_components(bytes: usize) -> Vec<u8> {
    // From the inside out, each length before its content: built in reverse.
    let mut reversed: Vec<u8> = Vec::new();
    let header = b"\0asm\x0d\0\x01\0";
    reversed.extend(header.iter().rev());
    while reversed.len() + 16 < room(bytes) {
        let mut before = join([vec![4], leb(reversed.len() as u64)]);
        before.reverse();
        reversed.extend(before);
        reversed.extend(header.iter().rev());
    }
    reversed.reverse();
    reversed
}

pub(super) fn sibling_components(bytes: usize) -> Vec<u8> {
    component([copies(room(bytes), &section(4, component([])))])
}

/// Components of which each instantiates the one before it twice.
pub(super) fn doubling_instances(bytes: usize) -> Vec<u8> {
    let innermost = component([section(1, module([])), section(2, vector([vec![0, 0, 0]]))]);
    let level = |n: u64| {
        let below = join([vec![4, 2, 1], leb(n)]);
        section(
            4,
            component([
                section(6, vector([below])),
                section(5, vector([vec![0, 0, 0], vec![0, 0, 0]])),
            ]),
        )
    };
    let (count, levels) = filled(room(bytes), level);
    let outermost = join([vec![1, 0], leb(count), vec![0]]);
    component([section(4, innermost), levels, section(5, outermost)])
}

/// A type of 14 small fields, chosen by the digits of a number.
fn payload(mut number: u64) -> Vec<u8> {
    const KINDS: [u8; 8] = [U8, 0x7b, 0x7e, 0x7c, U8, 0x74, 0x7f, 0x7c];
    let fields = (0..14).map(|_| {
        let kind = KINDS[(number % 8) as usize];
        number = if number >= 8 { number / 8 } else { number + 3 };
        vec![kind]
    });
    join([vec![0x6f], vector(fields)])
}

/// Pairs of components that call each other with a variant of many cases: each function
/// gets an adapter of its own, with a case for each.
pub(super) fn adapters(bytes: usize) -> Vec<u8> {
    const FUNCTIONS: u64 = 30;
    let one_pair = |cases: u64, index: u64| {
        let tuples = |from: u64| (0..cases).map(move |case| payload(from + case));
        let named_cases = (0..cases).map(|case| {
            join([
                name(&format!("c{case}")),
                vec![1],
                type_index(case),
                vec![0],
            ])
        });
        let variant = join([vec![0x71], vector(named_cases)]);
        let from = index * cases;
        let exported = type_index(cases + 1);
        let function = join([vec![0x40, 1], name("x"), exported, vec![1, 0]]);
        let types = vector(tuples(from).chain([variant.clone()]));
        let callee = component([
            one_function(15),
            section(7, types),
            section(
                11,
                vector([join([plain("v"), vec![3], leb(cases), vec![0]])]),
            ),
            section(7, vector([function.clone()])),
            {
                let of_type = leb(cases + 2);
                let lifts = (0..FUNCTIONS).map(|_| join([vec![0, 0, 0, 0], of_type.clone()]));
                section(8, vector(lifts))
            },
            section(
                11,
                vector(
                    (0..FUNCTIONS)
                        .map(|f| join([plain(&format!("f{f}")), vec![1], leb(f), vec![0]])),
                ),
            ),
        ]);
        let declared = tuples(from)
            .chain([variant])
            .map(|ty| join([vec![1], ty]))
            .chain([
                join([vec![4], plain("v"), vec![3, 0], leb(cases)]),
                join([vec![1], function]),
            ])
            .chain(
                (0..FUNCTIONS)
                    .map(|f| join([vec![4], plain(&format!("f{f}")), vec![1], leb(cases + 2)])),
            );
        let flat = join([
            section(
                1,
                vector([join([
                    vec![0x60],
                    vector((0..15).map(|_| vec![I32])),
                    vec![0],
                ])]),
            ),
            section(
                2,
                vector((0..FUNCTIONS).map(|f| join([name(""), name(&f.to_string()), vec![0, 0]]))),
            ),
        ]);
        let caller = component([
            section(7, vector([join([vec![0x42], vector(declared)])])),
            section(10, vector([join([plain("a"), vec![5, 0]])])),
            section(
                6,
                vector((0..FUNCTIONS).map(|f| join([vec![1, 0, 0], name(&format!("f{f}"))]))),
            ),
            section(
                8,
                vector((0..FUNCTIONS).map(|f| join([vec![1, 0], leb(f), vec![0]]))),
            ),
            section(1, module([flat])),
            section(
                2,
                vector([
                    join([
                        vec![1],
                        vector(
                            (0..FUNCTIONS).map(|f| join([name(&f.to_string()), vec![0], leb(f)])),
                        ),
                    ]),
                    join([vec![0, 0, 1], name(""), vec![0x12, 0]]),
                ]),
            ),
        ]);
        let instantiate = |component: u64| join([vec![0], leb(component)]);
        join([
            section(4, callee),
            section(4, caller),
            section(
                5,
                vector([
                    join([instantiate(2 * index), vec![0]]),
                    join([
                        instantiate(2 * index + 1),
                        vec![1],
                        name("a"),
                        vec![5],
                        leb(2 * index),
                    ]),
                ]),
            ),
        ])
    };
    let cases = (room(bytes) / 2 / 32).min(1_000) as u64;
    let (_, pairs) = filled(room(bytes), |index| one_pair(cases, index));
    component([pairs])
}

/// The same with results of results: a type of a few bytes has a thousand cases.
pub(super) fn adapters_of_results(bytes: usize) -> Vec<u8> {
    const DEPTH: u64 = 12;
    let one_pair = |index: u64, functions: u64| {
        let level = |n: u64| match n {
            0 => payload(index),
            n => {
                let below = type_index(n - 1);
                join([vec![0x6a, 1], below.clone(), vec![1], below])
            }
        };
        let types = || (0..=DEPTH).map(level);
        let function = join([vec![0x40, 1], name("x"), type_index(DEPTH), vec![1, 0]]);
        let callee = component([
            // Passed in memory, because it is too wide: the function takes a pointer.
            {
                let module = module([
                    section(
                        1,
                        vector([
                            vec![0x60, 1, I32, 0],
                            vec![0x60, 4, I32, I32, I32, I32, 1, I32],
                        ]),
                    ),
                    section(3, vector([vec![0], vec![1]])),
                    section(5, vector([vec![0, 1]])),
                    section(
                        7,
                        vector([
                            join([name("f"), vec![0, 0]]),
                            join([name("r"), vec![0, 1]]),
                            join([name("m"), vec![2, 0]]),
                        ]),
                    ),
                    section(10, vector([body(vec![]), body(vec![0x41, 0])])),
                ]);
                join([
                    section(1, module),
                    section(2, vector([vec![0, 0, 0]])),
                    section(
                        6,
                        vector([
                            join([vec![0, 0, 1, 0], name("f")]),
                            join([vec![0, 0, 1, 0], name("r")]),
                            join([vec![0, 2, 1, 0], name("m")]),
                        ]),
                    ),
                ])
            },
            section(7, vector(types().chain([function.clone()]))),
            {
                let lift = join([vec![0, 0, 0, 2, 3, 0, 4, 1], leb(DEPTH + 1)]);
                section(8, vector((0..functions).map(|_| lift.clone())))
            },
            section(
                11,
                vector(
                    (0..functions)
                        .map(|f| join([plain(&format!("f{f}")), vec![1], leb(f), vec![0]])),
                ),
            ),
        ]);
        let declared = types()
            .chain([function])
            .map(|ty| join([vec![1], ty]))
            .chain(
                (0..functions)
                    .map(|f| join([vec![4], plain(&format!("f{f}")), vec![1], leb(DEPTH + 1)])),
            );
        let memory = module([
            section(5, vector([vec![0, 1]])),
            section(7, vector([join([name("m"), vec![2, 0]])])),
        ]);
        let calling = module([
            function_type(1, 0),
            section(
                2,
                vector((0..functions).map(|f| join([name(""), name(&f.to_string()), vec![0, 0]]))),
            ),
        ]);
        let caller = component([
            section(7, vector([join([vec![0x42], vector(declared)])])),
            section(10, vector([join([plain("a"), vec![5, 0]])])),
            section(
                6,
                vector((0..functions).map(|f| join([vec![1, 0, 0], name(&format!("f{f}"))]))),
            ),
            section(1, memory),
            section(2, vector([vec![0, 0, 0]])),
            section(6, vector([join([vec![0, 2, 1, 0], name("m")])])),
            section(
                8,
                vector((0..functions).map(|f| join([vec![1, 0], leb(f), vec![1, 3, 0]]))),
            ),
            section(1, calling),
            section(
                2,
                vector([
                    join([
                        vec![1],
                        vector(
                            (0..functions).map(|f| join([name(&f.to_string()), vec![0], leb(f)])),
                        ),
                    ]),
                    join([vec![0, 1, 1], name(""), vec![0x12, 1]]),
                ]),
            ),
        ]);
        join([
            section(4, callee),
            section(4, caller),
            section(
                5,
                vector([
                    join([vec![0], leb(2 * index), vec![0]]),
                    join([
                        vec![0],
                        leb(2 * index + 1),
                        vec![1],
                        name("a"),
                        vec![5],
                        leb(2 * index),
                    ]),
                ]),
            ),
        ])
    };
    let functions = (room(bytes) / 64).min(300) as u64;
    let (_, pairs) = filled(room(bytes), |index| one_pair(index, functions));
    component([pairs])
}

/// Instances that export the one before them twice: 18 levels have 262,144 exports.
pub(super) fn doubling_exports(bytes: usize) -> Vec<u8> {
    const LEVELS: u64 = 18;
    let twice = |instance: u64| {
        let of = |label: &str| join([plain(label), vec![5], leb(instance)]);
        join([vec![1], vector([of("a"), of("b")])])
    };
    let doubled = |copy: u64| {
        let first = copy * (LEVELS + 1);
        let innermost = join([vec![1], vector([join([plain("f"), vec![1, 0]])])]);
        let levels = (0..LEVELS).map(|level| twice(first + level));
        let last = first + LEVELS;
        // An exported instance is one more: it is exported by the outermost only once.
        (
            section(5, vector([innermost].into_iter().chain(levels))),
            last,
        )
    };
    let function = join([
        one_function(0),
        section(7, vector([vec![0x40, 0, 1, 0]])),
        section(8, vector([vec![0, 0, 0, 0, 0]])),
    ]);
    let (section_of_one, last) = doubled(0);
    let one = component([
        function,
        section_of_one,
        section(
            11,
            vector([join([plain("x"), vec![5], leb(last), vec![0]])]),
        ),
    ]);
    // As many of them beside each other as have place, one in each component; the first
    // of them is what is exported.
    let count = (room(bytes) / (one.len() + 8)).max(1);
    let instantiated = vector((0..count.min(64) as u64).map(|n| join([vec![0], leb(n), vec![0]])));
    let exported = (0..count.min(64) as u64)
        .map(|n| join([plain(&format!("x{n}")), vec![5], leb(n), vec![0]]));
    component([
        copies(room(bytes) - 2_048.min(room(bytes) / 2), &section(4, one)),
        section(5, instantiated),
        section(11, vector(exported)),
    ])
}

/// One type after another, each made of the one before it.
fn chained(bytes: usize, innermost: &[u8], next: impl Fn(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let types = fill(room(bytes), |n| match n {
        0 => innermost.to_vec(),
        n => next(type_index(n - 1)),
    });
    component([section(7, types)])
}

pub(super) fn doubling_instance_types(bytes: usize) -> Vec<u8> {
    let types = fill(room(bytes), |n| {
        let Some(below) = n.checked_sub(1) else {
            return join([vec![0x42], vec![0]]);
        };
        let outer = join([vec![2, 3, 2, 1], leb(below)]);
        let export = |label: &str| join([vec![4], plain(label), vec![5, 0]]);
        join([vec![0x42], vector([outer, export("a"), export("b")])])
    });
    component([section(7, types)])
}

pub(super) fn doubling_tuples(bytes: usize) -> Vec<u8> {
    chained(bytes, &[0x6f, 1, U8], |below| {
        join([vec![0x6f, 2], below.clone(), below])
    })
}

pub(super) fn doubling_records(bytes: usize) -> Vec<u8> {
    chained(bytes, &[0x6f, 1, STRING], |below| {
        join([vec![0x72, 2], name("a"), below.clone(), name("b"), below])
    })
}

pub(super) fn doubling_results(bytes: usize) -> Vec<u8> {
    chained(bytes, &[0x6f, 1, STRING], |below| {
        join([vec![0x6a, 1], below.clone(), vec![1], below])
    })
}

pub(super) fn deep_lists(bytes: usize) -> Vec<u8> {
    chained(bytes, &[0x70, STRING], |below| join([vec![0x70], below]))
}

pub(super) fn deep_options(bytes: usize) -> Vec<u8> {
    chained(bytes, &[0x6b, STRING], |below| join([vec![0x6b], below]))
}

/// A type in a type in a type.
pub(super) fn deep_instance_types(bytes: usize) -> Vec<u8> {
    let depth = room(bytes) / 4;
    let types = join([[0x42, 1, 1].repeat(depth), vec![0x42, 0]]);
    component([section(7, join([vec![1], types]))])
}

/// Types of as many labels as the format allows, one after another.
fn wide(bytes: usize, id: u8, labelled: impl Fn(u64) -> Vec<u8>) -> Vec<u8> {
    let each = room(bytes).min(45_000) - 16;
    let one = join([vec![id], fill(each, labelled)]);
    let count = (room(bytes) / one.len()).max(1);
    component([section(7, vector(std::iter::repeat_n(one, count)))])
}

fn label(number: u64) -> Vec<u8> {
    name(&format!("l{number}"))
}

pub(super) fn wide_records(bytes: usize) -> Vec<u8> {
    wide(bytes, 0x72, |n| join([label(n), vec![STRING]]))
}

pub(super) fn wide_tuples(bytes: usize) -> Vec<u8> {
    let one = join([vec![0x6f], fill(room(bytes).min(9_000), |_| vec![STRING])]);
    let count = (room(bytes) / one.len()).max(1);
    component([section(7, vector(std::iter::repeat_n(one, count)))])
}

pub(super) fn wide_variants(bytes: usize) -> Vec<u8> {
    wide(bytes, 0x71, |n| join([label(n), vec![1, STRING, 0]]))
}

pub(super) fn wide_enums(bytes: usize) -> Vec<u8> {
    wide(bytes, 0x6d, label)
}

/// More than the 32 that the format allows.
pub(super) fn wide_flags(bytes: usize) -> Vec<u8> {
    wide(bytes, 0x6e, label)
}

pub(super) fn small_component_types(bytes: usize) -> Vec<u8> {
    component([section(7, fill(room(bytes), |_| vec![0x70, U32]))])
}

/// Functions of 1,000 parameters each, which is what the format allows.
pub(super) fn component_parameters(bytes: usize) -> Vec<u8> {
    let parameters = vector((0..900).map(|n| join([label(n), vec![STRING]])));
    let one = join([vec![0x40], parameters, vec![1, 0]]);
    let count = (room(bytes) / one.len()).max(1);
    component([section(7, vector(std::iter::repeat_n(one, count)))])
}

/// Types of core modules with many exports each.
pub(super) fn module_types(bytes: usize) -> Vec<u8> {
    let each = room(bytes).min(256 << 10) - 64;
    let function = vec![1, 0x60, 0, 0];
    let (count, exports) = filled(each, |n| {
        join([vec![3], name(&format!("{n:x}")), vec![0, 0]])
    });
    let one = join([vec![0x50], leb(count + 1), function, exports]);
    let count = (room(bytes) / one.len()).max(1);
    component([section(3, vector(std::iter::repeat_n(one, count)))])
}

pub(super) fn resources(bytes: usize) -> Vec<u8> {
    component([section(7, fill(room(bytes), |_| vec![0x3f, 0x7f, 0]))])
}

pub(super) fn resource_functions(bytes: usize) -> Vec<u8> {
    component([
        section(7, vector([vec![0x3f, 0x7f, 0]])),
        section(8, fill(room(bytes), |n| vec![2 + (n % 3) as u8, 0])),
    ])
}

/// Functions for the component model, all made of the same one.
pub(super) fn lifted_functions(bytes: usize) -> Vec<u8> {
    component([
        one_function(0),
        section(7, vector([vec![0x40, 0, 1, 0]])),
        section(8, fill(room(bytes), |_| vec![0, 0, 0, 0, 0])),
    ])
}

fn exporting(exports: Vec<u8>) -> Vec<u8> {
    component([
        one_function(0),
        section(7, vector([vec![0x40, 0, 1, 0]])),
        section(8, vector([vec![0, 0, 0, 0, 0]])),
        section(11, exports),
    ])
}

pub(super) fn component_exports(bytes: usize) -> Vec<u8> {
    exporting(fill(room(bytes), |n| {
        join([plain(&format!("f{n}")), vec![1, 0, 0]])
    }))
}

pub(super) fn component_export_names(bytes: usize) -> Vec<u8> {
    let width = room(bytes).min(60_000) - 64;
    exporting(fill(room(bytes), |n| {
        join([plain(&format!("f{n:0>width$}")), vec![1, 0, 0]])
    }))
}

pub(super) fn duplicate_exports(bytes: usize) -> Vec<u8> {
    exporting(fill(room(bytes), |_| join([plain("f"), vec![1, 0, 0]])))
}

/// None of which is provided.
pub(super) fn component_imports(bytes: usize) -> Vec<u8> {
    component([
        section(7, vector([vec![0x40, 0, 1, 0]])),
        section(
            10,
            fill(room(bytes), |n| join([plain(&format!("f{n}")), vec![1, 0]])),
        ),
    ])
}

/// An import that is an instance of many functions.
pub(super) fn imported_instance(bytes: usize) -> Vec<u8> {
    let (count, functions) = filled(room(bytes), |n| {
        join([vec![4], plain(&format!("f{n}")), vec![1, 0]])
    });
    let function = vec![1, 0x40, 0, 1, 0];
    let instance = join([vec![0x42], leb(count + 1), function, functions]);
    component([
        section(7, vector([instance])),
        section(10, vector([join([plain("a:b/c"), vec![5, 0]])])),
    ])
}

pub(super) fn aliases(bytes: usize) -> Vec<u8> {
    let one = join([vec![0, 0, 1, 0], name("f")]);
    component([
        one_function(0),
        section(6, fill(room(bytes), |_| one.clone())),
    ])
}

/// Of a type, into a component in which it is of no use.
pub(super) fn outer_aliases(bytes: usize) -> Vec<u8> {
    let aliases = fill(room(bytes), |_| vec![3, 2, 1, 0]);
    component([
        section(7, vector([vec![0x70, U32]])),
        section(4, component([section(6, aliases)])),
    ])
}
