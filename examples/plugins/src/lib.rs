//! A shop whose plugins quote prices. They are other people's components of a world of the
//! shop's own, `wit/shop.wit`, and none of them can harm the shop or another plugin.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wasm_core::{
    Cause, ComponentConfig, ComponentHandle, ComponentId, HostServices, Permissions,
    ResourceLimits, WasmError,
};
use wasm_runtime::wasmtime::component::{Instance, Linker, Resource};
use wasm_runtime::wasmtime::{Result as HostResult, Store};
use wasm_runtime::{
    Bindings, EngineConfig, GuestCall, GuestResource, HasView, HostInterface, HostState, HostView,
    View, WasmtimeEngine,
};

/// The program of the repository's first page is compiled here, outside of its workspace.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

mod world {
    wasm_runtime::wasmtime::component::bindgen!({
        path: "wit",
        world: "plugin",
        imports: { default: async | trappable },
        exports: { default: async },
        with: { "acme:shop/catalog.coupon": super::Coupon },
        wasmtime_crate: wasm_runtime::wasmtime,
        additional_derives: [PartialEq, Clone],
    });
}

use world::acme::shop::catalog;
pub use world::{Line, Offer, Plugin};

/// What the shop has for each instance of a plugin: made when it is loaded, and anew at each
/// restart.
pub struct Shop {
    /// What comes off the price for the customers of this plugin.
    percent: u32,
    /// How often this instance has asked.
    pub asked: u32,
}

impl Shop {
    fn new(config: &ComponentConfig) -> Result<Self, Cause> {
        let percent = config.env.iter().find(|(key, _)| *key == "COUPON");
        let percent = percent.map_or(Ok(0), |(_, percent)| percent.parse::<u32>());
        Ok(Self {
            percent: percent.map_err(|error| Arc::new(error) as Cause)?,
            asked: 0,
        })
    }
}

/// A resource of the shop that plugins hold.
pub struct Coupon {
    percent: u32,
}

/// What plugins import as `acme:shop/catalog`.
struct Catalog;

impl HostInterface<Shop> for Catalog {
    const NAME: &'static str = "acme:shop/catalog@1.0.0";

    fn add_to_linker(linker: &mut Linker<HostState<Shop>>, view: View<Shop>) -> HostResult<()> {
        catalog::add_to_linker::<_, HasView<Shop>>(linker, view)
    }
}

impl catalog::Host for HostView<'_, Shop> {
    async fn ask(&mut self, line: Line) -> HostResult<Offer> {
        self.data.asked += 1;
        // The warehouse is far away; a plugin whose time is up does not wait for it.
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(match &*line.item {
            "tea" => Offer::Sold(300 * u64::from(line.count)),
            "honey" if line.count > 2 => Offer::TooFew(2),
            "honey" => Offer::Sold(700 * u64::from(line.count)),
            _ => Offer::Unknown,
        })
    }

    async fn own_coupon(&mut self) -> HostResult<Option<Resource<Coupon>>> {
        match self.data.percent {
            0 => Ok(None),
            percent => Ok(Some(self.table.push(Coupon { percent })?)),
        }
    }
}

impl catalog::HostCoupon for HostView<'_, Shop> {
    async fn percent(&mut self, coupon: Resource<Coupon>) -> HostResult<u32> {
        Ok(self.table.get(&coupon)?.percent)
    }

    async fn drop(&mut self, coupon: Resource<Coupon>) -> HostResult<()> {
        self.table.delete(coupon)?;
        Ok(())
    }
}

impl Bindings<Shop> for Plugin {
    fn bind(store: &mut Store<HostState<Shop>>, instance: &Instance) -> HostResult<Self> {
        Plugin::new(store, instance)
    }
}

/// The plugins of a shop.
pub struct Plugins {
    pub engine: WasmtimeEngine<Shop>,
}

impl Plugins {
    pub fn new(services: HostServices) -> Result<Self, WasmError> {
        let shop = |_: &ComponentId, config: &ComponentConfig| Shop::new(config);
        let mut engine = WasmtimeEngine::with_data(EngineConfig::default(), services, shop)?;
        engine.add_interface::<Catalog>()?;
        Ok(Self { engine })
    }

    /// Loads `plugins/NAME.wasm`, with a coupon of so many percent for its customers.
    pub async fn load(
        &self,
        name: &str,
        percent: u32,
        permissions: Permissions,
    ) -> Result<ComponentHandle, Box<dyn std::error::Error>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins");
        let bytes = std::fs::read(folder.join(name).with_extension("wasm"))?;
        let id = ComponentId::new("shop", name, &percent.to_string())?;
        let limits = ResourceLimits::new(2 << 20, Duration::from_millis(250), None)?;
        let config = ComponentConfig::new(limits)
            .with_permissions(permissions)
            .with_env("COUPON", percent.to_string());
        Ok(self
            .engine
            .load_component(&id, bytes.into(), config)
            .await?)
    }

    /// Has a plugin quote a price.
    pub async fn quote(
        &self,
        plugin: &ComponentHandle,
        item: &str,
        count: u32,
    ) -> Result<Offer, WasmError> {
        let line = line(item, count);
        self.engine
            .call(plugin, "quote", move |call: GuestCall<'_, Shop, Plugin>| {
                Box::pin(async move { call.bindings.call_quote(call.store, &line).await })
            })
            .await
    }

    /// Opens a cart, which a plugin keeps until its instance is gone.
    pub async fn open_cart(
        &self,
        plugin: &ComponentHandle,
        customer: &'static str,
    ) -> Result<GuestResource, WasmError> {
        self.engine
            .call(
                plugin,
                "open cart",
                move |mut call: GuestCall<'_, Shop, Plugin>| {
                    Box::pin(async move {
                        let cart = call.bindings.acme_shop_carts().cart();
                        let cart = cart.call_constructor(&mut call.store, customer).await?;
                        Ok(call.keep(cart))
                    })
                },
            )
            .await
    }

    /// Puts something into a cart; the total, less the coupon. Both calls share the budgets of
    /// one.
    pub async fn buy(
        &self,
        plugin: &ComponentHandle,
        cart: GuestResource,
        item: &str,
        count: u32,
    ) -> Result<u64, WasmError> {
        let line = line(item, count);
        self.engine
            .call(
                plugin,
                "buy",
                move |mut call: GuestCall<'_, Shop, Plugin>| {
                    Box::pin(async move {
                        let cart = call.resource(cart)?;
                        let carts = call.bindings.acme_shop_carts().cart();
                        carts.call_add(&mut call.store, cart, &line).await?;
                        carts.call_total(&mut call.store, cart).await
                    })
                },
            )
            .await
    }
}

/// The permission that a plugin of the shop needs.
pub fn permitted() -> Permissions {
    let mut permissions = Permissions::default();
    permissions.imports = vec!["acme:shop/catalog".parse().expect("this is a pattern")];
    permissions
}

fn line(item: &str, count: u32) -> Line {
    Line {
        item: item.to_owned(),
        count,
    }
}
