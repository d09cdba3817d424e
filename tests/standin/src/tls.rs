//! Certificates of our own making, for an API server or kubelet over HTTPS.
//!
//! A certificate authority made at each start, and a server certificate of it for this machine. Uses ring: the workspace keeps
//! aws-lc-rs out.

use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

/// What is the matter with the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Certificate {
    /// Nothing.
    #[default]
    Good,
    /// Its last day was in 2021.
    Expired,
}

/// A server's TLS set-up.
pub(crate) struct Tls {
    pub(crate) config: Arc<ServerConfig>,
    /// The authority's certificate, for clients to trust.
    pub(crate) ca_pem: String,
}

/// Makes an authority and a server certificate for 127.0.0.1, ::1 and localhost.
pub(crate) fn make(certificate: Certificate) -> Result<Tls> {
    let mut ca = CertificateParams::default();
    ca.distinguished_name
        .push(DnType::CommonName, "k6sync stand-in authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate().context("cannot make the authority's key")?;
    let ca_certificate = ca
        .self_signed(&ca_key)
        .context("cannot make the authority's certificate")?;
    let issuer = Issuer::new(ca, ca_key);

    let names = ["127.0.0.1", "::1", "localhost"].map(str::to_owned);
    let mut server = CertificateParams::new(names).context("cannot name the server")?;
    server
        .distinguished_name
        .push(DnType::CommonName, "k6sync stand-in");
    if certificate == Certificate::Expired {
        server.not_before = date_time_ymd(2020, 1, 1);
        server.not_after = date_time_ymd(2021, 1, 1);
    }
    let key = KeyPair::generate().context("cannot make the server's key")?;
    let server_certificate = server
        .signed_by(&key, &issuer)
        .context("cannot make the server's certificate")?;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let private_key = PrivateKeyDer::try_from(key.serialize_der())
        .map_err(|error| anyhow::anyhow!("the server's key is not usable: {error}"))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("cannot choose TLS versions")?
        .with_no_client_auth()
        .with_single_cert(vec![server_certificate.der().clone()], private_key)
        .context("the server's certificate is not usable")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls {
        config: Arc::new(config),
        ca_pem: ca_certificate.pem(),
    })
}
