//! What the API's description says of its parameters, each once. They are read by [`Query`](super::query::Query); a test with
//! schemathesis holds both against each other.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    ArrayBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type,
};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::store::{Role, Status};

/// Runs held against a base.
pub(super) const OTHERS: usize = 4;

/// What names a run.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it is described, never made")]
pub(super) struct OneRun {
    /// its id, name (the newest of that name), external_id, TestRun uid, or @latest
    #[param(inline, required, value_type = Name)]
    run: String,
}

/// Which runs a list has.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is described, never made")]
pub(super) struct OfTheList {
    /// only these statuses, comma-separated
    #[param(style = Form, explode = false, min_items = 1)]
    status: Option<Vec<Status>>,
    /// only runs that started within this time (7d), or at this moment or later
    #[param(inline, value_type = Option<Since>)]
    since: Option<String>,
    /// only runs with this name; * stands for any characters
    name: Option<String>,
    /// only runs with a step in these namespaces, comma-separated
    #[param(style = Form, explode = false, min_items = 1)]
    namespace: Option<Vec<String>>,
    /// only runs with a lower id
    before: Option<i64>,
    /// at most so many; 20 if it is not there
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Which runs are compared, and how.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is described, never made")]
pub(super) struct OfTheComparison {
    /// the run to compare with; @previous is the one before the first other, of the same name
    #[param(inline, required, value_type = Base)]
    base: String,
    /// the run to compare with it; up to four times
    #[param(inline, required, value_type = Others)]
    other: Vec<String>,
    /// changes up to this part of the base's value are no difference, such as 10%
    #[param(pattern = r"^(\d|[1-9]\d|[1-9]\d\d)(\.\d{1,6})?%?$")]
    tolerance: Option<String>,
}

/// Which lines of a log.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is described, never made")]
pub(super) struct WhichLines {
    /// only lines written within this time (10m), or at this moment or later
    #[param(inline, value_type = Option<Since>)]
    since: Option<String>,
    /// only the last so many lines of each container; where a log is followed, and those to come
    tail: Option<u64>,
    /// only this step, by name, TestRun name or position; repeatable
    step: Option<Vec<String>>,
    /// only the runners with these numbers, comma-separated
    #[param(style = Form, explode = false, min_items = 1)]
    runner: Option<Vec<u32>>,
    /// only containers with these roles, comma-separated
    #[param(style = Form, explode = false, min_items = 1)]
    role: Option<Vec<Role>>,
    /// only containers that failed, from their first error on
    failed: Option<bool>,
    /// only lines that match this regular expression, as Rust's crate regex reads it
    #[param(format = "regex")]
    grep: Option<String>,
    /// small letters in grep match large ones too
    #[param(rename = "ignoreCase")]
    ignore_case: Option<bool>,
    /// with grep: so many lines before and after each match
    #[param(maximum = 1000)]
    around: Option<u32>,
    /// begin with this line, by its id, or where another answer or event ended
    from: Option<String>,
}

/// How a log is sent.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is described, never made")]
pub(super) struct HowItIsSent {
    /// json or text
    #[param(inline, value_type = Option<LogFormat>)]
    format: Option<String>,
    /// in text: the time before each line
    timestamps: Option<bool>,
    /// in text: the container before each line; where there are several, if it is not there
    prefix: Option<bool>,
    /// at most so many lines
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u64>,
}

/// Behind what a log is followed.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it is described, never made")]
pub(super) struct BehindWhat {
    /// go on behind this event
    #[param(rename = "Last-Event-ID")]
    last_event_id: Option<String>,
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// What a parameter takes that is no type of ours.
macro_rules! schema {
    ($($(#[$about:meta])* $name:ident => $schema:expr;)+) => {
        $(
            $(#[$about])*
            struct $name;

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    Schema::from($schema).into()
                }
            }
            impl ToSchema for $name {}
        )+
    };
}

schema! {
    /// What begins with @ is none but those that have a meaning.
    Name => text().pattern(Some("^(@latest|[^@].*)$")).build();
    /// One that others are compared with.
    Base => text().pattern(Some("^(@latest|@previous|[^@].*)$")).build();
    /// Those that are compared with it.
    Others => ArrayBuilder::new()
        .items(text().pattern(Some("^(@latest|[^@].*)$")))
        .min_items(Some(1))
        .max_items(Some(OTHERS))
        .build();
    /// An age, or a moment.
    Since => OneOfBuilder::new()
        .item(text().pattern(Some(r"^[1-9]\d{0,4}(s|m|h|d|w)$")))
        .item(text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))))
        .build();
    /// What a log is sent as.
    LogFormat => text().enum_values(Some(["json", "text"])).build();
}
