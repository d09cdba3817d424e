//! The session of somebody in a browser: a cookie that holds their token, encrypted and authenticated, and nothing on the server.
//!
//! The token inside is reviewed like any other, so that a token that was revoked ends the session. Scripts can't read the cookie, and
//! requests that come from other sites don't bring it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::COOKIE;
use jiff::Timestamp;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// No session is longer, however long its token is good.
const LONGEST: Duration = Duration::from_secs(8 * 60 * 60);
/// Browsers keep no larger ones.
const COOKIE_BYTES: usize = 4_000;
/// With `__Host-` a browser takes it only over TLS, for this host and the whole of it.
const SECURE_NAME: &str = "__Host-k6sync";
const NAME: &str = "k6sync";
/// Bound to what was sealed: a cookie of another form is none.
const PURPOSE: &[u8] = b"k6sync session 1";
const ID_BYTES: usize = 16;

/// A secret that sessions are encrypted with. Neither `Debug` nor anything else shows it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CookieKey(Vec<u8>);

impl CookieKey {
    /// In bytes; a shorter one could be guessed.
    pub(crate) const MIN_LEN: usize = 32;

    pub(crate) fn new(secret: &str) -> Self {
        Self(secret.as_bytes().to_vec())
    }

    /// One that nobody else has.
    pub(crate) fn random() -> Self {
        Self(random::<32>().to_vec())
    }
}

impl std::fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieKey(…)")
    }
}

/// Makes and reads cookies.
pub(crate) struct Sessions {
    seal: LessSafeKey,
    csrf: hmac::Key,
    is_secure: bool,
}

/// Somebody's session.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) token: String,
    /// Seconds since 1970.
    expires: i64,
    id: [u8; ID_BYTES],
}

/// Why there can't be a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoSession {
    #[error("the token has expired; make another one")]
    Expired,
    #[error(
        "the token is too long for a cookie ({COOKIE_BYTES} bytes): use a shorter one, such as `kubectl create token` prints"
    )]
    TooLong,
}

impl Sessions {
    /// `is_secure`: browsers reach us by HTTPS alone.
    #[allow(clippy::expect_used, reason = "HKDF yields up to 255 × 32 bytes")]
    pub(crate) fn new(key: &CookieKey, is_secure: bool) -> Self {
        let secret = Salt::new(HKDF_SHA256, b"k6sync").extract(&key.0);
        let impossible = "a key of 32 bytes can be derived";
        Self {
            seal: LessSafeKey::new(UnboundKey::from(
                secret
                    .expand(&[b"session"], &AES_256_GCM)
                    .expect(impossible),
            )),
            csrf: hmac::Key::from(
                secret
                    .expand(&[b"cross-site requests"], hmac::HMAC_SHA256)
                    .expect(impossible),
            ),
            is_secure,
        }
    }

    const fn name(&self) -> &'static str {
        match self.is_secure {
            true => SECURE_NAME,
            false => NAME,
        }
    }

    /// A session for whoever has this token, and the `Set-Cookie` that begins it.
    ///
    /// # Errors
    /// [`NoSession`]
    pub(crate) fn begin(&self, token: &str) -> Result<(Session, String), NoSession> {
        let now = Timestamp::now().as_second();
        let longest = now.saturating_add_unsigned(LONGEST.as_secs());
        let expires = expiry(token).map_or(longest, |expiry| expiry.min(longest));
        if expires <= now {
            return Err(NoSession::Expired);
        }
        let session = Session {
            token: token.to_owned(),
            expires,
            id: random(),
        };
        let value = self.seal(&session);
        let cookie = self.cookie(&value, expires - now);
        match cookie.len() > COOKIE_BYTES {
            true => Err(NoSession::TooLong),
            false => Ok((session, cookie)),
        }
    }

    /// The `Set-Cookie` that ends a session.
    pub(crate) fn end(&self) -> String {
        self.cookie("", 0)
    }

    fn cookie(&self, value: &str, age: i64) -> String {
        let secure = if self.is_secure { "; Secure" } else { "" };
        format!(
            "{}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}",
            self.name()
        )
    }

    fn seal(&self, session: &Session) -> String {
        let nonce: [u8; NONCE_LEN] = random();
        let mut text = session.id.to_vec();
        text.extend(session.expires.to_be_bytes());
        text.extend(session.token.as_bytes());
        let sealed = self.seal.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(PURPOSE),
            &mut text,
        );
        // Only a text of many gigabytes could not be.
        if sealed.is_err() {
            text.clear();
        }
        URL_SAFE_NO_PAD.encode([&nonce[..], &text].concat())
    }

    fn unseal(&self, value: &str, now: i64) -> Option<Session> {
        let mut bytes = URL_SAFE_NO_PAD.decode(value).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self
            .seal
            .open_in_place(nonce, Aad::from(PURPOSE), sealed)
            .ok()?;
        let (id, rest) = text.split_first_chunk::<ID_BYTES>()?;
        let (expires, token) = rest.split_first_chunk()?;
        let session = Session {
            token: String::from_utf8(token.to_vec()).ok()?,
            expires: i64::from_be_bytes(*expires),
            id: *id,
        };
        (session.expires > now).then_some(session)
    }

    /// Whose session the request belongs to.
    pub(crate) fn of(&self, headers: &HeaderMap) -> Option<Session> {
        let now = Timestamp::now().as_second();
        let cookies = headers.get_all(COOKIE).iter();
        cookies
            .filter_map(|header| header.to_str().ok())
            .flat_map(|header| header.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .filter(|(name, _)| *name == self.name())
            .find_map(|(_, value)| self.unseal(value, now))
    }

    /// What a form of this session brings along: other sites don't know it.
    pub(crate) fn csrf(&self, session: &Session) -> String {
        self.tag(&session.id)
    }

    /// The same for somebody whom a proxy names.
    pub(crate) fn csrf_of_user(&self, user: &str) -> String {
        self.tag(format!("user {user}").as_bytes())
    }

    fn tag(&self, of: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.csrf, of))
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session(…)")
    }
}

/// When a token expires, as it says itself (`exp` of a JWT), in seconds since 1970.
fn expiry(token: &str) -> Option<i64> {
    let claims = token.split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    let expiry = claims.get("exp")?;
    expiry
        .as_i64()
        .or_else(|| expiry.as_f64().map(|exp| exp as i64))
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    assert!(filled.is_ok(), "the system has no random numbers");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, cookie.parse().unwrap());
        headers
    }

    fn value(set_cookie: &str) -> &str {
        set_cookie.split_once(';').unwrap().0
    }

    fn jwt(exp: i64) -> String {
        let claims = URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{exp}}}"));
        format!("e30.{claims}.c2ln")
    }

    #[test]
    fn a_session_comes_back_from_its_cookie_alone() {
        let key = CookieKey::random();
        let sessions = Sessions::new(&key, false);
        let (session, cookie) = sessions.begin("abc.def").unwrap();
        assert!(
            cookie.ends_with("; Path=/; Max-Age=28800; HttpOnly; SameSite=Strict"),
            "{cookie}"
        );
        assert!(!cookie.contains("abc"), "{cookie}");
        let value = value(&cookie);
        for header in [
            value.to_owned(),
            format!("a=b; {value}; c=d"),
            format!("k6sync=x; {value}"),
        ] {
            assert_eq!(
                sessions.of(&headers(&header)),
                Some(session.clone()),
                "{header}"
            );
        }
        // By another replica with the same key; not by one with another.
        assert_eq!(
            Sessions::new(&key, false).of(&headers(value)),
            Some(session.clone())
        );
        let stranger = Sessions::new(&CookieKey::random(), false);
        assert_eq!(stranger.of(&headers(value)), None);
        assert_ne!(stranger.csrf(&session), sessions.csrf(&session));
        let (other, _) = sessions.begin("abc.def").unwrap();
        assert_ne!(sessions.csrf(&session), sessions.csrf(&other));
        // Over TLS it has another name, which others can't set.
        let (_, cookie) = Sessions::new(&key, true).begin("abc").unwrap();
        assert!(
            cookie.starts_with("__Host-k6sync=") && cookie.ends_with("; Secure"),
            "{cookie}"
        );
    }

    #[test]
    fn a_cookie_that_was_touched_is_none() {
        let sessions = Sessions::new(&CookieKey::random(), false);
        let (_, cookie) = sessions.begin("abc.def").unwrap();
        let value = value(&cookie).strip_prefix("k6sync=").unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(value).unwrap();
        for index in 0..bytes.len() {
            let mut touched = bytes.clone();
            touched[index] ^= 1;
            let value = URL_SAFE_NO_PAD.encode(&touched);
            assert_eq!(sessions.unseal(&value, 0), None, "{index}");
            assert_eq!(
                sessions.unseal(&URL_SAFE_NO_PAD.encode(&bytes[..index]), 0),
                None
            );
        }
        for junk in ["", "=", "a", "AAAA", "ä"] {
            assert_eq!(sessions.unseal(junk, 0), None);
        }
    }

    #[test]
    fn no_session_outlives_its_token() {
        let sessions = Sessions::new(&CookieKey::random(), false);
        let now = Timestamp::now().as_second();
        let (session, cookie) = sessions.begin(&jwt(now + 60)).unwrap();
        assert_eq!(session.expires, now + 60);
        assert!(
            cookie.contains("Max-Age=60;") || cookie.contains("Max-Age=59;"),
            "{cookie}"
        );
        let value = value(&cookie).strip_prefix("k6sync=").unwrap();
        assert!(sessions.unseal(value, now + 59).is_some());
        assert!(sessions.unseal(value, now + 60).is_none());
        assert_eq!(
            sessions.begin(&jwt(now - 1)).unwrap_err(),
            NoSession::Expired
        );
        let (session, _) = sessions.begin(&jwt(now + 100_000)).unwrap();
        assert!(session.expires <= now + 8 * 3600 + 1);
        assert_eq!(
            sessions.begin(&"x".repeat(4_000)).unwrap_err(),
            NoSession::TooLong
        );
    }
}
