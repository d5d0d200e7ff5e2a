//! Files of certificates and keys, looked into before anything depends on them. It finds what is
//! missing or of the wrong kind; whether a certificate can be trusted is decided elsewhere.

use std::path::{Path, PathBuf};

/// What a PEM file is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pem {
    Certificate,
    PrivateKey,
}

impl Pem {
    /// Returns the labels that such a block may have (RFC 7468; the last two are PKCS #1 and SEC 1).
    const fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Certificate => &["CERTIFICATE"],
            Self::PrivateKey => &["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"],
        }
    }

    const fn noun(self) -> &'static str {
        match self {
            Self::Certificate => "certificate in PEM form (`-----BEGIN CERTIFICATE-----`)",
            Self::PrivateKey => "private key in PEM form (`-----BEGIN PRIVATE KEY-----`)",
        }
    }
}

/// Returns the path of a file if it holds a block of its kind; `written` is what the setting says.
///
/// # Errors
/// What is wrong with the file. Of its content nothing is shown.
pub(super) fn check(written: &str, path: &Path, pem: Pem) -> Result<PathBuf, String> {
    if written.contains("-----BEGIN") {
        return Err("expected the path of a PEM file, found what such a file holds".to_owned());
    }
    let shown = path.display();
    let content = std::fs::read(path).map_err(|error| format!("cannot read the file `{shown}`: {error}"))?;
    let content = String::from_utf8_lossy(&content);
    let blocks = blocks(&content);
    if matches!(pem, Pem::PrivateKey) && blocks.iter().any(Block::is_encrypted) {
        return Err(format!(
            "the private key in `{shown}` is encrypted, and nobody is there to type its password; \
             decrypt it with `openssl pkey`"
        ));
    }
    let mut wanted = blocks.iter().filter(|block| pem.labels().contains(&block.label)).peekable();
    if wanted.peek().is_none() {
        return Err(format!("the file `{shown}` holds no {}", pem.noun()));
    }
    if wanted.any(|block| !block.is_sound()) {
        return Err(format!("the file `{shown}` is damaged: a block in it has no end, or is not base64"));
    }
    Ok(path.to_owned())
}

/// One block of a PEM file.
struct Block<'a> {
    label: &'a str,
    body: Vec<&'a str>,
    has_end: bool,
}

impl Block<'_> {
    fn is_sound(&self) -> bool {
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        self.has_end && self.body.iter().all(|line| line.bytes().all(is_base64))
    }

    /// Tells whether it is an encrypted key, by its label (PKCS #8) or its headers (RFC 1421).
    fn is_encrypted(&self) -> bool {
        self.label == "ENCRYPTED PRIVATE KEY"
            || (self.label.ends_with("PRIVATE KEY")
                && self.body.iter().any(|line| line.contains("ENCRYPTED")))
    }
}

/// Returns the blocks of a file; what stands between them is a comment.
fn blocks(content: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for line in content.lines().map(str::trim_end) {
        let marker = line.strip_suffix("-----");
        let open = blocks.last_mut().filter(|block| !block.has_end);
        if let Some(label) = marker.and_then(|marker| marker.strip_prefix("-----BEGIN ")) {
            blocks.push(Block { label, body: Vec::new(), has_end: false });
        } else if let Some(open) = open {
            match marker.and_then(|marker| marker.strip_prefix("-----END ")) {
                Some(label) if label == open.label => open.has_end = true,
                _ => open.body.push(line),
            }
        }
    }
    blocks
}
