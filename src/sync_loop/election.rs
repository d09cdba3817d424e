//! One of several loops syncs, the others stand by: leader election by a Lease, with the semantics of client-go.
//!
//! Correctness never depends on it, since cycles may run at once; it only saves work. As in client-go, clocks of different
//! machines are never compared: a holder is gone when its lease has not *changed* for the lease's duration by our own clock.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, ClusterError, Lease, LeaseSpec};

/// A lease that is not renewed for this time is free. With `STANDBY_PERIOD` on top, a killed holder is replaced within 15 s.
const LEASE_DURATION: Duration = Duration::from_secs(10);
/// A holder that could not renew for this time stops being the leader, before others may take over.
const RENEW_DEADLINE: Duration = Duration::from_secs(7);
/// How often a holder renews.
const RENEW_PERIOD: Duration = Duration::from_secs(2);
/// How often the others look, so that a lease that was given up is taken within 2 s.
const STANDBY_PERIOD: Duration = Duration::from_secs(1);
/// Letting go must not hold up the exit.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);
/// The first attempt at it.
const RELEASE_FIRST_ATTEMPT: Duration = Duration::from_millis(500);
/// The first attempt at anything else: a dead connection must not cost the lease.
const FIRST_ATTEMPT: Duration = Duration::from_secs(1);

/// Whether we are the one who syncs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leadership {
    /// We hold the lease.
    Leader,
    /// Somebody else does, or nobody is known to.
    Standby {
        /// Who, if known.
        holder: Option<String>,
    },
}

/// Takes part in the election by one lease.
#[derive(Debug)]
pub(crate) struct Election {
    cluster: Cluster,
    namespace: String,
    name: String,
    candidate: Candidate,
}

/// What a candidate knows and decides, without I/O and without a clock of its own.
#[derive(Debug)]
struct Candidate {
    identity: String,
    observed: Option<Observed>,
}

/// A lease as we last saw it change.
#[derive(Clone, Debug)]
struct Observed {
    spec: LeaseSpec,
    changed_at: Instant,
}

/// What to do about a lease.
#[derive(Debug, PartialEq, Eq)]
enum Move {
    /// There is none: make it ours.
    Create,
    /// It is ours: renew it; or free: take it.
    Update(LeaseSpec),
    /// It is somebody else's.
    Wait,
}

impl Election {
    /// `identity` must differ from that of every other candidate.
    pub(crate) fn new(cluster: &Cluster, namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            cluster: cluster.with_own_connections(FIRST_ATTEMPT),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            candidate: Candidate {
                identity: identity.to_owned(),
                observed: None,
            },
        }
    }

    /// Takes part until `stop` is sent or dropped, then gives the lease up. It also gives it up while `unfit` says why we could
    /// not sync: somebody else may be able to.
    pub(crate) async fn run(
        mut self,
        leadership: watch::Sender<Leadership>,
        mut unfit: watch::Receiver<Option<String>>,
        mut stop: oneshot::Receiver<()>,
    ) {
        let mut renewed_at = None;
        let mut last_problem = String::new();
        loop {
            if unfit.borrow_and_update().is_some() {
                leadership.send_replace(Leadership::Standby { holder: None });
                if renewed_at.take().is_some() {
                    self.release().await;
                }
                tokio::select! {
                    Ok(()) = unfit.changed() => continue,
                    _ = &mut stop => return,
                }
            }
            // A leader's attempt must not outlast its leadership.
            let limit = Instant::now() + RENEW_DEADLINE - RENEW_PERIOD;
            let deadline = renewed_at.map_or(limit, |at: Instant| limit.min(at + RENEW_DEADLINE));
            let attempt = tokio::select! {
                attempt = self.attempt(deadline) => attempt,
                _ = &mut stop => break,
            };
            let now = match attempt {
                Ok(now) => {
                    renewed_at = (now == Leadership::Leader).then(Instant::now);
                    last_problem.clear();
                    now
                }
                Err(error) => {
                    // Once is enough; otherwise it would be in the log every second.
                    let problem = error.to_string();
                    if problem != last_problem {
                        tracing::warn!(%error, lease = self.name, "the lease could not be looked after");
                        last_problem = problem;
                    }
                    match renewed_at {
                        Some(at) if at.elapsed() < RENEW_DEADLINE => Leadership::Leader,
                        _ => {
                            renewed_at = None;
                            Leadership::Standby { holder: None }
                        }
                    }
                }
            };
            let pause = match now {
                Leadership::Leader => RENEW_PERIOD,
                Leadership::Standby { .. } => STANDBY_PERIOD,
            };
            leadership.send_if_modified(|known| {
                let is_news = *known != now;
                if is_news {
                    tracing::info!(lease = self.name, "{}", describe(&now));
                    *known = now;
                }
                is_news
            });
            tokio::select! {
                () = sleep(pause) => {}
                Ok(()) = unfit.changed() => {}
                _ = &mut stop => break,
            }
        }
        self.release().await;
    }

    async fn attempt(&mut self, deadline: Instant) -> Result<Leadership, ClusterError> {
        let cluster = self.cluster.until(deadline);
        let lease = cluster.find(&self.namespace, &self.name).await?;
        let now = Timestamp::now();
        self.candidate.observe(lease.as_ref(), Instant::now());
        let spec = match self.candidate.decide(lease.as_ref(), now, Instant::now()) {
            Move::Wait => return Ok(self.candidate.standby()),
            Move::Create => self.candidate.ours(None, now),
            Move::Update(spec) => spec,
        };
        let written = cluster
            .write(&self.namespace, &self.name, lease.as_ref(), &spec)
            .await;
        match written {
            Ok(lease) => {
                self.candidate.observe(Some(&lease), Instant::now());
                Ok(Leadership::Leader)
            }
            // Somebody was faster; the next look shows who.
            Err(error) if error.is_conflict() => Ok(self.candidate.standby()),
            Err(error) => Err(error),
        }
    }

    /// Lets the others know at once that the lease is free, if it is ours.
    async fn release(&self) {
        // The connection may have died unnoticed.
        let cluster = self.cluster.with_own_connections(RELEASE_FIRST_ATTEMPT);
        let cluster = cluster.until(Instant::now() + RELEASE_TIMEOUT);
        let Ok(Some(lease)) = cluster.find::<Lease>(&self.namespace, &self.name).await else {
            return;
        };
        if lease.spec.holder() != Some(&self.candidate.identity) {
            return;
        }
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            // As client-go does: a lease of one second, so that nobody has to wait for it.
            lease_duration_seconds: Some(1),
            renew_time: Some(Timestamp::now()),
            ..lease.spec.clone()
        };
        let released = cluster
            .write(&self.namespace, &self.name, Some(&lease), &spec)
            .await;
        match released {
            Ok(_) => tracing::info!(lease = self.name, "the lease is given up"),
            Err(error) => tracing::warn!(%error, "the lease could not be given up; it expires"),
        }
    }
}

impl Candidate {
    fn standby(&self) -> Leadership {
        let holder = self
            .observed
            .as_ref()
            .and_then(|observed| observed.spec.holder());
        Leadership::Standby {
            holder: holder.map(str::to_owned),
        }
    }

    /// Notes when the lease was last seen to change.
    fn observe(&mut self, lease: Option<&Lease>, now: Instant) {
        match (lease, &self.observed) {
            (None, _) => self.observed = None,
            (Some(lease), Some(observed)) if observed.spec == lease.spec => {}
            (Some(lease), _) => {
                self.observed = Some(Observed {
                    spec: lease.spec.clone(),
                    changed_at: now,
                });
            }
        }
    }

    fn decide(&self, lease: Option<&Lease>, time: Timestamp, now: Instant) -> Move {
        let (Some(lease), Some(observed)) = (lease, &self.observed) else {
            return Move::Create;
        };
        let is_others = lease
            .spec
            .holder()
            .is_some_and(|holder| holder != self.identity);
        let seconds = lease.spec.lease_duration_seconds.unwrap_or(0);
        let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        if is_others && now.saturating_duration_since(observed.changed_at) < duration {
            return Move::Wait;
        }
        Move::Update(self.ours(Some(&lease.spec), time))
    }

    /// The lease with us as its holder.
    fn ours(&self, before: Option<&LeaseSpec>, now: Timestamp) -> LeaseSpec {
        let is_renewal = before.is_some_and(|spec| spec.holder() == Some(&self.identity));
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(LEASE_DURATION.as_secs() as i64),
            acquire_time: match before {
                Some(spec) if is_renewal => spec.acquire_time,
                _ => Some(now),
            },
            renew_time: Some(now),
            lease_transitions: Some(match before {
                Some(_) if !is_renewal => transitions.saturating_add(1),
                _ => transitions,
            }),
        }
    }
}

fn describe(leadership: &Leadership) -> String {
    match leadership {
        Leadership::Leader => "this instance holds the lease and syncs".to_owned(),
        Leadership::Standby {
            holder: Some(holder),
        } => {
            format!("standing by: {holder} holds the lease")
        }
        Leadership::Standby { holder: None } => {
            "standing by: nobody is known to hold the lease".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RENEWED: &str = "2026-11-23T04:00:00Z";

    fn candidate() -> Candidate {
        Candidate {
            identity: "me".to_owned(),
            observed: None,
        }
    }

    fn lease(holder: &str, renewed: &str, transitions: i64) -> Lease {
        Lease {
            resource_version: "1".to_owned(),
            spec: LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(10),
                acquire_time: renewed.parse().ok(),
                renew_time: renewed.parse().ok(),
                lease_transitions: Some(transitions),
            },
        }
    }

    /// What is done about `lease` that was first seen `seconds` ago; its own times are of another clock.
    fn moved(lease: &Lease, seconds: u64) -> Move {
        let mut candidate = candidate();
        let begin = Instant::now();
        let now = begin + Duration::from_secs(seconds);
        candidate.observe(Some(lease), begin);
        candidate.observe(Some(lease), now);
        candidate.decide(Some(lease), "2031-01-01T00:00:00Z".parse().unwrap(), now)
    }

    #[test]
    fn a_lease_that_is_not_there_is_made() {
        let mut candidate = candidate();
        candidate.observe(None, Instant::now());
        assert_eq!(
            candidate.decide(None, Timestamp::now(), Instant::now()),
            Move::Create
        );
    }

    #[test]
    fn anothers_lease_is_free_only_when_it_has_not_changed_for_its_duration_by_our_clock() {
        let others = lease("other", RENEWED, 3);
        assert_eq!(
            moved(&others, 0),
            Move::Wait,
            "its renewal is years ago, by its clock"
        );
        assert_eq!(moved(&others, 9), Move::Wait);
        let Move::Update(spec) = moved(&others, 10) else {
            panic!("it is free");
        };
        assert_eq!(spec.holder(), Some("me"));
        assert_eq!(spec.lease_transitions, Some(4));
        assert_eq!(spec.acquire_time, spec.renew_time);
    }

    #[test]
    fn a_renewal_begins_the_time_anew() {
        let mut candidate = candidate();
        let begin = Instant::now();
        candidate.observe(Some(&lease("other", RENEWED, 0)), begin);
        let renewed = lease("other", "2026-11-23T04:00:02Z", 0);
        let later = begin + Duration::from_secs(9);
        candidate.observe(Some(&renewed), later);
        let now = begin + Duration::from_secs(18);
        assert_eq!(
            candidate.decide(Some(&renewed), Timestamp::now(), now),
            Move::Wait
        );
    }

    #[test]
    fn our_own_lease_is_renewed_and_one_that_was_given_up_is_taken_at_once() {
        let Move::Update(renewed) = moved(&lease("me", RENEWED, 3), 0) else {
            panic!("it is ours");
        };
        assert_eq!(renewed.lease_transitions, Some(3));
        assert_eq!(renewed.acquire_time, RENEWED.parse().ok());
        assert!(matches!(moved(&lease("", RENEWED, 3), 0), Move::Update(_)));
    }

    #[test]
    fn no_number_in_a_lease_is_too_much() {
        for number in [i64::MIN, -1, 0, i64::MAX - 1, i64::MAX] {
            let mut others = lease("other", RENEWED, number);
            others.spec.lease_duration_seconds = Some(number);
            let expected = number <= 0;
            let outcome = moved(&others, 9);
            assert_eq!(outcome != Move::Wait, expected, "{number}: {outcome:?}");
        }
        let Move::Update(spec) = moved(&lease("", RENEWED, i64::MAX), 0) else {
            panic!("it is free");
        };
        assert_eq!(spec.lease_transitions, Some(i64::MAX));
    }
}
