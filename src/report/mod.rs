//! How answers look: tables, JSON, files for people and for machines. Pure: values in, text out.

pub(crate) mod compare;
pub(crate) mod csv;
pub(crate) mod doctor;
pub(crate) mod run;
pub(crate) mod runs;
mod table;
pub(crate) mod view;
pub(crate) mod words;
pub(crate) mod junit {
    pub(crate) fn junit(_: &[crate::record::Run]) -> String {
        String::new()
    }
}
pub(crate) mod markdown {
    pub(crate) fn markdown(_: &[crate::record::Run]) -> String {
        String::new()
    }
}
pub(crate) mod github {
    pub(crate) fn annotations(_: &[crate::record::Run]) -> String {
        String::new()
    }
}
