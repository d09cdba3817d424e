//! How many logs are read at a time: as many as the API server can take, learnt from its answers, up to a maximum.
//!
//! It works like TCP: the limit doubles each round trip until an answer says that it is too much; from then on it grows slowly
//! and shrinks at once. Too much is a refusal (429, 503, no connection), or answers that take several times as long as the
//! fastest. (The crates that offer this had one release, or come with middleware for another HTTP client.)
//!
//! A log that does not come says nothing about the API server: most likely its node is dead. A request that waits long for one
//! lends its permit to others meanwhile, so that dead nodes take nothing from those that live.
//!
//! This bounds memory too: what is read of a log is held until it is stored, so only some of the logs under way may be large.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// Every API server can take this many, so the limit begins here.
const FIRST_LIMIT: usize = 32;
/// The weight of the latest answer in the time that answers usually take.
const WEIGHT: f64 = 1.0 / 16.0;
/// Answers that take this much longer than the fastest (factor, plus seconds) show that requests wait for each other. Beyond
/// the first the limit no longer grows, beyond the second it shrinks.
const LONG: (f64, f64) = (2.0, 0.005);
const TOO_LONG: (f64, f64) = (4.0, 0.050);
/// What the limit is multiplied by after a refusal, and after answers that take too long.
const AFTER_REFUSAL: f64 = 0.5;
const AFTER_TOO_LONG: f64 = 0.75;
/// A permit is lent once its answer has taken this many times what answers usually take, and at least the limiter's patience.
const UNUSUAL: f64 = 4.0;
/// Logs that may be waited for without a permit, beside those that are read. Beyond that, who waits keeps the permit.
pub(crate) const UNANSWERED: usize = 128;
/// (Bytes, logs): of the logs of which more than these bytes have been read, only this many are read on at a time. Each may
/// need a full chunk and the buffers of its connection.
const SIZES: [(usize, usize); 2] = [(32 * 1024, 24), (128 * 1024, 8)];
/// The same for the bytes of one line, which may have 2 MiB and is copied on its way.
const LONG_LINES: (usize, usize) = (128 * 1024, 1);

/// The limit on one cycle's log requests. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Limiter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// As many as the window allows, except for `surplus`.
    permits: Arc<Semaphore>,
    /// For requests that wait for a log that does not come.
    unanswered: Arc<Semaphore>,
    /// How long a log may take to come before it counts as one of those, unless all take as long.
    patience: Duration,
    sizes: [Arc<Semaphore>; 2],
    long_lines: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    window: Window,
    /// Permits that are still in use, but must not be given out again.
    surplus: usize,
}

/// The permit for a request to be under way; given back when it is dropped.
#[derive(Debug)]
pub(super) struct RequestPermit {
    limiter: Limiter,
    /// `None` while it is lent.
    permit: Option<OwnedSemaphorePermit>,
    unanswered: Option<OwnedSemaphorePermit>,
}

/// Memory for what is read of one log; given back when it is dropped. A log that holds some never waits for a
/// [`RequestPermit`]: otherwise logs with memory and logs with permits could wait for each other.
#[derive(Debug)]
pub(crate) struct LogMemory {
    limiter: Limiter,
    /// Bytes read so far.
    bytes: usize,
    sizes: [Option<OwnedSemaphorePermit>; 2],
    long_line: Option<OwnedSemaphorePermit>,
}

impl Limiter {
    /// At most `most` at a time; a request that has waited for `patience` lends its permit.
    pub(super) fn new(most: usize, patience: Duration) -> Self {
        let window = Window::new(most);
        Self(Arc::new(Shared {
            permits: Arc::new(Semaphore::new(window.limit())),
            unanswered: Arc::new(Semaphore::new(UNANSWERED)),
            patience,
            sizes: SIZES.map(|(_, at_a_time)| Arc::new(Semaphore::new(at_a_time))),
            long_lines: Arc::new(Semaphore::new(LONG_LINES.1)),
            state: Mutex::new(State { window, surplus: 0 }),
        }))
    }

    /// Waits for a permit.
    pub(super) async fn permit(&self) -> RequestPermit {
        RequestPermit {
            limiter: self.clone(),
            permit: acquire(&self.0.permits).await,
            unanswered: None,
        }
    }

    /// For a log of which nothing has been read.
    pub(super) fn memory(&self) -> LogMemory {
        LogMemory {
            limiter: self.clone(),
            bytes: 0,
            sizes: [None, None],
            long_line: None,
        }
    }

    /// When a log counts as one that does not come: later than answers usually come now.
    fn patience(&self) -> Duration {
        let times = self.state().window.times;
        let unusual = times.map_or(0.0, |(_, usual)| usual * UNUSUAL);
        Duration::try_from_secs_f64(unusual)
            .unwrap_or_default()
            .max(self.0.patience)
    }

    /// An attempt that began at `sent` was answered with `code`; `None`: the API server could not be reached.
    pub(super) fn answered(&self, sent: Instant, code: Option<StatusCode>) {
        let now = Instant::now();
        let mut state = self.state();
        let before = state.window.limit();
        match code {
            None | Some(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
                state.window.refused(sent, now);
            }
            Some(_) => state.window.answered(sent, now),
        }
        let after = state.window.limit();
        if after > before {
            let kept = state.surplus.min(after - before);
            state.surplus -= kept;
            self.0.permits.add_permits(after - before - kept);
        } else {
            let taken = self.0.permits.forget_permits(before - after);
            state.surplus += before - after - taken;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `None` only for a closed semaphore, and these are never closed.
async fn acquire(semaphore: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(semaphore).acquire_owned().await.ok()
}

/// Waits for `answer`. If that takes long, others get the permit meanwhile, and [`resume`] takes it again.
pub(super) async fn lending<T>(
    permit: Option<&mut RequestPermit>,
    answer: impl Future<Output = T>,
) -> T {
    let mut answer = pin!(answer);
    let Some(permit) = permit else {
        return answer.await;
    };
    if let Ok(answer) = timeout(permit.limiter.patience(), &mut answer).await {
        return answer;
    }
    let unanswered = Arc::clone(&permit.limiter.0.unanswered);
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        unanswered = acquire(&unanswered) => {
            permit.give_back();
            permit.unanswered = unanswered;
        }
    }
    answer.await
}

/// Waits for a permit again if it was lent.
pub(super) async fn resume(permit: Option<&mut RequestPermit>) {
    if let Some(permit) = permit
        && permit.permit.is_none()
    {
        permit.unanswered = None;
        permit.permit = acquire(&permit.limiter.0.permits).await;
    }
}

impl RequestPermit {
    fn give_back(&mut self) {
        let mut state = self.limiter.state();
        if let Some(permit) = self.permit.take()
            && state.surplus > 0
        {
            permit.forget();
            state.surplus -= 1;
        }
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl LogMemory {
    /// Little has been read yet.
    pub(super) fn is_small(&self) -> bool {
        self.sizes.iter().all(Option::is_none)
    }

    /// `bytes` more have come; waits until more may be read. A log that passes one size only ever waits for the next larger
    /// one, so the largest get to their ends, and then all others.
    pub(super) async fn read(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        for (number, (size, _)) in SIZES.into_iter().enumerate() {
            if self.bytes > size && self.sizes[number].is_none() {
                self.sizes[number] = acquire(&self.limiter.0.sizes[number]).await;
            }
        }
    }

    /// One line has come to `bytes`; waits until it may grow.
    pub(super) async fn hold(&mut self, bytes: usize) {
        if bytes <= LONG_LINES.0 {
            self.long_line = None;
        } else if self.long_line.is_none() {
            self.long_line = acquire(&self.limiter.0.long_lines).await;
        }
    }
}

/// The limit itself, without a clock of its own.
#[derive(Debug)]
struct Window {
    limit: f64,
    most: f64,
    /// Nothing has shown yet that it is too much: it doubles.
    is_probing: bool,
    /// Seconds: of the fastest answer, and what answers usually take.
    times: Option<(f64, f64)>,
    /// When it shrank: answers to what was sent before say nothing about the new limit.
    shrunk_at: Option<Instant>,
}

impl Window {
    fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            limit: FIRST_LIMIT.min(most) as f64,
            most: most as f64,
            is_probing: true,
            times: None,
            shrunk_at: None,
        }
    }

    fn limit(&self) -> usize {
        self.limit as usize
    }

    fn answered(&mut self, sent: Instant, now: Instant) {
        let took = now.saturating_duration_since(sent).as_secs_f64();
        let (fastest, usual) = self.times.unwrap_or((took, took));
        let (fastest, usual) = (fastest.min(took), usual + (took - usual) * WEIGHT);
        self.times = Some((fastest, usual));
        let is_beyond = |(factor, more): (f64, f64)| usual > fastest * factor + more;
        // Up to what every API server can take, times say nothing: far nodes and long logs are slow however few are read.
        let is_many = self.limit > FIRST_LIMIT as f64;
        if is_many && is_beyond(TOO_LONG) {
            self.shrink(AFTER_TOO_LONG, sent, now);
            self.limit = self.limit.max(FIRST_LIMIT as f64);
        } else if !is_many || !is_beyond(LONG) {
            let step = if self.is_probing {
                1.0
            } else {
                1.0 / self.limit
            };
            self.limit = (self.limit + step).min(self.most);
        }
    }

    fn refused(&mut self, sent: Instant, now: Instant) {
        self.shrink(AFTER_REFUSAL, sent, now);
    }

    fn shrink(&mut self, factor: f64, sent: Instant, now: Instant) {
        self.is_probing = false;
        if self.shrunk_at.is_none_or(|shrunk_at| sent >= shrunk_at) {
            self.limit = (self.limit * factor).max(1.0);
            self.shrunk_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Rounds of as many requests as are allowed, each answered after what `latency` says of their number.
    fn rounds(window: &mut Window, count: usize, latency: impl Fn(usize) -> Duration) -> usize {
        let mut now = Instant::now();
        for _ in 0..count {
            let at_a_time = window.limit();
            let sent = now;
            now += latency(at_a_time);
            for _ in 0..at_a_time {
                window.answered(sent, now);
            }
        }
        window.limit()
    }

    #[test]
    fn doubles_each_round_up_to_the_limit() {
        let mut window = Window::new(200);
        let limits = [(); 5].map(|()| rounds(&mut window, 1, |_| 5 * MS));
        assert_eq!(limits, [64, 128, 200, 200, 200]);
    }

    #[test]
    fn a_lower_limit_is_kept_from_the_start() {
        assert_eq!(Window::new(3).limit(), 3);
        assert_eq!(Window::new(0).limit(), 1);
    }

    #[test]
    fn stops_growing_where_requests_wait_for_each_other() {
        // A server that answers 40 at a time, each within 5 ms.
        let queue = |at_a_time: usize| 5 * MS * at_a_time.div_ceil(40) as u32;
        let limit = rounds(&mut Window::new(1_000), 50, queue);
        assert!((80..=200).contains(&limit), "{limit}");
    }

    #[test]
    fn one_refusal_halves_however_many_were_under_way() {
        let mut window = Window::new(64);
        rounds(&mut window, 5, |_| 5 * MS);
        let sent = Instant::now();
        for _ in 0..64 {
            window.refused(sent, sent + 5 * MS);
        }
        assert_eq!(window.limit(), 32);
        window.refused(sent + 6 * MS, sent + 7 * MS);
        assert_eq!(window.limit(), 16);
    }

    #[test]
    fn after_a_refusal_it_grows_by_one_a_round() {
        let mut window = Window::new(64);
        let sent = Instant::now();
        window.refused(sent, sent);
        assert_eq!(window.limit(), 16);
        assert!((19..=20).contains(&rounds(&mut window, 4, |_| 5 * MS)));
    }

    #[test]
    fn shrinks_when_answers_take_many_times_as_long() {
        let mut window = Window::new(64);
        rounds(&mut window, 5, |_| 5 * MS);
        assert!(rounds(&mut window, 5, |_| 500 * MS) < 40);
    }

    /// Logs of far nodes, or long ones, whose answers would take as long if they were alone.
    #[test]
    fn slow_answers_alone_do_not_go_below_the_first_number() {
        let mut window = Window::new(128);
        rounds(&mut window, 1, |_| 2 * MS);
        assert_eq!(rounds(&mut window, 100, |_| 70 * MS), FIRST_LIMIT);
        let sent = Instant::now() + Duration::from_secs(60);
        window.refused(sent, sent);
        assert_eq!(window.limit(), FIRST_LIMIT / 2);
        assert_eq!(rounds(&mut window, 100, |_| 70 * MS), FIRST_LIMIT);
    }

    proptest! {
        #[test]
        fn stays_between_one_and_the_limit(
            most in 1_usize..300,
            answers in prop::collection::vec((0_u64..2_000, any::<bool>()), 0..400),
        ) {
            let mut window = Window::new(most);
            let mut now = Instant::now();
            for (ms, is_refused) in answers {
                let sent = now;
                now += Duration::from_millis(ms);
                match is_refused {
                    true => window.refused(sent, now),
                    false => window.answered(sent, now),
                }
                prop_assert!((1..=most).contains(&window.limit()));
            }
        }
    }

    /// Permits in use when the limit shrinks are not given out again, and come back when it grows.
    #[tokio::test]
    async fn there_are_as_many_permits_as_the_limit_says() {
        let limiter = Limiter::new(64, PATIENCE);
        let sent = Instant::now();
        let mut taken = Vec::new();
        for _ in 0..FIRST_LIMIT {
            taken.push(limiter.permit().await);
        }
        limiter.answered(sent, Some(StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(free(&limiter), 0);
        taken.truncate(FIRST_LIMIT / 2);
        assert_eq!(free(&limiter), 0);
        taken.truncate(FIRST_LIMIT / 2 - 1);
        assert_eq!(free(&limiter), 1);
        taken.clear();
        assert_eq!(free(&limiter), FIRST_LIMIT / 2);
        let later = Instant::now();
        for _ in 0..FIRST_LIMIT {
            limiter.answered(later, Some(StatusCode::OK));
        }
        assert!((17..=18).contains(&free(&limiter)), "{}", free(&limiter));
    }

    #[tokio::test]
    async fn only_some_logs_may_be_large() {
        let limiter = Limiter::new(64, PATIENCE);
        for (size, at_a_time) in SIZES {
            let mut memories = Vec::new();
            for _ in 0..at_a_time {
                let mut memory = limiter.memory();
                memory.read(size + 1).await;
                memories.push(memory);
            }
            let mut last = limiter.memory();
            last.read(size).await;
            let mut more = pin!(last.read(1));
            let mut now = Context::from_waker(Waker::noop());
            assert_eq!(more.as_mut().poll(&mut now), Poll::Pending);
            memories.pop();
            assert_eq!(more.as_mut().poll(&mut now), Poll::Ready(()));
        }
    }

    #[tokio::test]
    async fn only_some_lines_may_be_long() {
        let limiter = Limiter::new(64, PATIENCE);
        let mut memories = Vec::new();
        for _ in 0..LONG_LINES.1 {
            let mut memory = limiter.memory();
            memory.hold(LONG_LINES.0 + 1).await;
            memories.push(memory);
        }
        let mut last = limiter.memory();
        last.hold(LONG_LINES.0).await;
        let mut more = pin!(last.hold(LONG_LINES.0 + 1));
        let mut now = Context::from_waker(Waker::noop());
        assert_eq!(more.as_mut().poll(&mut now), Poll::Pending);
        memories[0].hold(0).await;
        assert_eq!(more.as_mut().poll(&mut now), Poll::Ready(()));
    }

    /// Whatever does not come, and whatever the API server refuses meanwhile, there are as many permits as the limit says.
    #[tokio::test]
    async fn a_permit_is_lent_while_its_log_does_not_come() {
        let limiter = Limiter::new(4, MS);
        let (answer, answered) = tokio::sync::oneshot::channel();
        let waiting = tokio::spawn({
            let limiter = limiter.clone();
            async move {
                let mut permit = Some(limiter.permit().await);
                let answer = lending(permit.as_mut(), answered).await;
                resume(permit.as_mut()).await;
                (answer, permit)
            }
        });
        let mut others = Vec::new();
        for _ in 0..4 {
            others.push(limiter.permit().await);
        }
        assert_eq!(free(&limiter), 0);
        limiter.answered(Instant::now(), Some(StatusCode::SERVICE_UNAVAILABLE));
        answer.send(7).unwrap();
        others.truncate(2);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "two of two permits are taken");
        others.pop();
        let (answer, permit) = waiting.await.unwrap();
        assert_eq!((answer, free(&limiter)), (Ok(7), 0));
        drop((permit, others));
        assert_eq!(free(&limiter), 2);
        assert_eq!(limiter.0.unanswered.available_permits(), UNANSWERED);
    }

    #[tokio::test]
    async fn what_is_slow_for_all_is_waited_for() {
        let limiter = Limiter::new(4, MS);
        let sent = Instant::now();
        limiter.state().window.answered(sent, sent + 1_000 * MS);
        assert_eq!(limiter.patience(), 4_000 * MS);
        assert_eq!(Limiter::new(4, MS).patience(), MS);
    }

    fn free(limiter: &Limiter) -> usize {
        limiter.0.permits.available_permits()
    }
}
