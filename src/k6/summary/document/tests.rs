use std::path::Path;

use proptest::prelude::*;
use serde_json::Value as Json;

use super::super::{Outcome, summarize};
use super::*;

/// As much of JSON Schema as ours uses; an error says where.
fn check(schema: &Json, root: &Json, document: &Json, at: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{at}: {what}: {document}"));
    for (keyword, rule) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "$ref" => {
                let name = rule.as_str().unwrap().rsplit('/').next().unwrap();
                check(&root["$defs"][name], root, document, at)?;
            }
            "type" => {
                let is = match rule.as_str().unwrap() {
                    "object" => document.is_object(),
                    "array" => document.is_array(),
                    "string" => document.is_string(),
                    "number" => document.is_number(),
                    "integer" => document.is_u64(),
                    "boolean" => document.is_boolean(),
                    other => panic!("{other}"),
                };
                if !is {
                    return wrong(rule.as_str().unwrap());
                }
            }
            "enum" if !rule.as_array().unwrap().contains(document) => return wrong("enum"),
            "oneOf" => {
                let rules = rule.as_array().unwrap().iter();
                let holding = rules.filter(|rule| check(rule, root, document, at).is_ok());
                if holding.count() != 1 {
                    return wrong("oneOf");
                }
            }
            "required" => {
                for name in rule.as_array().unwrap() {
                    if document.get(name.as_str().unwrap()).is_none() {
                        return wrong(name.as_str().unwrap());
                    }
                }
            }
            "items" => {
                for item in document.as_array().into_iter().flatten() {
                    check(rule, root, item, &format!("{at}[]"))?;
                }
            }
            "additionalProperties" => {
                for (name, member) in document.as_object().into_iter().flatten() {
                    match (schema["properties"].get(name), rule) {
                        (Some(known), _) => check(known, root, member, &format!("{at}.{name}"))?,
                        (None, Json::Bool(false)) => return wrong(name),
                        (None, rule) => check(rule, root, member, &format!("{at}.{name}"))?,
                    }
                }
            }
            "enum" | "properties" | "description" | "title" | "$schema" | "$id" | "$defs" => {}
            other => panic!("{other} is not understood here"),
        }
    }
    Ok(())
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn documents_are_as_the_schema_says() {
    let schema = std::fs::read_to_string(project().join("docs/results-schema.json")).unwrap();
    let schema: Json = serde_json::from_str(&schema).unwrap();
    let mut seen = 0;
    for folder in ["summaries", "operator-3-runners"] {
        let mut folders = vec![project().join("tests/data/recorded/k6").join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Outcome::Found(summary) =
                    summarize(&std::fs::read(&path).unwrap(), true)
                {
                    let text = serde_json::to_string(&summary).unwrap();
                    let document: Json = serde_json::from_str(&text).unwrap();
                    check(&schema, &schema, &document, "$").unwrap();
                    assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), *summary);
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 40, "{seen}");
    for (document, expected) in [
        (r#"{"source":"json"}"#, "$: metrics"),
        (
            r#"{"source":"csv","metrics":[],"checks":[],"thresholds":[]}"#,
            "$.source: enum",
        ),
        (
            r#"{"source":"text","metrics":[],"checks":[],"thresholds":[],"more":1}"#,
            "$: more",
        ),
    ] {
        let document: Json = serde_json::from_str(document).unwrap();
        let error = check(&schema, &schema, &document, "$").unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_value_is_a_number_or_two() {
    for (json, expected) in [
        ("1.5", Some((1.5, 1.5))),
        (
            "2.3000000000000003",
            Some((2.300_000_000_000_000_3, 2.300_000_000_000_000_3)),
        ),
        (r#"{"low":1,"high":2}"#, Some((1.0, 2.0))),
        (r#"{"low":2,"high":1}"#, None),
        (r#"{"low":1}"#, None),
        ("null", None),
        ("\"1\"", None),
        ("1e300", None),
    ] {
        let value = serde_json::from_str::<Value>(json).ok();
        let bounds = value.map(|value| (value.low(), value.high()));
        assert_eq!(bounds, expected, "{json}");
    }
    for (low, high) in [
        (f64::NAN, 1.0),
        (1.0, f64::NAN),
        (0.0, f64::INFINITY),
        (2.0, 1.0),
    ] {
        assert_eq!(Value::between(low, high), None);
    }
}

#[test]
fn knows_what_a_threshold_is_about() {
    for (expression, expected) in [
        ("p(95)<500", Some(1.0)),
        ("p(95.0) < 500", Some(1.0)),
        (" avg>=5", Some(2.0)),
        ("max===5", None),
        ("p(9)<5", None),
        ("", None),
    ] {
        let stats = [("p(95)", 1.0), ("avg", 2.0)];
        let stats = stats.map(|(stat, number)| (stat.to_owned(), Value::exact(number).unwrap()));
        let metric = Metric {
            name: "m".to_owned(),
            kind: Kind::Trend,
            unit: Unit::None,
            stats: stats.into(),
        };
        let seen = metric.observed(expression).and_then(Value::number);
        assert_eq!(seen, expected, "{expression}");
    }
}

proptest! {
    #[test]
    fn values_come_back_to_the_last_bit(low in -1e249_f64..1e249, width in 0.0_f64..1.0) {
        for value in [Value::exact(low), Value::between(low, low + width)] {
            let text = serde_json::to_string(&value.unwrap()).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&text).ok(), value);
        }
    }
}
