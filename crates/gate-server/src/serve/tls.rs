//! TLS on the listener: the certificate made ready, and the handshake within its deadline. The
//! cryptography is named here and never installed for the whole process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gate_config::TlsConfig;
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerSessionMemoryCache;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use crate::client_io;

/// Sessions remembered so that a client's next handshake is a short one.
const SESSIONS: usize = 4096;
/// The first byte of every TLS connection: a record with a handshake in it (RFC 8446 §5.1). No
/// request of HTTP begins with it.
const HANDSHAKE: u8 = 0x16;
/// The answer to a client that speaks HTTP here.
const PLAIN_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 49\r\n\
    connection: close\r\n\r\nthis is a TLS port; use https:// instead of http\n";
/// How long what such a client still sends is read away, and how much of it, so that the close is no
/// reset that overtakes the answer.
const PLAIN_TIME: Duration = Duration::from_secs(1);
const PLAIN_BYTES: u64 = 64 * 1024;

/// Why a certificate cannot be used. Of what its files hold, nothing is said.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is no PEM file of its kind.
    #[error("`{}` is not a PEM file of the expected kind: {source}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        source: pem::Error,
    },
    /// A file that should hold certificates holds none.
    #[error("`{}` holds no certificate", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The key is not the certificate's, or one of the two is of a sort that cannot be used.
    #[error("`{}` and `{}` cannot be used together: {source}", cert_file.display(), key_file.display())]
    Pair {
        /// The certificate's file.
        cert_file: PathBuf,
        /// The key's file.
        key_file: PathBuf,
        /// What the library says.
        source: rustls::Error,
    },
    /// The cryptography does not offer what TLS needs.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// Tells whether a listener could speak TLS with this certificate.
///
/// # Errors
/// What keeps it from that, such as a key that is not the certificate's.
pub fn check_certificate(tls: &TlsConfig) -> Result<(), TlsError> {
    TlsAcceptor::try_new(tls).map(drop)
}

/// What a listener speaks TLS with. It belongs to a snapshot, so a reload brings the next one.
#[derive(Clone)]
pub(crate) struct TlsAcceptor(tokio_rustls::TlsAcceptor);

impl TlsAcceptor {
    /// Reads the certificate and its key.
    ///
    /// # Errors
    /// As [`check_certificate`].
    pub(crate) fn try_new(tls: &TlsConfig) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_single_cert(certificates(&tls.cert_file)?, private_key(&tls.key_file)?)
            .map_err(|source| TlsError::Pair {
                cert_file: tls.cert_file.clone(),
                key_file: tls.key_file.clone(),
                source,
            })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        Ok(Self(Arc::new(config).into()))
    }

    /// Makes the handshake. A client that speaks HTTP is told, and closed.
    ///
    /// # Errors
    /// The client does not speak TLS, or not in a way that both know, or is too slow.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        patience: Duration,
    ) -> io::Result<TlsStream<TcpStream>> {
        let handshake = async {
            let mut first = [0];
            match stream.peek(&mut first).await? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ if first == [HANDSHAKE] => self.0.accept(stream).await,
                _ => {
                    explain(stream).await;
                    Err(io::Error::new(io::ErrorKind::InvalidData, "the client speaks no TLS"))
                }
            }
        };
        timeout(patience, handshake).await.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

impl std::fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsAcceptor")
    }
}

/// Returns whether a connection speaks HTTP/2, as agreed upon in its handshake.
pub(crate) fn is_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

/// Tells whether the client of a connection has left, as far as its socket tells.
pub(crate) fn has_left(stream: &TlsStream<TcpStream>) -> bool {
    client_io::has_left(stream.get_ref().0)
}

/// Answers a client that speaks HTTP where TLS is spoken.
async fn explain(mut stream: TcpStream) {
    let answer = async {
        stream.write_all(PLAIN_ANSWER).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(PLAIN_BYTES), &mut tokio::io::sink()).await
    };
    // Whether it reads that is its own affair.
    let _ = timeout(PLAIN_TIME, answer).await;
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if found.is_empty() => Err(TlsError::Empty { path: path.to_owned() }),
        Ok(found) => Ok(found),
        Err(source) => Err(TlsError::Pem { path: path.to_owned(), source }),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|source| TlsError::Pem { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}
