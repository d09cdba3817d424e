//! The door: who asks, and what may they see? API and pages let nobody in but through here.
//!
//! Somebody is known by a bearer token, by the session that a token began in a browser, by the API key, or by the word of a reverse
//! proxy that is trusted. What they may see is what Kubernetes lets them see. Where that can't be told, nobody sees anything.

pub(crate) mod cross_site;
pub(crate) mod login;
pub(crate) mod proxy;
pub(crate) mod rights;
pub(crate) mod session;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;

use self::proxy::Proxies;
use self::session::{NoSession, Sessions};
use super::access::Denied;
use super::auth::{API_KEY_HEADER, Authorizer, bearer};
use super::review::Whose;
use super::sight::Sight;

/// Where a request comes from, as the connection says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// What a request says of whoever sends it.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    pub(crate) headers: HeaderMap,
    pub(crate) peer: Option<IpAddr>,
}

impl<S: Send + Sync> FromRequestParts<S> for Asking {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self {
            headers: parts.headers.clone(),
            peer: parts.extensions.get::<Peer>().map(|peer| peer.0.ip()),
        })
    }
}

/// Somebody who is known.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    /// As Kubernetes or the proxy calls them.
    pub(crate) name: String,
    pub(crate) sight: Arc<Sight>,
    /// What a form of theirs must bring along, where a browser adds by itself what says who they are.
    pub(crate) csrf: Option<String>,
    /// They have a session, which they may end.
    pub(crate) may_sign_out: bool,
}

/// Decides who gets in.
pub(crate) struct Door {
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) sessions: Sessions,
    pub(crate) proxies: Proxies,
    /// The API key opens reading, too.
    pub(crate) api_key_may_read: bool,
}

impl Door {
    /// Who asks.
    ///
    /// # Errors
    /// [`Denied`]
    pub(crate) async fn visitor(&self, asking: &Asking) -> Result<Visitor, Denied> {
        let Asking { headers, peer } = asking;
        if headers.contains_key(API_KEY_HEADER) {
            self.authorizer.check_key(headers)?;
            if !self.api_key_may_read {
                return Err(Denied::KeyMayNotRead);
            }
            return Ok(Visitor {
                name: "whoever has the API key".to_owned(),
                sight: Arc::new(self.authorizer.everything().await?),
                csrf: None,
                may_sign_out: false,
            });
        }
        if let Some(user) = self.proxies.user_of(headers, *peer) {
            let user = user.map_err(Denied::NoUser)?;
            let (name, sight) = self.authorizer.see(Whose::User(user)).await?;
            return Ok(Visitor {
                csrf: Some(self.sessions.csrf_of_user(&name)),
                name,
                sight,
                may_sign_out: false,
            });
        }
        if let Some(token) = bearer(headers) {
            let (name, sight) = self.authorizer.see(Whose::Token(token.to_owned())).await?;
            return Ok(Visitor {
                name,
                sight,
                csrf: None,
                may_sign_out: false,
            });
        }
        let session = self.sessions.of(headers).ok_or(Denied::Nobody)?;
        let (name, sight) = match self
            .authorizer
            .see(Whose::Token(session.token.clone()))
            .await
        {
            Err(Denied::Unknown(_)) => return Err(Denied::Unknown("session's token")),
            seen => seen?,
        };
        Ok(Visitor {
            name,
            sight,
            csrf: Some(self.sessions.csrf(&session)),
            may_sign_out: true,
        })
    }

    /// Begins a session for whoever has this token; returns what sets its cookie.
    ///
    /// # Errors
    /// [`Denied`]
    pub(crate) async fn sign_in(&self, token: &str) -> Result<String, Denied> {
        self.authorizer.see(Whose::Token(token.to_owned())).await?;
        let session = self.sessions.begin(token);
        let (_, cookie) = session.map_err(|problem| match problem {
            NoSession::Expired => Denied::Unknown("token"),
            NoSession::TooLong => Denied::NoSession(problem),
        })?;
        Ok(cookie)
    }

    /// What ends a session in the browser.
    pub(crate) fn sign_out(&self) -> String {
        self.sessions.end()
    }

    /// Whether a request that changes something may be the visitor's own wish. `given`: what its form brought along.
    ///
    /// # Errors
    /// [`Denied::CrossSite`]
    pub(crate) fn check_wish(
        &self,
        asking: &Asking,
        visitor: &Visitor,
        given: Option<&str>,
    ) -> Result<(), Denied> {
        let Some(expected) = &visitor.csrf else {
            return Ok(());
        };
        if !cross_site::is_same_origin(&asking.headers) {
            return Err(Denied::CrossSite("it comes from another site's page"));
        }
        match given.is_some_and(|given| cross_site::is_same(given, expected)) {
            true => Ok(()),
            false => Err(Denied::CrossSite(
                "its form is not one of your session; load the page again",
            )),
        }
    }
}
