use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::any;
use proptest::sample::select;
use proptest::strategy::{Just, Strategy};
use proptest::{prop_compose, prop_oneof};

use wasm_core::{
    CapabilityDenied, ComponentId, Defect, GuestError, LifecycleError, LimitsError, MessagingError,
    Resource, StorageError, Trap, Unmet, WasmError, WasmFrame,
};

use super::ids::{component_handles, component_ids, correlation_ids};
use super::permissions::capabilities;
use super::text::TEXT;

/// Every case, with any text.
pub fn guest_errors() -> impl Strategy<Value = GuestError> {
    prop_oneof![
        TEXT.prop_map(GuestError::RuntimeError),
        Just(GuestError::Timeout),
        TEXT.prop_map(GuestError::ComponentNotFound),
        TEXT.prop_map(GuestError::InstantiationFailed),
        TEXT.prop_map(GuestError::ExportNotFound),
        TEXT.prop_map(GuestError::ResourceLimitExceeded),
        TEXT.prop_map(GuestError::InvalidComponent),
    ]
}

/// Every case, with any text.
pub fn lifecycle_errors() -> impl Strategy<Value = LifecycleError> {
    prop_oneof![
        Just(LifecycleError::AlreadyInitialized),
        Just(LifecycleError::NotInitialized),
        TEXT.prop_map(LifecycleError::InitializationFailed),
        TEXT.prop_map(LifecycleError::ShutdownFailed),
        TEXT.prop_map(LifecycleError::InvalidState),
    ]
}

/// Every trap, with any text.
pub fn traps() -> impl Strategy<Value = Trap> {
    prop_oneof![
        Just(Trap::Unreachable),
        Just(Trap::MemoryOutOfBounds),
        Just(Trap::TableOutOfBounds),
        Just(Trap::IndirectCallToNull),
        Just(Trap::BadSignature),
        Just(Trap::IntegerOverflow),
        Just(Trap::IntegerDivisionByZero),
        Just(Trap::BadConversionToInteger),
        Just(Trap::StackOverflow),
        TEXT.prop_map(Trap::HostPanic),
        TEXT.prop_map(Trap::RefusedByHost),
        TEXT.prop_map(Trap::Other),
    ]
}

/// Every case, with any text.
pub fn messaging_errors() -> impl Strategy<Value = MessagingError> {
    prop_oneof![
        Just(MessagingError::QueueFull),
        TEXT.prop_map(MessagingError::DeliveryFailed),
        TEXT.prop_map(MessagingError::InvalidMessage),
        correlation_ids().prop_map(MessagingError::CorrelationTimeout),
        component_ids().prop_map(MessagingError::TargetNotFound),
    ]
}

/// Every case, with any text.
pub fn storage_errors() -> impl Strategy<Value = StorageError> {
    prop_oneof![
        Just(StorageError::QuotaExceeded),
        TEXT.prop_map(StorageError::NotFound),
        TEXT.prop_map(StorageError::AlreadyExists),
        TEXT.prop_map(StorageError::InvalidKey),
        TEXT.prop_map(StorageError::Io),
    ]
}

prop_compose! {
    /// Of every capability, for any reason.
    pub fn capabilities_denied()(
        capability in capabilities(),
        reason in TEXT,
    ) -> CapabilityDenied {
        CapabilityDenied { capability, reason }
    }
}

/// Every case; what was found need not be out of range.
pub fn limits_errors() -> impl Strategy<Value = LimitsError> {
    prop_oneof![
        Just(LimitsError::NoFuel),
        any::<[u64; 2]>().prop_map(|[found, ceiling]| LimitsError::Memory { found, ceiling }),
        durations().prop_map(|found| LimitsError::Timeout { found }),
        any::<u64>().prop_map(|found| LimitsError::FuelNotCounted { found }),
    ]
}

/// Every case, with any text and number.
pub fn defects() -> impl Strategy<Value = Defect> {
    prop_oneof![
        Just(Defect::Empty),
        Just(Defect::Text),
        Just(Defect::CoreModule),
        vec(any::<u8>(), 1..=16).prop_map(|first_bytes| Defect::NotWasm { first_bytes }),
        any::<[u8; 4]>().prop_map(|version| Defect::UnknownVersion { version }),
        any::<[u64; 2]>().prop_map(|[bytes, limit]| Defect::TooLarge { bytes, limit }),
        TEXT.prop_map(|reason| Defect::Malformed { reason }),
        vec(TEXT, 1..4).prop_map(|missing| Defect::IncompleteLifecycle { missing }),
        TEXT.prop_map(|exported| Defect::OtherLifecycle { exported }),
        [TEXT; 2].prop_map(|[export, reason]| Defect::WrongExportType { export, reason }),
        (select(&["memories", "tables"][..]), any::<[u64; 2]>())
            .prop_map(|(what, [found, limit])| Defect::TooComplex { what, found, limit }),
    ]
}

prop_compose! {
    /// With and without names.
    pub fn wasm_frames()(
        module in option::of(TEXT),
        function in option::of(TEXT),
        function_index in any::<u32>(),
        offset in option::of(any::<u64>()),
    ) -> WasmFrame {
        WasmFrame::new(module, function, function_index, offset)
    }
}

/// Every case but for the causes below, which are an engine's own; the source of a
/// component that failed is none itself.
pub fn wasm_errors() -> impl Strategy<Value = WasmError> {
    let failed = (component_ids(), plain_wasm_errors().prop_map(Arc::new));
    prop_oneof![
        9 => plain_wasm_errors(),
        1 => failed.prop_map(|(component, source)| {
            WasmError::ComponentFailed { component, source }
        }),
    ]
}

fn plain_wasm_errors() -> impl Strategy<Value = WasmError> {
    prop_oneof![
        load_errors(),
        stops(),
        of_component(guest_errors(), |component, error| WasmError::GuestError {
            component,
            error
        }),
        of_component(lifecycle_errors(), |component, error| {
            WasmError::ShutdownFailed { component, error }
        }),
        of_component([TEXT; 2], |component, [export, reason]| {
            let export = export.into();
            WasmError::InvalidArguments {
                component,
                export,
                reason,
            }
        }),
        of_component(TEXT, |component, export| {
            let export = export.into();
            WasmError::ExportNotFound { component, export }
        }),
        component_handles().prop_map(|handle| WasmError::ComponentNotFound { handle }),
        TEXT.prop_map(|what| WasmError::Unsupported { what }),
    ]
}

/// Those of loading and what comes before.
fn load_errors() -> impl Strategy<Value = WasmError> {
    prop_oneof![
        TEXT.prop_map(|reason| WasmError::EngineInitialization {
            reason,
            source: None
        }),
        ("(/[a-z]{1,8}){1,3}", TEXT).prop_map(|(path, reason)| {
            let path = path.into();
            WasmError::LoadFailed {
                path,
                reason,
                source: None,
            }
        }),
        of_component(defects(), |component, defect| {
            WasmError::InvalidComponent {
                component,
                defect,
                source: None,
            }
        }),
        of_component(limits_errors(), |component, source| {
            WasmError::InvalidLimits { component, source }
        }),
        of_component(TEXT, |component, import| {
            WasmError::ImportNotFound {
                component,
                import,
                reason: Unmet::Missing,
                others: 0,
                or_more: false,
                source: None,
            }
        }),
        of_component(TEXT, |component, reason| {
            WasmError::InstantiationFailed {
                component,
                reason,
                source: None,
            }
        }),
        of_component(lifecycle_errors(), |component, error| {
            WasmError::InitializationFailed { component, error }
        }),
    ]
}

/// Those after which the instance is gone.
fn stops() -> impl Strategy<Value = WasmError> {
    let place = || (TEXT, any::<u64>(), vec(wasm_frames(), 0..3));
    let excess = (
        select(&[Resource::Memory, Resource::Fuel][..]),
        any::<u64>(),
        option::of(any::<u64>()),
    );
    prop_oneof![
        of_component((traps(), place()), |component, (trap, place)| {
            let (export, fuel_consumed, frames) = place;
            WasmError::Trapped {
                component,
                export: export.into(),
                trap,
                frames: frames.into(),
                fuel_consumed,
                source: None,
                last_words: None,
            }
        }),
        of_component((durations(), place()), |component, (limit, place)| {
            let (export, fuel_consumed, frames) = place;
            WasmError::Timeout {
                component,
                export: export.into(),
                limit,
                fuel_consumed,
                frames: frames.into(),
            }
        }),
        of_component((excess, place()), |component, (excess, place)| {
            let (resource, limit, requested) = excess;
            let (export, fuel_consumed, frames) = place;
            WasmError::ResourceLimitExceeded {
                component,
                export: export.into(),
                resource,
                limit,
                requested,
                charged_ahead: false,
                fuel_consumed,
                frames: frames.into(),
                source: None,
            }
        }),
    ]
}

fn of_component<T: Debug>(
    about: impl Strategy<Value = T>,
    error: fn(ComponentId, T) -> WasmError,
) -> impl Strategy<Value = WasmError> {
    (component_ids(), about).prop_map(move |(component, about)| error(component, about))
}

fn durations() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_millis)
}
