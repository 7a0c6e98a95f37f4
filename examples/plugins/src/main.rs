use std::error::Error;

use plugins::{Plugins, permitted};
use wasm_core::HostServices;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let plugins = Plugins::new(HostServices::default())?;
    let grocer = plugins.load("grocer", 10, permitted()).await?;
    println!("tea: {:?}", plugins.quote(&grocer, "tea", 2).await?);
    let cart = plugins.open_cart(&grocer, "ada").await?;
    println!("ada owes {}", plugins.buy(&grocer, cart, "honey", 1).await?);
    for bad in ["loops", "allocates", "panics"] {
        let plugin = plugins.load(bad, 0, permitted()).await?;
        match plugins.quote(&plugin, "tea", 1).await {
            Ok(offer) => println!("{bad}: {offer:?}"),
            Err(error) => println!("{error}"),
        }
    }
    match plugins.load("grocer", 20, Default::default()).await {
        Ok(_) => println!("it needs no permission"),
        Err(error) => println!("{error}"),
    }
    Ok(())
}
