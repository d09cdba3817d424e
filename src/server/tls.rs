//! The HTTP server's certificate: read at the start, and again when the files change, as those of a mounted Secret do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::discreet;

/// How often the files are read.
const LOOK: Duration = Duration::from_secs(2);

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The certificate, then those between it and its authority, as PEM.
    pub(crate) cert: PathBuf,
    /// The private key, as PEM.
    pub(crate) key: PathBuf,
}

/// Why there is no TLS. Nothing of a key is ever part of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// There is no such file, or no right to read it.
    #[error(
        "cannot read the file {} (--tls-cert, --tls-key, tls in the configuration file): {source}",
        discreet::path(.path)
    )]
    Unreadable { path: PathBuf, source: io::Error },
    /// The file holds something else.
    #[error(
        "{} is no {what}: there is no block `-----BEGIN {label}-----` in it that can be read as PEM",
        discreet::path(.path)
    )]
    NotPem {
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// The PEM label of that.
        label: &'static str,
    },
    /// Both can be read, but not used together.
    #[error("the certificate in {} and the key in {} can't be used for TLS: {problem}", discreet::path(.cert), discreet::path(.key))]
    Unusable {
        cert: PathBuf,
        key: PathBuf,
        problem: String,
    },
}

/// The certificate in use, and where it is from.
pub(crate) struct Tls {
    files: TlsFiles,
    in_use: Mutex<(Pair, Arc<ServerConfig>)>,
}

/// What is in the two files.
#[derive(PartialEq, Eq)]
struct Pair {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    pub(crate) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let pair = Pair::read(&files)?;
        let config = pair.config(&files)?;
        Ok(Self {
            files,
            in_use: Mutex::new((pair, Arc::new(config))),
        })
    }

    /// For the next handshake.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.in_use().1))
    }

    /// Keeps up with the files, for good.
    pub(super) async fn keep_up(&self) {
        // What is wrong with the files, and whether that was said.
        let mut wrong: Option<(String, bool)> = None;
        loop {
            sleep(LOOK).await;
            match (self.renew(), &mut wrong) {
                (Ok(()), wrong) => *wrong = None,
                // Files that are just being written may be wrong once.
                (Err(error), Some((known, is_said))) if *known == error.to_string() => {
                    if !*is_said {
                        tracing::warn!(%error, "the TLS files were changed and are wrong now; the certificate in use stays so");
                    }
                    *is_said = true;
                }
                (Err(error), wrong) => *wrong = Some((error.to_string(), false)),
            }
        }
    }

    /// Takes what is in the files, if that is new.
    fn renew(&self) -> Result<(), TlsError> {
        let pair = Pair::read(&self.files)?;
        if pair == self.in_use().0 {
            return Ok(());
        }
        let config = pair.config(&self.files)?;
        *self.in_use() = (pair, Arc::new(config));
        tracing::info!(
            cert = discreet::path(&self.files.cert),
            "the TLS files were changed and are in use now"
        );
        Ok(())
    }

    fn in_use(&self) -> MutexGuard<'_, (Pair, Arc<ServerConfig>)> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pair {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| TlsError::Unreadable {
                path: path.to_owned(),
                source,
            })
        };
        Ok(Self {
            cert: read(&files.cert)?,
            key: read(&files.key)?,
        })
    }

    fn config(&self, files: &TlsFiles) -> Result<ServerConfig, TlsError> {
        // What the parser says would quote the file, and it may be the key.
        let not_pem = |path: &Path, what, label| TlsError::NotPem {
            path: path.to_owned(),
            what,
            label,
        };
        let no_cert = || not_pem(&files.cert, "certificate", "CERTIFICATE");
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .map_err(|_| no_cert())?;
        if chain.is_empty() {
            return Err(no_cert());
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| not_pem(&files.key, "private key", "PRIVATE KEY"))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        let mut config = config.map_err(|error| TlsError::Unusable {
            cert: files.cert.clone(),
            key: files.key.clone(),
            problem: match error {
                rustls::Error::InconsistentKeys(_) => {
                    "the key is not that of the certificate".to_owned()
                }
                error => error.to_string(),
            },
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tls({:?})", self.files)
    }
}
