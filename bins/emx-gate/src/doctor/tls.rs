//! TLS towards a gateway. It trusts whom the machine trusts; there is no way around the check, since a
//! client would make it too.

use std::sync::{Arc, LazyLock};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Made with the first connection: reading the authorities takes a while.
static CONNECTOR: LazyLock<Result<TlsConnector, String>> = LazyLock::new(connector);

/// Makes the handshake with the host of that name.
///
/// # Errors
/// There is no trustworthy connection; the text says why.
pub(super) async fn connect(host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| format!("no TLS: {error}"))?;
    let connector = CONNECTOR.as_ref().map_err(Clone::clone)?;
    connector.connect(name, stream).await.map_err(|error| {
        format!("no TLS: {error}; SSL_CERT_FILE can name a file with the authorities to trust")
    })
}

fn connector() -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(
            "no TLS: this machine trusts no authority; SSL_CERT_FILE can name a file with some".into()
        );
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("no TLS: {error}"))?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    // Nothing else is spoken here.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}
