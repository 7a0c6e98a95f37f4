//! Descriptors of the process, which components open through WASI: files, folders,
//! listings and sockets. Each component has a budget, and all of them together what
//! the process may have less a reserve for the host's own work.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use wasm_core::ComponentId;

/// Files, folders, listings and sockets that a component may have open at once.
pub(crate) const MAX_DESCRIPTORS: usize = 64;

/// What the host keeps for itself: its storage, sockets, watchers, standard streams
/// and the files of a compilation take some dozens.
const RESERVE: usize = 256;

/// Of all components; known once it is first asked for.
static FOR_COMPONENTS: LazyLock<usize> = LazyLock::new(|| for_components(open_files_limit()));
static IN_USE: AtomicUsize = AtomicUsize::new(0);

/// Half of what there is where the reserve would leave nothing.
fn for_components(limit: usize) -> usize {
    limit.saturating_sub(RESERVE).max(limit / 2)
}

#[cfg(unix)]
fn open_files_limit() -> usize {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

#[cfg(not(unix))]
fn open_files_limit() -> usize {
    // What the C runtime of Windows allows by default.
    512
}

/// The descriptors of one component, over all its instances.
#[derive(Debug)]
pub(crate) struct Descriptors {
    component: ComponentId,
    open: Arc<AtomicUsize>,
    told: AtomicBool,
}

impl Descriptors {
    pub(crate) fn new(component: ComponentId) -> Self {
        Self {
            component,
            open: Arc::default(),
            told: AtomicBool::new(false),
        }
    }

    /// A place for one descriptor, to be had before it is opened; `None` when the
    /// component or all of them together have too many. The first time is logged.
    pub(crate) fn take(&self) -> Option<DescriptorPlace> {
        let Some(of_component) = Place::of(&self.open, MAX_DESCRIPTORS) else {
            self.tell(format_args!(
                "it has {MAX_DESCRIPTORS} files, folders and sockets open, and may have no more"
            ));
            return None;
        };
        let for_components = *FOR_COMPONENTS;
        if !increase(&IN_USE, for_components) {
            self.tell(format_args!(
                "it gets no file or socket: all components together have the {for_components} \
                 open that they may have of this process's descriptors (`ulimit -n`, less \
                 {RESERVE} for the host)"
            ));
            return None;
        }
        Some(DescriptorPlace {
            _of_component: of_component,
        })
    }

    fn tell(&self, what: std::fmt::Arguments<'_>) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: crate::COMPONENT_TARGET, component = %self.component, "{what}"
            );
        }
    }
}

/// Adds one unless there are `most`.
fn increase(count: &AtomicUsize, most: usize) -> bool {
    let more = |now| (now < most).then_some(now + 1);
    let (order, look) = (Ordering::AcqRel, Ordering::Acquire);
    count.fetch_update(order, look, more).is_ok()
}

#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Place {
    fn of(count: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        increase(count, most).then(|| Self(Arc::clone(count)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A place for one descriptor, given back when it is dropped: after the descriptor was
/// closed.
#[derive(Debug)]
pub(crate) struct DescriptorPlace {
    _of_component: Place,
}

impl Drop for DescriptorPlace {
    fn drop(&mut self) {
        IN_USE.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_has_so_many_descriptors() {
        let descriptors = Descriptors::new("demo/files/main".parse().unwrap());
        let mut places: Vec<_> = (0..MAX_DESCRIPTORS)
            .map_while(|_| descriptors.take())
            .collect();
        assert_eq!(places.len(), MAX_DESCRIPTORS);
        assert!(descriptors.take().is_none());
        places.pop();
        assert!(descriptors.take().is_some());
        let other = Descriptors::new("demo/files/other".parse().unwrap());
        assert!(other.take().is_some());
    }

    #[test]
    fn the_host_has_a_reserve() {
        for (limit, left) in [
            (0, 0),
            (64, 32),
            (512, 256),
            (1024, 768),
            (1 << 20, (1 << 20) - 256),
        ] {
            assert_eq!(for_components(limit), left, "{limit}");
        }
        let most = 3;
        let count = AtomicUsize::new(0);
        let had: Vec<bool> = (0..5).map(|_| increase(&count, most)).collect();
        assert_eq!(had, [true, true, true, false, false]);
    }
}
