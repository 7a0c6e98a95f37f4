//! What is kept of an error beyond the call that it ended. A component chooses the
//! texts and names in it, and a host keeps many errors: in dead letters, events and the
//! states of failed components.

use std::error::Error as StdError;
use std::fmt::{self, Display, Write};
use std::mem::size_of;
use std::path::Path;
use std::sync::Arc;

use crate::{
    Cause, ComponentId, Defect, GuestError, LifecycleError, Trap, Unmet, WasmError, WasmFrame,
};

/// Of a text that a guest answered with, or that quotes one: it can be as long as the
/// guest's memory.
const TEXT_BYTES: usize = 4 << 10;

/// Of a name: an import, an export. Longer ones are not written by people.
const NAME_BYTES: usize = 1 << 10;

/// Of all frames together, inline and with their names. What is called by what fails is
/// at the front and is kept first.
const FRAMES_BYTES: usize = 6 << 10;

/// Of what the engine's library said.
const CAUSE_BYTES: usize = 1 << 10;

/// Layers of what the engine's library said. Its errors have two or three.
const CAUSE_LAYERS: usize = 8;

/// Names in a list of them; the contract's lifecycle has six.
const LISTED_NAMES: usize = 16;

/// Three segments and the slashes between them, twice: a handle or an id.
const ID_BYTES: usize = 3 * ComponentId::MAX_SEGMENT_BYTES + 2;

impl WasmError {
    /// What an error takes at the most once it was [kept](Self::kept), in bytes: 4 KiB
    /// for a text, 6 KiB for frames, 1 KiB for what the engine's library said, 1 KiB for
    /// what the guest said last, 1 KiB for a name, and the ids.
    pub const MAX_KEPT_BYTES: usize = 16 << 10;

    /// The error as it may be kept for long, in at most
    /// [`MAX_KEPT_BYTES`](Self::MAX_KEPT_BYTES): of long texts, names and call stacks the
    /// beginning, and instead of [`source`](StdError::source) and what is below it one
    /// short text of what they say. What is short enough stays as it is.
    #[must_use]
    pub fn kept(mut self) -> Self {
        match &mut self {
            Self::EngineInitialization { reason, source }
            | Self::InstantiationFailed { reason, source, .. } => {
                shorten(reason, TEXT_BYTES);
                keep_cause(source);
            }
            Self::LoadFailed {
                path,
                reason,
                source,
            } => {
                if path.as_os_str().len() > TEXT_BYTES {
                    let mut shown = path.to_string_lossy().into_owned();
                    shorten(&mut shown, TEXT_BYTES);
                    *path = shown.into();
                }
                shorten(reason, TEXT_BYTES);
                keep_cause(source);
            }
            Self::InvalidComponent { defect, source, .. } => {
                keep_defect(defect);
                keep_cause(source);
            }
            Self::ImportNotFound {
                import,
                reason,
                source,
                ..
            } => {
                shorten(import, NAME_BYTES);
                if let Unmet::OtherVersion { provided } = reason {
                    shorten(provided, NAME_BYTES);
                }
                if let Unmet::OtherType { wanted, provided } = reason {
                    shorten(wanted, TEXT_BYTES);
                    if let Some(provided) = provided {
                        shorten(provided, TEXT_BYTES);
                    }
                }
                keep_cause(source);
            }
            Self::ExportNotFound { export, .. } => shorten_name(export),
            Self::InitializationFailed { error, .. } | Self::ShutdownFailed { error, .. } => {
                if let Some(text) = error.text_mut() {
                    shorten(text, TEXT_BYTES);
                }
            }
            Self::Trapped {
                export,
                trap,
                frames,
                source,
                last_words,
                ..
            } => {
                shorten_name(export);
                if let Some(words) = last_words
                    && words.len() > NAME_BYTES
                {
                    // The message of a panic is at the end.
                    let begin = words.ceil_char_boundary(words.len() - NAME_BYTES);
                    *words = words[begin..].into();
                }
                if let Trap::HostPanic(text) | Trap::RefusedByHost(text) | Trap::Other(text) = trap
                {
                    shorten(text, TEXT_BYTES);
                }
                keep_frames(frames);
                keep_cause(source);
            }
            Self::Timeout { export, frames, .. } => {
                shorten_name(export);
                keep_frames(frames);
            }
            Self::ResourceLimitExceeded {
                export,
                frames,
                source,
                ..
            } => {
                shorten_name(export);
                keep_frames(frames);
                keep_cause(source);
            }
            Self::ComponentFailed { source, .. } => keep_failure(source),
            Self::GuestError { error, .. } => {
                if let Some(text) = error.text_mut() {
                    shorten(text, TEXT_BYTES);
                }
            }
            Self::InvalidArguments { export, reason, .. } => {
                shorten_name(export);
                shorten(reason, TEXT_BYTES);
            }
            Self::Unsupported { what } => shorten(what, TEXT_BYTES),
            Self::ComponentNotFound { .. } | Self::InvalidLimits { .. } => {}
        }
        self
    }

    /// What the error takes in memory, in bytes, for whoever keeps many under a budget. A
    /// [`source`](StdError::source) that is not [kept](Self::kept) has no known size and
    /// counts as a kept one.
    pub fn size_bytes(&self) -> usize {
        let below = match self {
            Self::EngineInitialization { reason, source }
            | Self::InstantiationFailed { reason, source, .. } => {
                reason.len() + cause_bytes(source.as_ref())
            }
            Self::LoadFailed {
                path,
                reason,
                source,
            } => path_bytes(path) + reason.len() + cause_bytes(source.as_ref()),
            Self::InvalidComponent { defect, source, .. } => {
                defect_bytes(defect) + cause_bytes(source.as_ref())
            }
            Self::ImportNotFound {
                import,
                reason,
                source,
                ..
            } => {
                let types = match reason {
                    Unmet::OtherType { wanted, provided } => {
                        wanted.len() + provided.as_ref().map_or(0, String::len)
                    }
                    Unmet::OtherVersion { provided } => provided.len(),
                    _ => 0,
                };
                import.len() + types + cause_bytes(source.as_ref())
            }
            Self::ExportNotFound { export, .. } => export.len(),
            Self::InitializationFailed { error, .. } | Self::ShutdownFailed { error, .. } => {
                error.text().map_or(0, str::len)
            }
            Self::Trapped {
                export,
                trap,
                frames,
                source,
                last_words,
                ..
            } => {
                let words = last_words.as_ref().map_or(0, |words| words.len());
                let text = match trap {
                    Trap::HostPanic(text) | Trap::RefusedByHost(text) | Trap::Other(text) => {
                        text.len()
                    }
                    _ => 0,
                };
                let said = words + text;
                export.len() + said + frames_bytes(frames) + cause_bytes(source.as_ref())
            }
            Self::Timeout { export, frames, .. } => export.len() + frames_bytes(frames),
            Self::ResourceLimitExceeded {
                export,
                frames,
                source,
                ..
            } => export.len() + frames_bytes(frames) + cause_bytes(source.as_ref()),
            Self::ComponentFailed { source, .. } => source.size_bytes(),
            Self::GuestError { error, .. } => error.text().map_or(0, str::len),
            Self::InvalidArguments { export, reason, .. } => export.len() + reason.len(),
            Self::Unsupported { what } => what.len(),
            Self::ComponentNotFound { .. } | Self::InvalidLimits { .. } => 0,
        };
        size_of::<Self>() + ID_BYTES + below
    }
}

impl GuestError {
    /// The error as it may be kept for long: of its text the first 4 KiB.
    #[must_use]
    pub fn kept(mut self) -> Self {
        if let Some(text) = self.text_mut() {
            shorten(text, TEXT_BYTES);
        }
        self
    }

    /// What it says besides its case, where it says something.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::ComponentNotFound(text)
            | Self::InstantiationFailed(text)
            | Self::ExportNotFound(text)
            | Self::ResourceLimitExceeded(text)
            | Self::InvalidComponent(text)
            | Self::RuntimeError(text) => Some(text),
            Self::Timeout => None,
        }
    }

    fn text_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::ComponentNotFound(text)
            | Self::InstantiationFailed(text)
            | Self::ExportNotFound(text)
            | Self::ResourceLimitExceeded(text)
            | Self::InvalidComponent(text)
            | Self::RuntimeError(text) => Some(text),
            Self::Timeout => None,
        }
    }
}

impl LifecycleError {
    /// What it says besides its case, where it says something.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::InitializationFailed(text)
            | Self::ShutdownFailed(text)
            | Self::InvalidState(text) => Some(text),
            Self::AlreadyInitialized | Self::NotInitialized => None,
        }
    }

    fn text_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::InitializationFailed(text)
            | Self::ShutdownFailed(text)
            | Self::InvalidState(text) => Some(text),
            Self::AlreadyInitialized | Self::NotInitialized => None,
        }
    }
}

/// What the engine's library said, all layers on one line.
#[derive(Debug)]
struct KeptCause(Box<str>);

impl Display for KeptCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for KeptCause {}

fn keep_cause(source: &mut Option<Cause>) {
    if let Some(cause) = source
        && !cause.is::<KeptCause>()
    {
        *cause = kept_cause(&**cause);
    }
}

/// What an error and those below it say, on one line and in at most 1 KiB.
fn kept_cause(error: &(dyn StdError + 'static)) -> Cause {
    let mut text = Beginning {
        text: String::new(),
        max_bytes: CAUSE_BYTES,
    };
    let mut layer = Some(error);
    for n in 0..CAUSE_LAYERS {
        let Some(error) = layer else { break };
        let separator = if n == 0 { "" } else { ": " };
        // The only error is the one that ends the printing.
        if write!(text, "{separator}{error}").is_err() {
            break;
        }
        layer = error.source();
    }
    Arc::new(KeptCause(text.text.into()))
}

/// Takes the beginning of what is printed and ends the printing there.
struct Beginning {
    text: String,
    max_bytes: usize,
}

impl Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let left = self.max_bytes - self.text.len();
        let taken = &text[..text.floor_char_boundary(left)];
        self.text.push_str(taken);
        if taken.len() == text.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

/// A failure that follows from another is kept as that other one.
fn keep_failure(failure: &mut Arc<WasmError>) {
    let mut first = Arc::clone(failure);
    while let WasmError::ComponentFailed { source, .. } = &*first {
        first = Arc::clone(source);
    }
    *failure = Arc::new(WasmError::clone(&first).kept());
}

fn keep_defect(defect: &mut Defect) {
    match defect {
        Defect::Malformed { reason } => shorten(reason, TEXT_BYTES),
        Defect::IncompleteLifecycle { missing } => {
            missing.truncate(LISTED_NAMES);
            missing.shrink_to_fit();
            for name in missing {
                shorten(name, TEXT_BYTES / LISTED_NAMES);
            }
        }
        Defect::OtherLifecycle { exported } => shorten(exported, NAME_BYTES),
        Defect::WrongExportType { export, reason } => {
            shorten(export, NAME_BYTES);
            shorten(reason, TEXT_BYTES);
        }
        Defect::NotWasm { first_bytes } => {
            first_bytes.truncate(TEXT_BYTES);
            first_bytes.shrink_to_fit();
        }
        Defect::CostlyToCompile { limit, .. } => shorten(limit, NAME_BYTES),
        Defect::Empty
        | Defect::Text
        | Defect::CoreModule
        | Defect::UnknownVersion { .. }
        | Defect::TooLarge { .. }
        | Defect::HostMemory { .. }
        | Defect::Unsupported { .. }
        | Defect::TooComplex { .. } => {}
    }
}

fn keep_frames(frames: &mut Box<[WasmFrame]>) {
    let mut left = FRAMES_BYTES;
    let fits = |frame: &&WasmFrame| {
        let rest = left.checked_sub(frame_bytes(frame));
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    let kept = frames.iter().take_while(fits).count();
    if kept < frames.len() {
        *frames = frames[..kept].into();
    }
}

fn frame_bytes(frame: &WasmFrame) -> usize {
    let name_bytes = |name: &Option<String>| name.as_ref().map_or(0, String::len);
    size_of::<WasmFrame>() + name_bytes(&frame.module) + name_bytes(&frame.function)
}

fn frames_bytes(frames: &[WasmFrame]) -> usize {
    frames.iter().map(frame_bytes).sum()
}

fn cause_bytes(source: Option<&Cause>) -> usize {
    source.map_or(0, |cause| {
        let kept = cause.downcast_ref::<KeptCause>();
        kept.map_or(CAUSE_BYTES, |cause| cause.0.len())
    })
}

fn path_bytes(path: &Path) -> usize {
    path.as_os_str().len()
}

fn defect_bytes(defect: &Defect) -> usize {
    match defect {
        Defect::Malformed { reason } => reason.len(),
        Defect::OtherLifecycle { exported } => exported.len(),
        Defect::IncompleteLifecycle { missing } => missing
            .iter()
            .map(|name| size_of::<String>() + name.len())
            .sum(),
        Defect::WrongExportType { export, reason } => export.len() + reason.len(),
        Defect::NotWasm { first_bytes } => first_bytes.len(),
        Defect::CostlyToCompile { limit, .. } => limit.len(),
        Defect::Empty
        | Defect::Text
        | Defect::CoreModule
        | Defect::UnknownVersion { .. }
        | Defect::TooLarge { .. }
        | Defect::HostMemory { .. }
        | Defect::Unsupported { .. }
        | Defect::TooComplex { .. } => 0,
    }
}

/// What is short enough but has room to spare gives that back.
fn shorten(text: &mut String, max_bytes: usize) {
    text.truncate(text.floor_char_boundary(max_bytes));
    text.shrink_to_fit();
}

fn shorten_name(name: &mut Box<str>) {
    if name.len() > NAME_BYTES {
        *name = name[..name.floor_char_boundary(NAME_BYTES)].into();
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;
    use crate::{ComponentHandle, LimitsError, Resource};

    fn id() -> ComponentId {
        let segment = "x".repeat(ComponentId::MAX_SEGMENT_BYTES);
        ComponentId::new(&segment, &segment, &segment).unwrap()
    }

    /// As long as a guest's memory may be.
    fn long() -> String {
        "é".repeat(1 << 20)
    }

    /// Made by an engine that does not cut names itself.
    fn frames() -> Box<[WasmFrame]> {
        let mut frame = WasmFrame::new(Some("m".into()), Some("f".into()), 0, None);
        frame.function = Some(long());
        let mut frames = vec![WasmFrame::new(Some("m".into()), Some("f".into()), 0, None); 5_000];
        frames.push(frame);
        frames.into()
    }

    #[derive(Debug)]
    struct Endless;

    impl Display for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            loop {
                f.write_str("é")?;
            }
        }
    }

    impl StdError for Endless {}

    fn cause() -> Option<Cause> {
        Some(Arc::new(Endless))
    }

    fn large() -> Vec<WasmError> {
        let component = id();
        let trapped = |trap| WasmError::Trapped {
            component: id(),
            export: long().into(),
            trap,
            frames: frames(),
            fuel_consumed: 1,
            source: cause(),
            last_words: None,
        };
        let mut failed = trapped(Trap::Unreachable);
        for _ in 0..9 {
            failed = WasmError::ComponentFailed {
                component: id(),
                source: Arc::new(failed),
            };
        }
        vec![
            WasmError::EngineInitialization {
                reason: long(),
                source: cause(),
            },
            WasmError::ComponentNotFound {
                handle: ComponentHandle::new(id(), 9),
            },
            WasmError::LoadFailed {
                path: long().into(),
                reason: long(),
                source: cause(),
            },
            WasmError::InvalidComponent {
                component: component.clone(),
                defect: Defect::Malformed { reason: long() },
                source: cause(),
            },
            WasmError::InvalidComponent {
                component: component.clone(),
                defect: Defect::IncompleteLifecycle {
                    missing: vec![long(); 20],
                },
                source: cause(),
            },
            WasmError::InvalidComponent {
                component: component.clone(),
                defect: Defect::WrongExportType {
                    export: long(),
                    reason: long(),
                },
                source: cause(),
            },
            WasmError::InvalidComponent {
                component: component.clone(),
                defect: Defect::NotWasm {
                    first_bytes: vec![0; 1 << 20],
                },
                source: cause(),
            },
            WasmError::InvalidLimits {
                component: component.clone(),
                source: LimitsError::NoFuel,
            },
            WasmError::ImportNotFound {
                component: component.clone(),
                import: long(),
                reason: Unmet::OtherType {
                    wanted: long(),
                    provided: Some(long()),
                },
                others: 1,
                or_more: false,
                source: cause(),
            },
            WasmError::ExportNotFound {
                component: component.clone(),
                export: long().into(),
            },
            WasmError::InstantiationFailed {
                component: component.clone(),
                reason: long(),
                source: cause(),
            },
            WasmError::InitializationFailed {
                component: component.clone(),
                error: LifecycleError::InitializationFailed(long()),
            },
            trapped(Trap::HostPanic(long())),
            trapped(Trap::RefusedByHost(long())),
            trapped(Trap::Other(long())),
            WasmError::Timeout {
                component: component.clone(),
                export: long().into(),
                limit: Duration::from_secs(1),
                fuel_consumed: 0,
                frames: frames(),
            },
            WasmError::ResourceLimitExceeded {
                component: component.clone(),
                export: long().into(),
                resource: Resource::Fuel,
                limit: 1,
                requested: None,
                charged_ahead: false,
                fuel_consumed: 1,
                frames: frames(),
                source: cause(),
            },
            failed,
            WasmError::GuestError {
                component: component.clone(),
                error: GuestError::RuntimeError(long()),
            },
            WasmError::ShutdownFailed {
                component: component.clone(),
                error: LifecycleError::InvalidState(long()),
            },
            WasmError::InvalidArguments {
                component,
                export: long().into(),
                reason: long(),
            },
            WasmError::Unsupported { what: long() },
        ]
    }

    fn depth(error: &WasmError) -> usize {
        let mut below = error.source();
        let mut depth = 0;
        while let Some(error) = below {
            depth += 1;
            below = error.source();
        }
        depth
    }

    #[test]
    fn every_kept_error_is_small_and_begins_as_it_did() {
        for error in large() {
            let said = error.to_string();
            let kept = error.kept();
            assert!(
                kept.size_bytes() <= WasmError::MAX_KEPT_BYTES,
                "{} bytes: {kept}",
                kept.size_bytes()
            );
            // An error of another error has that below it; nothing else goes deeper.
            assert!(depth(&kept) <= 2, "{} layers: {kept}", depth(&kept));
            let beginning: String = said.chars().take(100).collect();
            assert!(kept.to_string().starts_with(&beginning), "{kept}");
            let again = kept.clone().kept();
            assert_eq!(format!("{again:?}"), format!("{kept:?}"));
        }
    }

    #[test]
    fn what_is_short_stays_as_it_is() {
        let frames: Box<[WasmFrame]> =
            vec![WasmFrame::new(Some("m".into()), Some("f".into()), 1, Some(2)); 32].into();
        let error = WasmError::Trapped {
            component: id(),
            export: "f".into(),
            trap: Trap::Other("odd".into()),
            frames: frames.clone(),
            fuel_consumed: 7,
            source: None,
            last_words: None,
        };
        let kept = error.clone().kept();
        assert_eq!(format!("{kept:?}"), format!("{error:?}"));
        assert_eq!(kept.frames(), &*frames);
    }

    #[test]
    fn of_last_words_the_end_is_kept() {
        let error = WasmError::Trapped {
            component: id(),
            export: "f".into(),
            trap: Trap::Unreachable,
            frames: Box::default(),
            fuel_consumed: 0,
            source: None,
            last_words: Some(format!("{}the end", "ü".repeat(1_000)).into()),
        };
        let WasmError::Trapped { last_words, .. } = error.kept() else {
            panic!("it is another error");
        };
        let words = last_words.unwrap();
        assert!(
            words.ends_with("the end") && words.len() <= NAME_BYTES,
            "{words}"
        );
    }

    #[test]
    fn the_innermost_frames_are_kept() {
        let frame = |n| {
            let name = "n".repeat(256);
            WasmFrame::new(Some(name.clone()), Some(name), n, None)
        };
        let error = WasmError::Timeout {
            component: id(),
            export: "f".into(),
            limit: Duration::from_secs(1),
            fuel_consumed: 0,
            frames: (0..32).map(frame).collect(),
        };
        let kept = error.kept();
        let indices: Vec<u32> = kept.frames().iter().map(|f| f.function_index).collect();
        assert!(indices.len() >= 8, "{indices:?}");
        assert!(indices.iter().copied().eq(0..indices.len() as u32));
    }

    fn text_bytes(error: &WasmError) -> usize {
        match error {
            WasmError::GuestError { error, .. } => error.text().unwrap().len(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn of_each_part_so_much_is_kept() {
        let text = WasmError::GuestError {
            component: id(),
            error: GuestError::RuntimeError("x".repeat(1 << 20)),
        };
        assert_eq!(text_bytes(&text.kept()), 4 << 10);
        let name = WasmError::ExportNotFound {
            component: id(),
            export: "x".repeat(1 << 20).into(),
        };
        let WasmError::ExportNotFound { export, .. } = name.kept() else {
            unreachable!();
        };
        assert_eq!(export.len(), 1 << 10);
        let called = WasmError::Timeout {
            component: id(),
            export: "f".into(),
            limit: Duration::from_secs(1),
            fuel_consumed: 0,
            frames: frames(),
        };
        let bytes = frames_bytes(called.kept().frames());
        assert!((5 << 10..=6 << 10).contains(&bytes), "{bytes}");
        let listed = WasmError::InvalidComponent {
            component: id(),
            defect: Defect::IncompleteLifecycle {
                missing: vec!["f".into(); 20],
            },
            source: None,
        };
        let WasmError::InvalidComponent { defect, .. } = listed.kept() else {
            unreachable!();
        };
        let missing = vec!["f".to_owned(); 16];
        assert_eq!(defect, Defect::IncompleteLifecycle { missing });
    }

    #[test]
    fn a_size_is_that_of_an_error_its_ids_and_its_texts() {
        let handle = ComponentHandle::new(id(), 1);
        let bare = WasmError::ComponentNotFound { handle }.size_bytes();
        assert_eq!(bare, size_of::<WasmError>() + id().to_string().len());
        let text = |bytes: usize| "x".repeat(bytes);
        // Of a cause that is not kept, the most is counted.
        let source = || Some(Arc::new(Endless) as Cause);
        let frame = WasmFrame::new(Some(text(3)), Some(text(4)), 0, None);
        let frames = || -> Box<[WasmFrame]> { vec![frame.clone(); 2].into() };
        let of_frames = 2 * (size_of::<WasmFrame>() + 7);
        let import = |reason| WasmError::ImportNotFound {
            component: id(),
            import: text(10),
            reason,
            others: 0,
            or_more: false,
            source: source(),
        };
        let trapped = |trap| WasmError::Trapped {
            component: id(),
            export: text(10).into(),
            trap,
            frames: frames(),
            fuel_consumed: 0,
            source: source(),
            last_words: Some(text(5).into()),
        };
        let defect = |defect| WasmError::InvalidComponent {
            component: id(),
            defect,
            source: source(),
        };
        let with_text = [
            (WasmError::Unsupported { what: text(100) }, 100),
            (
                WasmError::EngineInitialization {
                    reason: text(10),
                    source: source(),
                },
                10 + CAUSE_BYTES,
            ),
            (
                WasmError::LoadFailed {
                    path: text(10).into(),
                    reason: text(20),
                    source: source(),
                },
                30 + CAUSE_BYTES,
            ),
            (
                defect(Defect::WrongExportType {
                    export: text(10),
                    reason: text(20),
                }),
                30 + CAUSE_BYTES,
            ),
            (
                defect(Defect::IncompleteLifecycle {
                    missing: vec![text(10); 2],
                }),
                2 * (size_of::<String>() + 10) + CAUSE_BYTES,
            ),
            (
                import(Unmet::OtherType {
                    wanted: text(20),
                    provided: Some(text(40)),
                }),
                70 + CAUSE_BYTES,
            ),
            (
                import(Unmet::OtherVersion { provided: text(20) }),
                30 + CAUSE_BYTES,
            ),
            (
                WasmError::ExportNotFound {
                    component: id(),
                    export: text(100).into(),
                },
                100,
            ),
            (
                WasmError::ShutdownFailed {
                    component: id(),
                    error: LifecycleError::ShutdownFailed(text(100)),
                },
                100,
            ),
            (trapped(Trap::Unreachable), 15 + of_frames + CAUSE_BYTES),
            (
                trapped(Trap::HostPanic(text(20))),
                35 + of_frames + CAUSE_BYTES,
            ),
            (
                WasmError::Timeout {
                    component: id(),
                    export: text(10).into(),
                    limit: Duration::from_secs(1),
                    fuel_consumed: 0,
                    frames: frames(),
                },
                10 + of_frames,
            ),
            (
                WasmError::ResourceLimitExceeded {
                    component: id(),
                    export: text(10).into(),
                    resource: Resource::Fuel,
                    limit: 1,
                    requested: None,
                    charged_ahead: false,
                    fuel_consumed: 1,
                    frames: frames(),
                    source: source(),
                },
                10 + of_frames + CAUSE_BYTES,
            ),
            (
                WasmError::GuestError {
                    component: id(),
                    error: GuestError::RuntimeError(text(100)),
                },
                100,
            ),
            (
                WasmError::InvalidArguments {
                    component: id(),
                    export: text(40).into(),
                    reason: text(60),
                },
                100,
            ),
        ];
        for (error, more) in with_text {
            assert_eq!(error.size_bytes(), bare + more, "{error:?}");
        }
    }

    /// What is no text cannot be shortened without becoming another.
    #[cfg(unix)]
    #[test]
    fn a_path_that_is_short_enough_stays_as_it_is() {
        use std::ffi::OsString;
        use std::os::unix::ffi::OsStringExt as _;
        use std::path::PathBuf;

        let of = |length| {
            let mut name = vec![b'x'; length];
            name[0] = 0xff;
            let path = PathBuf::from(OsString::from_vec(name));
            let error = WasmError::LoadFailed {
                path: path.clone(),
                reason: String::new(),
                source: None,
            };
            let WasmError::LoadFailed { path: kept, .. } = error.kept() else {
                unreachable!();
            };
            kept == path
        };
        assert!(of(TEXT_BYTES));
        assert!(!of(TEXT_BYTES + 1));
    }

    #[test]
    fn of_what_is_below_so_much_is_kept() {
        let said = |cause: Cause| {
            let error = WasmError::EngineInitialization {
                reason: "no".into(),
                source: Some(cause),
            };
            error.kept().source().unwrap().to_string()
        };
        assert_eq!(
            said(Arc::new(io::Error::other("x".repeat(9_000)))).len(),
            1 << 10
        );

        #[derive(Debug)]
        struct Layer(Option<Box<Self>>);
        impl Display for Layer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("x")
            }
        }
        impl StdError for Layer {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                let below: &Self = self.0.as_deref()?;
                Some(below)
            }
        }
        let layers = (0..20).fold(Layer(None), |below, _| Layer(Some(Box::new(below))));
        assert_eq!(said(Arc::new(layers)), ["x"; 8].join(": "));
    }

    #[test]
    fn what_is_below_is_one_text() {
        let inner = io::Error::new(io::ErrorKind::NotFound, "inner");
        let cause: Cause = Arc::new(io::Error::other(inner));
        let error = WasmError::EngineInitialization {
            reason: "no".into(),
            source: Some(cause),
        };
        let kept = error.kept();
        let source = kept.source().unwrap();
        assert!(source.to_string().starts_with("inner"), "{source}");
        assert_eq!(depth(&kept), 1);
    }
}
