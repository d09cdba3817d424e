//! Tasks that run beside the loop as long as the process: none of them should end before it is asked to.
//!
//! A loop without its election, its control or its server would go on half alive and look well. So the end of one of them,
//! by a panic or not, is reported at once, and ends the process. What ends by itself is an errand: only its
//! panic is reported.

use std::collections::HashMap;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

/// The tasks, each with its name.
#[derive(Debug, Default)]
pub(crate) struct Supervisor {
    tasks: JoinSet<()>,
    known: HashMap<Id, Known>,
}

/// What is known of a task.
#[derive(Clone, Copy, Debug)]
struct Known {
    name: &'static str,
    is_errand: bool,
}

/// A task that ended although nobody had told it to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskEnded {
    /// It returned.
    #[error("{0} ended, which it never should: a bug in k6sync, or see the errors before")]
    Returned(&'static str),
    /// It panicked.
    #[error("{0} ended by a bug in k6sync: {1}")]
    Panicked(&'static str, JoinError),
}

impl Supervisor {
    /// Starts a task; `name` is what a person calls it, such as `the election`.
    pub(crate) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        self.start(name, false, task)
    }

    /// Starts a task that returns when it is done.
    pub(crate) fn errand(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        self.start(name, true, task)
    }

    fn start(
        &mut self,
        name: &'static str,
        is_errand: bool,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        let handle = self.tasks.spawn(task);
        self.known.insert(handle.id(), Known { name, is_errand });
        handle
    }

    /// The first end of a task that should not have ended; never, if there is none.
    pub(crate) async fn unexpected_end(&mut self) -> TaskEnded {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            let id = match &ended {
                Ok((id, ())) => *id,
                Err(error) => error.id(),
            };
            let Known { name, is_errand } = self.known.remove(&id).unwrap_or(Known {
                name: "a task",
                is_errand: false,
            });
            match ended {
                Ok(_) if is_errand => {}
                Ok(_) => return TaskEnded::Returned(name),
                Err(error) => return TaskEnded::Panicked(name, error),
            }
        }
        std::future::pending().await
    }

    /// Waits for those that were told to end. How they do makes no difference now.
    pub(crate) async fn all_ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
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
    async fn an_errand_may_be_done_but_not_panic() {
        let mut supervisor = Supervisor::default();
        supervisor.errand("the first", async {});
        let (go, gone) = oneshot::channel::<()>();
        supervisor.errand("the second", async move {
            drop(gone.await);
            panic!("out of range")
        });
        // The first has ended by the time that the second is found alive.
        tokio::task::yield_now().await;
        assert!(supervisor.unexpected_end().now_or_never().is_none());
        drop(go);
        let told = supervisor.unexpected_end().await.to_string();
        assert!(
            told.contains("the second") && told.contains("out of range"),
            "{told}"
        );
        assert!(supervisor.known.is_empty());
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
