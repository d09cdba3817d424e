//! The log streams of a cycle's steps, found by their keys. A cycle may have ten thousand: they are held once, side by side.

use super::plan::StepPlan;
use crate::store::{
    StepId, Store, StoreError, Stream, StreamFacts, StreamId, StreamKey, StreamPosition,
};

/// In the order of their keys.
#[derive(Debug)]
pub(super) struct Streams(Vec<Stream>);

impl Streams {
    /// Those that the store knows. Of `news`, what it does not know is only imagined, as in a dry run.
    fn new(mut known: Vec<Stream>, news: &[&StreamFacts]) -> Self {
        known.sort_unstable_by(|a, b| a.facts.key.cmp(&b.facts.key));
        let streams = Self(known);
        let imagined: Vec<Stream> = news
            .iter()
            .zip(1..)
            .filter(|(facts, _)| streams.get(&facts.key).is_none())
            .map(|(facts, number)| Stream {
                id: StreamId(-number),
                facts: (*facts).clone(),
                position: StreamPosition::default(),
                complete: false,
                quiet_read_at: None,
            })
            .collect();
        let Self(mut all) = streams;
        all.extend(imagined);
        all.sort_unstable_by(|a, b| a.facts.key.cmp(&b.facts.key));
        Self(all)
    }

    /// Notes what is new of the containers, and returns all streams of the steps.
    pub(super) async fn note(
        store: &Store,
        plans: &[StepPlan],
        step_ids: &[StepId],
        known: Vec<Stream>,
    ) -> Result<Self, StoreError> {
        let news: Vec<_> = plans
            .iter()
            .flat_map(|plan| &plan.streams)
            .filter(|stream| stream.is_news)
            .map(|stream| &stream.facts)
            .collect();
        store.put_streams(&news).await?;
        let known = match news.is_empty() {
            true => known,
            false => store.streams(step_ids).await?,
        };
        Ok(Self::new(known, &news))
    }

    pub(super) fn get(&self, key: &StreamKey) -> Option<&Stream> {
        let place = self.0.binary_search_by(|stream| stream.facts.key.cmp(key));
        place.ok().map(|place| &self.0[place])
    }
}
