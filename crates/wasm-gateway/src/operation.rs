//! What is said of each thing that can be asked for: who may, and what comes of it. Routes and
//! their description are made from the same.

use axum::http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use crate::access::role::Role;

/// One thing that can be asked for.
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    /// What it takes; nothing for what everybody may know.
    pub(crate) role: Option<Role>,
    pub(crate) summary: &'static str,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) body: Option<Content>,
    pub(crate) answers: Vec<Answer>,
}

/// A header or what stands after `?`.
pub(crate) struct Parameter {
    pub(crate) place: &'static str,
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
    /// What it may be, as JSON Schema has it.
    pub(crate) schema: Value,
}

/// What a body is.
#[derive(Clone, Copy)]
pub(crate) enum Content {
    /// Of the type that its header says.
    Any,
    Json(fn(&mut SchemaGenerator) -> Schema),
    Text(&'static str),
    /// Server-sent events, of which the data of each is JSON.
    Events(fn(&mut SchemaGenerator) -> Schema),
    Upload,
}

/// What may come of it.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: &'static str,
    pub(crate) content: Option<Content>,
}

impl Operation {
    pub(crate) fn new(
        method: Method,
        path: &'static str,
        role: impl Into<Option<Role>>,
        summary: &'static str,
    ) -> Self {
        Self {
            method,
            path,
            role: role.into(),
            summary,
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
        }
    }

    pub(crate) fn header(self, name: &'static str, text: &'static str) -> Self {
        self.parameter("header", name, text, json!({ "type": "string" }))
    }

    pub(crate) fn query(self, name: &'static str, text: &'static str, schema: Value) -> Self {
        self.parameter("query", name, text, schema)
    }

    fn parameter(
        mut self,
        place: &'static str,
        name: &'static str,
        text: &'static str,
        schema: Value,
    ) -> Self {
        self.parameters.push(Parameter {
            place,
            name,
            text,
            schema,
        });
        self
    }

    pub(crate) fn takes(mut self, body: Content) -> Self {
        self.body = Some(body);
        self
    }

    pub(crate) fn answers(
        mut self,
        status: u16,
        text: &'static str,
        content: impl Into<Option<Content>>,
    ) -> Self {
        let content = content.into();
        self.answers.push(Answer {
            status,
            text,
            content,
        });
        self
    }

    /// Statuses of which there is a problem document.
    pub(crate) fn fails(mut self, problems: &[(u16, &'static str)]) -> Self {
        for (status, text) in problems {
            self = self.answers(*status, text, None);
        }
        self
    }
}

impl Content {
    pub(crate) fn json<T: JsonSchema>() -> Self {
        Self::Json(SchemaGenerator::subschema_for::<T>)
    }

    pub(crate) fn events<T: JsonSchema>() -> Self {
        Self::Events(SchemaGenerator::subschema_for::<T>)
    }
}
