//! The description of everything that can be asked for, OpenAPI 3.1.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::operation::{Answer, Content, Operation};
use crate::problem::{Document, PROBLEM_TYPE};

/// Of what may come of everything, and is not told of each.
const OTHERS: &str = "It was refused or failed; `status` and `detail` say how and why.";

/// As JSON.
pub(crate) fn document<'a>(operations: impl Iterator<Item = &'a Operation>) -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut schemas = settings.into_generator();
    schemas.subschema_for::<Document>();
    let mut paths = Map::new();
    for operation in operations {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_ascii_lowercase()] = described(operation, &mut schemas);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "airssys-wasm",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Reaches, watches and operates the components of a host.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn described(operation: &Operation, schemas: &mut SchemaGenerator) -> Value {
    let segments = operation.path.split('/');
    let named = segments.filter_map(|it| it.strip_prefix('{')?.strip_suffix('}'));
    let in_path = named.map(|name| {
        let schema = match name {
            "number" => json!({ "type": "integer", "minimum": 0 }),
            // A part of an id.
            _ => json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$" }),
        };
        json!({ "in": "path", "name": name, "required": true, "schema": schema })
    });
    let others = operation.parameters.iter().map(|it| {
        json!({
            "in": it.place, "name": it.name, "description": it.text, "schema": it.schema,
        })
    });
    let parameters: Vec<Value> = in_path.chain(others).collect();
    let mut answers: Map<String, Value> = operation
        .answers
        .iter()
        .map(|answer| (answer.status.to_string(), answered(answer, schemas)))
        .collect();
    // Such as for who has no token, and for a name or a path that nobody is to send.
    let others = json!({ "description": OTHERS, "content": problem(schemas) });
    answers.insert("default".to_owned(), others);
    let mut described = json!({
        "summary": operation.summary,
        "parameters": parameters,
        "responses": answers,
    });
    if let Some(role) = operation.role {
        described["security"] = json!([{ "token": [] }]);
        described["description"] = json!(format!("Takes a token with the role `{role}`."));
    }
    if let Some(body) = operation.body {
        described["requestBody"] = json!({ "content": content(body, schemas) });
    }
    described
}

fn answered(answer: &Answer, schemas: &mut SchemaGenerator) -> Value {
    let mut answered = json!({ "description": answer.text });
    if let Some(body) = answer.content {
        answered["content"] = content(body, schemas);
    } else if answer.status >= 400 {
        answered["content"] = problem(schemas);
    }
    answered
}

fn problem(schemas: &mut SchemaGenerator) -> Value {
    json!({ PROBLEM_TYPE: { "schema": schemas.subschema_for::<Document>() } })
}

fn content(content: Content, schemas: &mut SchemaGenerator) -> Value {
    match content {
        Content::Any => json!({ "*/*": {} }),
        Content::Text(content_type) => {
            json!({ content_type: { "schema": { "type": "string" } } })
        }
        Content::Json(schema) => json!({ "application/json": { "schema": schema(schemas) } }),
        Content::Events(schema) => json!({ "text/event-stream": {
            "schema": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": schema(schemas),
            },
        } }),
        Content::Upload => {
            let part = json!({ "type": "string", "contentMediaType": "application/octet-stream" });
            json!({ "multipart/form-data": { "schema": {
                "type": "object",
                "required": ["manifest", "component"],
                "properties": { "manifest": { "type": "string" }, "component": part, "config": part },
            } } })
        }
    }
}
