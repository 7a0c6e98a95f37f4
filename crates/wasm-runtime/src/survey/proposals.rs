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
    let is_valid_without = |feature| {
        let features = WasmFeatures::all().difference(feature);
        let mut validator = Validator::new_with_features(features);
        validator.validate_all(bytes).is_ok()
    };
    let mut used: Vec<_> = PROPOSALS
        .iter()
        .filter(|proposal| !is_valid_without(proposal.feature))
        .collect();
    // Whose objects are collected has such references, too.
    if used.iter().any(|used| used.feature == WasmFeatures::GC) {
        used.retain(|used| used.feature != WasmFeatures::GC_TYPES);
    }
    let advice = used.iter().find_map(|proposal| proposal.advice);
    let names = used.iter().map(|proposal| proposal.name).collect();
    (names, advice)
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
