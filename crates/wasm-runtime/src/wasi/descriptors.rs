//! Descriptors of the process, which components open through WASI: files, folders,
//! listings and sockets. Each component has a budget, and all of them together what
//! the process may have less a reserve for the host's own work.

use std::fs::File;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use wasm_core::ComponentId;

use crate::lines::COMPONENT_TARGET;

/// Files, folders, listings and sockets that a component may have open at once.
pub(crate) const MAX_DESCRIPTORS: usize = 64;

/// What the host keeps for itself: its storage, sockets, watchers, standard streams
/// and the files of a compilation take some dozens.
const RESERVE: usize = 256;

/// What all components of the process have together; known once it is first needed.
static ALL: LazyLock<Arc<Budget>> = LazyLock::new(|| Budget::of(open_files_limit()));

#[derive(Debug)]
struct Budget {
    most: usize,
    open: Arc<AtomicUsize>,
}

impl Budget {
    fn of(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            most: for_components(limit),
            open: Arc::default(),
        })
    }
}

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
    all: Arc<Budget>,
    told: AtomicBool,
}

impl Descriptors {
    pub(crate) fn new(component: ComponentId) -> Self {
        Self::within(&ALL, component)
    }

    fn within(all: &Arc<Budget>, component: ComponentId) -> Self {
        Self {
            component,
            open: Arc::default(),
            all: Arc::clone(all),
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
        let Some(of_all) = Place::of(&self.all.open, self.all.most) else {
            self.tell(format_args!(
                "it gets no file or socket: all components together have the {} open that \
                 they may have of this process's descriptors (`ulimit -n`, less {RESERVE} for \
                 the host)",
                self.all.most
            ));
            return None;
        };
        Some(DescriptorPlace {
            _of_component: of_component,
            _of_all: of_all,
        })
    }

    fn tell(&self, what: std::fmt::Arguments<'_>) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: COMPONENT_TARGET, component = %self.component, "{what}"
            );
        }
    }
}

/// One of a count.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Place {
    /// `None` when there are `most` already.
    fn of(count: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let more = |now| (now < most).then_some(now + 1);
        let taken = count.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        taken.is_ok().then(|| Self(Arc::clone(count)))
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
    _of_all: Place,
}

/// An open folder, which has its place as long as it is open.
#[derive(Debug)]
pub(crate) struct PlacedDir {
    dir: File,
    _place: DescriptorPlace,
}

impl PlacedDir {
    pub(crate) fn new(dir: File, place: DescriptorPlace) -> Self {
        Self { dir, _place: place }
    }
}

impl Deref for PlacedDir {
    type Target = File;

    fn deref(&self) -> &File {
        &self.dir
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(name: &str) -> ComponentId {
        format!("demo/files/{name}").parse().unwrap()
    }

    fn take_all(descriptors: &Descriptors) -> Vec<DescriptorPlace> {
        std::iter::from_fn(|| descriptors.take()).collect()
    }

    #[test]
    fn a_component_has_so_many_descriptors() {
        let all = Budget::of(1024);
        let descriptors = Descriptors::within(&all, component("main"));
        let mut places = take_all(&descriptors);
        assert_eq!(places.len(), 64);
        places.pop();
        assert_eq!(take_all(&descriptors).len(), 1);
        let other = Descriptors::within(&all, component("other"));
        assert_eq!(take_all(&other).len(), 64);
    }

    #[test]
    fn all_components_together_leave_the_host_a_reserve() {
        let all = Budget::of(1024);
        let components: Vec<_> = (0..20)
            .map(|number| Descriptors::within(&all, component(&number.to_string())))
            .collect();
        let places: Vec<_> = components.iter().map(take_all).collect();
        assert_eq!(places.iter().map(Vec::len).sum::<usize>(), 768);
        drop(places);
        assert_eq!(all.open.load(Ordering::Acquire), 0);
        for (limit, left) in [(0, 0), (64, 32), (512, 256), (4096, 3840)] {
            assert_eq!(for_components(limit), left, "{limit}");
        }
    }
}
