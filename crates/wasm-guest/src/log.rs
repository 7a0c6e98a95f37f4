//! The component's log.

mod level;

use crate::host;

pub use level::LogLevel;

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

/// What [`log!`] calls.
pub fn log(level: LogLevel, text: &str, context: &[(&str, String)]) {
    host::log(level, text, context);
}
