use proptest::prelude::any;
use proptest::sample::select;
use proptest::strategy::{Just, Strategy};
use proptest::{prop_compose, prop_oneof};

use wasm_core::{ComponentHandle, ComponentId, ComponentPattern, CorrelationId};

use super::text::TEXT;

/// A segment of an id; one that begins otherwise may be `.` or `..`, which none is.
const SEGMENT: &str = "[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}";

/// A segment of a pattern.
const GLOB: &str = r"\*|[A-Za-z0-9*._-]{1,64}";

/// Ids of short and of long segments, now and then one that comes up often.
pub fn component_ids() -> impl Strategy<Value = ComponentId> {
    let usual = select(&["demo/a/main", "demo/b/main"][..]);
    prop_oneof![
        usual.prop_map(str::to_owned),
        [SEGMENT; 3].prop_map(|segments| segments.join("/")),
    ]
    .prop_map(|text| text.parse().expect("the segments are those of an id"))
}

prop_compose! {
    /// Handles that no engine has given out, most likely.
    pub fn component_handles()(id in component_ids(), number in any::<u64>()) -> ComponentHandle {
        ComponentHandle::new(id, number)
    }
}

/// Patterns, with and without `*`.
pub fn component_patterns() -> impl Strategy<Value = ComponentPattern> {
    let patterns = prop_oneof![
        Just("*/*/*".to_owned()),
        [GLOB; 3].prop_map(|globs| globs.join("/")),
    ];
    patterns.prop_map(|text| text.parse().expect("the segments are globs"))
}

/// Correlation ids, which are any text.
pub fn correlation_ids() -> impl Strategy<Value = CorrelationId> {
    TEXT.prop_map(CorrelationId::from)
}
