//! How transactions begin, and the pooled connection that each has for its time.
//!
//! A COMMIT or ROLLBACK that fails (a full disk, a connection that breaks) leaves a connection whose state nobody knows:
//! the driver still counts a transaction that the database has undone, and the next one can't begin. With SQLite there is
//! one connection, so that nothing would be written ever again. Such a connection is closed, and the pool opens another.

use std::ops::{Deref, DerefMut};

use sqlx::Database;
use sqlx::pool::PoolConnection;

/// The statements that begin a transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    /// One that may write.
    pub(super) to_write: &'static str,
    /// One that may write, and that others of the same cycle follow: only the last must wait for the disk.
    pub(super) to_append: &'static str,
    /// One that only reads, where a query needs one.
    pub(super) to_read: Option<&'static str>,
}

impl Begin {
    pub(super) const SQLITE: Self = Self {
        to_write: "BEGIN IMMEDIATE",
        to_append: "BEGIN IMMEDIATE",
        to_read: None,
    };

    pub(super) const POSTGRES: Self = Self {
        to_write: "BEGIN",
        // A later commit waits until this one is on disk too, and a server that crashes before undoes this one as a whole:
        // the next sync reads those lines again.
        to_append: "BEGIN; SET LOCAL synchronous_commit TO off",
        to_read: None,
    };

    /// Behind a pooler that gives each transaction any of its connections: what others have prepared there under the names
    /// that the driver uses must be out of the way, and what we prepare must be used within the transaction.
    pub(super) const POOLED: Self = Self {
        to_write: "BEGIN; DEALLOCATE ALL",
        to_append: "BEGIN; DEALLOCATE ALL; SET LOCAL synchronous_commit TO off",
        to_read: Some("BEGIN READ ONLY; DEALLOCATE ALL"),
    };

    /// Whether no pooler is between us and the server, so that a session keeps its settings.
    pub(super) const fn is_direct(self) -> bool {
        self.to_read.is_none()
    }
}

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
