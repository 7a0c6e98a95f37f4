//! Which component answers which requests.

use std::sync::{Arc, PoisonError, RwLock};

use thiserror::Error;

use wasm_core::{ComponentId, HttpPath, HttpRoute};

/// How a component answers requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SiteKind {
    /// It exports `wasi:http/incoming-handler`, and is called by the
    /// [`HttpHandler`](crate::HttpHandler) of the gateway.
    Handler,
    /// It takes messages, and is sent each request as one: its type is the method and the path
    /// with its query, such as `GET /shop/soup?size=2`, and its payload the body. The reply is
    /// the body of the response.
    Messages,
}

/// A component with the requests that it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) component: ComponentId,
    pub(crate) route: HttpRoute,
    pub(crate) kind: SiteKind,
}

/// The same path is another component's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{component} is not reached: requests to {path} are for {other} (`path` in [http] of their \
     manifests)"
)]
pub struct PathTaken {
    /// Which component is not reached.
    pub component: ComponentId,
    /// The path.
    pub path: HttpPath,
    /// Whose it is.
    pub other: ComponentId,
}

/// Which component answers which requests.
#[derive(Debug, Default)]
pub(crate) struct Sites(RwLock<Vec<Arc<Site>>>);

impl Sites {
    /// In place of what there was for this component, which is gone also where the new path is
    /// taken.
    pub(crate) fn put(&self, site: Site) -> Result<(), PathTaken> {
        let mut sites = self.0.write().unwrap_or_else(PoisonError::into_inner);
        sites.retain(|other| other.component != site.component);
        let taken = |other: &&Arc<Site>| other.route.path == site.route.path;
        if let Some(other) = sites.iter().find(taken) {
            return Err(PathTaken {
                other: other.component.clone(),
                component: site.component,
                path: site.route.path,
            });
        }
        sites.push(Arc::new(site));
        // The first that matches is the narrowest.
        sites.sort_by_key(|site| std::cmp::Reverse(site.route.path.narrowness()));
        Ok(())
    }

    pub(crate) fn remove(&self, component: &ComponentId) {
        let mut sites = self.0.write().unwrap_or_else(PoisonError::into_inner);
        sites.retain(|site| site.component != *component);
    }

    /// Whose requests to this path are.
    pub(crate) fn find(&self, path: &str) -> Option<Arc<Site>> {
        let sites = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut sites = sites.iter();
        sites.find(|site| site.route.path.matches(path)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(name: &str, path: &str) -> Site {
        Site {
            component: ComponentId::new("demo", name, "main").unwrap(),
            route: HttpRoute::new(path.parse().unwrap()),
            kind: SiteKind::Handler,
        }
    }

    fn found(sites: &Sites, path: &str) -> Option<String> {
        sites
            .find(path)
            .map(|site| site.component.name().to_owned())
    }

    #[test]
    fn the_narrowest_path_counts() {
        let sites = Sites::default();
        for (name, path) in [("all", "/*"), ("shop", "/shop/*"), ("cart", "/shop/cart")] {
            sites.put(site(name, path)).unwrap();
        }
        for (path, name) in [
            ("/", "all"),
            ("/shop/soup", "shop"),
            ("/shop/cart", "cart"),
            ("/shop/cart/1", "shop"),
        ] {
            assert_eq!(found(&sites, path).as_deref(), Some(name), "{path}");
        }
    }

    #[test]
    fn a_path_is_one_components() {
        let sites = Sites::default();
        sites.put(site("a", "/a/*")).unwrap();
        let taken = sites.put(site("b", "/a/*")).unwrap_err();
        assert_eq!(
            taken.to_string(),
            "demo/b/main is not reached: requests to /a/* are for demo/a/main (`path` in [http] of \
             their manifests)"
        );
        // One that moves leaves its place to others, and has none where it cannot go.
        sites.put(site("c", "/c")).unwrap();
        sites.put(site("c", "/a/*")).unwrap_err();
        assert_eq!(found(&sites, "/c"), None);
        sites.put(site("a", "/c")).unwrap();
        sites.put(site("b", "/a/*")).unwrap();
        assert_eq!(found(&sites, "/a/x").as_deref(), Some("b"));
        assert_eq!(found(&sites, "/c").as_deref(), Some("a"));
        sites.remove(&site("a", "/c").component);
        assert_eq!(found(&sites, "/c"), None);
    }
}
