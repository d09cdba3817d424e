//! Tasks that run beside the loop as long as the process: none of them should end before it is told to.
//!
//! A loop without its election, its control or its server would go on half alive and look well. So the end of one of them,
//! by a panic or not, is told at once, and the loop ends the process by it.

use std::collections::HashMap;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

/// The tasks, each with its name.
#[derive(Debug, Default)]
pub struct Supervisor {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

/// A task that ended although nobody had told it to.
#[derive(Debug, thiserror::Error)]
pub enum TaskEnded {
    /// It returned.
    #[error("{0} ended, which it never should: a bug in k6sync, or see the errors before")]
    Returned(&'static str),
    /// It panicked.
    #[error("{0} ended by a bug in k6sync: {1}")]
    Panicked(&'static str, JoinError),
}

impl Supervisor {
    /// Starts a task; `name` is what a person calls it, such as `the election`.
    pub fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        let handle = self.tasks.spawn(task);
        self.names.insert(handle.id(), name);
        handle
    }

    /// The first end of a task; never, if there are none.
    pub async fn unexpected_end(&mut self) -> TaskEnded {
        match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => TaskEnded::Returned(self.name(id)),
            Some(Err(error)) => TaskEnded::Panicked(self.name(error.id()), error),
            None => std::future::pending().await,
        }
    }

    /// Waits for those that were told to end. How they do makes no difference now.
    pub async fn all_ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    fn name(&self, id: Id) -> &'static str {
        self.names.get(&id).copied().unwrap_or("a task")
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_told_by_its_name() {
        let mut supervisor = Supervisor::default();
        supervisor.spawn("the server", pending());
        supervisor.spawn("the election", async { panic!("out of range") });
        let told = supervisor.unexpected_end().await.to_string();
        assert!(
            told.contains("the election") && told.contains("out of range"),
            "{told}"
        );
    }

    #[tokio::test]
    async fn a_task_that_returns_is_told_by_its_name() {
        let mut supervisor = Supervisor::default();
        let (stop, stopped) = oneshot::channel::<()>();
        supervisor.spawn("the election", pending());
        supervisor.spawn("the server", async move { drop(stopped.await) });
        drop(stop);
        let told = supervisor.unexpected_end().await.to_string();
        assert!(told.starts_with("the server ended"), "{told}");
    }

    #[tokio::test]
    async fn those_that_were_told_to_end_are_waited_for() {
        let mut supervisor = Supervisor::default();
        for name in ["one", "two"] {
            supervisor.spawn(name, tokio::task::yield_now());
        }
        supervisor.all_ended().await;
        assert!(supervisor.tasks.is_empty());
    }

    #[test]
    fn without_tasks_nothing_ends() {
        let mut supervisor = Supervisor::default();
        assert!(supervisor.unexpected_end().now_or_never().is_none());
    }
}
