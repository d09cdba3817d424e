//! What the commands that only read share: the record, open, and which runs are meant.

use super::exit::Unreadable;
use super::setup;
use crate::cli::Common;
use crate::cluster::Namespaces;
use crate::config::Config;
use crate::record::naming::Among;
use crate::record::{Record, Run, RunName};
use crate::store::{RunId, Visible};

/// The record that a command asks.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) record: Record,
    /// The namespaces that were asked for; `None`: all.
    pub(super) namespaces: Option<Vec<String>>,
}

impl Asked {
    /// Opens the record where the configuration says it is; it is never created or changed.
    pub(super) async fn open(common: &Common) -> anyhow::Result<Self> {
        let config = setup::load(common)?;
        Self::of(&config).await
    }

    /// The same of a configuration that is loaded.
    pub(super) async fn of(config: &Config) -> anyhow::Result<Self> {
        setup::must_exist(config).map_err(Unreadable)?;
        let record = Record::open(&config.database_url)
            .await
            .map_err(|error| Unreadable(error.into()))?;
        let namespaces = match &config.namespaces {
            Some(Namespaces::Only(names)) => Some(names.clone()),
            Some(Namespaces::All) | None => None,
        };
        Ok(Self { record, namespaces })
    }

    /// Where to look for a run.
    pub(super) fn among(&self) -> Among<'_> {
        Among {
            namespaces: self.namespaces.as_deref(),
            after: None,
            visible: Visible::default(),
        }
    }

    /// The id of the run that is named so.
    pub(super) async fn find(&self, name: &RunName) -> anyhow::Result<RunId> {
        Ok(self.record.find(name, &self.among()).await?)
    }

    /// The run that is named so, whole.
    pub(super) async fn run(&self, name: &RunName) -> anyhow::Result<Run> {
        let id = self.find(name).await?;
        self.run_of(id).await
    }

    /// The run with this id.
    pub(super) async fn run_of(&self, id: RunId) -> anyhow::Result<Run> {
        let run = self
            .record
            .run(id)
            .await
            .map_err(|error| Unreadable(error.into()))?;
        run.ok_or_else(|| {
            let gone = format!("the run {id} was deleted from the database just now");
            crate::record::NamingError::NoSuchRun(gone).into()
        })
    }
}
