//! How a compiler in a process of its own is told what it may use.

use std::ffi::OsString;

use crate::config::CodeSettings;

/// What the engine tells a compiler on its command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) memory_bytes: u64,
    pub(crate) cpu_seconds: u64,
    pub(crate) max_artifact_bytes: u64,
    /// The engine's process.
    pub(crate) parent: u32,
    pub(crate) code: CodeSettings,
}

impl Settings {
    pub(crate) fn to_arguments(self) -> [String; 6] {
        [
            self.memory_bytes.to_string(),
            self.cpu_seconds.to_string(),
            self.max_artifact_bytes.to_string(),
            self.parent.to_string(),
            self.code.reservation_bytes.to_string(),
            u64::from(self.code.counts_fuel).to_string(),
        ]
    }

    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut numbers = arguments.into_iter().map(|argument| {
            let number = argument.to_str()?.parse::<u64>();
            number.ok()
        });
        let settings = Self {
            memory_bytes: numbers.next()??,
            cpu_seconds: numbers.next()??,
            max_artifact_bytes: numbers.next()??,
            parent: u32::try_from(numbers.next()??).ok()?,
            code: CodeSettings {
                reservation_bytes: numbers.next()??,
                counts_fuel: numbers.next()?? != 0,
            },
        };
        numbers.next().is_none().then_some(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_is_told_all_of_it() {
        for counts_fuel in [true, false] {
            let code = CodeSettings {
                reservation_bytes: 4,
                counts_fuel,
            };
            let settings = Settings {
                memory_bytes: 1,
                cpu_seconds: 2,
                max_artifact_bytes: 3,
                parent: 5,
                code,
            };
            let told = settings.to_arguments().map(OsString::from);
            assert_eq!(Settings::parse(told.clone()), Some(settings));
            assert_eq!(Settings::parse(told[1..].to_vec()), None);
        }
    }
}
