use std::net::SocketAddr;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::any;
use proptest::sample::select;
use proptest::strategy::{Just, Strategy};
use proptest::{prop_compose, prop_oneof};

use wasm_core::{Capability, DirAccess, LogLevel, Permissions, WasiGrant};

use super::ids::{component_ids, component_patterns};

/// Every level.
pub fn log_levels() -> impl Strategy<Value = LogLevel> {
    select(&LogLevel::ALL[..])
}

/// One of each kind.
pub fn capabilities() -> impl Strategy<Value = Capability> {
    prop_oneof![
        Just(Capability::Storage),
        log_levels().prop_map(Capability::Log),
        component_ids().prop_map(Capability::Send),
        component_ids().prop_map(Capability::Request),
        component_ids().prop_map(Capability::Broadcast),
    ]
}

/// One of each kind; the directories need not exist.
pub fn wasi_grants() -> impl Strategy<Value = WasiGrant> {
    let access = select(&[DirAccess::Read, DirAccess::Write][..]);
    let dir = ("(/[a-z]{1,8}){1,3}", "(/[a-z]{1,8}){1,3}", access);
    prop_oneof![
        Just(WasiGrant::Stdout),
        Just(WasiGrant::Stderr),
        Just(WasiGrant::Env),
        any::<SocketAddr>().prop_map(WasiGrant::Connect),
        dir.prop_map(|(guest, host, access)| WasiGrant::Dir {
            guest,
            host: host.into(),
            access,
            quota: None,
        }),
    ]
}

prop_compose! {
    /// From nothing to everything.
    pub fn permissions()(
        send in vec(component_patterns(), 0..3),
        request in vec(component_patterns(), 0..3),
        broadcast in vec(component_patterns(), 0..3),
        storage in option::of(any::<u64>()),
        log in option::of(log_levels()),
        wasi in vec(wasi_grants(), 0..3),
    ) -> Permissions {
        let mut permissions = Permissions::default();
        permissions.send = send;
        permissions.request = request;
        permissions.broadcast = broadcast;
        permissions.storage = storage;
        permissions.log = log;
        permissions.wasi = wasi;
        permissions
    }
}
