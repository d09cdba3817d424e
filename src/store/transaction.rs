//! A pooled connection for the time of one transaction.
//!
//! A COMMIT or ROLLBACK that fails (a full disk, a connection that breaks) leaves a connection whose state nobody knows:
//! the driver still counts a transaction that the database has undone, and the next one can't begin. With SQLite there is
//! one connection, so that nothing would be written ever again. Such a connection is closed, and the pool opens another.

use std::ops::{Deref, DerefMut};

use sqlx::Database;
use sqlx::pool::PoolConnection;

/// Goes back to the pool only if its transaction has ended as it should; dropped before that, as a cycle that is cut off
/// does, it is closed.
pub(super) struct Leased<DB: Database> {
    connection: PoolConnection<DB>,
    has_ended: bool,
}

impl<DB: Database> Leased<DB> {
    pub(super) fn new(connection: PoolConnection<DB>) -> Self {
        Self {
            connection,
            has_ended: false,
        }
    }

    /// The transaction was committed, or undone without an error.
    pub(super) fn has_ended(&mut self) {
        self.has_ended = true;
    }
}

impl<DB: Database> Deref for Leased<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl<DB: Database> DerefMut for Leased<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.connection
    }
}

impl<DB: Database> Drop for Leased<DB> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.connection.close_on_drop();
        }
    }
}
