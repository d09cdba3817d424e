//! How many logs are read at a time: what the API server bears, learnt from its answers, and never more than was allowed.
//!
//! As TCP does: the number doubles each round trip until an answer says that it is too much, and from then on grows slowly
//! and shrinks at once. Too much is a refusal (429, 503, no connection), or answers that take several times as long as
//! the fastest. (The crates that offer this had one release, or bring middleware for another HTTP client.)
//!
//! A log that does not come says nothing of the API server: its node is dead, most likely. Whoever waits long for one lends
//! their place to others meanwhile, so that dead nodes take nothing from those that live.
//!
//! Memory is bounded here too: what is read of a log is held until it is stored, so that of the logs under way only some
//! may be large.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// Every API server bears so many.
const FIRST_LIMIT: usize = 32;
/// Of the answers' usual time, what the latest one counts.
const WEIGHT: f64 = 1.0 / 16.0;
/// Answers that take longer than the fastest by these say that requests wait for each other, here or there: the number
/// is not to grow, or is to shrink. (Factor, seconds.)
const LONG: (f64, f64) = (2.0, 0.005);
const TOO_LONG: (f64, f64) = (4.0, 0.050);
/// What a refusal, and what answers that take too long, leave of the number.
const AFTER_REFUSAL: f64 = 0.5;
const AFTER_TOO_LONG: f64 = 0.75;
/// A place is lent once its answer has taken so many times what answers usually take, and at least the pace's patience.
const UNUSUAL: f64 = 4.0;
/// Logs that do not come, at most, beside those that are read: while there are so many, the others keep their places.
pub(crate) const UNANSWERED: usize = 128;
/// Of the logs of which more than so many bytes have been read, only so many are read on at a time: each may need a full
/// chunk and the buffers of its connection.
const SIZES: [(usize, usize); 2] = [(32 * 1024, 32), (128 * 1024, 16)];
/// And of those that have come so far in one line, which may have 2 MiB and is copied on its way.
const LONG_LINES: (usize, usize) = (256 * 1024, 1);

/// The pace of one cycle's log requests. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Pace(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// As many as the window allows, but for `surplus`.
    places: Arc<Semaphore>,
    /// For those that wait for a log that does not come.
    unanswered: Arc<Semaphore>,
    /// How long a log may take to come before it is one of those, unless all do.
    patience: Duration,
    sizes: [Arc<Semaphore>; 2],
    long_lines: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    window: Window,
    /// Places that are still taken, but are not to be given again.
    surplus: usize,
}

/// A place among the requests under way; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pace: Pace,
    /// `None` while it is lent.
    permit: Option<OwnedSemaphorePermit>,
    unanswered: Option<OwnedSemaphorePermit>,
}

/// Room in memory for what is read of one log; free again when it is dropped. Who holds some waits for no [`Place`].
#[derive(Debug)]
pub(crate) struct Room {
    pace: Pace,
    /// Bytes that were read.
    bytes: usize,
    sizes: [Option<OwnedSemaphorePermit>; 2],
    long_line: Option<OwnedSemaphorePermit>,
}

impl Pace {
    /// At most `most` at a time; who has waited for `patience` lends their place.
    pub(super) fn new(most: usize, patience: Duration) -> Self {
        let window = Window::new(most);
        Self(Arc::new(Shared {
            places: Arc::new(Semaphore::new(window.limit())),
            unanswered: Arc::new(Semaphore::new(UNANSWERED)),
            patience,
            sizes: SIZES.map(|(_, at_a_time)| Arc::new(Semaphore::new(at_a_time))),
            long_lines: Arc::new(Semaphore::new(LONG_LINES.1)),
            state: Mutex::new(State { window, surplus: 0 }),
        }))
    }

    /// Waits for a place.
    pub(super) async fn place(&self) -> Place {
        Place {
            pace: self.clone(),
            permit: acquire(&self.0.places).await,
            unanswered: None,
        }
    }

    /// Room for a log of which nothing has been read.
    pub(super) fn room(&self) -> Room {
        Room {
            pace: self.clone(),
            bytes: 0,
            sizes: [None, None],
            long_line: None,
        }
    }

    /// Longer than answers take now.
    fn patience(&self) -> Duration {
        let times = self.state().window.times;
        let unusual = times.map_or(0.0, |(_, usual)| usual * UNUSUAL);
        Duration::try_from_secs_f64(unusual)
            .unwrap_or_default()
            .max(self.0.patience)
    }

    /// An attempt that began at `sent` was answered; `None`: there was nobody to answer it.
    pub(super) fn note(&self, sent: Instant, code: Option<StatusCode>) {
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
            self.0.places.add_permits(after - before - kept);
        } else {
            let taken = self.0.places.forget_permits(before - after);
            state.surplus += before - after - taken;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Semaphores of ours are never closed.
async fn acquire(semaphore: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(semaphore).acquire_owned().await.ok()
}

/// Waits for `answer`. If it takes long, others have the place meanwhile: [`resume`] takes it again.
pub(super) async fn patiently<T>(place: Option<&mut Place>, answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    let Some(place) = place else {
        return answer.await;
    };
    if let Ok(answer) = timeout(place.pace.patience(), &mut answer).await {
        return answer;
    }
    let unanswered = Arc::clone(&place.pace.0.unanswered);
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        permit = acquire(&unanswered) => {
            place.give_back();
            place.unanswered = permit;
        }
    }
    answer.await
}

/// Waits for a place again, if it was lent.
pub(super) async fn resume(place: Option<&mut Place>) {
    if let Some(place) = place
        && place.permit.is_none()
    {
        place.unanswered = None;
        place.permit = acquire(&place.pace.0.places).await;
    }
}

impl Place {
    fn give_back(&mut self) {
        let mut state = self.pace.state();
        if let Some(permit) = self.permit.take()
            && state.surplus > 0
        {
            permit.forget();
            state.surplus -= 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Room {
    /// Nothing much has been read yet.
    pub(super) fn is_small(&self) -> bool {
        self.sizes.iter().all(Option::is_none)
    }

    /// So many bytes more have come; waits until there may be more. Who is let on waits only for what is larger, so that
    /// the largest come to their ends, and then all others.
    pub(super) async fn read(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        for (number, (size, _)) in SIZES.into_iter().enumerate() {
            if self.bytes > size && self.sizes[number].is_none() {
                self.sizes[number] = acquire(&self.pace.0.sizes[number]).await;
            }
        }
    }

    /// So many bytes of one line are held; waits until there may be more.
    pub(super) async fn hold(&mut self, bytes: usize) {
        if bytes <= LONG_LINES.0 {
            self.long_line = None;
        } else if self.long_line.is_none() {
            self.long_line = acquire(&self.pace.0.long_lines).await;
        }
    }
}

/// The number itself, without a clock of its own.
#[derive(Debug)]
struct Window {
    limit: f64,
    most: f64,
    /// Nothing has said yet that it is too much.
    is_probing: bool,
    /// Seconds that the fastest answer took, and those that they usually take.
    times: Option<(f64, f64)>,
    /// When the number shrank: what was sent before says nothing of the new one.
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
        // Up to what every API server bears, times say nothing: far nodes and long logs take theirs, however few are read.
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

    /// Places under way when the number shrinks are not given again, and come back when it grows.
    #[tokio::test]
    async fn there_are_as_many_places_as_the_number_says() {
        let pace = Pace::new(64, PATIENCE);
        let sent = Instant::now();
        let mut taken = Vec::new();
        for _ in 0..FIRST_LIMIT {
            taken.push(pace.place().await);
        }
        pace.note(sent, Some(StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(free(&pace), 0);
        taken.truncate(FIRST_LIMIT / 2);
        assert_eq!(free(&pace), 0);
        taken.truncate(FIRST_LIMIT / 2 - 1);
        assert_eq!(free(&pace), 1);
        taken.clear();
        assert_eq!(free(&pace), FIRST_LIMIT / 2);
        let later = Instant::now();
        for _ in 0..FIRST_LIMIT {
            pace.note(later, Some(StatusCode::OK));
        }
        assert!((17..=18).contains(&free(&pace)), "{}", free(&pace));
    }

    #[tokio::test]
    async fn only_some_logs_may_be_large() {
        let pace = Pace::new(64, PATIENCE);
        for (size, at_a_time) in SIZES {
            let mut rooms = Vec::new();
            for _ in 0..at_a_time {
                let mut room = pace.room();
                room.read(size + 1).await;
                rooms.push(room);
            }
            let mut last = pace.room();
            last.read(size).await;
            let mut more = pin!(last.read(1));
            let mut now = Context::from_waker(Waker::noop());
            assert_eq!(more.as_mut().poll(&mut now), Poll::Pending);
            rooms.pop();
            assert_eq!(more.as_mut().poll(&mut now), Poll::Ready(()));
        }
    }

    #[tokio::test]
    async fn only_some_lines_may_be_long() {
        let pace = Pace::new(64, PATIENCE);
        let mut rooms = Vec::new();
        for _ in 0..LONG_LINES.1 {
            let mut room = pace.room();
            room.hold(LONG_LINES.0 + 1).await;
            rooms.push(room);
        }
        let mut last = pace.room();
        last.hold(LONG_LINES.0).await;
        let mut more = pin!(last.hold(LONG_LINES.0 + 1));
        let mut now = Context::from_waker(Waker::noop());
        assert_eq!(more.as_mut().poll(&mut now), Poll::Pending);
        rooms[0].hold(0).await;
        assert_eq!(more.as_mut().poll(&mut now), Poll::Ready(()));
    }

    /// However many do not come, and whatever the API server refuses meanwhile, the number of places is what it says.
    #[tokio::test]
    async fn a_place_is_lent_while_its_log_does_not_come() {
        let pace = Pace::new(4, MS);
        let (answer, answered) = tokio::sync::oneshot::channel();
        let waiting = tokio::spawn({
            let pace = pace.clone();
            async move {
                let mut place = Some(pace.place().await);
                let answer = patiently(place.as_mut(), answered).await;
                resume(place.as_mut()).await;
                (answer, place)
            }
        });
        let mut others = Vec::new();
        for _ in 0..4 {
            others.push(pace.place().await);
        }
        assert_eq!(free(&pace), 0);
        pace.note(Instant::now(), Some(StatusCode::SERVICE_UNAVAILABLE));
        answer.send(7).unwrap();
        others.truncate(2);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "two of two places are taken");
        others.pop();
        let (answer, place) = waiting.await.unwrap();
        assert_eq!((answer, free(&pace)), (Ok(7), 0));
        drop((place, others));
        assert_eq!(free(&pace), 2);
        assert_eq!(pace.0.unanswered.available_permits(), UNANSWERED);
    }

    #[tokio::test]
    async fn what_is_slow_for_all_is_waited_for() {
        let pace = Pace::new(4, MS);
        let sent = Instant::now();
        pace.state().window.answered(sent, sent + 1_000 * MS);
        assert_eq!(pace.patience(), 4_000 * MS);
        assert_eq!(Pace::new(4, MS).patience(), MS);
    }

    fn free(pace: &Pace) -> usize {
        pace.0.places.available_permits()
    }
}
