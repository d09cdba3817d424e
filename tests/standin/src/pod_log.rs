//! `GET …/pods/{pod}/log`: which container and which of its lives a request means, or why there is nothing to read
//! (docs/facts.md, "Log errors are plain Status objects").
//!
//! Judges by the pod object, as API server and kubelet do between them; what was written is in [`crate::logs`].

use std::convert::Infallible;

use axum::body::Body;
use axum::response::Response;
use futures_util::stream;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use crate::logs::{Answer, KubeletStyle, Log, ReadOptions, Which, now_nanoseconds};
use crate::resources::Resource;
use crate::state::State;
use crate::status::{Failure, bytes_response};
use crate::target::{Call, Query};

const NANOSECONDS: i64 = 1_000_000_000;

/// What a request for a log asks.
#[derive(Debug)]
pub(crate) struct LogQuery {
    pub(crate) container: Option<String>,
    pub(crate) previous: bool,
    pub(crate) options: ReadOptions,
}

impl LogQuery {
    /// Reads the query; times are as they stand there.
    pub(crate) fn of(query: &Query, style: KubeletStyle) -> Result<Self, Failure> {
        let since_time = query
            .get("sinceTime")
            .map(|text| nanoseconds(text).ok_or_else(|| unparsed_time(text)));
        let since_seconds = count(query, "sinceSeconds", 1)?;
        if since_time.is_some() && since_seconds.is_some() {
            return Err(invalid(
                "sinceTime",
                "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
            ));
        }
        let ago = since_seconds.map(|seconds| {
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            now_nanoseconds().saturating_sub(seconds.saturating_mul(NANOSECONDS))
        });
        Ok(Self {
            container: query.get("container").map(str::to_owned),
            previous: query.is_true("previous"),
            options: ReadOptions {
                timestamps: query.is_true("timestamps"),
                since: since_time.transpose()?.or(ago),
                tail: count(query, "tailLines", 0)?,
                limit_bytes: count(query, "limitBytes", 1)?,
                style,
            },
        })
    }

    /// docs/facts.md, "sinceTime is cut to whole seconds": `sinceTime` loses its fraction on the API server's way to
    /// the kubelet. `sinceSeconds` does not.
    fn cut_since_time(mut self, query: &Query) -> Self {
        if query.get("sinceTime").is_some() {
            let whole = |at: i64| at.div_euclid(NANOSECONDS) * NANOSECONDS;
            self.options.since = self.options.since.map(whole);
        }
        self
    }
}

fn nanoseconds(time: &str) -> Option<i64> {
    let time: Timestamp = time.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

fn unparsed_time(text: &str) -> Failure {
    Failure::bad_request(format!(
        "parsing time \"{text}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"{text}\""
    ))
}

fn invalid(field: &str, why: &str) -> Failure {
    Failure::invalid(format!("PodLogOptions.v1 \"\" is invalid: {field}: {why}"))
}

fn count(query: &Query, name: &str, least: u64) -> Result<Option<u64>, Failure> {
    let Some(text) = query.get(name) else {
        return Ok(None);
    };
    match text.parse::<i64>().map(u64::try_from) {
        Ok(Ok(number)) if number >= least => Ok(Some(number)),
        Ok(_) => Err(invalid(
            name,
            &format!("Invalid value: {text}: must be greater than or equal to {least}"),
        )),
        Err(_) => Err(Failure::bad_request(format!(
            "strconv.ParseInt: parsing \"{text}\": invalid syntax"
        ))),
    }
}

/// Answers a request for a log.
pub(crate) fn answer(state: &State, call: &Call, style: KubeletStyle) -> Result<Response, Failure> {
    let pod_name = call.name.as_deref().unwrap_or("");
    let pod = Resource::named("pods")
        .and_then(|pods| state.get(pods, call.namespace(), pod_name))
        .ok_or_else(|| Failure::not_found(call.resource, pod_name))?;
    let asked = LogQuery::of(&call.query, style)?.cut_since_time(&call.query);
    let container = choose_container(&pod, pod_name, asked.container.as_deref())?;
    let log = state.logs.find(call.namespace(), pod_name, &container);
    let Some(which) = choose_life(&pod, pod_name, &container, asked.previous, log.is_some())?
    else {
        return Ok(respond(Answer::empty()));
    };
    read(log.as_ref(), which, &asked.options)
        .map(respond)
        .ok_or_else(|| Failure::bad_request(no_previous(&container, pod_name)))
}

/// Reads a log that may never have been opened: that is an empty first life.
pub(crate) fn read(log: Option<&Log>, which: Which, options: &ReadOptions) -> Option<Answer> {
    match log {
        Some(log) => log.read(which, options),
        None if which == Which::Previous => None,
        None => Some(Answer::empty()),
    }
}

/// Sends an answer in chunks, as it is made.
pub(crate) fn respond(answer: Answer) -> Response {
    let chunks = stream::iter(answer.map(Ok::<_, Infallible>));
    bytes_response(StatusCode::OK, "text/plain", Body::from_stream(chunks))
}

pub(crate) fn waiting_to_start(container: &str, pod: &str, why: &str) -> String {
    format!("container \"{container}\" in pod \"{pod}\" is waiting to start: {why}")
}

pub(crate) fn no_previous(container: &str, pod: &str) -> String {
    format!("previous terminated container \"{container}\" in pod \"{pod}\" not found")
}

fn container_names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    let containers = pod["spec"][list].as_array().into_iter().flatten();
    containers
        .filter_map(|container| container["name"].as_str())
        .collect()
}

fn choose_container(pod: &Value, pod_name: &str, asked: Option<&str>) -> Result<String, Failure> {
    let main = container_names(pod, "containers");
    let init = container_names(pod, "initContainers");
    let Some(asked) = asked else {
        return match main.as_slice() {
            [only] => Ok((*only).to_owned()),
            [] => Err(Failure::bad_request(format!(
                "a container name must be specified for pod {pod_name}"
            ))),
            several => {
                let mut message = format!(
                    "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                    several.join(" ")
                );
                if !init.is_empty() {
                    message += &format!(" or one of the init containers: [{}]", init.join(" "));
                }
                Err(Failure::bad_request(message))
            }
        };
    };
    let known = [main, init, container_names(pod, "ephemeralContainers")];
    if known.concat().contains(&asked) {
        Ok(asked.to_owned())
    } else {
        Err(Failure::bad_request(format!(
            "container {asked} is not valid for pod {pod_name}"
        )))
    }
}

/// Which life to read by the container's status; None = an empty answer, as from a pod that no kubelet has yet.
fn choose_life(
    pod: &Value,
    pod_name: &str,
    container: &str,
    previous: bool,
    has_log: bool,
) -> Result<Option<Which>, Failure> {
    let waiting = |why: &str| {
        Err(Failure::bad_request(waiting_to_start(
            container, pod_name, why,
        )))
    };
    let status = [
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
    ]
    .iter()
    .filter_map(|list| pod["status"][list].as_array())
    .flatten()
    .find(|status| status["name"] == container);

    let Some(status) = status else {
        return match (has_log, previous) {
            // A test's minimal pod without a status, whose log was written all the same.
            (true, false) => Ok(Some(Which::Current)),
            (true, true) => Ok(Some(Which::Previous)),
            (false, _) if !pod["spec"]["nodeName"].is_string() => Ok(None),
            (false, true) => Ok(Some(Which::Previous)),
            (false, false) => waiting("ContainerCreating"),
        };
    };
    let started =
        status["state"]["running"].is_object() || status["state"]["terminated"].is_object();
    if started {
        return Ok(Some(if previous {
            Which::Previous
        } else {
            Which::Current
        }));
    }
    // It waits to be restarted: its last life is the last log and the previous one alike.
    if status["lastState"]["terminated"].is_object() {
        return Ok(Some(Which::LastEnded));
    }
    if previous {
        return Err(Failure::bad_request(no_previous(container, pod_name)));
    }
    match status["state"]["waiting"]["reason"].as_str() {
        Some("ErrImagePull") => waiting("image can't be pulled"),
        Some("ImagePullBackOff") => waiting("trying and failing to pull image"),
        Some(reason) => waiting(reason),
        None => Err(Failure::bad_request(format!(
            "container \"{container}\" in pod \"{pod_name}\" is waiting to start - no logs yet"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{LogQuery, choose_container, choose_life};
    use crate::logs::{KubeletStyle, Which};
    use crate::target::Query;

    fn pod(state: Value, last: Value) -> Value {
        json!({
            "spec": { "nodeName": "node1", "containers": [{ "name": "k6" }] },
            "status": { "containerStatuses": [{ "name": "k6", "state": state, "lastState": last }] },
        })
    }

    fn query(text: &str) -> Query {
        let uri = format!("/log?{text}").parse().expect("a URI");
        Query::of(&uri)
    }

    #[test]
    fn only_since_time_is_cut() {
        let text = "sinceTime=2026-11-23T04:34:43.958614994Z";
        let read = LogQuery::of(&query(text), KubeletStyle::Joined).expect("good");
        assert_eq!(
            read.options.since.map(|s| s % 1_000_000_000),
            Some(958_614_994)
        );
        let cut = read.cut_since_time(&query(text));
        assert_eq!(cut.options.since, Some(1_795_408_483_000_000_000));
    }

    #[test]
    fn wrong_numbers_and_times_are_refused() {
        for (text, code) in [
            ("sinceTime=yesterday", 400),
            ("tailLines=x", 400),
            ("tailLines=-1", 422),
            ("limitBytes=0", 422),
            ("sinceSeconds=1&sinceTime=2026-11-23T04:34:43Z", 422),
        ] {
            let failure = LogQuery::of(&query(text), KubeletStyle::Joined);
            assert_eq!(failure.expect_err(text).code, code);
        }
    }

    #[test]
    fn the_status_says_which_life() {
        let ended = json!({ "terminated": { "exitCode": 1 } });
        let running = json!({ "running": {} });
        let backoff = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        for (state, last, previous, expected) in [
            (&running, &json!({}), false, Which::Current),
            (&running, &ended, true, Which::Previous),
            (&ended, &json!({}), false, Which::Current),
            (&backoff, &ended, false, Which::LastEnded),
            (&backoff, &ended, true, Which::LastEnded),
        ] {
            let pod = pod(state.clone(), last.clone());
            let chosen = choose_life(&pod, "x", "k6", previous, true);
            assert_eq!(chosen, Ok(Some(expected)), "{state} {last} {previous}");
        }
    }

    #[test]
    fn a_waiting_container_says_why() {
        for (reason, why) in [
            ("ErrImageNeverPull", "ErrImageNeverPull"),
            ("ImagePullBackOff", "trying and failing to pull image"),
            ("ContainerCreating", "ContainerCreating"),
        ] {
            let pod = pod(json!({ "waiting": { "reason": reason } }), json!({}));
            let failure = choose_life(&pod, "x", "k6", false, false).expect_err("refused");
            let expected = format!("container \"k6\" in pod \"x\" is waiting to start: {why}");
            assert_eq!(failure.message, expected);
        }
    }

    #[test]
    fn several_containers_need_a_name() {
        let pod = json!({ "spec": { "containers": [{ "name": "k6" }, { "name": "side" }], "initContainers": [{ "name": "init" }] } });
        let failure = choose_container(&pod, "x", None).expect_err("refused");
        assert_eq!(
            failure.message,
            "a container name must be specified for pod x, choose one of: [k6 side] or one of the init containers: [init]"
        );
        assert_eq!(
            choose_container(&pod, "x", Some("init")),
            Ok("init".to_owned())
        );
    }
}
