//! The cluster behind the stand-in, as a test holds it: objects, logs, users, faults, and what was asked of it.
//!
//! [`Cluster`] is the only door to the [`State`]; every change through it wakes the watches.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::access::{Access, User};
use crate::counters::Counters;
use crate::faults::{Fault, FaultAction, Faults};
use crate::logs::{KubeletStyle, Log};
use crate::random::Random;
use crate::resources::Resource;
use crate::state::State;
use crate::status::Failure;
use crate::{generate, recording};

/// A cheap handle to the cluster of a running [`crate::Standin`]. All methods are synchronous and take effect at once.
///
/// Resources are named by their plurals: `testruns`, `pods`, `configmaps`, `leases`, `namespaces`, `nodes`, `roles`,
/// `rolebindings`, `clusterroles`, `clusterrolebindings`.
#[derive(Debug, Clone)]
pub struct Cluster(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// The newest resourceVersion, for watches to wait on.
    changed: watch::Sender<u64>,
    access: Mutex<Access>,
    faults: Mutex<Faults>,
    counters: Counters,
    latency_us: AtomicU64,
    /// Where `load_recording` last read from, for the admin path.
    recording: Mutex<Option<PathBuf>>,
    style: KubeletStyle,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A resource by its plural. A test that names none of ours is mistaken, and should hear of it.
fn stored_resource(plural: &str) -> &'static Resource {
    match Resource::named(plural).filter(|resource| resource.stored) {
        Some(resource) => resource,
        None => panic!("the stand-in stores no resource \"{plural}\""),
    }
}

impl Cluster {
    pub(crate) fn new(admin_token: &str, style: KubeletStyle) -> Self {
        let state = State::new(Random::fresh());
        let (changed, _) = watch::channel(state.version());
        Self(Arc::new(Inner {
            state: Mutex::new(state),
            changed,
            access: Mutex::new(Access::new(admin_token)),
            faults: Mutex::new(Faults::new()),
            counters: Counters::default(),
            latency_us: AtomicU64::new(0),
            recording: Mutex::new(None),
            style,
        }))
    }

    // === objects ===

    /// Creates or replaces an object, by its apiVersion, kind, namespace (`default` if absent) and name. A uid and a
    /// creationTimestamp are kept if given, else those of the object that is replaced, else made; the resourceVersion
    /// is always new. Watches see it.
    ///
    /// # Panics
    /// When the stand-in serves no such apiVersion and kind, or the object has no name.
    pub fn put(&self, object: Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let Some(resource) = Resource::of(&api_version, &kind).filter(|r| r.stored) else {
            panic!("the stand-in stores no {api_version} {kind}");
        };
        assert!(
            object["metadata"]["name"].is_string(),
            "an object needs a name: {object}"
        );
        self.change(|state| state.put(resource, object));
    }

    /// The object, with apiVersion and kind. The namespace of a cluster-wide resource is `""`.
    ///
    /// # Panics
    /// As all methods that take a resource: when the stand-in stores none of that name.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.state().get(stored_resource(resource), namespace, name)
    }

    /// All objects of a resource, by namespace and name; of one namespace or of all.
    pub fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Value> {
        self.state().list(stored_resource(resource), namespace)
    }

    /// Deletes an object as a DELETE request would; false if there is none. Finalizers hold it. With a TestRun go its
    /// pods (label `k6_cr`), with a pod its logs.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) -> bool {
        let resource = stored_resource(resource);
        self.change(|state| state.delete(resource, namespace, name, &Value::Null, false))
            .is_ok()
    }

    /// From now on nothing serves `/apis/k6.io` (docs/facts.md, "A missing CRD answers in plain text"), and watches of
    /// TestRuns end.
    pub fn remove_crd(&self) {
        self.change(|state| {
            state.crd = false;
            state.raise_version(state.version() + 1);
        });
    }

    /// Undoes [`Cluster::remove_crd`]; the TestRuns are as they were.
    pub fn restore_crd(&self) {
        self.change(|state| state.crd = true);
    }

    /// Continue tokens and resourceVersions given out so far are too old from now on (docs/facts.md,
    /// "An expired list goes on with a new token", "A watch from too far back gets an ERROR event").
    pub fn compact(&self) {
        self.change(State::compact);
    }

    /// Makes the TestRuns, pods and logs of a recording's namespace exactly those of one of its moments. `recording_dir`
    /// has a directory for each moment, with `testruns.json`, `pods.json` and `logs/POD.CONTAINER.log`.
    ///
    /// # Errors
    /// When a file cannot be read or is not what it should be.
    pub fn load_recording(&self, recording_dir: &Path, moment: &str) -> anyhow::Result<()> {
        let recorded = recording::read(recording_dir, moment)?;
        *lock(&self.0.recording) = Some(recording_dir.to_owned());
        self.change(|state| recording::apply(state, recorded));
        Ok(())
    }

    /// The directory that [`Cluster::load_recording`] last read from.
    pub(crate) fn recording_dir(&self) -> Option<PathBuf> {
        lock(&self.0.recording).clone()
    }

    /// Fills the cluster with TestRuns, their pods and logs, as k6-operator would leave them, in a namespace that is made if
    /// it is not there.
    pub fn generate(&self, spec: &generate::Spec) {
        self.put(json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": spec.namespace},
        }));
        self.change(|state| generate::fill(state, spec));
    }

    /// Adds `lines` lines to the log of each running runner of the namespace: the first at `first_ts`, nanoseconds since
    /// 1970, and each so much later than the one before.
    pub fn append_lines(&self, namespace: &str, lines: usize, first_ts: i64, step: Duration) {
        let step = i64::try_from(step.as_nanos()).unwrap_or(i64::MAX);
        let times = (0..).map(|index: i64| first_ts + index * step).take(lines);
        generate::append_lines(&self.state(), namespace, times);
    }

    // === logs ===

    /// The log of a container, made on first use. The pod need not exist; a new pod of the same name, after a deletion,
    /// has another log.
    pub fn log(&self, namespace: &str, pod: &str, container: &str) -> Log {
        self.state().logs.open(namespace, pod, container)
    }

    pub(crate) fn kubelet_style(&self) -> KubeletStyle {
        self.0.style
    }

    // === clock ===

    /// Puts the cluster's clock so far ahead of the real one, or behind: it stamps objects and the `Date` of answers.
    /// What a node stamps (container states, log lines) is the test's to say.
    pub fn set_clock_offset(&self, offset: SignedDuration) {
        self.change(|state| state.clock_offset = offset);
    }

    pub(crate) fn clock_offset(&self) -> SignedDuration {
        self.state().clock_offset
    }

    // === requests ===

    /// How many requests arrived since the start or the last reset, by kind: `list pods`, `get pods/log`, `patch configmaps`.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.0.counters.all()
    }

    /// How many bytes were sent since then, as they went over the wire.
    pub fn sent_bytes(&self) -> u64 {
        self.0.counters.sent_bytes()
    }

    pub(crate) fn count_sent(&self, bytes: usize) {
        self.0.counters.count_sent(bytes);
    }

    /// Counts requests and bytes from zero again.
    pub fn reset_requests(&self) {
        self.0.counters.reset();
    }

    pub(crate) fn count(&self, kind: &str) {
        self.0.counters.count(kind);
    }

    // === behaviour ===

    /// Waits this long before each answer.
    pub fn set_latency(&self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.latency_us.store(us, Ordering::Relaxed);
    }

    pub(crate) fn latency(&self) -> Duration {
        Duration::from_micros(self.0.latency_us.load(Ordering::Relaxed))
    }

    /// Adds a rule that makes requests go wrong; the first rule that fits and whose chance comes up wins.
    pub fn fault(&self, rule: Fault) {
        lock(&self.0.faults).add(rule);
    }

    /// Removes all rules.
    pub fn clear_faults(&self) {
        lock(&self.0.faults).clear();
    }

    /// Makes the chances of all rules follow from `seed`, from now on.
    pub fn seed_faults(&self, seed: u64) {
        lock(&self.0.faults).seed(seed);
    }

    /// How many requests have gone wrong since the start, because a rule said so.
    pub fn faults_injected(&self) -> u64 {
        lock(&self.0.faults).injected()
    }

    pub(crate) fn draw_fault(&self, kind: &str, name: &str) -> Option<FaultAction> {
        lock(&self.0.faults).draw(kind, name)
    }

    // === users ===

    /// Gives a token to a user.
    pub fn user(&self, token: &str, user: User) {
        lock(&self.0.access).add(token, user);
    }

    /// The token is nobody's from now on.
    pub fn revoke(&self, token: &str) {
        lock(&self.0.access).remove(token);
    }

    pub(crate) fn authenticate(&self, headers: &HeaderMap) -> Result<User, Failure> {
        let state = self.state();
        lock(&self.0.access).authenticate(headers, &state)
    }

    // === for the routes ===

    /// The state, to read. Changes belong into [`Cluster::change`].
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    /// The state and the users, for reviews. Locked in the same order as everywhere.
    pub(crate) fn with_access<T>(&self, action: impl FnOnce(&State, &Access) -> T) -> T {
        let state = self.state();
        action(&state, &lock(&self.0.access))
    }

    /// Changes the state and wakes the watches.
    pub(crate) fn change<T>(&self, action: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let result = action(&mut state);
        let version = state.version();
        drop(state);
        self.0.changed.send_if_modified(|known| {
            let newer = version > *known;
            *known = version.max(*known);
            newer
        });
        result
    }

    /// Something to wait on for the next change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }
}
