//! How answers look: tables, JSON, files for people and for machines. Pure: values in, text out.

pub(crate) mod ansi;
pub(crate) mod compare;
pub(crate) mod csv;
pub(crate) mod doctor;
pub(crate) mod github;
pub(crate) mod html;
pub(crate) mod junit;
pub(crate) mod lines;
pub(crate) mod markdown;
pub(crate) mod run;
pub(crate) mod runs;
mod table;
#[cfg(test)]
mod tests;
pub(crate) mod timeline;
pub(crate) mod values;
pub(crate) mod verdict;
pub(crate) mod view;
pub(crate) mod words;
