use super::*;

fn texts(log: &str) -> Vec<(String, bool)> {
    let objects = find(log.as_bytes());
    objects
        .into_iter()
        .map(|object| {
            let text = String::from_utf8(object.text).unwrap();
            (text.replace(['\n', ' '], ""), object.whole)
        })
        .collect()
}

const PRETTY: &str = "{
    \"root_group\": {
        \"checks\": {
                \"a\\\"b}\": {
                    \"fails\": 20
                }
            },
        \"list\": [
            1,
            -2.5e+3,
            \"x\",
            {},
            []
        ]
    },
    \"metrics\": {}
}";

#[test]
fn finds_pretty_objects_among_other_lines() {
    let flat = PRETTY.replace(['\n', ' '], "");
    let whole = vec![(flat.clone(), true)];
    for log in [
        PRETTY.to_owned(),
        format!("{PRETTY}\n"),
        format!("before\n{PRETTY}time=\"x\" level=error msg=\"y\"\n"),
        // The stream before it ends without a newline.
        format!("my own report: 5 passes{PRETTY}"),
        PRETTY.replace('\n', "\n    ✓ \"count\": 5,\n"),
        PRETTY.replace('\n', "\n  █ TOTAL RESULTS \n\n"),
        PRETTY.replace('\n', "\ntime=\"x\" msg=\"{\\\"metrics\\\": {\"\n"),
        PRETTY.replace(
            "\n    \"metrics",
            "\n    http_reqs...: 5 1/s\n    \"metrics",
        ),
        PRETTY.replace("    ", "\t"),
        PRETTY.replace("    ", " "),
        // The last brace is glued to words of the other stream, or gone.
        PRETTY.strip_suffix('}').unwrap().to_owned(),
        format!("{}\n\ntime=\"x\"", PRETTY.strip_suffix('}').unwrap()),
        format!("{}my own report}}", PRETTY.strip_suffix('}').unwrap()),
        format!("{{\n    \"other\": 1\n}}\n{PRETTY}"),
        format!("function () {{\n{PRETTY}"),
    ] {
        assert_eq!(texts(&log), whole, "{log}");
    }
}

#[test]
fn finds_objects_on_one_line() {
    let object = r#"{"root_group":{"name":"}\"{"},"metrics":{"a":{}}}"#;
    let whole = vec![(object.to_owned(), true)];
    for log in [
        object.to_owned(),
        format!("before\n{object}\nafter"),
        format!("{object}time=\"x\" level=error\n"),
        format!("vus_max...: 2 min=2 max=2{object}{{\n"),
        // The runtime cuts a long line in parts, and puts a line of the other stream between two.
        object.replace(
            "_group\":{\"name",
            "_group\":{\"natime=\"x\" level=info msg=\"{\"\nme",
        ),
        object.replace("\"met", "{\"level\":\"info\",\"msg\":\"y\"}\n\"met"),
        object.replace("\"met", "time=\"x\"\n\"time=\"y\"\nmet"),
    ] {
        assert_eq!(texts(&log), whole, "{log}");
    }
}

#[test]
fn finds_no_others() {
    for log in [
        "",
        "{",
        "{\n",
        "{\n}",
        "{\n    \"a\": 1\n}",
        "{\"level\":\"info\",\"msg\":\"{\\\"metrics\\\":{\\\"a\\\"\"}",
        "time=\"x\" msg=\"{\\\"root_group\\\":{},\\\"metrics\\\":{\\\"a\\\":1}}\"",
        "    \"metrics\": {\n    \"root_group\": {\n",
    ] {
        assert_eq!(texts(log), [], "{log}");
    }
}

#[test]
fn a_part_is_not_whole() {
    let one = r#"{"root_group":{"name":""},"metrics":{"a":{}}}"#;
    for (object, most) in [(PRETTY, PRETTY.len() - 1), (one, one.len())] {
        for cut in 0..most {
            for (text, whole) in texts(&object[..cut]) {
                let is_all = text.contains("metrics") && object == PRETTY;
                assert!(
                    !whole
                        || is_all
                        || text
                            == "{\"root_group\":{\"checks\":{\"a\\\"b}\":{\"fails\":20}},\"list\":[1,-2.5e+3,\"x\",{},[]]}}",
                    "{text}"
                );
            }
        }
    }
}

#[test]
fn a_new_object_ends_a_broken_one() {
    let log = format!("{{\n    \"metrics\": {{\n        \"a\": 1,\n{PRETTY}");
    let texts = texts(&log);
    assert_eq!(texts.len(), 2);
    assert_eq!((texts[0].1, texts[1].1), (false, true));
}

#[test]
fn knows_a_log_that_begins_within() {
    let one = r#"{"root_group":{"name":""},"metrics":{"a":{}}}"#;
    for (log, expected) in [
        (&PRETTY[1..], true),
        (&PRETTY[2..], true),
        (&PRETTY[30..], true),
        (&one[20..], true),
        ("x\n", false),
        ("x\ny\n{\n    \"a\": 1\n}\n", false),
        ("x\n  indented\n}\n", true),
        ("x\n  indented\n}, {\n", false),
    ] {
        assert_eq!(begins_within(log.as_bytes()), expected, "{log}");
    }
}
