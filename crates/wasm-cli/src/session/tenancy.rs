//! What of an application this process has: the components of its folder, or those of what is
//! deployed, of which it fetches what it is to load.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use wasm_core::{AfterCrash, ComponentId};
use wasm_host::{Host, HostError};
use wasm_nats::{Applied, Connection, NatsError, Node, Objects, Release, ReleasePart, Tenants};
use wasm_runtime::WasmtimeEngine;

use crate::input::application::Application;
use crate::input::cluster::told;
use crate::input::flags::Flags;
use crate::input::source::Source;
use crate::output::report::Report;

/// After so long it is tried again to have what could not be had of a release, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Makes a host one of several, with the components of this application, or with those that are
/// deployed.
pub(crate) async fn join(
    connection: Connection,
    host: &Host<WasmtimeEngine>,
    application: &Arc<Application>,
    deployed: Option<Flags>,
) -> Result<Arc<Node>, Report> {
    let deployed = deployed.map(|flags| Deployed::new(&connection, flags));
    let tenancy = Arc::new(Tenancy {
        host: host.clone(),
        application: Arc::clone(application),
        deployed,
    });
    if let Some(deployed) = &tenancy.deployed {
        for release in [
            connection.release_before().await,
            connection.release().await,
        ] {
            let release = release.map_err(|error| told(&error))?;
            tenancy.prepare(&release, deployed).await;
        }
    }
    let tenants = Arc::clone(&tenancy) as Arc<dyn Tenants>;
    let node = Node::start(connection, host.clone(), tenants).await;
    let node = node.map(Arc::new).map_err(|error| told(&error))?;
    if tenancy.deployed.is_some() {
        tokio::spawn(tenancy.follow(Arc::downgrade(&node)));
    }
    Ok(node)
}

/// The components of an application, of which this node has those in its partitions.
struct Tenancy {
    host: Host<WasmtimeEngine>,
    /// Of what is deployed, those that this node has not fetched are without their bytes.
    application: Arc<Application>,
    deployed: Option<Deployed>,
}

/// What a node without a folder knows of the releases.
struct Deployed {
    flags: Flags,
    objects: Objects,
    /// Of the release that counts.
    latest: watch::Receiver<u64>,
    state: Mutex<Releases>,
    /// Something is wrong with a component that was loaded for a partition.
    is_troubled: Notify,
}

#[derive(Default)]
struct Releases {
    /// The release of which this node has what it could have.
    number: Option<u64>,
    /// What it is made of.
    parts: BTreeMap<ComponentId, ReleasePart>,
    /// Of those that were deployed anew, what they were before.
    before: BTreeMap<ComponentId, ReleasePart>,
    /// What the components are made from that were fetched.
    has: BTreeMap<ComponentId, ReleasePart>,
    /// What was fetched for them, by its digest.
    fetched: BTreeMap<String, Bytes>,
    problems: BTreeMap<ComponentId, Trouble>,
}

/// What is wrong with a component of a release.
#[derive(Clone)]
struct Trouble {
    part: ReleasePart,
    text: String,
    /// It may be better the next time: it could not be fetched.
    passes: bool,
}

impl Releases {
    /// Whether a component could be loaded from nothing that this release has of it.
    fn is_hopeless(&self, id: &ComponentId) -> bool {
        let problem = self.problems.get(id);
        problem.is_some_and(|it| !it.passes && self.parts.get(id) == Some(&it.part))
    }

    /// Another release counts.
    fn turn_to(&mut self, release: &Release) {
        for (id, part) in &release.parts {
            if let Some(before) = self.parts.get(id).filter(|it| *it != part)
                && !self.is_hopeless(id)
            {
                self.before.insert(id.clone(), before.clone());
            }
        }
        self.parts.clone_from(&release.parts);
        let parts = &self.parts;
        self.before.retain(|id, _| parts.contains_key(id));
        self.problems
            .retain(|id, it| parts.get(id) == Some(&it.part));
    }

    /// Forgets the bytes of what this node does not have.
    fn prune(&mut self) {
        let digests = self.has.values();
        let digests = digests.flat_map(|it| [Some(&it.wasm), it.config.as_ref()]);
        let digests: BTreeSet<_> = digests.flatten().collect();
        self.fetched.retain(|digest, _| digests.contains(digest));
    }
}

/// Why there is no source, and whether that may pass.
type Unfetched = (String, bool);

impl Deployed {
    fn new(connection: &Connection, flags: Flags) -> Self {
        Self {
            flags,
            objects: connection.objects(),
            latest: connection.releases(),
            state: Mutex::default(),
            is_troubled: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, Releases> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this node does not have all of the release that counts, and may have it soon.
    fn is_behind(&self) -> bool {
        let state = self.state();
        let is_old = |(id, has): (&ComponentId, &ReleasePart)| {
            state.parts.get(id) != Some(has) && !state.is_hopeless(id)
        };
        state
            .number
            .is_none_or(|number| number < *self.latest.borrow())
            || state.problems.values().any(|problem| problem.passes)
            || state.has.iter().any(is_old)
    }

    /// The component without its bytes, which the manifest alone tells of.
    fn outline(&self, part: &ReleasePart) -> Result<Source, Unfetched> {
        let source = Source::deployed(&part.manifest, Bytes::new(), None, &self.flags);
        source.map_err(|report| (report.to_string(), false))
    }

    /// The component, once its bytes are here.
    async fn fetch(&self, part: &ReleasePart) -> Result<Source, Unfetched> {
        let one = async |digest: &String| {
            let known = self.state().fetched.get(digest).cloned();
            if let Some(known) = known {
                return Ok(known);
            }
            let fetched = self.objects.fetch(digest).await;
            let fetched = fetched.map_err(|error| (error.to_string(), true))?;
            tracing::debug!(digest, "fetched");
            let mut state = self.state();
            state.fetched.insert(digest.clone(), fetched.clone());
            Ok::<_, Unfetched>(fetched)
        };
        let bytes = one(&part.wasm).await?;
        let config = match &part.config {
            Some(digest) => Some(one(digest).await?),
            None => None,
        };
        let source = Source::deployed(&part.manifest, bytes, config, &self.flags);
        source.map_err(|report| (report.to_string(), false))
    }

    fn trouble(&self, id: &ComponentId, part: &ReleasePart, (text, passes): Unfetched) {
        let part = part.clone();
        let trouble = Trouble { part, text, passes };
        self.state().problems.insert(id.clone(), trouble);
    }
}

impl Tenancy {
    /// Makes each release that counts the application, for as long as there is the node. What
    /// could not be had is tried again.
    async fn follow(self: Arc<Self>, node: Weak<Node>) {
        let Some(deployed) = &self.deployed else {
            return;
        };
        let mut latest = deployed.latest.clone();
        let mut pause = FIRST_PAUSE;
        let mut said = None;
        loop {
            tokio::select! {
                changed = latest.changed() => match changed {
                    Ok(()) => pause = FIRST_PAUSE,
                    Err(_) => return,
                },
                () = deployed.is_troubled.notified() => {}
                () = sleep(pause), if said.is_none() || deployed.is_behind() => {
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
            }
            let Some(node) = node.upgrade() else {
                return;
            };
            let applied = match self.catch_up(&node, deployed).await {
                Ok(applied) => Some(applied),
                Err(error) => {
                    told(&error).print();
                    said = None;
                    None
                }
            };
            if let Some(applied) = applied.filter(|it| said.as_ref() != Some(it)) {
                match node.connection().say_applied(&applied).await {
                    Ok(()) => said = Some(applied),
                    Err(error) => told(&error).print(),
                }
            }
        }
    }

    /// What came of the release that counts.
    async fn catch_up(&self, node: &Node, deployed: &Deployed) -> Result<Applied, NatsError> {
        let release = node.connection().release().await?;
        self.prepare(&release, deployed).await;
        self.fetch_missing(node, deployed).await;
        node.refresh().await;
        self.forget_others(node, deployed);
        let mut applied = Applied::new(release.number);
        let problems = deployed.state().problems.clone();
        let problems = problems.into_iter();
        applied.problems = problems.map(|(id, it)| (id.to_string(), it.text)).collect();
        Ok(applied)
    }

    /// Makes a release the application: what this node has of it is replaced while messages
    /// arrive, and stays where the new version does not start.
    async fn prepare(&self, release: &Release, deployed: &Deployed) {
        for source in self.application.sources() {
            if !release.parts.contains_key(&source.id) {
                self.application.remove(&source.id);
                deployed.state().has.remove(&source.id);
            }
        }
        deployed.state().turn_to(release);
        for (id, part) in &release.parts {
            let has = {
                let state = deployed.state();
                if state.is_hopeless(id) || state.has.get(id) == Some(part) {
                    continue;
                }
                state.has.contains_key(id)
            };
            let prepared = match has {
                true => self.replace(id, part, deployed).await,
                false => self.note(id, part, deployed).await,
            };
            match prepared {
                Ok(()) => drop(deployed.state().problems.remove(id)),
                Err(trouble) => deployed.trouble(id, part, trouble),
            }
        }
        let mut state = deployed.state();
        state.prune();
        state.number = Some(release.number);
    }

    /// Knows a component that this node does not have. What answers HTTP requests itself it has,
    /// because the bytes say how it does.
    async fn note(
        &self,
        id: &ComponentId,
        part: &ReleasePart,
        deployed: &Deployed,
    ) -> Result<(), Unfetched> {
        let mut source = deployed.outline(part)?;
        if source.http.is_some() {
            source = deployed.fetch(part).await?;
            deployed.state().has.insert(id.clone(), part.clone());
        }
        self.application.insert(Arc::new(source));
        Ok(())
    }

    async fn replace(
        &self,
        id: &ComponentId,
        part: &ReleasePart,
        deployed: &Deployed,
    ) -> Result<(), Unfetched> {
        let source = deployed.fetch(part).await?;
        let before = self.application.source(id);
        if before.is_none_or(|it| !it.is_same_component(&source)) {
            match self.host.swap(source.component()).await {
                // It is another node's by now, or could not be loaded before.
                Ok(()) | Err(HostError::NotLoaded(_)) => {}
                Err(error) => return Err((error.to_string(), false)),
            }
            self.application.insert(Arc::new(source));
        }
        deployed.state().has.insert(id.clone(), part.clone());
        Ok(())
    }

    /// Fetches what is to be loaded for the partitions that this node has, before it holds up
    /// those: what is new, and what could not be fetched.
    async fn fetch_missing(&self, node: &Node, deployed: &Deployed) {
        let parts = deployed.state().parts.clone();
        for (id, part) in parts.iter().filter(|(id, _)| node.owns(id)) {
            let _ = self.have(id, part, deployed).await;
        }
    }

    /// Fetches a component unless it is here.
    async fn have(
        &self,
        id: &ComponentId,
        part: &ReleasePart,
        deployed: &Deployed,
    ) -> Result<(), ()> {
        {
            let state = deployed.state();
            if state.has.contains_key(id) {
                return Ok(());
            }
            if state.is_hopeless(id) {
                return Err(());
            }
        }
        match deployed.fetch(part).await {
            Ok(source) => {
                self.application.insert(Arc::new(source));
                let mut state = deployed.state();
                state.problems.remove(id);
                state.has.insert(id.clone(), part.clone());
                Ok(())
            }
            Err(trouble) => {
                deployed.trouble(id, part, trouble);
                Err(())
            }
        }
    }

    /// Keeps no bytes of components that other nodes have.
    fn forget_others(&self, node: &Node, deployed: &Deployed) {
        let has: Vec<_> = deployed.state().has.keys().cloned().collect();
        for id in has.iter().filter(|id| !node.owns(id)) {
            if self.host.permissions(id).is_none() {
                self.forget(id, deployed);
            }
        }
    }

    fn forget(&self, id: &ComponentId, deployed: &Deployed) {
        let part = deployed.state().parts.get(id).cloned();
        let outline = part.and_then(|part| deployed.outline(&part).ok());
        if outline.as_ref().is_some_and(|it| it.http.is_some()) {
            return;
        }
        if let Some(outline) = outline {
            self.application.insert(Arc::new(outline));
        }
        let mut state = deployed.state();
        state.has.remove(id);
        state.problems.retain(|of, it| of != id || !it.passes);
        state.prune();
    }

    /// Loads the version before of a component of which the new one does not start.
    async fn load_former(&self, id: &ComponentId, error: &HostError) {
        let Some(deployed) = &self.deployed else {
            return;
        };
        let (part, before) = {
            let state = deployed.state();
            (state.has.get(id).cloned(), state.before.get(id).cloned())
        };
        if let Some(part) = part {
            deployed.trouble(id, &part, (error.to_string(), false));
            deployed.is_troubled.notify_one();
        }
        let Some(before) = before else {
            return;
        };
        match deployed.fetch(&before).await {
            // What that ends in is told as an event, too.
            Ok(former) => drop(self.host.load(former.component()).await),
            Err((text, _)) => Report::warning(text).print(),
        }
        deployed.state().prune();
    }
}

#[async_trait]
impl Tenants for Tenancy {
    fn ids(&self) -> Vec<ComponentId> {
        let sources = self.application.sources();
        sources.iter().map(|source| source.id.clone()).collect()
    }

    async fn load(&self, mut ids: Vec<ComponentId>) {
        if let Some(deployed) = &self.deployed {
            let mut here = Vec::new();
            for id in ids {
                let part = deployed.state().parts.get(&id).cloned();
                if let Some(part) = part
                    && self.have(&id, &part, deployed).await.is_ok()
                {
                    here.push(id);
                }
            }
            ids = here;
        }
        let sources = ids.iter().filter_map(|id| self.application.source(id));
        let components: Vec<_> = sources.map(|source| source.component()).collect();
        let ids: Vec<_> = components.iter().map(|it| it.id.clone()).collect();
        let loaded = self.host.load_all(components).await;
        for (id, loaded) in ids.iter().zip(loaded) {
            match loaded {
                Ok(_) | Err(HostError::AlreadyLoaded(_)) => {}
                // It is told as an event.
                Err(error) => self.load_former(id, &error).await,
            }
        }
    }

    async fn unload(&self, ids: Vec<ComponentId>) {
        for id in ids {
            match self.host.unload(&id).await {
                // What its `shutdown` ends in is told as an event.
                Ok(()) | Err(HostError::NotLoaded(_) | HostError::Engine(_)) => {}
                Err(error) => Report::warning(error.to_string()).print(),
            }
            if let Some(deployed) = &self.deployed {
                self.forget(&id, deployed);
            }
        }
    }

    fn missing(&self) -> Vec<ComponentId> {
        let Some(deployed) = &self.deployed else {
            return Vec::new();
        };
        let has: Vec<_> = {
            let state = deployed.state();
            let has = state.has.keys().filter(|id| !state.is_hopeless(id));
            has.cloned().collect()
        };
        let is_missing = |id: &ComponentId| self.host.permissions(id).is_none();
        has.into_iter().filter(is_missing).collect()
    }

    fn is_changing(&self) -> bool {
        self.deployed.as_ref().is_some_and(Deployed::is_behind)
    }

    fn concurrency(&self, id: &ComponentId) -> u32 {
        let source = self.application.source(id);
        source.map_or(1, |it| it.config.concurrency())
    }

    fn after_crash(&self, id: &ComponentId) -> AfterCrash {
        let source = self.application.source(id);
        source.map_or_else(AfterCrash::default, |it| {
            it.component().supervision.after_crash
        })
    }
}
