//! k6's exit codes (k6 `errext/exitcodes`).

/// What an exit code means for a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The test ran, and its result is bad.
    Failed,
    /// Somebody or something stopped it.
    Aborted,
    /// It could not run to its end.
    Errored,
}

/// An exit code other than 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExitCode {
    pub(crate) code: i64,
    pub(crate) outcome: Outcome,
    /// k6's own name of it.
    pub(crate) name: &'static str,
    /// A sentence for people, without capital and full stop.
    pub(crate) sentence: &'static str,
}

/// What k6 means by an exit code; `None`: it is none of k6's.
pub(crate) fn exit_code(code: i64) -> Option<&'static ExitCode> {
    EXIT_CODES.iter().find(|known| known.code == code)
}

const fn row(code: i64, outcome: Outcome, name: &'static str, sentence: &'static str) -> ExitCode {
    ExitCode {
        code,
        outcome,
        name,
        sentence,
    }
}

/// The reason of a test that k6 ended with exit code 99.
pub(crate) const THRESHOLDS_HAVE_FAILED: &str = "ThresholdsHaveFailed";

const EXIT_CODES: &[ExitCode] = &[
    row(
        97,
        Outcome::Failed,
        "CloudTestRunFailed",
        "the cloud test run failed",
    ),
    row(
        98,
        Outcome::Errored,
        "CloudFailedToGetProgress",
        "the progress of the cloud test run could not be fetched",
    ),
    row(
        99,
        Outcome::Failed,
        THRESHOLDS_HAVE_FAILED,
        "one or more thresholds were crossed",
    ),
    row(
        100,
        Outcome::Errored,
        "SetupTimeout",
        "setup() took longer than setupTimeout",
    ),
    row(
        101,
        Outcome::Errored,
        "TeardownTimeout",
        "teardown() took longer than teardownTimeout",
    ),
    row(
        102,
        Outcome::Errored,
        "GenericTimeout",
        "a timeout was reached",
    ),
    row(
        103,
        Outcome::Aborted,
        "ScriptStoppedFromRESTAPI",
        "the test was stopped through k6's REST API",
    ),
    row(
        104,
        Outcome::Errored,
        "InvalidConfig",
        "k6 refused its options",
    ),
    row(
        105,
        Outcome::Aborted,
        "ExternalAbort",
        "k6 was stopped by a signal",
    ),
    row(
        106,
        Outcome::Errored,
        "CannotStartRESTAPI",
        "k6 could not start its REST API",
    ),
    row(
        107,
        Outcome::Errored,
        "ScriptException",
        "the script threw an exception",
    ),
    row(
        108,
        Outcome::Aborted,
        "ScriptAborted",
        "the script called test.abort()",
    ),
    row(109, Outcome::Errored, "GoPanic", "k6 itself crashed"),
    row(
        110,
        Outcome::Failed,
        "MarkedAsFailed",
        "the script marked the test as failed",
    ),
];
