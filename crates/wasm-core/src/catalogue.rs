//! Snapshots of what people read, in `snapshots/`.

use std::fmt::{Display, Write};

/// Errors, each with the name of its variant. Does not compile when a variant is
/// left out.
macro_rules! every {
    ($type:ident, $($variant:ident $(($($inner:tt)*))? $({ $($fields:tt)* })?),+ $(,)?) => {{
        #[allow(unreachable_patterns, reason = "a variant can have several messages")]
        let name = |error: &$type| match error {
            $($type::$variant { .. } => stringify!($variant)),+
        };
        [$($type::$variant $(($($inner)*))? $({ $($fields)* })?),+].map(|error| (name(&error), error))
    }};
}
pub(crate) use every;

/// Compares with the file of this name: one entry below the other, what it is
/// about first.
#[track_caller]
pub(crate) fn snapshot<A: Display, M: Display>(
    name: &str,
    entries: impl IntoIterator<Item = (A, M)>,
) {
    let mut catalogue = String::new();
    for (about, message) in entries {
        let _ = writeln!(catalogue, "{about}\n    {message}");
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, catalogue));
}
