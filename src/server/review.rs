//! What the API server says about a bearer token: whose it is, and what they may do. Asked as rarely as possible.
//!
//! Anybody can send tokens, and a flood of them must not become a flood of reviews. So nothing is asked about what can't be a
//! token, a token is under review only once at a time, and few reviews run at once. Answers are remembered; those about
//! nobody's tokens apart from the others, so that junk can't push out the good ones. Whoever was let in lately does not wait
//! behind strangers.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, WeakShared};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::access::{Access, CLUSTER_TIMEOUT, Denied};
use super::door::rights::{NoSight, Rights};
use super::sight::Sight;
use crate::cluster::{Cluster, User};

/// How long a review is trusted.
const REVIEW_AGE: Duration = Duration::from_secs(10);
/// How long a good token goes before those of strangers.
const KNOWN_AGE: Duration = Duration::from_secs(60 * 60);
/// Reviews that are remembered, of each kind, whatever tokens people try.
const REVIEWS: usize = 1_000;
/// Reviews at a time.
const REVIEWS_AT_ONCE: usize = 3;
/// And more at a time, of tokens that were good lately.
const REVIEWS_OF_KNOWN: usize = 1;
/// Strangers' tokens that may wait for a review.
const WAITING: usize = 64;
/// And how long each of them waits.
const WAIT: Duration = Duration::from_secs(3);
/// Four times as long as tokens usually are at most.
const TOKEN_BYTES: usize = 16 * 1024;

/// Asks for reviews.
pub(super) struct Reviewer {
    cluster: Cluster,
    rights: Rights,
    audiences: Vec<String>,
    anyone: Semaphore,
    known: Semaphore,
    waiting: Semaphore,
    memory: Mutex<Memory>,
}

/// A token's hash, since the token itself is not kept, and what access is wanted.
type Key = ([u8; 32], Access);
type Outcome = Result<Review, Denied>;

#[derive(Default)]
struct Memory {
    good: Recent<Key>,
    /// Nobody's tokens, whatever access is wanted.
    bad: Recent<[u8; 32]>,
    under_way: HashMap<Key, WeakShared<BoxFuture<'static, Outcome>>>,
}

/// What a review came to.
#[derive(Clone)]
pub(super) struct Review {
    at: Instant,
    /// Whose token it is, and whether they may; `None`: nobody's.
    pub(super) user: Option<(String, bool)>,
    /// What they may see, where that was asked.
    pub(super) sight: Option<Arc<Sight>>,
}

/// Whose rights are reviewed.
pub(super) enum Whose {
    /// Whoever has this token.
    Token(String),
    /// Somebody whom a proxy names.
    User(User),
}

impl Whose {
    fn hash(&self) -> [u8; 32] {
        match self {
            Self::Token(token) => Sha256::digest(token.as_bytes()).into(),
            // No token has a newline.
            Self::User(user) => {
                let groups = user.groups.join("\n");
                Sha256::digest(format!("user\n{}\n{groups}", user.username)).into()
            }
        }
    }
}

impl Reviewer {
    pub(super) fn new(cluster: Cluster, rights: Rights, audiences: Vec<String>) -> Self {
        Self {
            cluster,
            rights,
            audiences,
            anyone: Semaphore::new(REVIEWS_AT_ONCE),
            known: Semaphore::new(REVIEWS_OF_KNOWN),
            waiting: Semaphore::new(WAITING),
            memory: Mutex::default(),
        }
    }

    /// Whose token it is, and whether they may have `access`.
    ///
    /// # Errors
    /// [`Denied`] if the API server does not answer.
    pub(super) async fn review(self: &Arc<Self>, whose: Whose, access: Access) -> Outcome {
        if let Whose::Token(token) = &whose
            && !can_be_token(token)
        {
            return Ok(Review {
                at: Instant::now(),
                user: None,
                sight: None,
            });
        }
        let key = (whose.hash(), access);
        let review = {
            let mut memory = self.memory();
            if let Some(review) = memory.recall(&key) {
                return Ok(review);
            }
            memory
                .under_way
                .retain(|_, review| review.upgrade().is_some());
            let under_way = memory.under_way.get(&key).and_then(WeakShared::upgrade);
            under_way.unwrap_or_else(|| {
                let review = Arc::clone(self).ask(whose, key).boxed().shared();
                if let Some(weak) = review.downgrade() {
                    memory.under_way.insert(key, weak);
                }
                review
            })
        };
        // The review goes on while at least one request waits for it.
        review.await
    }

    async fn ask(self: Arc<Self>, whose: Whose, key: Key) -> Outcome {
        let _turn = self.turn(&key).await?;
        let at = Instant::now();
        let cluster = self.cluster.until(at + CLUSTER_TIMEOUT);
        let user = match whose {
            Whose::Token(token) => cluster.review_token(&token, &self.audiences).await?,
            Whose::User(user) => Some(user),
        };
        let (user, sight) = match user {
            Some(user) if key.1 == Access::See => {
                let sight = self.rights.sight(&cluster, &user).await?;
                let may = sight.organizes;
                (Some((user.username, may)), Some(Arc::new(sight)))
            }
            Some(user) => {
                let right = self.rights.control_right(key.1.verb());
                let may = cluster.may(&user, &right).await?;
                (Some((user.username, may)), None)
            }
            None => (None, None),
        };
        let review = Review { at, user, sight };
        self.memory().remember(key, review.clone());
        Ok(review)
    }

    /// All that is shown here.
    ///
    /// # Errors
    /// [`NoSight`]
    pub(super) async fn everything(&self) -> Result<Sight, NoSight> {
        let cluster = self.cluster.until(Instant::now() + CLUSTER_TIMEOUT);
        self.rights.everything(&cluster).await
    }

    /// Namespace and name of the control ConfigMap.
    pub(super) const fn control(&self) -> &(String, String) {
        &self.rights.control
    }

    /// Waits for permission to ask.
    async fn turn(&self, key: &Key) -> Result<SemaphorePermit<'_>, Denied> {
        let is_known = self.memory().good.get(key).is_some();
        let turn = async {
            if is_known {
                return tokio::select! {
                    turn = self.anyone.acquire() => turn.ok(),
                    turn = self.known.acquire() => turn.ok(),
                };
            }
            let _waits = self.waiting.try_acquire().ok()?;
            self.anyone.acquire().await.ok()
        };
        timeout(WAIT, turn).await.ok().flatten().ok_or(Denied::Busy)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Whatever a panic left half done, it is still a map of reviews.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn recall(&self, key: &Key) -> Option<Review> {
        let review = self.good.get(key).or_else(|| self.bad.get(&key.0))?;
        (review.at.elapsed() < REVIEW_AGE).then(|| review.clone())
    }

    fn remember(&mut self, key: Key, review: Review) {
        match review.user {
            Some(_) => {
                self.bad.0.remove(&key.0);
                self.good.insert(key, review, KNOWN_AGE);
            }
            None => {
                self.good.0.retain(|(token, _), _| *token != key.0);
                self.bad.insert(key.0, review, REVIEW_AGE);
            }
        }
    }
}

/// The newest reviews.
struct Recent<K>(HashMap<K, Review>);

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Copy + Eq + Hash> Recent<K> {
    fn get(&self, key: &K) -> Option<&Review> {
        self.0.get(key)
    }

    /// Forgets the oldest if there is no room.
    fn insert(&mut self, key: K, review: Review, keep: Duration) {
        if self.0.len() >= REVIEWS && !self.0.contains_key(&key) {
            self.0.retain(|_, review| review.at.elapsed() < keep);
        }
        if self.0.len() >= REVIEWS && !self.0.contains_key(&key) {
            let oldest = self.0.iter().min_by_key(|(_, review)| review.at);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.0.remove(&oldest);
            }
        }
        self.0.insert(key, review);
    }
}

/// Whether it can be a bearer token at all: `b64token` of RFC 6750, and no longer than headers can be.
fn can_be_token(token: &str) -> bool {
    let letters = token.trim_end_matches('=');
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !letters.is_empty() && token.len() <= TOKEN_BYTES && letters.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junk_is_no_token() {
        for token in [
            "a",
            "abcdef.0123456789abcdef",
            "eyJ.eyJ.x-_",
            "a+/~b==",
            &"x".repeat(16 * 1024),
        ] {
            assert!(can_be_token(token), "{token}");
        }
        for token in [
            "",
            "=",
            "a=b",
            "a b",
            "a,b",
            "a\"b",
            "a\tb",
            "\u{e4}",
            "{}",
            &"x".repeat(16 * 1024 + 1),
        ] {
            assert!(!can_be_token(token), "{token}");
        }
    }

    #[tokio::test]
    async fn junk_takes_no_room_from_the_good_and_the_newest_are_remembered() {
        let good = |number: u16| {
            let mut hash = [1; 32];
            hash[..2].copy_from_slice(&number.to_be_bytes());
            hash
        };
        let review = |user: Option<&str>| Review {
            at: Instant::now(),
            user: user.map(|user| (user.to_owned(), true)),
            sight: None,
        };
        let mut memory = Memory::default();
        memory.remember((good(0), Access::Read), review(Some("alice")));
        for number in 0..5_000_u16 {
            let mut junk = [0; 32];
            junk[..2].copy_from_slice(&number.to_be_bytes());
            memory.remember((junk, Access::Read), review(None));
            let known = memory.recall(&(junk, Access::Act));
            assert!(
                known.is_some_and(|review| review.user.is_none()),
                "{number}"
            );
        }
        assert!(memory.bad.0.len() <= REVIEWS);
        assert!(memory.recall(&(good(0), Access::Read)).is_some());
        assert!(memory.recall(&(good(0), Access::Act)).is_none());

        for number in 1..2_000 {
            memory.remember((good(number), Access::Act), review(Some("bob")));
            assert!(memory.recall(&(good(number), Access::Act)).is_some());
        }
        assert!(memory.good.0.len() <= REVIEWS);
        assert!(memory.recall(&(good(0), Access::Read)).is_none());

        // A token that was revoked is nobody's for everything.
        memory.remember((good(1_999), Access::Read), review(None));
        let revoked = memory.recall(&(good(1_999), Access::Act));
        assert!(revoked.is_some_and(|review| review.user.is_none()));
    }
}
