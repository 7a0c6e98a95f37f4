//! Components that are small and cost a host much to load.
//!
//! A [`Bomb`] is a kind of them: it is made in whatever size is asked for, as large as
//! it gets without exceeding that many bytes. What differs between kinds is what there
//! is too much of. [`ALL`] is the table of them; each says what a host that counts
//! before it works makes of the bomb.
//!
//! The encoding is written by hand, without a library that could object: half of the
//! point is in what no tool would write.

mod encoding;
mod modules;
mod sections;
mod types;

/// A kind of component that costs much to load.
#[derive(Debug, Clone, Copy)]
pub struct Bomb {
    /// What there is too much of, such as `wide-types`.
    pub kind: &'static str,
    /// What loading it ends with.
    pub outcome: Outcome,
    make: fn(usize) -> Vec<u8>,
}

/// What loading a bomb ends with, whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is no valid component: it is refused as malformed.
    Malformed,
    /// It is valid and harmless by itself, so that it is accepted; or, if a counted bound
    /// is exceeded in that size, refused as too complex or too large for a compiler's
    /// limits. It is never refused as malformed.
    Bounded,
    /// One of the two: in small sizes a bound of the format, in others one of the host,
    /// or the other way around.
    Refused,
}

impl Bomb {
    /// The component, of at most `bytes` bytes and, if the kind can be as large, more than
    /// half of that.
    #[must_use]
    pub fn of_bytes(&self, bytes: usize) -> Vec<u8> {
        (self.make)(bytes)
    }
}

/// How large a bomb is made: what is downloaded unnoticed, what a usual component has,
/// and the largest file that an engine accepts.
pub const SMALL_BYTES: usize = 64 << 10;

/// See [`SMALL_BYTES`].
pub const MEDIUM_BYTES: usize = 2 << 20;

const fn bomb(kind: &'static str, outcome: Outcome, make: fn(usize) -> Vec<u8>) -> Bomb {
    Bomb {
        kind,
        outcome,
        make,
    }
}

use Outcome::{Bounded, Malformed, Refused};

/// Every kind.
pub const ALL: &[Bomb] = &[
    // Core modules.
    bomb("constant-of-global", Bounded, modules::constant_of_global),
    bomb("constant-of-element", Bounded, modules::constant_of_element),
    bomb("constant-of-data", Bounded, modules::constant_of_data),
    bomb("wide-parameters", Bounded, modules::wide_parameters),
    bomb("wide-results", Bounded, modules::wide_results),
    bomb("small-types", Bounded, modules::small_types),
    bomb("recursive-types", Refused, modules::recursive_types),
    bomb("recursive-groups", Refused, modules::recursive_groups),
    bomb("functions", Bounded, modules::functions),
    bomb("locals", Bounded, modules::locals),
    bomb("parameters", Bounded, modules::parameters),
    bomb("long-function", Bounded, modules::long_function),
    bomb("long-functions", Bounded, modules::long_functions),
    bomb("branch-table", Bounded, modules::branch_table),
    bomb("deep-blocks", Bounded, modules::deep_blocks),
    bomb("deep-ifs", Bounded, modules::deep_ifs),
    bomb("branches", Bounded, modules::branches),
    bomb("locals-across-loops", Bounded, modules::locals_across_loops),
    bomb(
        "operands-across-blocks",
        Bounded,
        modules::operands_across_blocks,
    ),
    bomb("wide-calls", Bounded, modules::wide_calls),
    bomb("call-graph", Bounded, modules::call_graph),
    bomb("indirect-calls", Bounded, modules::indirect_calls),
    bomb("vectors", Bounded, modules::vectors),
    bomb("floats", Bounded, modules::floats),
    bomb("bulk-operations", Bounded, modules::bulk_operations),
    bomb("globals", Bounded, modules::globals),
    bomb("tables", Bounded, modules::tables),
    bomb("huge-tables", Refused, modules::huge_tables),
    bomb("memories", Bounded, modules::memories),
    bomb("huge-memories", Bounded, modules::huge_memories),
    bomb("data-segments", Bounded, modules::data_segments),
    bomb("sparse-data", Bounded, modules::sparse_data),
    bomb("large-data", Bounded, modules::large_data),
    bomb("data-at-globals", Bounded, modules::data_at_globals),
    bomb("passive-data", Bounded, modules::passive_data),
    bomb("element-segments", Bounded, modules::element_segments),
    bomb("elements", Bounded, modules::elements),
    bomb("element-expressions", Bounded, modules::element_expressions),
    bomb("tags", Refused, modules::tags),
    bomb("core-imports", Bounded, modules::core_imports),
    bomb("core-import-names", Bounded, modules::core_import_names),
    bomb("core-exports", Bounded, modules::core_exports),
    bomb("core-export-names", Bounded, modules::core_export_names),
    bomb("function-names", Bounded, modules::function_names),
    bomb("one-huge-name", Bounded, modules::one_huge_name),
    bomb("local-names", Bounded, modules::local_names),
    bomb("long-names", Bounded, modules::long_names),
    bomb("custom-sections", Bounded, modules::custom_sections),
    bomb(
        "large-custom-section",
        Bounded,
        modules::large_custom_section,
    ),
    bomb("empty-modules", Bounded, modules::empty_modules),
    bomb("modules-with-memory", Bounded, modules::modules_with_memory),
    // Components.
    bomb("instances", Refused, types::instances),
    bomb("core-instances", Refused, types::core_instances),
    bomb("inline-instances", Refused, types::inline_instances),
    bomb("nested-components", Refused, types::nested_components),
    bomb("sibling-components", Refused, types::sibling_components),
    bomb("doubling-instances", Refused, types::doubling_instances),
    bomb("adapters", Bounded, types::adapters),
    bomb("adapters-of-results", Refused, types::adapters_of_results),
    bomb("doubling-exports", Bounded, types::doubling_exports),
    bomb(
        "doubling-instance-types",
        Refused,
        types::doubling_instance_types,
    ),
    bomb("doubling-tuples", Refused, types::doubling_tuples),
    bomb("doubling-records", Refused, types::doubling_records),
    bomb("doubling-results", Refused, types::doubling_results),
    bomb("deep-lists", Refused, types::deep_lists),
    bomb("deep-options", Refused, types::deep_options),
    bomb("deep-instance-types", Refused, types::deep_instance_types),
    bomb("wide-records", Bounded, types::wide_records),
    bomb("wide-tuples", Bounded, types::wide_tuples),
    bomb("wide-variants", Bounded, types::wide_variants),
    bomb("wide-enums", Bounded, types::wide_enums),
    bomb("wide-flags", Refused, types::wide_flags),
    bomb(
        "small-component-types",
        Bounded,
        types::small_component_types,
    ),
    bomb("component-parameters", Bounded, types::component_parameters),
    bomb("module-types", Bounded, types::module_types),
    bomb("resources", Bounded, types::resources),
    bomb("resource-functions", Bounded, types::resource_functions),
    bomb("lifted-functions", Bounded, types::lifted_functions),
    bomb("component-exports", Bounded, types::component_exports),
    bomb(
        "component-export-names",
        Bounded,
        types::component_export_names,
    ),
    bomb("duplicate-exports", Refused, types::duplicate_exports),
    bomb("component-imports", Refused, types::component_imports),
    bomb("imported-instance", Refused, types::imported_instance),
    bomb("aliases", Bounded, types::aliases),
    bomb("outer-aliases", Bounded, types::outer_aliases),
    // Sections that are not what they say.
    bomb("huge-counts", Refused, sections::huge_counts),
    bomb(
        "huge-count-of-bodies",
        Refused,
        sections::huge_count_of_bodies,
    ),
    bomb(
        "huge-count-of-locals",
        Malformed,
        sections::huge_count_of_locals,
    ),
    bomb("truncated-section", Malformed, sections::truncated_section),
    bomb("overlong-section", Malformed, sections::overlong_section),
    bomb("empty-sections", Bounded, sections::empty_sections),
    bomb("zeros", Malformed, sections::zeros),
    bomb("ones", Malformed, sections::ones),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn bombs_are_as_large_as_they_are_told() {
        for bomb in ALL {
            for bytes in [SMALL_BYTES, MEDIUM_BYTES] {
                let made = bomb.of_bytes(bytes).len();
                assert!(made <= bytes, "{}: {made} of {bytes}", bomb.kind);
                assert!(made > 64, "{}: {made}", bomb.kind);
            }
        }
    }

    #[test]
    fn kinds_have_names_of_their_own() {
        let kinds: BTreeSet<&str> = ALL.iter().map(|bomb| bomb.kind).collect();
        assert_eq!(kinds.len(), ALL.len());
    }
}
