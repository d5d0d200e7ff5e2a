//! TLS settings turned into rustls configurations, one for each setting and kept as long as the
//! client lives, for a configuration carries the sessions that make the next handshake short. The
//! cryptography is named here and never installed for the whole process.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use crate::settings::{Roots, TlsSettings};

/// Sessions remembered for each setting; rustls keeps 256 for a single-purpose client.
const SESSIONS: usize = 1024;

/// Why TLS settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read `{}`: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{}` is not a PEM file of the expected kind: {source}", path.display())]
    Pem { path: PathBuf, source: pem::Error },
    #[error("`{}` holds no certificate", path.display())]
    Empty { path: PathBuf },
    #[error("`{}` holds an authority that cannot be used: {source}", path.display())]
    Authority { path: PathBuf, source: rustls::Error },
    #[error("the client certificate and key cannot be used: {0}")]
    Identity(rustls::Error),
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// Where the operating system's authorities come from; tests bring their own.
pub(crate) type LoadNative = fn() -> Vec<CertificateDer<'static>>;

/// Every TLS setting in use.
#[derive(Debug)]
pub(crate) struct TlsSetups {
    load_native: LoadNative,
    by_settings: Mutex<HashMap<TlsSettings, Arc<TlsSetup>>>,
}

impl TlsSetups {
    pub(crate) fn new(load_native: LoadNative) -> Self {
        Self { load_native, by_settings: Mutex::default() }
    }

    /// Returns the setup for these settings; the first call reads their files.
    ///
    /// # Errors
    /// [`TlsError`] names the file. Nothing is remembered then, so a repaired file works at once.
    pub(crate) fn setup(&self, settings: &TlsSettings) -> Result<Arc<TlsSetup>, TlsError> {
        // Nothing under the lock leaves the map half changed.
        let mut setups = self.by_settings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(setup) = setups.get(settings) {
            return Ok(Arc::clone(setup));
        }
        let setup = Arc::new(TlsSetup::try_new(settings, self.load_native)?);
        setups.insert(settings.clone(), Arc::clone(&setup));
        Ok(setup)
    }
}

/// One TLS setting, ready for handshakes.
#[derive(Debug)]
pub(crate) struct TlsSetup {
    settings: TlsSettings,
    first: Arc<ClientConfig>,
    load_native: LoadNative,
    /// The configuration that trusts the operating system's authorities too, once someone needed
    /// it; `None` inside if it has none.
    extended: OnceCell<Option<Arc<ClientConfig>>>,
}

impl TlsSetup {
    fn try_new(settings: &TlsSettings, load_native: LoadNative) -> Result<Self, TlsError> {
        let roots = match &settings.roots {
            Roots::Bundled => bundled_roots(),
            Roots::CaFile(path) => roots_of(path)?,
        };
        let first = client_config(settings, roots)?;
        Ok(Self { settings: settings.clone(), first, load_native, extended: OnceCell::new() })
    }

    /// Returns the configuration for the next handshake.
    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        self.extended.get().and_then(Option::as_ref).unwrap_or(&self.first)
    }

    /// Returns whether a handshake that failed under `used` can succeed with more authorities, and
    /// loads the operating system's if nobody has yet.
    ///
    /// They are loaded this late because most machines never need them, many containers have none,
    /// and reading them takes longer than all else at start-up.
    pub(crate) async fn extends(&self, used: &Arc<ClientConfig>, error: &io::Error) -> bool {
        if self.settings.roots != Roots::Bundled || !is_unknown_issuer(error) {
            return false;
        }
        self.extended.get_or_init(|| self.load()).await;
        !Arc::ptr_eq(self.config(), used)
    }

    async fn load(&self) -> Option<Arc<ClientConfig>> {
        // Dozens of files: not for a thread that serves others.
        let native = spawn_blocking(self.load_native).await.ok()?;
        let mut roots = bundled_roots();
        let (added, ignored) = roots.add_parsable_certificates(native);
        log::info!("certificate authorities of the operating system: {added} added, {ignored} not usable");
        if added == 0 {
            return None;
        }
        client_config(&self.settings, roots).inspect_err(|error| log::warn!("{error}")).ok()
    }
}

/// Reads the operating system's authorities.
pub(crate) fn native_roots() -> Vec<CertificateDer<'static>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        log::warn!("certificate authorities of the operating system: {error}");
    }
    found.certs
}

fn is_unknown_issuer(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)))
}

fn bundled_roots() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

fn roots_of(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| TlsError::Authority { path: path.to_owned(), source })?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if found.is_empty() => Err(TlsError::Empty { path: path.to_owned() }),
        Ok(found) => Ok(found),
        Err(source) => Err(TlsError::Pem { path: path.to_owned(), source }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn client_config(settings: &TlsSettings, roots: RootCertStore) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_root_certificates(roots);
    let mut config = match &settings.client_identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let key_der = PrivateKeyDer::from_pem_slice(&read(key)?)
                .map_err(|source| TlsError::Pem { path: key.clone(), source })?;
            builder.with_client_auth_cert(certificates(chain)?, key_der).map_err(TlsError::Identity)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(Arc::new(config))
}
