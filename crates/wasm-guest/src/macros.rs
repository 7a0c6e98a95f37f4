//! What is written with an exclamation mark.

/// Makes a type that is a [`Component`](crate::Component) the component that its crate is
/// compiled to. Once in a crate, whose `crate-type` is `["cdylib"]`; `"rlib"` besides lets
/// tests in `tests/` use the type.
///
/// The component's metadata is what `Cargo.toml` has in `[package]`.
///
/// ```
/// # use wasm_guest::{Component, Message, Payload, Result};
/// #[derive(Default)]
/// struct Echo;
///
/// impl Component for Echo {
///     fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
///         Ok(Some(message.payload))
///     }
/// }
///
/// wasm_guest::export!(Echo);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export {
    ($component:ty) => {
        impl $crate::__private::Packaged for $component {
            const PACKAGE: $crate::__private::Package = $crate::__private::Package {
                name: ::std::env!("CARGO_PKG_NAME"),
                version: ::std::env!("CARGO_PKG_VERSION"),
                description: ::std::env!("CARGO_PKG_DESCRIPTION"),
                authors: ::std::env!("CARGO_PKG_AUTHORS"),
                license: ::std::env!("CARGO_PKG_LICENSE"),
            };
        }

        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::__private::Exported<$component>;
    $crate::bindings::export_contract!(Exported with_types_in $crate::bindings);
        };
    };
}

/// Logs a line: a level, a text as for [`format!`], and after a semicolon what belongs to it.
///
/// The levels are `trace`, `debug`, `info`, `warn` and `error`. `log` in `[permissions]` names
/// the most verbose that is kept; what is not kept is dropped, which the component is not
/// told. Of a text 2,048 bytes are kept, and 16 pairs.
///
/// ```
/// use wasm_guest::{LogLevel, log, testing::Host};
///
/// let host = Host::new("demo/waiter/main").with_log(LogLevel::Info);
/// let table = 4;
/// host.within(|| {
///     log!(debug, "nobody reads this");
///     log!(info, "table {table} is {}", "taken");
///     log!(warn, "no soup"; table = table, left = 0);
/// });
/// assert_eq!(host.logged(), ["info: table 4 is taken", "warn: no soup table=4 left=0"]);
/// ```
#[macro_export]
macro_rules! log {
    ($level:ident, $text:literal $(, $argument:expr)* $(,)? ; $($key:ident = $value:expr),+ $(,)?) => {
        $crate::__private::log(
            $crate::log!(@$level),
            &::std::format!($text $(, $argument)*),
            &[$((::std::stringify!($key), ::std::string::ToString::to_string(&$value))),+],
        )
    };
    ($level:ident, $($text:tt)+) => {
        $crate::__private::log($crate::log!(@$level), &::std::format!($($text)+), &[])
    };
    (@trace) => { $crate::LogLevel::Trace };
    (@debug) => { $crate::LogLevel::Debug };
    (@info) => { $crate::LogLevel::Info };
    (@warn) => { $crate::LogLevel::Warn };
    (@error) => { $crate::LogLevel::Error };
    (@$other:ident) => {
        ::std::compile_error!("a level is trace, debug, info, warn or error")
    };
}
