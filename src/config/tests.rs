//! Where each setting comes from, and what is said of one that makes no sense.

use std::path::Path;

use super::*;
use crate::yaml;

/// A configuration file with this text, gone when dropped.
fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn load_with(
    text: &str,
    common: Common,
    environment: &[(&str, &str)],
) -> Result<Config, ConfigError> {
    let file = file(text);
    let common = Common {
        config: Some(file.path().to_owned()),
        ..common
    };
    let environment = |name: &str| {
        let (_, value) = environment.iter().find(|(known, _)| *known == name)?;
        Some((*value).to_owned())
    };
    Config::load(&common, &environment)
}

fn load(text: &str) -> Config {
    load_with(text, Common::default(), &[]).unwrap()
}

fn defaults() -> Config {
    Config::load(&Common::default(), &|_| None).unwrap()
}

/// What is said of a file that is refused; its path stands as FILE.
#[track_caller]
fn refusal(text: &str) -> String {
    let file = file(text);
    let common = Common {
        config: Some(file.path().to_owned()),
        ..Common::default()
    };
    let Err(error) = Config::load(&common, &|_| None) else {
        panic!("`{text}` is taken");
    };
    let path = file.path().display().to_string();
    error.to_string().replace(&path, "FILE")
}

#[track_caller]
fn assert_refused(text: &str, words: &[&str]) {
    let refusal = refusal(text);
    for words in words {
        assert!(
            refusal.contains(words),
            "`{text}`: no `{words}` in: {refusal}"
        );
    }
}

#[test]
fn a_flag_goes_before_the_environment_and_that_before_the_file() {
    const FLAG: Option<&str> = Some("sqlite://flag.db");
    const VARIABLE: &[(&str, &str)] = &[("DATABASE_URL", "sqlite://variable.db")];
    const FILE: &str = "databaseUrl: sqlite://file.db";
    for (flag, environment, file, expected) in [
        (FLAG, VARIABLE, FILE, "sqlite://flag.db"),
        (FLAG, &[], "", "sqlite://flag.db"),
        (None, VARIABLE, FILE, "sqlite://variable.db"),
        (None, VARIABLE, "", "sqlite://variable.db"),
        (None, &[], FILE, "sqlite://file.db"),
        (None, &[], "", "sqlite://k6sync.db"),
    ] {
        let common = Common {
            database_url: flag.map(str::to_owned),
            ..Common::default()
        };
        let config = load_with(file, common, environment).unwrap();
        assert_eq!(config.database_url.to_string(), expected);
    }
}

#[test]
fn the_interval_comes_from_the_environment_then_the_file_and_nonsense_does_not_count() {
    for (variable, in_file, seconds, source) in [
        (None, "", 20, Source::Default),
        (None, "intervalSeconds: 60", 60, Source::ConfigFile),
        (Some("5"), "intervalSeconds: 60", 5, Source::Environment),
        (Some("300"), "", 300, Source::Environment),
        (Some(" 15 "), "", 15, Source::Environment),
        (Some("abc"), "", 20, Source::Default),
        (Some("abc"), "intervalSeconds: 60", 60, Source::ConfigFile),
        (Some("4"), "intervalSeconds: 60", 60, Source::ConfigFile),
        (Some("301"), "", 20, Source::Default),
        (Some(""), "", 20, Source::Default),
        (Some("20.5"), "", 20, Source::Default),
        (Some("-20"), "", 20, Source::Default),
        (Some("99999999999999999999"), "", 20, Source::Default),
    ] {
        let environment: Vec<_> = variable
            .map(|value| ("K6_SYNC_INTERVAL_SECONDS", value))
            .into_iter()
            .collect();
        let config = load_with(in_file, Common::default(), &environment).unwrap();
        let control = config.control_defaults;
        assert_eq!(
            (control.interval.seconds(), control.source),
            (seconds, source),
            "{variable:?} over `{in_file}`"
        );
    }
}

#[test]
fn only_the_word_false_switches_sync_off_by_the_environment() {
    for (variable, in_file, enabled) in [
        (None, "", true),
        (None, "enabled: false", false),
        (Some("false"), "", false),
        (Some("FALSE"), "", false),
        (Some("False"), "", false),
        (Some(" false "), "", false),
        (Some("false"), "enabled: true", false),
        (Some("true"), "enabled: false", true),
        (Some("0"), "", true),
        (Some("no"), "", true),
        (Some(""), "", true),
    ] {
        let environment: Vec<_> = variable
            .map(|value| ("K6_AUTO_SYNC_ENABLED", value))
            .into_iter()
            .collect();
        let config = load_with(in_file, Common::default(), &environment).unwrap();
        let control = config.control_defaults;
        assert_eq!(control.enabled, enabled, "{variable:?} over `{in_file}`");
        assert_eq!(control.source, Source::Default, "it is the interval's");
    }
}

#[test]
fn namespaces_come_from_the_flags_then_the_file() {
    let only = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Some(Namespaces::Only(names))
    };
    for (flags, all, in_file, expected) in [
        (&[][..], false, "", None),
        (&[], false, "namespaces: [b, a, b]", only(&["a", "b"])),
        (&[], false, "namespaces: null", None),
        (&[], false, "allNamespaces: true", Some(Namespaces::All)),
        (&[], false, "allNamespaces: false", None),
        (
            &[],
            false,
            "{namespaces: [a], allNamespaces: false}",
            only(&["a"]),
        ),
        (&[], true, "namespaces: [a]", Some(Namespaces::All)),
        (&["c", "d"], false, "namespaces: [a]", only(&["c", "d"])),
        (&["c"], false, "allNamespaces: true", only(&["c"])),
    ] {
        let common = Common {
            namespace: flags.iter().map(|name| (*name).to_owned()).collect(),
            all_namespaces: all,
            ..Common::default()
        };
        let config = load_with(in_file, common, &[]).unwrap();
        assert_eq!(config.namespaces, expected, "{flags:?} {all} `{in_file}`");
    }
}

#[test]
fn the_file_sets_what_has_no_flag() {
    let config = load(
        "{context: prod, discovery: labelled, missingAfter: 1h30m, control: {configMap: switch, namespace: ops},
          kubernetes: {requestTimeout: 500ms, cycleDeadline: 3s}, capture: {concurrency: 7}}",
    );
    assert_eq!(config.context.as_deref(), Some("prod"));
    assert_eq!(config.discovery, Discovery::Labelled);
    assert_eq!(config.missing_after, SignedDuration::from_mins(90));
    assert_eq!(config.control_config_map, "switch");
    assert_eq!(config.control_namespace.as_deref(), Some("ops"));
    assert_eq!(config.request_timeout, Duration::from_millis(500));
    assert_eq!(config.cycle_deadline, Duration::from_secs(3));
    assert_eq!(config.capture_concurrency, 7);

    let common = Common {
        context: Some("dev".to_owned()),
        ..Common::default()
    };
    let config = load_with("context: prod", common, &[]).unwrap();
    assert_eq!(config.context.as_deref(), Some("dev"));
}

#[test]
fn the_instance_is_the_host_and_the_process() {
    let config = load_with("", Common::default(), &[("HOSTNAME", "k6sync-7d9f")]).unwrap();
    let expected = format!("k6sync-7d9f/{}", std::process::id());
    assert_eq!(config.instance, expected);
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_right_one() {
    for (text, key, advice) in [
        ("intervalSecond: 20", "intervalSecond", "intervalSeconds"),
        (
            "kubernetes: {requestTimout: 5s}",
            "kubernetes.requestTimout",
            "kubernetes.requestTimeout",
        ),
        ("databaseURL: x", "databaseURL", "databaseUrl"),
        ("namespace: a", "namespace", "namespaces"),
        (
            "requestTimeout: 5s",
            "requestTimeout",
            "kubernetes.requestTimeout",
        ),
        (
            "capture: {configMap: x}",
            "capture.configMap",
            "control.configMap",
        ),
    ] {
        assert_eq!(
            refusal(text),
            format!(
                "unknown key `{key}` in the configuration file FILE; did you mean `{advice}`?; \
                 config.example.yaml has all keys"
            )
        );
    }
    for (text, key) in [
        ("xyzzy: 1", "xyzzy"),
        ("{intervalSeconds: 20, q: 1}", "q"),
        ("kubernetes: {plugh: 1}", "kubernetes.plugh"),
        ("databaseUrl: {plugh: 1}", "databaseUrl.plugh"),
    ] {
        assert_eq!(
            refusal(text),
            format!(
                "unknown key `{key}` in the configuration file FILE; config.example.yaml has all keys"
            )
        );
    }
}

#[test]
fn which_test_runs_are_held_is_a_word_or_yes_or_no() {
    for (word, expected) in [
        ("cleanup", Some(HoldMode::Cleanup)),
        ("all", Some(HoldMode::All)),
        ("none", Some(HoldMode::None)),
        ("true", Some(HoldMode::All)),
        ("false", Some(HoldMode::None)),
        ("null", None),
    ] {
        let config = load(&format!("capture: {{hold: {word}}}"));
        assert_eq!(config.capture_hold, expected, "{word}");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_named_by_its_key() {
    for (text, words) in [
        (
            "intervalSeconds: soon",
            [
                "intervalSeconds: ",
                "some other text, expected a whole number",
            ],
        ),
        ("intervalSeconds: -5", ["intervalSeconds: ", "`-5`"]),
        ("intervalSeconds: 20.5", ["intervalSeconds: ", "`20.5`"]),
        ("namespaces: 5", ["namespaces: ", "a list of texts"]),
        ("namespaces: [a, [b]]", ["namespaces[1]: ", "no text"]),
        ("missingAfter: fast", ["missingAfter: ", "duration"]),
        ("missingAfter: 10", ["missingAfter: ", "unit"]),
        ("discovery: some", ["discovery: ", "all, labelled or off"]),
        ("enabled: maybe", ["enabled: ", "true or false"]),
        (
            "kubernetes: {requestTimeout: 5}",
            ["kubernetes.requestTimeout: ", "unit"],
        ),
        (
            "capture: {concurrency: many}",
            ["capture.concurrency: ", "a whole number"],
        ),
        ("capture: 5", ["capture: ", "expected keys with values"]),
        (
            "capture: {hold: some}",
            ["capture.hold: ", "expected cleanup, all or none"],
        ),
        (
            "capture: {hold: 1}",
            ["capture.hold: ", "expected cleanup, all or none"],
        ),
        ("{enabled: true, enabled: true}", ["enabled", "duplicate"]),
        ("databaseUrl: [", ["FILE", "line"]),
        (
            "just words",
            ["some other text", "expected keys with values"],
        ),
        (
            "- databaseUrl: sqlite://x",
            ["a list", "expected keys with values"],
        ),
    ] {
        assert_refused(text, &["the configuration file FILE is wrong: "]);
        assert_refused(text, &words);
    }
}

#[test]
fn a_value_out_of_range_is_named_with_its_range() {
    for (text, words) in [
        (
            "intervalSeconds: 4",
            ["intervalSeconds is 4: ", "from 5 to 300"],
        ),
        (
            "intervalSeconds: 301",
            ["intervalSeconds is 301: ", "from 5 to 300"],
        ),
        (
            "missingAfter: -1s",
            ["missingAfter is -1s: ", "can't be negative"],
        ),
        (
            "capture: {concurrency: 0}",
            ["capture.concurrency is 0: ", "from 1 to 1000"],
        ),
        (
            "capture: {concurrency: 1001}",
            ["capture.concurrency is 1001: ", "from 1 to 1000"],
        ),
        (
            "kubernetes: {requestTimeout: 0s}",
            ["kubernetes.requestTimeout is 0s: ", "such as 10s"],
        ),
        (
            "kubernetes: {cycleDeadline: -1m}",
            ["kubernetes.cycleDeadline is -1m: ", "such as 10s"],
        ),
        (
            "kubernetes: {cycleDeadline: 9223372036854775807s}",
            [
                "kubernetes.cycleDeadline is 2562047788015215h 30m 7s: ",
                "100 years",
            ],
        ),
        (
            "capture: {holdTimeout: 900000h}",
            ["capture.holdTimeout is 900000h: ", "100 years"],
        ),
        (
            "databaseUrl: mysql://x",
            ["scheme `mysql`", "databaseUrl in the configuration file"],
        ),
    ] {
        assert_refused(text, &words);
    }
    load("missingAfter: 0s");
    load("capture: {concurrency: 1}");
    load("capture: {concurrency: 1000}");
}

#[test]
fn a_namespace_must_be_one() {
    let long = "a".repeat(64);
    for name in [
        "Team", "a/b", "../x", "-a", "a-", "", "a.b", "ä", "*", &long,
    ] {
        let expected = format!("namespaces is `{name}`: it is no namespace's name");
        assert_refused(&format!("namespaces: [ok, {name:?}]"), &[&expected]);

        let common = Common {
            namespace: vec![name.to_owned()],
            ..Common::default()
        };
        let error = load_with("", common, &[]).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("--namespace is `{name}`")),
            "{error}"
        );
    }
    load(&format!("namespaces: [a, team-1, 1, {}]", "a".repeat(63)));
    assert_refused(
        "namespaces: []",
        &["namespaces is empty", "leave the key out"],
    );
}

#[test]
fn some_namespaces_and_all_of_them_is_a_contradiction() {
    assert_refused(
        "{namespaces: [a, b], allNamespaces: true}",
        &[
            "allNamespaces is true",
            "namespaces is set too (a, b); keep one",
        ],
    );
}

#[test]
fn a_file_that_says_nothing_is_fine() {
    for text in ["", "\n\n", "# nothing\n", "  # nothing\n\n# at all", "{}"] {
        let config = load(text);
        assert_eq!(
            format!("{config:?}"),
            format!("{:?}", defaults()),
            "{text:?}"
        );
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("missing.yaml"), folder.path().to_owned()] {
        let common = Common {
            config: Some(path.clone()),
            ..Common::default()
        };
        let error = Config::load(&common, &|_| None).unwrap_err().to_string();
        let expected = format!("cannot read the configuration file {}: ", path.display());
        assert!(error.starts_with(&expected), "{error}");
    }
}

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.yaml");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_example_has_every_key_with_its_default() {
    let document: serde_json::Value = yaml::from_str(&example()).unwrap();
    fn add(keys: &mut Vec<String>, place: &str, section: &serde_json::Value) {
        for (name, value) in section.as_object().into_iter().flatten() {
            let key = format!("{place}{name}");
            add(keys, &format!("{key}."), value);
            keys.push(key);
        }
    }
    let mut keys = Vec::new();
    add(&mut keys, "", &document);
    keys.sort();
    let mut known: Vec<&str> = file::keys().map(|(key, _)| key).collect();
    known.sort_unstable();
    assert_eq!(keys, known);

    let config = load(&example());
    let defaults = Config {
        control_defaults: Defaults {
            // It is in the file, even if it is the default.
            source: Source::ConfigFile,
            ..Defaults::default()
        },
        ..defaults()
    };
    assert_eq!(format!("{config:?}"), format!("{defaults:?}"));
}

#[test]
fn every_line_of_the_example_is_explained() {
    let text = example();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for (before, line) in lines.iter().zip(&lines[1..]) {
        let is_key = !line.is_empty() && !line.starts_with('#');
        assert!(
            !is_key || before.starts_with('#'),
            "{line} has no comment above"
        );
    }
}

#[test]
fn every_key_is_read() {
    for (key, _) in file::keys() {
        // No key takes a list of lists.
        let text = match key.split('.').collect::<Vec<_>>()[..] {
            [section, part, key] => format!("{section}: {{{part}: {{{key}: [[[]]]}}}}"),
            [section, key] => format!("{section}: {{{key}: [[[]]]}}"),
            _ => format!("{key}: [[[]]]"),
        };
        assert_refused(&text, &[key, "the configuration file FILE is wrong"]);
    }
}

#[test]
fn an_api_key_must_be_long_enough_and_is_never_shown() {
    let load = |key: &str| load_with("", Common::default(), &[("K6_SYNC_API_KEY", key)]);
    let config = load("0123456789abcdef").unwrap();
    assert!(config.api_key.as_ref().unwrap().is(b"0123456789abcdef"));
    assert!(!format!("{config:?}").contains("0123456789"));
    let from_a_file = load("0123456789abcdef\n").unwrap().api_key;
    assert_eq!(from_a_file, config.api_key);
    let error = load("0123456789abcde\n").unwrap_err().to_string();
    assert!(
        error.contains("K6_SYNC_API_KEY is 15 characters long"),
        "{error}"
    );
    assert!(!error.contains("0123456789"), "{error}");
}

#[test]
fn a_cookie_key_must_be_long_enough_and_is_never_shown() {
    let key = "0123456789abcdef0123456789abcdef";
    let load = |key: &str| load_with("", Common::default(), &[("K6_SYNC_COOKIE_KEY", key)]);
    let config = load(key).unwrap();
    assert!(config.cookie_key.is_some());
    assert!(!format!("{config:?}").contains("0123456789"));
    let error = load(&key[1..]).unwrap_err().to_string();
    assert!(
        error.contains("K6_SYNC_COOKIE_KEY is 31 bytes long"),
        "{error}"
    );
    assert!(!error.contains("0123456789"), "{error}");
}

#[test]
fn whom_a_proxy_names_is_believed_from_networks_alone() {
    let proxy = |text: &str| {
        let text = format!("auth: {{proxy: {text}}}");
        load_with(&text, Common::default(), &[])
    };
    let config = proxy("{trustedAddresses: [10.1.2.3, 'fd00::/8'], userHeader: X-User}").unwrap();
    assert_eq!(config.proxies.trusted.len(), 2);
    assert_eq!(config.proxies.user, "x-user");
    for (text, words) in [
        (
            "{trustedAddresses: [everybody]}",
            "auth.proxy.trustedAddresses",
        ),
        ("{trustedAddresses: [10.0.0.0/33]}", "such as 10.1.2.3"),
        ("{groupsHeader: 'a b'}", "auth.proxy.groupsHeader"),
        (
            "{trustedAdresses: []}",
            "did you mean `auth.proxy.trustedAddresses`?",
        ),
    ] {
        let error = proxy(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn an_address_to_listen_on_must_be_one() {
    let error = load_with("listen: here", Common::default(), &[]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("listen: it must be an address and a port")
    );
}
