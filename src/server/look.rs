//! What somebody asks of the record, and gets as far as they may see it. The API and the pages ask here.
//!
//! What may not be seen is what is not there: in the same words, and found out by the same statement.

use std::sync::Arc;

use super::door::{Asking, Door, Visitor};
use super::refusal::Refusal;
use super::sight::{Seen, Sight};
use super::source::Source;
use crate::record::compare::{Comparison, compare};
use crate::record::log::LogWanted;
use crate::record::naming::Among;
use crate::record::{NamingError, Record, Run, RunName, Runs, RunsWanted};

/// The door and what is behind it.
#[derive(Clone)]
pub(crate) struct House {
    pub(crate) door: Arc<Door>,
    pub(crate) source: Arc<Source>,
}

/// Somebody who looks at the record.
pub(crate) struct Look {
    pub(crate) visitor: Visitor,
    pub(crate) record: Record,
}

impl House {
    /// Lets somebody in.
    ///
    /// # Errors
    /// [`Refusal`]: who they are comes before whether there is anything to see.
    pub(crate) async fn look(&self, asking: &Asking) -> Result<Look, Refusal> {
        let visitor = self.door.visitor(asking).await?;
        let record = self.source.record().await.map_err(Refusal::away)?;
        Ok(Look { visitor, record })
    }
}

impl Look {
    fn sight(&self) -> &Sight {
        &self.visitor.sight
    }

    fn among(&self) -> Among<'static> {
        Among {
            visible: self.sight().visible(),
            ..Among::default()
        }
    }

    /// A page of the list.
    ///
    /// # Errors
    /// [`Refusal`]
    pub(crate) async fn runs(&self, wanted: RunsWanted) -> Result<Runs, Refusal> {
        let wanted = RunsWanted {
            visible: self.sight().visible(),
            ..wanted
        };
        Ok(self.record.runs(&wanted).await?)
    }

    /// The run that is named so, whole.
    ///
    /// # Errors
    /// [`Refusal`]
    pub(crate) async fn run(&self, name: &str) -> Result<Run, Refusal> {
        let id = self.record.find(&run_name(name)?, &self.among()).await?;
        let run = self.record.run(id).await?;
        let run = run.and_then(|run| self.sight().of(run));
        run.ok_or_else(|| {
            // It has changed since it was found.
            let gone = format!("there is no run {id} any more");
            NamingError::NoSuchRun(gone).into()
        })
    }

    /// Runs held against a base, which may be `@previous`.
    ///
    /// # Errors
    /// [`Refusal`]
    pub(crate) async fn comparison(
        &self,
        base: &str,
        others: &[String],
        tolerance: f64,
    ) -> Result<Comparison, Refusal> {
        let mut runs = Vec::new();
        for other in others {
            runs.push(self.run(other).await?);
        }
        let base = match (run_name(base)?, runs.first()) {
            (RunName::Previous, Some(first)) => {
                let visible = self.sight().visible();
                let id = self.record.previous(first.row.id, &visible).await?;
                self.run(&id.to_string()).await?
            }
            _ => self.run(base).await?,
        };
        Ok(compare(&base, &runs, tolerance))
    }

    /// What of the run's log they may read.
    ///
    /// # Errors
    /// [`Refusal`]: nothing of it.
    pub(crate) fn log(&self, run: &Run, wanted: LogWanted) -> Result<LogWanted, Refusal> {
        let namespaces = match &self.sight().logs {
            Seen::All => None,
            Seen::Only(names) => Some(names.clone()),
        };
        if let Some(step) = run.steps.first()
            && !run.steps.iter().any(|step| self.sight().reads(step))
        {
            let namespace = step.row.namespace.as_deref().unwrap_or("its namespace");
            return Err(Refusal::new(
                http::StatusCode::FORBIDDEN,
                format!(
                    "{} may not get pods/log in {namespace}, which this needs",
                    self.visitor.name
                ),
            ));
        }
        Ok(LogWanted {
            namespaces,
            ..wanted
        })
    }
}

fn run_name(name: &str) -> Result<RunName, Refusal> {
    // No text in a database has it.
    if name.contains('\0') {
        return Err(NamingError::NoSuchRun("no run is named so".to_owned()).into());
    }
    name.parse().map_err(Refusal::bad)
}
