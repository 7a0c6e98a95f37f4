//! What a component uses that the engine does not run, told apart from what is damaged by
//! validating it once more without it.

use wasmparser::{Validator, WasmFeatures};

/// A part of WebAssembly that the engine does not run.
struct Proposal {
    name: &'static str,
    feature: WasmFeatures,
    /// How toolchains are told to do without.
    advice: Option<&'static str>,
}

const fn proposal(
    name: &'static str,
    feature: WasmFeatures,
    advice: Option<&'static str>,
) -> Proposal {
    Proposal {
        name,
        feature,
        advice,
    }
}

/// Everything that a validator knows and the engine is not built or configured for.
const PROPOSALS: &[Proposal] = &[
    proposal(
        "asynchronous functions of the component model",
        WasmFeatures::CM_ASYNC,
        Some("build it for WASI 0.2, or without `async` in its WIT"),
    ),
    proposal(
        "stackful coroutines of the component model",
        WasmFeatures::CM_ASYNC_STACKFUL,
        None,
    ),
    proposal(
        "more built-in functions of the asynchronous component model",
        WasmFeatures::CM_MORE_ASYNC_BUILTINS,
        None,
    ),
    proposal(
        "threads of the component model",
        WasmFeatures::CM_THREADING,
        None,
    ),
    proposal(
        "error contexts of the component model",
        WasmFeatures::CM_ERROR_CONTEXT,
        None,
    ),
    proposal(
        "lists of fixed length in the component model",
        WasmFeatures::CM_FIXED_LENGTH_LISTS,
        None,
    ),
    proposal(
        "garbage collection in the component model",
        WasmFeatures::CM_GC,
        None,
    ),
    proposal("maps of the component model", WasmFeatures::CM_MAP, None),
    proposal(
        "values of the component model",
        WasmFeatures::CM_VALUES,
        None,
    ),
    proposal(
        "nested names of the component model",
        WasmFeatures::CM_NESTED_NAMES,
        None,
    ),
    proposal(
        "64-bit memories in the component model",
        WasmFeatures::CM64,
        None,
    ),
    proposal(
        "`implements` of the component model",
        WasmFeatures::CM_IMPLEMENTS,
        None,
    ),
    proposal(
        "exceptions",
        WasmFeatures::EXCEPTIONS,
        Some("compile without `-fwasm-exceptions`"),
    ),
    proposal(
        "legacy exceptions",
        WasmFeatures::LEGACY_EXCEPTIONS,
        Some("compile without `-fwasm-exceptions`"),
    ),
    proposal(
        "garbage collection",
        WasmFeatures::GC,
        Some("languages that bring their own collector run"),
    ),
    proposal(
        "references to objects of the host (`externref`)",
        WasmFeatures::GC_TYPES,
        Some("compile without reference types"),
    ),
    proposal(
        "function references",
        WasmFeatures::FUNCTION_REFERENCES,
        None,
    ),
    proposal(
        "threads",
        WasmFeatures::THREADS,
        Some("compile without `-pthread` and for a target without threads"),
    ),
    proposal(
        "threads that share everything",
        WasmFeatures::SHARED_EVERYTHING_THREADS,
        None,
    ),
    proposal("stack switching", WasmFeatures::STACK_SWITCHING, None),
    proposal("custom page sizes", WasmFeatures::CUSTOM_PAGE_SIZES, None),
    proposal("memory control", WasmFeatures::MEMORY_CONTROL, None),
    proposal("wide arithmetic", WasmFeatures::WIDE_ARITHMETIC, None),
    proposal("custom descriptors", WasmFeatures::CUSTOM_DESCRIPTORS, None),
    proposal("compact imports", WasmFeatures::COMPACT_IMPORTS, None),
    proposal("64-bit memories", WasmFeatures::MEMORY64, None),
];

/// Names and advice for what a valid component that the engine refused cannot do without.
pub(crate) fn used(bytes: &[u8]) -> (Vec<&'static str>, Option<&'static str>) {
    let mut used = search(|features| {
        let features = WasmFeatures::all().difference(features);
        let mut validator = Validator::new_with_features(features);
        validator.validate_all(bytes).is_ok()
    });
    // What needs references to objects of other kinds has these, too.
    let with_references = WasmFeatures::GC | WasmFeatures::STACK_SWITCHING;
    if used
        .iter()
        .any(|used| with_references.contains(used.feature))
    {
        used.retain(|used| used.feature != WasmFeatures::GC_TYPES);
    }
    let advice = used.iter().find_map(|proposal| proposal.advice);
    let names = used.iter().map(|proposal| proposal.name).collect();
    (names, advice)
}

/// Each takes as long as validating the component does, which may be a second. To find one
/// proposal takes eleven.
const MAX_VALIDATIONS: usize = 16;

/// Finds what a component is invalid without by halving: one that uses none of all these,
/// and was refused for something else, is validated once. Of many, the first are found.
fn search(mut is_valid_without: impl FnMut(WasmFeatures) -> bool) -> Vec<&'static Proposal> {
    let mut used = Vec::new();
    // The next is the last.
    let mut parts = vec![PROPOSALS];
    for _ in 0..MAX_VALIDATIONS {
        let Some(part) = parts.pop() else { break };
        let features = part.iter().map(|proposal| proposal.feature);
        if is_valid_without(features.fold(WasmFeatures::empty(), WasmFeatures::union)) {
            continue;
        }
        if let [proposal] = part {
            used.push(proposal);
            continue;
        }
        let (first, second) = part.split_at(part.len() / 2);
        parts.extend([second, first]);
    }
    used
}

/// The same, from what a compiler says of it.
pub(crate) fn of_names(names: &str) -> (Vec<&'static str>, Option<&'static str>) {
    let told: Vec<_> = names.split(';').collect();
    let used: Vec<_> = PROPOSALS
        .iter()
        .filter(|proposal| told.contains(&proposal.name))
        .collect();
    let advice = used.iter().find_map(|proposal| proposal.advice);
    (used.iter().map(|proposal| proposal.name).collect(), advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found of a component that uses these, and how often it is validated for that.
    fn found(used: &[usize]) -> (Vec<&'static str>, usize) {
        let needed = used.iter().map(|at| PROPOSALS[*at].feature);
        let needed = needed.fold(WasmFeatures::empty(), WasmFeatures::union);
        let mut validations = 0;
        let found = search(|without| {
            validations += 1;
            !needed.intersects(without)
        });
        (found.iter().map(|found| found.name).collect(), validations)
    }

    #[test]
    fn what_a_component_uses_is_named_with_how_to_do_without() {
        for (text, names, advice) in [
            ("(core module (func))", &[][..], None),
            (
                "(core module (tag))",
                &["exceptions"],
                Some("compile without `-fwasm-exceptions`"),
            ),
            // What has structs has references, too, which are not named.
            (
                "(core module (type (struct)))",
                &["garbage collection"],
                Some("languages that bring their own collector run"),
            ),
            (
                "(core module (table 0 externref))",
                &["references to objects of the host (`externref`)"],
                Some("compile without reference types"),
            ),
            (
                "(core module (memory 1 (pagesize 1)))",
                &["custom page sizes"],
                None,
            ),
        ] {
            let wasm = wat::parse_str(format!("(component {text})")).unwrap();
            assert_eq!(used(&wasm), (names.to_vec(), advice), "{text}");
        }
    }

    #[test]
    fn what_a_compiler_names_is_known() {
        let (names, advice) = of_names("threads;exceptions;dreams");
        assert_eq!(names, ["exceptions", "threads"]);
        assert_eq!(advice, Some("compile without `-fwasm-exceptions`"));
        assert_eq!(
            of_names("custom page sizes"),
            (vec!["custom page sizes"], None)
        );
        assert_eq!(of_names(""), (vec![], None));
    }

    #[test]
    fn what_is_refused_for_another_reason_is_validated_once() {
        assert_eq!(found(&[]), (Vec::new(), 1));
    }

    #[test]
    fn one_proposal_is_found_by_halving() {
        for (at, proposal) in PROPOSALS.iter().enumerate() {
            let (names, validations) = found(&[at]);
            assert_eq!(names, [proposal.name]);
            assert!(validations <= 11, "{validations} for {}", proposal.name);
        }
    }

    #[test]
    fn a_component_is_validated_so_often() {
        let all: Vec<_> = (0..PROPOSALS.len()).collect();
        let (names, validations) = found(&all);
        assert_eq!(validations, 16);
        assert_eq!(names[0], PROPOSALS[0].name);
        assert!(names.len() > 5, "{names:?}");
    }
}
