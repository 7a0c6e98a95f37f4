//! What plugins can do to each other and to the shop: nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use plugins::{Offer, Plugin, Plugins, Shop, permitted};
use wasm_core::{
    Capability, CapabilityDenied, ComponentHandle, HostServices, Permissions, Resource,
    SecurityValidator, Trap, WasmError,
};
use wasm_runtime::GuestCall;

fn shop() -> Plugins {
    Plugins::new(HostServices::default()).unwrap()
}

#[tokio::test]
async fn a_hundred_instances_each_have_their_own_state() {
    let shop = shop();
    let mut loaded = Vec::new();
    for percent in 0..100 {
        loaded.push(shop.load("grocer", percent, permitted()).await.unwrap());
    }
    for (percent, plugin) in (0..).zip(&loaded) {
        let cart = shop.open_cart(plugin, "ada").await.unwrap();
        for n in 1..=percent % 3 + 1 {
            let owes = shop.buy(plugin, cart, "tea", 1).await.unwrap();
            assert_eq!(owes, 300 * n * (100 - percent) / 100);
        }
    }
    for (percent, plugin) in (0..).zip(&loaded) {
        let asked = shop
            .engine
            .call(plugin, "asked", |call: GuestCall<'_, Shop, Plugin>| {
                Box::pin(async move { Ok(call.store.data().data().asked) })
            });
        assert_eq!(asked.await.unwrap(), percent % 3 + 1);
    }
}

#[tokio::test]
async fn what_a_plugin_does_ends_that_plugin_alone() {
    let shop = shop();
    let grocer = shop.load("grocer", 0, permitted()).await.unwrap();
    let fails = async |name| {
        let plugin = shop.load(name, 0, permitted()).await.unwrap();
        shop.quote(&plugin, "tea", 1).await.unwrap_err()
    };
    let error = fails("loops").await;
    assert!(matches!(error, WasmError::Timeout { .. }), "{error}");
    let error = fails("allocates").await;
    assert!(
        matches!(
            error,
            WasmError::ResourceLimitExceeded {
                resource: Resource::Memory,
                ..
            }
        ),
        "{error}"
    );
    let error = fails("panics").await;
    assert!(
        matches!(
            error,
            WasmError::Trapped {
                trap: Trap::Unreachable,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("no tea today"), "{error}");
    let offer = shop.quote(&grocer, "tea", 2).await.unwrap();
    assert_eq!(offer, Offer::Sold(600));
}

#[tokio::test]
async fn a_plugin_without_the_permission_is_not_loaded() {
    let error = shop().load("grocer", 0, Permissions::default()).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "shop/grocer/0 imports `acme:shop/catalog@1.0.0`, which is not granted by `imports` in \
         [permissions]"
    );
}

/// Takes the permission back when it is told to.
#[derive(Default)]
struct Revoker(AtomicBool);

impl SecurityValidator for Revoker {
    fn validate(
        &self,
        _: &ComponentHandle,
        capability: &Capability,
    ) -> Result<(), CapabilityDenied> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(CapabilityDenied {
                capability: capability.clone(),
                reason: "the shop is closed".to_owned(),
            }),
            false => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_permission_is_taken_back_from_the_next_call_on() {
    let revoker = Arc::new(Revoker::default());
    let services = HostServices::default().with_validator(revoker.clone());
    let shop = Plugins::new(services).unwrap();
    let grocer = shop.load("grocer", 0, permitted()).await.unwrap();
    shop.quote(&grocer, "honey", 9).await.unwrap();
    revoker.0.store(true, Ordering::Relaxed);
    let error = shop.quote(&grocer, "honey", 9).await.unwrap_err();
    assert!(error.to_string().contains("the shop is closed"), "{error}");
}

#[tokio::test]
async fn a_cart_is_gone_with_its_plugin() {
    let shop = shop();
    let grocer = shop.load("grocer", 0, permitted()).await.unwrap();
    let cart = shop.open_cart(&grocer, "ada").await.unwrap();
    assert_eq!(shop.buy(&grocer, cart, "honey", 2).await.unwrap(), 1_400);
    shop.engine.restart_component(&grocer).await.unwrap();
    let error = shop.buy(&grocer, cart, "honey", 1).await.unwrap_err();
    assert!(
        matches!(error, WasmError::InvalidArguments { .. }),
        "{error}"
    );
    // It cost the new instance nothing.
    assert_eq!(
        shop.quote(&grocer, "cake", 1).await.unwrap(),
        Offer::Unknown
    );
}
