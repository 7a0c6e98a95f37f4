//! Who gets in, and to what.

pub(crate) mod origin;
pub(crate) mod role;
pub(crate) mod tokens;

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use tokio::sync::watch;

use crate::access::role::Role;
use crate::access::tokens::Tokens;
use crate::problem::Problem;

/// Who may do what, and under which names the gateway is reached.
#[derive(Debug, Default)]
pub(crate) struct Access {
    /// Without them everybody may do everything who gets as far as this.
    tokens: watch::Sender<Option<Arc<Tokens>>>,
    /// Besides addresses and `localhost`, in lower case.
    pub(crate) names: BTreeSet<String>,
}

impl Access {
    pub(crate) fn new(tokens: Option<Tokens>, names: BTreeSet<String>) -> Self {
        Self {
            tokens: watch::Sender::new(tokens.map(Arc::new)),
            names,
        }
    }

    /// From the next request on, and for who has a [`Pass`].
    pub(crate) fn set_tokens(&self, tokens: Tokens) {
        self.tokens.send_replace(Some(Arc::new(tokens)));
    }

    pub(crate) fn asks_for_tokens(&self) -> bool {
        self.tokens().is_some()
    }

    fn tokens(&self) -> Option<Arc<Tokens>> {
        self.tokens.borrow().clone()
    }

    /// Whether who sent this request may do what takes `role`.
    pub(crate) fn authorize(&self, headers: &HeaderMap, role: Role) -> Result<(), Problem> {
        let Some(tokens) = self.tokens() else {
            return Ok(());
        };
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let (Some(given), None) = (given.next(), given.next()) else {
            return Err(unauthorized("one `Authorization: Bearer TOKEN` is needed"));
        };
        let token = given.as_bytes().split_first_chunk::<7>();
        let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
        let Some((_, token)) = token else {
            return Err(unauthorized(
                "what is needed is `Authorization: Bearer TOKEN`",
            ));
        };
        match tokens.roles_of(token) {
            None => Err(unauthorized("the token is none of this gateway's")),
            Some(roles) if roles.permit(role) => Ok(()),
            Some(_) => Err(Problem::forbidden(format!(
                "the token is good and does not have the role `{role}`, which this takes"
            ))),
        }
    }
}

/// Somebody who was let in, and stays only as long as the tokens let them.
pub(crate) struct Pass {
    access: Arc<Access>,
    tokens: watch::Receiver<Option<Arc<Tokens>>>,
    /// With which they came.
    headers: HeaderMap,
    role: Role,
}

impl Pass {
    pub(crate) fn new(access: &Arc<Access>, mut headers: HeaderMap, role: Role) -> Self {
        let mut tokens = access.tokens.subscribe();
        // They may have been replaced since it was asked for one.
        tokens.mark_changed();
        let given = headers.remove(AUTHORIZATION);
        headers.clear();
        headers.extend(given.map(|given| (AUTHORIZATION, given)));
        Self {
            access: Arc::clone(access),
            tokens,
            headers,
            role,
        }
    }

    /// Once they may not do any more what takes the role. May be dropped and called again.
    pub(crate) async fn ended(&mut self) {
        while self.tokens.changed().await.is_ok() {
            if self.access.authorize(&self.headers, self.role).is_err() {
                return;
            }
        }
        pending::<()>().await;
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "A token is needed",
        detail,
    )
}
