//! Sending statements: each transaction whole or not at all, and again if others undid it or the connection broke.

use std::time::Duration;

use super::connect::{self, Db};
use super::statement::Statement;
use super::{Reader, StoreError, error};
use crate::retry::{Policy, Retry, retry};

/// Transactions undone by others, or by a connection that broke, are tried again like this.
const AGAIN: Policy = Policy {
    first_pause: Duration::from_millis(20),
    longest_pause: Duration::from_secs(1),
    total: Duration::from_secs(15),
};

/// Runs one piece of code on whichever pool there is: both drivers take the same calls, but share no type.
macro_rules! on {
    ($store:expr, $pool:ident => $body:expr) => {
        match &$store.db {
            $crate::store::connect::Db::Sqlite($pool) => $body,
            $crate::store::connect::Db::Postgres($pool) => $body,
        }
    };
}
/// Runs `$body` as a transaction that may write, again if others undid it; `$action` says what it is for.
macro_rules! transaction {
    ($store:expr, $action:literal, $tx:ident => $body:expr) => {
        $crate::store::query::transaction!($store, $store.begin.to_write, $action, $tx => $body)
    };
    ($store:expr, $begin:expr, $action:literal, $tx:ident => $body:expr) => {
        match $store.still_there() {
            Err(error) => Err(error),
            Ok(()) => {
                $store
                    .again($action, || async {
                        $crate::store::query::on!($store, pool => $crate::store::query::in_transaction!(pool, $begin, $tx => $body))
                    })
                    .await
            }
        }
    };
}

/// One attempt at a transaction. Only one that has ended as it should gives its connection back.
macro_rules! in_transaction {
    ($pool:expr, $begin:expr, $tx:ident => $body:expr) => {{
        let mut leased = $crate::store::transaction::Leased::new($pool.acquire().await?);
        let mut $tx = sqlx::Connection::begin_with(&mut *leased, $begin).await?;
        let outcome: Result<_, sqlx::Error> = async { Ok($body) }.await;
        match outcome {
            Ok(outcome) => {
                $tx.commit().await?;
                leased.has_ended();
                Ok(outcome)
            }
            Err(error) => {
                if $tx.rollback().await.is_ok() {
                    leased.has_ended();
                }
                Err(error)
            }
        }
    }};
}

/// The rows that a query yields; asked again if the connection breaks. Whatever is prepared is prepared and run within one
/// transaction where a pooler might part them.
macro_rules! fetch_all {
    ($store:expr, $action:literal, $query:expr) => {
        $store
            .again($action, || async {
                $crate::store::query::on!($store, pool => match $store.begin.to_read {
                    Some(begin) => $crate::store::query::in_transaction!(pool, begin, tx => {
                        $query.fetch_all(&mut *tx).await?
                    }),
                    None => $query.fetch_all(pool).await,
                })
            })
            .await
    };
}

/// The same, each row one text.
macro_rules! rows {
    ($store:expr, $action:literal, $statement:expr $(, $bind:expr)*) => {
        $crate::store::query::fetch_all!(
            $store,
            $action,
            sqlx::query_scalar::<_, String>($store.sql($statement))$(.bind($bind))*
        )
    };
}
/// The same, each text read as the JSON of a row as soon as it is there: of ten thousand rows the texts would take more room
/// than the rows.
macro_rules! rows_as {
    ($store:expr, $action:literal, $query:expr) => {
        $store
            .again($action, || async {
                $crate::store::query::on!($store, pool => match $store.begin.to_read {
                    Some(begin) => $crate::store::query::in_transaction!(pool, begin, tx => {
                        $crate::store::rows::each($query.fetch(&mut *tx)).await?
                    }),
                    None => $crate::store::rows::each($query.fetch(pool)).await,
                })
            })
            .await
    };
}
pub(super) use {fetch_all, in_transaction, on, rows, rows_as, transaction};

impl Reader {
    pub(super) const fn sql(&self, statement: Statement) -> &'static str {
        statement.on(&self.db)
    }

    pub(super) fn failed(&self, action: &'static str, error: &sqlx::Error) -> StoreError {
        StoreError::statement(action, &self.url, error)
    }

    /// Runs `operation`, again with growing pauses while others keep undoing it or the connection breaks.
    pub(super) async fn again<T, F>(
        &self,
        action: &'static str,
        operation: impl Fn() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let outcome = retry(AGAIN, operation, |error| match error::is_passing(error) {
            true => {
                tracing::debug!(action, %error, "trying again");
                Retry::Yes
            }
            false => Retry::No,
        })
        .await;
        match (outcome, &self.db) {
            (Ok(outcome), _) => Ok(outcome),
            (Err(error @ sqlx::Error::PoolTimedOut), Db::Postgres(pool)) => {
                Err(self.failed(action, &connect::why_none(pool, error).await))
            }
            (Err(error), _) => Err(self.failed(action, &error)),
        }
    }
}
