//! How answers look: files for people and for machines. Pure: values in, text out.

#[allow(
    dead_code,
    reason = "`wait` prints annotations; it is built beside this"
)]
pub(crate) mod github;
pub(crate) mod html;
pub(crate) mod junit;
pub(crate) mod markdown;
#[cfg(test)]
mod samples;
pub(crate) mod timeline;
pub(crate) mod values;
pub(crate) mod verdict;
