//! How answers look: tables, JSON, files for people and for machines. Pure: values in, text out.

mod ansi;
pub(crate) mod lines;
