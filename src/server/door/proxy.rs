//! A reverse proxy that authenticates: whom it names in headers, if it may. Pure.
//!
//! Anybody can send such headers, so they count only from listed addresses. Nobody becomes one of Kubernetes' own users or groups
//! by them (`system:masters` may everything).

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::cluster::User;

/// Which proxies are believed, and in which headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxies {
    /// Empty: there is none.
    pub(crate) trusted: Vec<IpNet>,
    pub(crate) user: HeaderName,
    pub(crate) groups: HeaderName,
}

/// Kubernetes' own.
const RESERVED: &str = "system:";
/// Whoever was authenticated is in it.
const AUTHENTICATED: &str = "system:authenticated";
/// Longer names are none.
const NAME_BYTES: usize = 1_000;
/// More groups are a mistake.
const GROUPS: usize = 1_000;

impl Default for Proxies {
    fn default() -> Self {
        Self {
            trusted: Vec::new(),
            user: HeaderName::from_static("x-forwarded-user"),
            groups: HeaderName::from_static("x-forwarded-groups"),
        }
    }
}

impl Proxies {
    /// Whom the proxy at `peer` names; `None`: nobody, or it is not to be believed. An error says why a name is none.
    pub(super) fn user_of(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Option<Result<User, &'static str>> {
        let peer = peer?.to_canonical();
        if !self.trusted.iter().any(|trusted| trusted.contains(&peer)) {
            return None;
        }
        let mut users = headers.get_all(&self.user).iter();
        let name = users.next()?;
        if users.next().is_some() {
            return Some(Err("the proxy names two users"));
        }
        let name = name.to_str().unwrap_or_default().trim();
        if name.is_empty() || name.len() > NAME_BYTES {
            return Some(Err("the proxy names no user"));
        }
        if name.starts_with(RESERVED) {
            return Some(Err("the proxy names a user of Kubernetes' own (system:…)"));
        }
        let groups = headers.get_all(&self.groups).iter();
        let groups = groups
            .filter_map(|groups| groups.to_str().ok())
            .flat_map(|groups| groups.split(','))
            .map(str::trim)
            .filter(|group| !group.is_empty() && !group.starts_with(RESERVED))
            .take(GROUPS)
            .chain([AUTHENTICATED]);
        Some(Ok(User {
            username: name.to_owned(),
            groups: groups.map(str::to_owned).collect(),
            ..User::default()
        }))
    }
}

/// An address, or a network such as `10.0.0.0/8`.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(headers: &[(&'static str, &str)], peer: &str) -> Option<Result<User, &'static str>> {
        let proxies = Proxies {
            trusted: vec![network("10.1.0.0/16").unwrap(), network("::1").unwrap()],
            ..Proxies::default()
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        proxies.user_of(&map, Some(peer.parse().unwrap()))
    }

    #[test]
    fn only_listed_addresses_are_believed() {
        let ann = [("x-forwarded-user", "ann")];
        for (peer, is_believed) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("::1", true),
            ("10.2.0.1", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(named(&ann, peer).is_some(), is_believed, "{peer}");
        }
        assert_eq!(named(&[], "::1"), None);
    }

    #[test]
    fn nobody_becomes_one_of_kubernetes_own() {
        let groups = "team-a, system:masters ,,system:serviceaccounts";
        let headers = [
            ("x-forwarded-user", "ann"),
            ("x-forwarded-groups", groups),
            ("x-forwarded-groups", "b"),
        ];
        let user = named(&headers, "::1").unwrap().unwrap();
        assert_eq!(user.username, "ann");
        assert_eq!(user.groups, ["team-a", "b", "system:authenticated"]);
        for wrong in ["", "  ", "system:admin", &"x".repeat(2_000)] {
            assert!(
                named(&[("x-forwarded-user", wrong)], "::1")
                    .unwrap()
                    .is_err(),
                "{wrong}"
            );
        }
        let two = [("x-forwarded-user", "ann"), ("x-forwarded-user", "bob")];
        assert!(named(&two, "::1").unwrap().is_err());
    }
}
