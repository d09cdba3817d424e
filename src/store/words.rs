//! The words of the database contract: the same in Rust, SQL, JSON and the docs.

use serde::{Deserialize, Serialize};

/// Defines an enum whose variants are words of the database contract.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            /// Every word, in the order of the contract.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word as it stands in the database.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// `None` for a word that is not of the contract.
            pub(crate) fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;
                Self::parse(&word).ok_or_else(|| {
                    serde::de::Error::custom(format!(
                        "`{word}` is none of {}",
                        Self::ALL.iter().map(|known| known.as_str()).collect::<Vec<_>>().join(", ")
                    ))
                })
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                let words = Self::ALL.iter().map(|word| word.as_str());
                utoipa::openapi::schema::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .enum_values(Some(words))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

words! {
    /// The status of a step and, derived from its steps, of a test run.
    Status {
        /// No TestRun yet.
        Pending = "pending",
        /// The TestRun is being set up (stages initialization, initialized, created).
        Initializing = "initializing",
        /// Runners are running (stage started).
        Running = "running",
        /// Runners are stopping (stage stopped).
        Finishing = "finishing",
        /// The test said yes.
        Passed = "passed",
        /// The test said no.
        Failed = "failed",
        /// The test could not be run properly.
        Errored = "errored",
        /// Somebody or something stopped the test.
        Aborted = "aborted",
        /// The TestRun vanished before its end was seen.
        Lost = "lost",
        /// It ended, and nobody can say how.
        Finished = "finished",
    }
}

impl Status {
    /// The end of a step: it never becomes another status.
    pub(crate) const fn is_final(self) -> bool {
        !matches!(
            self,
            Self::Pending | Self::Initializing | Self::Running | Self::Finishing
        )
    }
}

words! {
    /// Which part of a test run a container plays. Init and sidecar containers are `other`, whatever pod they are in.
    Role {
        /// k6-operator's check of the script.
        Initializer = "initializer",
        /// Tells the runners to begin.
        Starter = "starter",
        /// k6 itself.
        Runner = "runner",
        /// Init, sidecar and unknown containers.
        Other = "other",
    }
}

words! {
    /// The state of a container life.
    StreamState {
        /// Not started yet.
        Waiting = "waiting",
        /// Running.
        Running = "running",
        /// Ended.
        Terminated = "terminated",
    }
}

words! {
    /// What a runner's summary was read from, or why there is none.
    SummarySource {
        /// A JSON summary: exact.
        Json = "json",
        /// The text for people: rounded.
        Text = "text",
        /// k6 printed none.
        None = "none",
        /// There is one, and it can't be read for certain.
        Unreadable = "unreadable",
    }
}

words! {
    /// Why lines may be missing.
    GapCause {
        /// The kubelet's log file was rotated or replaced between two reads (docs/facts.md,
        /// "Only the current log file is served").
        Rotated = "rotated",
        /// The container restarted more than once between two reads (docs/facts.md, "Only the life before is kept").
        Restarted = "restarted",
        /// The pod was deleted before its log had been read to the end.
        Deleted = "deleted",
        /// The pod is there, but its node no longer has the log of a container that ended.
        Unavailable = "unavailable",
        /// The node's clock stepped back, and lines that it stamped earlier than what was stored were not seen in time.
        Clock = "clock",
        /// A line was so long that only its beginning was kept.
        Truncated = "truncated",
        /// The log was recorded, and deleted by `k6sync prune` since.
        Pruned = "pruned",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back_as_themselves() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(*status));
        }
        assert_eq!(Status::parse("Passed"), None);
        assert_eq!(
            Status::ALL.iter().filter(|s| s.is_final()).count(),
            6,
            "passed, failed, errored, aborted, lost, finished"
        );
    }
}
