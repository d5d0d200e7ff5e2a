//! The listener's certificate: its files are looked into at load. Whether the key is the
//! certificate's takes cryptography, which this crate does not have.

use crate::TlsConfig;
use crate::file_access;
use crate::problem::Findings;
use crate::section::Section;

use super::own::pem_file;
use super::pem::Pem;

/// Reads `[llm.tls]`. Files alone switch it on; `enabled = false` switches it off, and then nobody
/// looks at them.
pub(super) fn read(tls: &Section<'_>, findings: &mut Findings) -> Option<TlsConfig> {
    let enabled = tls.flag("enabled");
    let written = ["cert_file", "key_file"].map(|name| tls.text(name));
    let is_enabled =
        enabled.as_ref().map_or_else(|| written.iter().any(Option::is_some), |enabled| enabled.value);
    if !is_enabled {
        return None;
    }
    // A file of a wrong shape is reported already, so only one that nobody wrote is missing.
    let missing = ["cert_file", "key_file"].into_iter().find(|name| !tls.dict.contains_key(*name));
    if let Some(missing) = missing {
        let [cert, key] = written;
        if let Some(origin) = enabled.map(|set| set.origin).or(cert.or(key).map(|set| set.origin)) {
            let message = format!("a TLS listener needs `cert_file` and `key_file`; `{missing}` is not set");
            findings.problem(origin.key, origin.source, message);
        }
        return None;
    }
    let cert_file = pem_file(tls, "cert_file", Pem::Certificate, findings);
    let key_file = pem_file(tls, "key_file", Pem::PrivateKey, findings);
    if let Some(key) = &key_file {
        file_access::check_key_file(&key.value, findings);
    }
    Some(TlsConfig { cert_file: cert_file?.value, key_file: key_file?.value })
}
