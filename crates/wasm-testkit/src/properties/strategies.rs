//! Arbitrary values of the types of `wasm-core`, for [`proptest`].
//!
//! All that the contract allows can come up; what is found shrinks towards the
//! plainest value.

mod errors;
mod ids;
mod permissions;
mod text;

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::any;
use proptest::sample::select;
use proptest::strategy::{Just, Strategy};
use proptest::{prop_compose, prop_oneof};

use wasm_core::{
    ComponentConfig, ComponentInfo, ComponentMessage, ComponentMetadata, ComponentState,
    ComponentUsage, HealthStatus, MessagePayload, ResourceLimits, RestartPolicy, StorageUsage,
    Supervision, Timestamp,
};

use self::text::TEXT;

pub use self::errors::{
    capabilities_denied, defects, guest_errors, lifecycle_errors, limits_errors, messaging_errors,
    storage_errors, traps, wasm_errors, wasm_frames,
};
pub use self::ids::{component_handles, component_ids, component_patterns, correlation_ids};
pub use self::permissions::{capabilities, log_levels, permissions, wasi_grants};

/// Bytes, texts and, at times, as many bytes as strain the memory of a component.
pub fn payloads() -> impl Strategy<Value = MessagePayload> {
    prop_oneof![
        4 => TEXT.prop_map(MessagePayload::from),
        4 => vec(any::<u8>(), 0..64).prop_map(MessagePayload::from),
        1 => (0_usize..1 << 20).prop_map(|length| vec![b'x'; length].into()),
    ]
}

prop_compose! {
    /// From the epoch to the end of time.
    pub fn timestamps()(
        seconds in prop_oneof![0_u64..1 << 33, any::<u64>()],
        nanoseconds in 0_u32..1_000_000_000,
    ) -> Timestamp {
        Timestamp { seconds, nanoseconds }
    }
}

/// Messages with any part of an envelope and any [payload](payloads).
pub fn messages() -> impl Strategy<Value = ComponentMessage> {
    messages_with(payloads())
}

/// Messages with these payloads and any part of an envelope.
pub fn messages_with(
    payloads: impl Strategy<Value = MessagePayload>,
) -> impl Strategy<Value = ComponentMessage> {
    let parties = (component_ids(), component_ids());
    let envelope = (
        option::weighted(0.2, TEXT),
        option::weighted(0.2, correlation_ids()),
        option::weighted(0.2, component_ids()),
        prop_oneof![4 => Just(Timestamp::default()), 1 => timestamps()],
    );
    (parties, payloads, envelope).prop_map(|((sender, recipient), payload, envelope)| {
        let (message_type, correlation_id, reply_to, timestamp) = envelope;
        let mut message = ComponentMessage::new(sender, recipient, payload);
        message.message_type = message_type.map(Into::into);
        message.correlation_id = correlation_id;
        message.reply_to = reply_to;
        message.timestamp = timestamp;
        message
    })
}

prop_compose! {
    /// Everything that [`ResourceLimits::new`] accepts; what an engine grants unless
    /// its operator raised the ceiling comes up most.
    pub fn resource_limits()(
        memory_bytes in prop_oneof![
            4 => ResourceLimits::MIN_MEMORY_BYTES..=ResourceLimits::DEFAULT_MEMORY_CEILING_BYTES,
            1 => ResourceLimits::MIN_MEMORY_BYTES..=ResourceLimits::MAX_MEMORY_BYTES,
        ],
        // A day has 86,400,000 ms.
        timeout in (1..=86_400_000_u64).prop_map(Duration::from_millis),
        fuel in option::of(1..=u64::MAX),
    ) -> ResourceLimits {
        ResourceLimits::new(memory_bytes, timeout, fuel).expect("they are in range")
    }
}

prop_compose! {
    /// Any limits, environment, data and permissions.
    pub fn component_configs()(
        limits in resource_limits(),
        env in vec(("[A-Z_]{1,12}", TEXT), 0..4),
        config_data in option::of(payloads()),
        permissions in permissions(),
    ) -> ComponentConfig {
        let mut config = ComponentConfig::new(limits).with_permissions(permissions);
        config.env = env;
        config.config_data = config_data;
        config
    }
}

prop_compose! {
    /// Anything from never to all the time.
    pub fn supervisions()(
        restart in select(&RestartPolicy::ALL[..]),
        max_restarts in any::<u32>(),
        within in (0_u64..1 << 32).prop_map(Duration::from_millis),
        backoff in (0..=5_000_u64).prop_map(Duration::from_millis),
        mailbox in 1..=Supervision::MAX_MAILBOX,
    ) -> Supervision {
        let mut supervision = Supervision::default();
        supervision.restart = restart;
        supervision.max_restarts = max_restarts;
        supervision.within = within;
        supervision.backoff = backoff;
        supervision.mailbox = mailbox;
        supervision
    }
}

/// Every status.
pub fn health_statuses() -> impl Strategy<Value = HealthStatus> {
    select(
        &[
            HealthStatus::Healthy,
            HealthStatus::Degraded,
            HealthStatus::Unhealthy,
            HealthStatus::Unknown,
        ][..],
    )
}

prop_compose! {
    /// Whatever a component may say of itself.
    pub fn component_metadata()(
        [name, version, description, author, license] in [TEXT; 5],
        supported_operations in vec(TEXT, 0..4),
        stateful in any::<bool>(),
    ) -> ComponentMetadata {
        ComponentMetadata {
            name,
            version,
            description,
            author,
            license,
            supported_operations,
            stateful,
        }
    }
}

prop_compose! {
    /// Any counts, whether or not a component comes by them.
    pub fn component_usages()(
        state in select(
            &[ComponentState::Ready, ComponentState::Busy, ComponentState::Failed][..],
        ),
        [memory_bytes, peak_memory_bytes, last_call_fuel, total_fuel] in any::<[u64; 4]>(),
        [calls, traps, timeouts, restarts] in any::<[u64; 4]>(),
    ) -> ComponentUsage {
        let mut usage = ComponentUsage::new(state);
        usage.memory_bytes = memory_bytes;
        usage.peak_memory_bytes = peak_memory_bytes;
        usage.last_call_fuel = last_call_fuel;
        usage.total_fuel = total_fuel;
        usage.calls = calls;
        usage.traps = traps;
        usage.timeouts = timeouts;
        usage.restarts = restarts;
        usage
    }
}

prop_compose! {
    /// Entries of a directory.
    pub fn component_infos()(
        id in component_ids(),
        [name, version] in [TEXT; 2],
        health in health_statuses(),
    ) -> ComponentInfo {
        ComponentInfo { id, name, version, health }
    }
}

prop_compose! {
    /// Any sums.
    pub fn storage_usages()(
        [used_bytes, key_count] in any::<[u64; 2]>(),
    ) -> StorageUsage {
        StorageUsage { used_bytes, key_count }
    }
}
