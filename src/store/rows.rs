//! Rows as JSON, in both directions.

use futures_util::{Stream, TryStreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::text;

/// A value of ours as JSON: plain structs with text keys, which always can be.
pub(super) fn json(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value)
        .unwrap_or_else(|error| unreachable!("a row of ours is JSON: {error}"));
    text::without_nul(json)
}

/// Rows whose JSON comes one by one.
pub(super) async fn each<T: DeserializeOwned>(
    mut rows: impl Stream<Item = Result<String, sqlx::Error>> + Unpin,
) -> Result<Vec<T>, sqlx::Error> {
    let mut read = Vec::new();
    while let Some(row) = rows.try_next().await? {
        read.push(row_of(&row)?);
    }
    Ok(read)
}

pub(super) fn rows_of<T: DeserializeOwned>(rows: Vec<String>) -> Result<Vec<T>, sqlx::Error> {
    rows.iter().map(|row| row_of(row)).collect()
}

fn row_of<T: DeserializeOwned>(row: &str) -> Result<T, sqlx::Error> {
    serde_json::from_str(row)
        .map_err(|error| sqlx::Error::Decode(format!("{error} in the row {row}").into()))
}

/// A row that could be read, or what is wrong with it, with what of it can be told.
pub(crate) type Read<T> = Result<T, Unreadable>;

/// A row that can't be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// The row as JSON, as far as it is that.
    pub row: serde_json::Value,
    /// What is wrong with it.
    pub problem: String,
}

pub(super) fn read<T: serde::de::DeserializeOwned>(row: &str) -> Read<T> {
    serde_json::from_str(row).map_err(|error| Unreadable {
        row: serde_json::from_str(row).unwrap_or_default(),
        problem: error.to_string(),
    })
}
