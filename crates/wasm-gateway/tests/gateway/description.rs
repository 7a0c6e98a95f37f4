//! What is said of what can be asked for.

use serde_json::Value;

use crate::support::{ask, gateway};

#[tokio::test]
async fn everything_that_is_described_is_there() {
    let router = gateway(&[]).await.router();
    let described = ask(&router, "GET", "/openapi.json", "").await.json();
    assert_eq!(described["openapi"], "3.1.0");
    let paths = described["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 15);
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            if path == "/events" {
                continue;
            }
            let path = path.replace("{number}", "1").replace(['{', '}'], "");
            let answered = ask(&router, &method.to_ascii_uppercase(), &path, "").await;
            // Not 404 for the path: what is missing is the component, and the body says so.
            let nothing_there = answered.text().contains("nothing at this path");
            assert!(
                answered.status != 405 && !nothing_there,
                "{method} {path}: {answered:?}"
            );
        }
    }
}

/// Whoever is generated a client of it is to know how refusals and events look.
#[tokio::test]
async fn refusals_and_events_are_described_as_they_are() {
    let router = gateway(&[]).await.router();
    let described = ask(&router, "GET", "/openapi.json", "").await.json();
    let paths = described["paths"].as_object().unwrap();
    for operation in paths
        .values()
        .flat_map(|it| it.as_object().unwrap().values())
    {
        let other = &operation["responses"]["default"]["content"];
        let schema = &other["application/problem+json"]["schema"]["$ref"];
        assert_eq!(schema, "#/components/schemas/Problem", "{operation}");
    }
    for path in ["/events", "/nodes/events"] {
        let content = &paths[path]["get"]["responses"]["200"]["content"];
        let types: Vec<_> = content.as_object().unwrap().keys().collect();
        assert_eq!(types, ["text/event-stream"], "{path}");
    }
}

/// What is asked for as it is described is not refused for how it is written.
#[tokio::test]
async fn parameters_are_described_as_they_are_read() {
    let router = gateway(&[]).await.router();
    let described = ask(&router, "GET", "/openapi.json", "").await.json();
    let schema = |path: &str, name: &str| {
        let parameters = described["paths"][path]["get"]["parameters"].as_array();
        let mut parameters = parameters.unwrap().iter();
        parameters.find(|it| it["name"] == name).unwrap()["schema"].clone()
    };
    let limit = schema("/components", "limit");
    for (limit, status) in [
        (limit["minimum"].clone(), 200),
        (limit["maximum"].clone(), 200),
        (limit["maximum"].as_u64().map(|it| it + 1).into(), 400),
    ] {
        let path = format!("/components?limit={limit}");
        assert_eq!(
            ask(&router, "GET", &path, "").await.status,
            status,
            "{path}"
        );
    }
    assert_eq!(schema("/events", "messages")["type"], "boolean");
    let number = schema("/dead-letters/{number}/payload", "number");
    assert_eq!(number["type"], "integer");
    for path in ["/components", "/events"] {
        let name = ["after", "component"][usize::from(path == "/events")];
        let pattern = schema(path, name)["pattern"].clone();
        assert_eq!(pattern.as_str().unwrap().matches('/').count(), 2, "{path}");
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    let router = gateway(&[]).await.router();
    let described = ask(&router, "GET", "/openapi.json", "").await.json();
    let mut references = Vec::new();
    collect(&described, &mut references);
    assert!(references.len() > 10, "{references:?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(described.pointer(pointer).is_some(), "{reference}");
    }
}

fn collect<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            references.extend(members.get("$ref").and_then(Value::as_str));
            members
                .values()
                .for_each(|value| collect(value, references));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

#[tokio::test]
async fn another_method_or_path_is_a_problem() {
    let router = gateway(&[]).await.router();
    for (method, path, status) in [
        ("DELETE", "/components", 405),
        ("OPTIONS", "/components", 405),
        ("TRACE", "/healthz", 405),
        ("GET", "/nothing", 404),
        ("GET", "/components/", 404),
        ("GET", "//components", 404),
    ] {
        let answered = ask(&router, method, path, "").await;
        assert_eq!(answered.status.as_u16(), status, "{method} {path}");
        answered.problem();
    }
}
