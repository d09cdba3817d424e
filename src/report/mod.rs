//! How answers look: tables, JSON, files for people and for machines. Pure: values in, text out.

pub(crate) mod compare;
pub(crate) mod csv;
pub(crate) mod doctor;
mod table;
pub(crate) mod view;
#[allow(dead_code, reason = "the commands that list and show use the rest")]
pub(crate) mod words;
