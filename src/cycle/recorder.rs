//! Many logs, few transactions: appends that arrive while others are being committed share the next transaction.
//!
//! Captures call [`Recorder::append`] and wait for the answer; [`Appends::store`] runs beside them until all are done.

use tokio::sync::{mpsc, oneshot};

use crate::store::{
    Append, Appended, Chunk, Store, StoreError, StreamAppend, StreamId, StreamPosition,
};

/// Appends in one transaction: others wait for it, and with a great many it takes no less time for each.
const MOST_APPENDS: usize = 256;
/// Bytes of log in one transaction, but for the last append's.
const MOST_BYTES: usize = 1024 * 1024;

/// Takes what is to be appended. Each stream has one capture, so that no stream is twice in a transaction.
#[derive(Clone, Debug)]
pub(super) struct Recorder(mpsc::Sender<Request>);

/// What is waiting to be stored.
#[derive(Debug)]
pub(super) struct Appends(mpsc::Receiver<Request>);

#[derive(Debug)]
struct Request {
    append: StreamAppend,
    answer: oneshot::Sender<Result<Appended, StoreError>>,
}

/// A recorder and what it records; as many captures wait at a time as `concurrency` says.
pub(super) fn recorder(concurrency: usize) -> (Recorder, Appends) {
    let (sender, receiver) = mpsc::channel(concurrency.max(1));
    (Recorder(sender), Appends(receiver))
}

impl Recorder {
    /// Stores everything new of one stream, or nothing if the stream is no longer at `position`.
    ///
    /// # Errors
    /// [`StoreError::Statement`]
    pub(super) async fn append(
        &self,
        stream_id: StreamId,
        position: StreamPosition,
        new: Append,
    ) -> Result<Appended, StoreError> {
        let (answer, answered) = oneshot::channel();
        let append = StreamAppend {
            stream_id,
            position,
            new,
        };
        let sent = self.0.send(Request { append, answer }).await;
        match (sent, answered.await) {
            (Ok(()), Ok(answer)) => answer,
            // Only a cycle that is being cut off drops its appends, and then nobody hears this.
            _ => Ok(Appended::LostRace),
        }
    }
}

impl Appends {
    /// Stores appends until there is no recorder left.
    pub(super) async fn store(mut self, store: &Store) {
        while let Some(first) = self.0.recv().await {
            let mut bytes = size(&first);
            let mut batch = vec![first];
            while batch.len() < MOST_APPENDS
                && bytes < MOST_BYTES
                && let Ok(next) = self.0.try_recv()
            {
                bytes += size(&next);
                batch.push(next);
            }
            store_batch(store, batch).await;
        }
    }
}

async fn store_batch(store: &Store, batch: Vec<Request>) {
    let (appends, answers): (Vec<StreamAppend>, Vec<_>) = batch
        .into_iter()
        .map(|Request { append, answer }| (append, answer))
        .unzip();
    let outcomes: Vec<Result<Appended, StoreError>> = match store.append(&appends).await {
        Ok(appended) => appended.into_iter().map(Ok).collect(),
        Err(error) if error.is_general() => appends.iter().map(|_| Err(error.clone())).collect(),
        // One may have spoilt it for all, and streams fail alone.
        Err(_) if appends.len() > 1 => {
            let mut outcomes = Vec::with_capacity(appends.len());
            for append in &appends {
                outcomes.push(store_one(store, append).await);
            }
            outcomes
        }
        Err(error) => vec![Err(error)],
    };
    for (answer, outcome) in answers.into_iter().zip(outcomes) {
        // Nobody waits for it if the cycle is being cut off.
        let _ = answer.send(outcome);
    }
}

async fn store_one(store: &Store, append: &StreamAppend) -> Result<Appended, StoreError> {
    let appended = store.append(std::slice::from_ref(append)).await?;
    Ok(appended.into_iter().next().unwrap_or(Appended::LostRace))
}

fn size(request: &Request) -> usize {
    let chunk = request.append.new.chunk.as_ref();
    chunk.map_or(0, Chunk::size)
}
