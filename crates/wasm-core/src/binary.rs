use std::fmt::{self, Display};

use crate::LIFECYCLE_INTERFACE;
use crate::text::{Escaped, Quoted};
use crate::units::format_bytes;

/// Why bytes are not a component that an engine can run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Defect {
    /// No bytes at all.
    Empty,
    /// Something else than WebAssembly; the first bytes tell what.
    NotWasm {
        /// Up to 16 bytes.
        first_bytes: Vec<u8>,
    },
    /// The text format; only the binary format is accepted.
    Text,
    /// A core module instead of a component.
    CoreModule,
    /// A version of the binary format that is not the one in use.
    UnknownVersion {
        /// The four bytes after `\0asm`.
        version: [u8; 4],
    },
    /// More bytes than the engine reads.
    TooLarge {
        /// Size of the file or buffer in bytes.
        bytes: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// Begins as a component but is damaged or uses what the engine does not support.
    Malformed {
        /// As the engine's parser says it, offset included.
        reason: String,
    },
    /// Is not damaged, and uses parts of WebAssembly that the engine does not run.
    Unsupported {
        /// What they are called, as `exceptions`.
        proposals: Vec<&'static str>,
        /// How toolchains are told to do without, where that is known.
        advice: Option<&'static str>,
    },
    /// Exports `component-lifecycle` in a version that the engine does not call.
    OtherLifecycle {
        /// As it is exported, as `airssys:core/component-lifecycle@2.0.0`.
        exported: String,
    },
    /// Exports `component-lifecycle` without some of its functions.
    IncompleteLifecycle {
        /// The functions that are not there.
        missing: Vec<String>,
    },
    /// Exports a function of `component-lifecycle` with another type.
    WrongExportType {
        /// The function.
        export: String,
        /// What differs.
        reason: String,
    },
    /// Takes more to compile than its compiler has.
    CostlyToCompile {
        /// What there was not enough of.
        what: &'static str,
        /// How much of it there was, as people write it.
        limit: String,
        /// The setting that changes it: a field of the engine's limits for compilers, and
        /// after `--compile-` a flag of the program.
        setting: &'static str,
    },
    /// Would keep more of the host's memory as long as it is loaded than it may: compiled
    /// code, data, types and names.
    HostMemory {
        /// What it would keep, in bytes, as far as that is known.
        bytes: Option<u64>,
        /// The most that is accepted.
        limit: u64,
    },
    /// Needs more of something than the engine gives to one component.
    TooComplex {
        /// What there is too much of, in the plural.
        what: &'static str,
        /// How many were found, which need not be all.
        found: u64,
        /// The most that is accepted.
        limit: u64,
    },
}

impl Defect {
    /// Looks at the first eight bytes: what every engine and loader can tell
    /// without parsing.
    ///
    /// # Errors
    /// What the bytes are instead of a component.
    pub fn check_header(bytes: &[u8]) -> Result<(), Self> {
        const MAGIC: &[u8] = b"\0asm";
        const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];
        const MODULE: [u8; 4] = [1, 0, 0, 0];
        if bytes.is_empty() {
            return Err(Self::Empty);
        }
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            // A header cut short is damaged rather than something else.
            if MAGIC.starts_with(bytes) {
                return Err(Self::cut_short(bytes.len()));
            }
            return Err(Self::of_foreign(bytes));
        };
        match rest.first_chunk() {
            Some(&COMPONENT) => Ok(()),
            Some(&MODULE) => Err(Self::CoreModule),
            Some(&version) => Err(Self::UnknownVersion { version }),
            None => Err(Self::cut_short(bytes.len())),
        }
    }

    fn cut_short(length: usize) -> Self {
        Self::Malformed {
            reason: format!("the header is cut short after {length} of 8 bytes"),
        }
    }

    fn of_foreign(bytes: &[u8]) -> Self {
        let start = &bytes[..bytes.len().min(64)];
        let text = String::from_utf8_lossy(start);
        let first = text.trim_start();
        if first.starts_with("(component")
            || first.starts_with("(module")
            || first.starts_with(";;")
        {
            return Self::Text;
        }
        Self::NotWasm {
            first_bytes: bytes[..bytes.len().min(16)].to_vec(),
        }
    }
}

impl Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::NotWasm { first_bytes } => {
                f.write_str("it is not WebAssembly: it begins with ")?;
                match std::str::from_utf8(first_bytes) {
                    Ok(text) if !text.contains('\0') => Display::fmt(&Quoted::new(text), f),
                    _ => {
                        for (i, byte) in first_bytes.iter().enumerate() {
                            write!(f, "{}{byte:02x}", if i == 0 { "" } else { " " })?;
                        }
                        Ok(())
                    }
                }?;
                f.write_str(" instead of 00 61 73 6d")
            }
            Self::Text => f.write_str(
                "it is the WebAssembly text format; only the binary format is accepted \
                 (`wasm-tools parse` converts)",
            ),
            Self::CoreModule => f.write_str(
                "it is a core module; only components are accepted \
                 (`wasm-tools component new` makes one from a module)",
            ),
            Self::UnknownVersion { version } => write!(
                f,
                "its binary format version {version:02x?} is not that of a component, [0d, 00, 01, 00]",
            ),
            Self::TooLarge { bytes, limit } => write!(
                f,
                "it has {}, more than the {} that the engine accepts (`max_component_bytes` in \
                 EngineConfig)",
                format_bytes(*bytes),
                format_bytes(*limit)
            ),
            Self::Malformed { reason } => {
                write!(
                    f,
                    "it is damaged or not supported: {}",
                    Escaped::new(reason)
                )
            }
            Self::OtherLifecycle { exported } => write!(
                f,
                "it exports `{}`, and this host calls {LIFECYCLE_INTERFACE} and its releases of \
                 the same major version",
                Escaped::new(exported)
            ),
            Self::IncompleteLifecycle { missing } => {
                f.write_str("it exports `component-lifecycle` without ")?;
                for (i, function) in missing.iter().enumerate() {
                    write!(
                        f,
                        "{}`{}`",
                        if i == 0 { "" } else { ", " },
                        Escaped::new(function)
                    )?;
                }
                Ok(())
            }
            Self::WrongExportType { export, reason } => write!(
                f,
                "its export `{}` has another type than in the contract: {}",
                Escaped::new(export),
                Escaped::new(reason)
            ),
            Self::CostlyToCompile {
                what,
                limit,
                setting,
            } => write!(
                f,
                "compiling it takes more than {limit} of {what} \
                 (`{setting}` of the compiler's limits, `--compile-{setting}`)"
            ),
            Self::HostMemory { bytes, limit } => {
                f.write_str("as long as it is loaded it would keep ")?;
                match bytes {
                    Some(bytes) => write!(f, "{} of the host's memory, ", format_bytes(*bytes))?,
                    None => f.write_str("too much of the host's memory, ")?,
                }
                write!(
                    f,
                    "more than the {} that one component may keep (`max_host_bytes` in \
                     EngineConfig, `--max-host-memory`)",
                    format_bytes(*limit)
                )
            }
            // Counting stops where there are too many, so `found` may not be all.
            Self::Unsupported { proposals, advice } => {
                write!(
                    f,
                    "it uses {}, which this engine does not run",
                    proposals.join(", ")
                )?;
                advice.map_or(Ok(()), |advice| write!(f, " ({advice})"))
            }
            Self::TooComplex { what, limit, .. } => {
                write!(
                    f,
                    "it needs more than {limit} {what}, the most that is accepted"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{every, snapshot};

    #[test]
    fn tells_what_bytes_are_from_their_header() {
        let malformed = |length: usize| Defect::Malformed {
            reason: format!("the header is cut short after {length} of 8 bytes"),
        };
        let zeros = vec![0; 100];
        let cases: [(&[u8], Defect); 9] = [
            (b"", Defect::Empty),
            (b"\0asm\x01\0\0\0rest", Defect::CoreModule),
            (b"\0as", malformed(3)),
            (b"\0asm\x0d\0", malformed(6)),
            (b"  (component)", Defect::Text),
            (b"(module)", Defect::Text),
            (
                b"\0asm\x02\0\0\0",
                Defect::UnknownVersion {
                    version: [2, 0, 0, 0],
                },
            ),
            (
                b"hello, world, this is text",
                Defect::NotWasm {
                    first_bytes: b"hello, world, th".to_vec(),
                },
            ),
            (
                &zeros,
                Defect::NotWasm {
                    first_bytes: vec![0; 16],
                },
            ),
        ];
        for (bytes, defect) in cases {
            assert_eq!(Defect::check_header(bytes), Err(defect), "{bytes:?}");
        }
        assert_eq!(Defect::check_header(b"\0asm\x0d\0\x01\0"), Ok(()));
    }

    #[test]
    fn every_defect_is_explained() {
        let defects = every!(
            Defect,
            Empty,
            NotWasm {
                first_bytes: b"#!/bin/sh\n".to_vec()
            },
            NotWasm {
                first_bytes: vec![0, 1]
            },
            NotWasm {
                first_bytes: vec![0x7f, b'E', 0xff]
            },
            Text,
            CoreModule,
            UnknownVersion {
                version: [0x0a, 0, 1, 0]
            },
            TooLarge {
                bytes: 200 << 20,
                limit: 64 << 20
            },
            Malformed {
                reason: "unexpected end (at offset 0x1f)\n".into()
            },
            OtherLifecycle {
                exported: "airssys:core/component-lifecycle@2.0.0".into()
            },
            IncompleteLifecycle {
                missing: vec!["health".into(), "shut\ndown".into()]
            },
            WrongExportType {
                export: "hea\nlth".into(),
                reason: "expected 0 parameters, found 1\n".into()
            },
            CostlyToCompile {
                what: "processor time",
                limit: "20s".into(),
                setting: "cpu"
            },
            HostMemory {
                bytes: Some(100 << 20),
                limit: 64 << 20
            },
            HostMemory {
                bytes: None,
                limit: 64 << 20
            },
            Unsupported {
                proposals: vec!["exceptions", "garbage collection"],
                advice: Some("compile without `-fwasm-exceptions`"),
            },
            TooComplex {
                what: "memories",
                found: 200,
                limit: 100
            },
        );
        snapshot("defect", defects);
    }
}
