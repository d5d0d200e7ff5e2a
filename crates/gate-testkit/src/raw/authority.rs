//! A certificate authority that exists only in memory, and servers' certificates of it, right and
//! wrong.

use std::io;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;

/// What is wrong with a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing: it is valid for `127.0.0.1` and `localhost`.
    None,
    /// It is for another host.
    OtherName,
    /// It ended in the year 2000.
    Expired,
    /// It begins in the year 4000.
    NotYetValid,
}

/// An authority with a key of its own, which nobody trusts who was not given [`pem`](Self::pem).
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes an authority.
    ///
    /// # Errors
    ///
    /// When the machine has no randomness.
    pub fn try_new() -> io::Result<Self> {
        let mut params = CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(io::Error::other)?;
        CertifiedIssuer::self_signed(params, key).map(Self).map_err(io::Error::other)
    }

    /// Returns the authority's certificate in PEM, for a `ca_file`.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Returns what makes TLS of a server's connections: 1.2 and 1.3, with a new certificate. `alpn`
    /// are the protocols that it can speak, such as `h2`; with none it ignores what clients offer.
    ///
    /// # Errors
    ///
    /// When the machine has no randomness.
    pub fn acceptor(&self, flaw: Flaw, alpn: &[&str]) -> io::Result<TlsAcceptor> {
        let names = match flaw {
            Flaw::OtherName => vec!["other.test".to_owned()],
            _ => vec!["127.0.0.1".to_owned(), "localhost".to_owned()],
        };
        let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
        match flaw {
            Flaw::Expired => params.not_after = date_time_ymd(2000, 1, 1),
            Flaw::NotYetValid => params.not_before = date_time_ymd(4000, 1, 1),
            Flaw::None | Flaw::OtherName => {}
        }
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = params.signed_by(&key, &self.0).map_err(io::Error::other)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        // Named here, for the process may have no default.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .map_err(io::Error::other)?;
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
