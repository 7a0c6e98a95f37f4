//! A world of the embedder, under the same limits as the contract's.

use std::future::pending;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wasm_core::{
    Capability, CapabilityDenied, ComponentConfig, ComponentHandle, ComponentId, ComponentState,
    HostServices, Permissions, Resource, SecurityValidator, Trap, Unmet, UnmetImport, WasmError,
};
use wasm_fixtures::PLUGIN;
use wasm_runtime::wasmtime::component::{Instance, Linker, Resource as Handle, ResourceAny, Val};
use wasm_runtime::wasmtime::{Error, Result as HostResult, Store};
use wasm_runtime::{
    Allocation, Bindings, EngineConfig, GuestCall, HasView, HostInterface, HostState, HostView,
    View, WasmtimeEngine, resources_in,
};

use crate::support::{config, fuelled, id, timed, with_memory, within};

mod generated {
    wasm_runtime::wasmtime::component::bindgen!({
        path: "../wasm-fixtures/wit/shop.wit",
        world: "plugin",
        imports: { default: async | trappable },
        exports: { default: async },
        with: { "acme:shop/catalog.coupon": super::Coupon },
        wasmtime_crate: wasm_runtime::wasmtime,
    });
}

use generated::Plugin;
use generated::acme::shop::catalog;

const CATALOG: &str = "acme:shop/catalog@1.0.0";

#[expect(unreachable_pub, reason = "the generated code re-exports it")]
pub struct Coupon {
    percent: u32,
}

/// What the host has for each instance.
struct Shop {
    /// Of the component, as it is named.
    percent: u32,
    asked: u32,
}

impl catalog::Host for HostView<'_, Shop> {
    async fn price(&mut self, item: String) -> HostResult<Option<u64>> {
        self.data.asked += 1;
        match &*item {
            "tea" => Ok(Some(300)),
            "coffee" => {
                tokio::task::yield_now().await;
                Ok(Some(400))
            }
            "late" => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                Ok(None)
            }
            "panic" => panic!("the shelf fell over"),
            "error" => Err(Error::msg("the till is broken")),
            "hoard" => loop {
                self.table.push(Coupon { percent: 0 })?;
            },
            _ => Ok(None),
        }
    }

    async fn own_coupon(&mut self) -> HostResult<Option<Handle<Coupon>>> {
        let percent = self.data.percent;
        if percent == 0 {
            return Ok(None);
        }
        Ok(Some(self.table.push(Coupon { percent })?))
    }
}

impl catalog::HostCoupon for HostView<'_, Shop> {
    async fn percent(&mut self, coupon: Handle<Coupon>) -> HostResult<u32> {
        Ok(self.table.get(&coupon)?.percent)
    }

    async fn drop(&mut self, coupon: Handle<Coupon>) -> HostResult<()> {
        self.table.delete(coupon)?;
        Ok(())
    }
}

struct Catalog;

impl HostInterface<Shop> for Catalog {
    const NAME: &'static str = CATALOG;

    fn add_to_linker(linker: &mut Linker<HostState<Shop>>, view: View<Shop>) -> HostResult<()> {
        catalog::add_to_linker::<_, HasView<Shop>>(linker, view)
    }
}

impl Bindings<Shop> for Plugin {
    fn bind(store: &mut Store<HostState<Shop>>, instance: &Instance) -> HostResult<Self> {
        Plugin::new(store, instance)
    }
}

fn shop_engine(services: HostServices) -> WasmtimeEngine<Shop> {
    // The instances of a component are named by what comes off the price.
    let shop = |id: &ComponentId, _: &ComponentConfig| {
        let percent = id.instance().parse()?;
        Ok(Shop { percent, asked: 0 })
    };
    let mut engine =
        WasmtimeEngine::with_data(EngineConfig::default(), services, move |id, config| {
            shop(id, config).map_err(|error: std::num::ParseIntError| Arc::new(error) as _)
        })
        .unwrap();
    engine.add_interface::<Catalog>().unwrap();
    engine
}

fn granted(config: ComponentConfig) -> ComponentConfig {
    let mut permissions = Permissions::default();
    permissions.imports = vec!["acme:shop/catalog".parse().unwrap()];
    config.with_permissions(permissions)
}

async fn load(
    engine: &WasmtimeEngine<Shop>,
    name: &str,
    config: ComponentConfig,
) -> Result<ComponentHandle, WasmError> {
    let id = id(name);
    within(engine.load_component(&id, PLUGIN.wasm.into(), config)).await
}

async fn plugin(engine: &WasmtimeEngine<Shop>, config: ComponentConfig) -> ComponentHandle {
    load(engine, "shop/plugin/0", granted(config))
        .await
        .unwrap()
}

async fn quote(
    engine: &WasmtimeEngine<Shop>,
    plugin: &ComponentHandle,
    item: &'static str,
    count: u32,
) -> Result<Option<u64>, WasmError> {
    let call = engine.call(plugin, "quote", move |call: GuestCall<'_, Shop, Plugin>| {
        Box::pin(async move { call.bindings.call_quote(call.store, item, count).await })
    });
    within(call).await
}

async fn quotes(engine: &WasmtimeEngine<Shop>, plugin: &ComponentHandle) -> u32 {
    let call = engine.call(plugin, "quotes", |call: GuestCall<'_, Shop, Plugin>| {
        Box::pin(async move { call.bindings.call_quotes(call.store).await })
    });
    within(call).await.unwrap()
}

#[tokio::test]
async fn each_instance_has_its_own_state_on_both_sides() {
    let engine = shop_engine(HostServices::default());
    let mut plugins = Vec::new();
    for percent in 0..100 {
        let name = format!("shop/plugin/{percent}");
        plugins.push(load(&engine, &name, granted(config())).await.unwrap());
    }
    for (percent, plugin) in (0..).zip(&plugins) {
        for _ in 0..=percent % 3 {
            let cents = quote(&engine, plugin, "tea", 2).await.unwrap();
            assert_eq!(cents, Some(600 * (100 - percent) / 100));
        }
    }
    assert_eq!(
        quote(&engine, &plugins[10], "coffee", 1).await.unwrap(),
        Some(360)
    );
    assert_eq!(quote(&engine, &plugins[10], "gold", 1).await.unwrap(), None);
    for (percent, plugin) in (0..).zip(&plugins) {
        let more = if percent == 10 { 2 } else { 0 };
        assert_eq!(quotes(&engine, plugin).await, percent % 3 + 1 + more);
        let asked = engine.call(plugin, "asked", |call: GuestCall<'_, Shop, Plugin>| {
            Box::pin(async move { Ok(call.store.data().data().asked) })
        });
        assert_eq!(within(asked).await.unwrap(), percent % 3 + 1 + more);
    }
}

#[tokio::test]
async fn a_restart_makes_the_state_anew() {
    let engine = shop_engine(HostServices::default());
    let plugin = plugin(&engine, config()).await;
    quote(&engine, &plugin, "tea", 1).await.unwrap();
    assert_eq!(quotes(&engine, &plugin).await, 1);
    engine.restart_component(&plugin).await.unwrap();
    assert_eq!(quotes(&engine, &plugin).await, 0);
    let usage = engine.usage(&plugin).unwrap();
    assert_eq!((usage.calls, usage.restarts), (3, 1));
}

#[tokio::test]
async fn state_that_cannot_be_made_is_told() {
    let engine = shop_engine(HostServices::default());
    let error = load(&engine, "shop/plugin/main", granted(config())).await;
    let error = error.unwrap_err();
    assert!(
        matches!(&error, WasmError::InstantiationFailed { reason, source: Some(_), .. }
            if reason.contains("the host's data for it could not be made: invalid digit")),
        "{error}"
    );
    let panics = WasmtimeEngine::<Shop>::with_data(
        EngineConfig::default(),
        HostServices::default(),
        |_, _| panic!("no shop today"),
    );
    let bytes = wasm_fixtures::HELLO.wasm.into();
    let loading = panics
        .unwrap()
        .load_component(&id("a/b/c"), bytes, config())
        .await;
    let error = loading.unwrap_err().to_string();
    assert!(error.contains("it panicked: no shop today"), "{error}");
}

#[tokio::test]
async fn an_import_is_denied_unless_it_is_granted() {
    let engine = shop_engine(HostServices::default());
    let zero = id("shop/plugin/0");
    let not_granted = UnmetImport {
        name: CATALOG.to_owned(),
        reason: Unmet::NotGranted,
    };
    for grants in [vec![], vec!["acme:shop/carts"], vec!["acme:other/*"]] {
        let mut permissions = Permissions::default();
        permissions.imports = grants.iter().map(|text| text.parse().unwrap()).collect();
        let audit = engine.audit_imports(&zero, PLUGIN.wasm.into(), &permissions);
        assert_eq!(
            within(audit).await.unwrap().unmet,
            std::slice::from_ref(&not_granted)
        );
        let config = config().with_permissions(permissions);
        let error = load(&engine, "shop/plugin/0", config).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "shop/plugin/0 imports `acme:shop/catalog@1.0.0`, which is not granted by `imports` \
             in [permissions]"
        );
    }
    let mut permissions = Permissions::default();
    permissions.imports = vec!["acme:shop/*".parse().unwrap()];
    let audit = engine.audit_imports(&zero, PLUGIN.wasm.into(), &permissions);
    assert!(within(audit).await.unwrap().unmet.is_empty());
    load(
        &engine,
        "shop/plugin/0",
        config().with_permissions(permissions),
    )
    .await
    .unwrap();
}

/// Takes a permission back at some time.
#[derive(Default)]
struct Revoker {
    is_revoked: Mutex<bool>,
    denied: AtomicU32,
}

impl SecurityValidator for Revoker {
    fn validate(
        &self,
        _: &ComponentHandle,
        capability: &Capability,
    ) -> Result<(), CapabilityDenied> {
        match capability {
            Capability::Import(_) if *self.is_revoked.lock().unwrap() => Err(CapabilityDenied {
                capability: capability.clone(),
                reason: "it was taken back".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn denied(&self, _: &ComponentHandle, _: &CapabilityDenied) {
        self.denied.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn an_import_can_be_taken_back_from_the_next_call_on() {
    let revoker = Arc::new(Revoker::default());
    let services = HostServices::default().with_validator(revoker.clone());
    let engine = shop_engine(services);
    let plugin = plugin(&engine, config()).await;
    quote(&engine, &plugin, "tea", 1).await.unwrap();
    *revoker.is_revoked.lock().unwrap() = true;
    let error = quote(&engine, &plugin, "tea", 1).await.unwrap_err();
    assert!(
        matches!(&error, WasmError::Trapped { trap: Trap::RefusedByHost(why), .. }
            if why == "permission denied: imports of acme:shop/catalog@1.0.0: it was taken back"),
        "{error}"
    );
    assert_eq!(revoker.denied.load(Ordering::Relaxed), 1);
    *revoker.is_revoked.lock().unwrap() = false;
    engine.restart_component(&plugin).await.unwrap();
    assert_eq!(quote(&engine, &plugin, "tea", 1).await.unwrap(), Some(300));
}

#[tokio::test]
async fn typed_calls_have_the_limits_of_any_call() {
    let engine = shop_engine(HostServices::default());
    let slow = plugin(&engine, timed(Duration::from_millis(50))).await;
    let spinning = engine.call(&slow, "spin", |call: GuestCall<'_, Shop, Plugin>| {
        Box::pin(async move { call.bindings.call_spin(call.store).await })
    });
    let error = within(spinning).await.unwrap_err();
    assert!(
        matches!(&error, WasmError::Timeout { export, .. } if &**export == "spin"),
        "{error}"
    );
    let waits = plugin(&engine, timed(Duration::from_millis(50))).await;
    let error = quote(&engine, &waits, "late", 1).await.unwrap_err();
    assert!(matches!(error, WasmError::Timeout { .. }), "{error}");
    let metered = plugin(&engine, fuelled(100_000)).await;
    let spinning = engine.call(&metered, "spin", |call: GuestCall<'_, Shop, Plugin>| {
        Box::pin(async move { call.bindings.call_spin(call.store).await })
    });
    let error = within(spinning).await.unwrap_err();
    assert!(
        matches!(
            error,
            WasmError::ResourceLimitExceeded {
                resource: Resource::Fuel,
                ..
            }
        ),
        "{error}"
    );
    let small = plugin(&engine, with_memory(1 << 20)).await;
    let growing = engine.call(&small, "grow", |call: GuestCall<'_, Shop, Plugin>| {
        Box::pin(async move { call.bindings.call_grow(call.store).await })
    });
    let error = within(growing).await.unwrap_err();
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
    for failed in [&slow, &metered, &small] {
        assert_eq!(engine.usage(failed).unwrap().state, ComponentState::Failed);
        let error = quote(&engine, failed, "tea", 1).await.unwrap_err();
        assert!(
            matches!(error, WasmError::ComponentFailed { .. }),
            "{error}"
        );
        engine.restart_component(failed).await.unwrap();
        assert_eq!(quote(&engine, failed, "tea", 1).await.unwrap(), Some(300));
    }
}

#[tokio::test]
async fn a_host_function_that_panics_or_fails_ends_its_caller_alone() {
    let engine = shop_engine(HostServices::default());
    let (one, other) = (
        plugin(&engine, config()).await,
        plugin(&engine, config()).await,
    );
    let error = quote(&engine, &one, "panic", 1).await.unwrap_err();
    assert!(
        matches!(&error, WasmError::Trapped { trap: Trap::HostPanic(why), .. }
            if why == "the shelf fell over"),
        "{error}"
    );
    for (item, told) in [
        ("error", "the till is broken"),
        (
            "hoard",
            "it has 256 resources of the host, as many as it may",
        ),
    ] {
        engine.restart_component(&one).await.unwrap();
        let error = quote(&engine, &one, item, 1).await.unwrap_err();
        assert!(
            matches!(&error, WasmError::Trapped { trap: Trap::RefusedByHost(why), .. }
                if why == told),
            "{error}"
        );
    }
    assert_eq!(quote(&engine, &other, "tea", 1).await.unwrap(), Some(300));
}

#[tokio::test]
async fn resources_of_a_component_are_kept_until_its_instance_is_gone() {
    let engine = shop_engine(HostServices::default());
    let plugin = plugin(&engine, config()).await;
    let make = engine.call(&plugin, "cart", |mut call: GuestCall<'_, Shop, Plugin>| {
        Box::pin(async move {
            let carts = call.bindings.acme_shop_carts().cart();
            let cart = carts.call_constructor(&mut call.store).await?;
            Ok(call.keep(cart))
        })
    });
    let cart = within(make).await.unwrap();
    let add = |count| {
        engine.call(
            &plugin,
            "cart.add",
            move |call: GuestCall<'_, Shop, Plugin>| {
                Box::pin(async move {
                    let cart = call.resource(cart)?;
                    let carts = call.bindings.acme_shop_carts().cart();
                    carts.call_add(call.store, cart, "tea", count).await
                })
            },
        )
    };
    assert_eq!(within(add(2)).await.unwrap(), 600);
    assert_eq!(within(add(1)).await.unwrap(), 900);
    engine.restart_component(&plugin).await.unwrap();
    let error = within(add(1)).await.unwrap_err();
    assert!(
        matches!(&error, WasmError::InvalidArguments { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("of one that is gone"), "{error}");
    // It cost the new instance nothing.
    assert_eq!(quote(&engine, &plugin, "tea", 1).await.unwrap(), Some(300));
}

#[tokio::test]
async fn resources_of_a_component_can_be_dropped_without_end() {
    let engine = shop_engine(HostServices::default());
    let plugin = plugin(&engine, config()).await;
    for _ in 0..10 {
        let make = engine.call(&plugin, "carts", |mut call: GuestCall<'_, Shop, Plugin>| {
            Box::pin(async move {
                for _ in 0..1000 {
                    let carts = call.bindings.acme_shop_carts().cart();
                    let cart = carts.call_constructor(&mut call.store).await?;
                    cart.resource_drop_async(&mut call.store).await?;
                }
                Ok(())
            })
        });
        within(make).await.unwrap();
    }
}

const CART: &str = "acme:shop/carts@1.0.0#[constructor]cart";
const TOTAL: &str = "acme:shop/carts@1.0.0#[method]cart.total";

/// What a component returned in a call with values.
async fn cart(engine: &WasmtimeEngine<Shop>, plugin: &ComponentHandle) -> ResourceAny {
    let made = within(engine.call_export(plugin, CART, &[])).await.unwrap();
    let [cart] = resources_in(&made[0])[..] else {
        panic!("{made:?}");
    };
    // However deep it is among other values.
    let within = |value| Val::Record(vec![("cart".to_owned(), value)]);
    let tuple = Val::Tuple(vec![Val::U8(1), within(made[0].clone())]);
    for value in [
        Val::Variant("some".to_owned(), Some(Box::new(tuple.clone()))),
        Val::Result(Err(Some(Box::new(tuple.clone())))),
        Val::List(vec![tuple]),
    ] {
        assert_eq!(resources_in(&value), [cart]);
    }
    cart
}

#[tokio::test]
async fn resources_among_values_are_those_of_one_instance() {
    let engine = shop_engine(HostServices::default());
    let plugin = plugin(&engine, config()).await;
    let neighbour = load(&engine, "shop/plugin/1", granted(config()))
        .await
        .unwrap();
    let old = cart(&engine, &plugin).await;
    let total = async |of: &ComponentHandle, cart| {
        let args = [Val::Resource(cart)];
        within(engine.call_export(of, TOTAL, &args)).await
    };
    assert_eq!(total(&plugin, old).await.unwrap(), [Val::U64(0)]);
    engine.restart_component(&plugin).await.unwrap();
    let new = cart(&engine, &plugin).await;
    for (of, foreign) in [(&plugin, old), (&neighbour, new)] {
        let error = total(of, foreign).await.unwrap_err();
        assert!(
            matches!(&error, WasmError::InvalidArguments { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("of one that is gone"), "{error}");
        // It is no other's either.
        engine.drop_resource(of, foreign).await.unwrap();
    }
    // It cost neither anything.
    assert_eq!(total(&plugin, new).await.unwrap(), [Val::U64(0)]);
    assert_eq!(
        quote(&engine, &neighbour, "tea", 1).await.unwrap(),
        Some(297)
    );
}

/// There is room for some thousand at a time.
#[tokio::test]
async fn resources_among_values_are_dropped_one_by_one() {
    let engine = shop_engine(HostServices::default());
    let plugin = plugin(&engine, config()).await;
    for _ in 0..10_000 {
        let cart = cart(&engine, &plugin).await;
        engine.drop_resource(&plugin, cart).await.unwrap();
        // What is gone is not dropped once more.
        engine.drop_resource(&plugin, cart).await.unwrap();
    }
    let gone = cart(&engine, &plugin).await;
    engine.drop_resource(&plugin, gone).await.unwrap();
    let args = [Val::Resource(gone)];
    let total = engine.call_export(&plugin, TOTAL, &args);
    let error = within(total).await.unwrap_err();
    assert!(
        matches!(&error, WasmError::InvalidArguments { reason, .. }
            if reason == "is given a resource that was given away or dropped, as argument 1 (`self`)"),
        "{error}"
    );
    let usage = engine.usage(&plugin).unwrap();
    assert_eq!((usage.state, usage.traps), (ComponentState::Ready, 0));
}

/// A component that takes and is lent lists of its resources, and never looks at them.
const SHELF: &str = r#"(component
    (core module $m
      (memory (export "memory") 1)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 64))
      (func (export "take") (param i32 i32))
      (func (export "pair") (param i32 i32)))
    (core instance $i (instantiate $m))
    (type $box' (resource (rep i32)))
    (export $box "box" (type $box'))
    (core func $new (canon resource.new $box'))
    (func (export "make") (param "of" u32) (result (own $box)) (canon lift (core func $new)))
    (func (export "lend") (param "all" (list (borrow $box)))
      (canon lift (core func $i "take") (memory $i "memory") (realloc (func $i "realloc"))))
    (func (export "give") (param "all" (list (own $box)))
      (canon lift (core func $i "take") (memory $i "memory") (realloc (func $i "realloc"))))
    (func (export "pair") (param "one" (own $box)) (param "other" (own $box))
      (canon lift (core func $i "pair")))
    (func (export "lend-and-give") (param "one" (borrow $box)) (param "other" (own $box))
      (canon lift (core func $i "pair"))))"#;

#[tokio::test]
async fn resources_are_given_away_and_lent_within_values_too() {
    let engine = WasmtimeEngine::new(EngineConfig::default(), HostServices::default()).unwrap();
    let id = id("demo/shelf/main");
    let bytes = wat::parse_str(SHELF).unwrap();
    let shelf = engine
        .load_component(&id, bytes.into(), config())
        .await
        .unwrap();
    let call = async |export, args: &[Val]| within(engine.call_export(&shelf, export, args)).await;
    let list = |resource| [Val::List(vec![Val::Resource(resource)])];
    let made = call("make", &[Val::U32(7)]).await.unwrap();
    let [thing] = resources_in(&made[0])[..] else {
        panic!("{made:?}");
    };
    // What is lent is still there.
    for _ in 0..2 {
        call("lend", &list(thing)).await.unwrap();
    }
    let twice = [Val::Resource(thing), Val::Resource(thing)];
    call("lend", &[Val::List(twice.to_vec())]).await.unwrap();
    for export in ["pair", "lend-and-give"] {
        let refused = call(export, &twice).await.unwrap_err();
        assert!(refused.to_string().contains("twice"), "{refused}");
    }
    let usage = engine.usage(&shelf).unwrap();
    assert_eq!((usage.state, usage.traps), (ComponentState::Ready, 0));
    // What was given is gone.
    call("give", &list(thing)).await.unwrap();
    for export in ["give", "lend"] {
        let refused = call(export, &list(thing)).await.unwrap_err();
        assert!(refused.to_string().contains("was given away"), "{refused}");
    }
}

#[tokio::test]
async fn an_interface_is_added_once() {
    let mut engine = shop_engine(HostServices::default());
    let error = engine.add_interface::<Catalog>().unwrap_err().to_string();
    assert!(
        error.contains(CATALOG) && error.contains("twice"),
        "{error}"
    );

    struct Clock;

    impl HostInterface<Shop> for Clock {
        const NAME: &'static str = "wasi:clocks/wall-clock@0.2.12";

        fn add_to_linker(linker: &mut Linker<HostState<Shop>>, _: View<Shop>) -> HostResult<()> {
            let mut clock = linker.instance(Self::NAME)?;
            clock.func_wrap("now", |_, (): ()| Ok((0_u64,)))
        }
    }

    let error = engine.add_interface::<Clock>().unwrap_err().to_string();
    assert!(error.contains("wasi:clocks/wall-clock@0.2.12"), "{error}");
    // Nothing is left of it.
    load(&engine, "shop/plugin/0", granted(config()))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_interface_has_the_name_that_it_links() {
    struct Named<const N: usize>;

    const NAMES: [&str; 3] = ["acme:shop/catalogue@1.0.0", "acme:shop/catalog", "catalog"];

    impl<const N: usize> HostInterface<Shop> for Named<N> {
        const NAME: &'static str = NAMES[N];

        fn add_to_linker(linker: &mut Linker<HostState<Shop>>, view: View<Shop>) -> HostResult<()> {
            Catalog::add_to_linker(linker, view)
        }
    }

    /// Something that the engine does not have, in an interface that it has.
    struct More;

    impl HostInterface<Shop> for More {
        const NAME: &'static str = "airssys:core/storage@1.0.0";

        fn add_to_linker(linker: &mut Linker<HostState<Shop>>, _: View<Shop>) -> HostResult<()> {
            let mut storage = linker.instance(Self::NAME)?;
            storage.func_wrap("forget-all", |_, (): ()| Ok(()))
        }
    }

    let services = HostServices::default();
    let mut engine = WasmtimeEngine::with_data(EngineConfig::default(), services, |_, _| {
        Ok(Shop {
            percent: 0,
            asked: 0,
        })
    })
    .unwrap();
    for (refused, why) in [
        (engine.add_interface::<Named<0>>(), "nothing has this name"),
        (engine.add_interface::<Named<1>>(), "nothing has this name"),
        (
            engine.add_interface::<Named<2>>(),
            "no name that can be granted",
        ),
        (
            engine.add_interface::<More>(),
            "provided by the engine itself",
        ),
    ] {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    engine.add_interface::<Catalog>().unwrap();
    plugin(&engine, config()).await;
}

#[tokio::test]
async fn of_several_releases_the_nearest_is_told() {
    struct Release<const N: usize>;

    const NAMES: [&str; 2] = ["acme:db/query@1.0.0", "acme:db/query@2.1.0"];

    impl<const N: usize> HostInterface<()> for Release<N> {
        const NAME: &'static str = NAMES[N];

        fn add_to_linker(linker: &mut Linker<HostState>, _: View<()>) -> HostResult<()> {
            let mut query = linker.instance(Self::NAME)?;
            query.func_wrap("run", |_, (): ()| Ok(()))
        }
    }

    let mut engine = crate::support::engine();
    engine.add_interface::<Release<1>>().unwrap();
    engine.add_interface::<Release<0>>().unwrap();
    let mut permissions = Permissions::default();
    permissions.imports = vec!["acme:db/*".parse().unwrap()];
    let walker = id("demo/walker/main");
    for (wanted, provided) in [
        ("1.2.0", Some("1.0.0")),
        ("1.0.0", None),
        ("2.3.0", Some("2.1.0")),
        ("2.0.0", None),
        ("3.0.0", Some("2.1.0")),
        ("0.9.0", Some("2.1.0")),
    ] {
        let walk = r#"(instance (export "walk" (func)))"#;
        let text = format!(r#"(component (import "acme:db/query@{wanted}" {walk}))"#);
        let bytes = wat::parse_str(text).unwrap().into();
        let audit = engine.audit_imports(&walker, bytes, &permissions);
        let unmet = within(audit).await.unwrap().unmet;
        let expected = match provided.map(str::to_owned) {
            Some(provided) => Unmet::OtherVersion { provided },
            None => Unmet::Missing,
        };
        assert_eq!(unmet[0].reason, expected, "{wanted}");
    }
}

/// Panics when it is dropped.
struct Brittle;

impl Drop for Brittle {
    fn drop(&mut self) {
        panic!("it fell");
    }
}

struct Unbound;

impl<T: 'static> Bindings<T> for Unbound {
    fn bind(_: &mut Store<HostState<T>>, _: &Instance) -> HostResult<Self> {
        panic!("nothing fits")
    }
}

/// More often than there is room for instances, and each time it is told what the guest did.
#[tokio::test]
async fn what_panics_when_it_is_dropped_is_gone_all_the_same() {
    let pool = EngineConfig::default().with_allocation(Allocation::Pooled { instances: 2 });
    let make = |_: &ComponentId, _: &ComponentConfig| Ok(Brittle);
    let mut engine = WasmtimeEngine::with_data(pool, HostServices::default(), make).unwrap();
    let mut root = engine.linker_mut().root();
    root.func_wrap_async("wait", |_, (): ()| {
        Box::new(async {
            let _brittle = Brittle;
            pending::<HostResult<()>>().await
        })
    })
    .unwrap();
    let wat = r#"(component
        (import "wait" (func $wait))
        (core func $wait' (canon lower (func $wait)))
        (core module $m (import "" "wait" (func $wait)) (func (export "wait") (call $wait)))
        (core instance $i (instantiate $m
          (with "" (instance (export "wait" (func $wait'))))))
        (func (export "wait") (canon lift (core func $i "wait"))))"#;
    let wasm = wat::parse_str(wat).unwrap();
    let config = timed(Duration::from_millis(20));
    let id = id("demo/brittle/main");
    let brittle = within(engine.load_component(&id, wasm.into(), config));
    let brittle = brittle.await.unwrap();
    for _ in 0..4 {
        let error = within(engine.call_export(&brittle, "wait", &[])).await;
        let error = error.unwrap_err();
        assert!(matches!(error, WasmError::Timeout { .. }), "{error}");
        within(engine.restart_component(&brittle)).await.unwrap();
        let call = engine.call(&brittle, "bind", |_: GuestCall<'_, Brittle, Unbound>| {
            Box::pin(async { Ok(()) })
        });
        let error = within(call).await.unwrap_err();
        assert!(
            matches!(&error, WasmError::Trapped { trap: Trap::HostPanic(why), .. }
                if why == "nothing fits"),
            "{error}"
        );
        within(engine.restart_component(&brittle)).await.unwrap();
    }
    within(engine.unload_component(&brittle)).await.unwrap();
}

#[tokio::test]
async fn bindings_that_do_not_fit_cost_no_instance() {
    let engine = shop_engine(HostServices::default());
    let id = id("demo/hello/0");
    let hello = engine.load_component(&id, wasm_fixtures::HELLO.wasm.into(), config());
    let hello = within(hello).await.unwrap();
    let error = quote(&engine, &hello, "tea", 1).await.unwrap_err();
    assert!(
        matches!(&error, WasmError::ExportNotFound { export, .. } if export.starts_with("quote (")),
        "{error}"
    );
    let results = engine.call_export(&hello, "hello", &[]).await.unwrap();
    assert_eq!(results, [Val::U32(42)]);
}
