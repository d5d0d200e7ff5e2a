//! The boundary of a form and the heads of its parts.

use crate::error::{ApiError, ErrorCode};
use crate::form::FormError;

/// The line that stands between the parts of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boundary(Vec<u8>);

impl Boundary {
    /// Reads the parameters of `multipart/form-data`: what follows its first `;`.
    ///
    /// # Errors
    /// 400 if there is not exactly one boundary, of 1 to 70 of the characters that RFC 2046 §5.1.1
    /// allows.
    pub(crate) fn parse(parameters: &str) -> Result<Self, ApiError> {
        let refuse = |message: &'static str| Err(ApiError::new(ErrorCode::BadRequest, message));
        let Some(parameters) = Parameters(parameters.as_bytes()).all() else {
            return refuse("the parameters of `content-type` cannot be read");
        };
        let mut boundaries = parameters.iter().filter(|(name, _)| name == b"boundary");
        let (Some((_, boundary)), None) = (boundaries.next(), boundaries.next()) else {
            return refuse(
                "the form has no boundary, or two: send `content-type: multipart/form-data; boundary=…`, which HTTP \
                 libraries do by themselves if you do not set the header",
            );
        };
        let is_valid = matches!(boundary.len(), 1..=70)
            && boundary.last() != Some(&b' ')
            && boundary.iter().all(|byte| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte));
        if is_valid {
            Ok(Self(boundary.clone()))
        } else {
            refuse("the boundary of the form must be 1 to 70 letters, digits and `'()+_,-./:=?`")
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Which part of a form says where the form goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// `model`: the name.
    Model,
    /// `session`: JSON that has the name in it.
    Session,
}

impl Key {
    /// Returns the name of the part.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Session => "session",
        }
    }

    /// Returns the longest value: more than any name has, or any session should.
    pub(crate) const fn max_bytes(self) -> usize {
        match self {
            Self::Model => 1024,
            Self::Session => 256 * 1024,
        }
    }
}

/// What a part of a form is to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The part by which the form is routed.
    Key,
    /// The same name in other letters, such as `Model`.
    Twin,
    /// Anything else.
    Other,
}

impl Part {
    /// Reads the head of a part, without the empty line that ends it.
    ///
    /// # Errors
    /// It is not a list of plain header lines with one `content-disposition: form-data` that has one
    /// name; or the form is routed by the part, and it is encoded, or a name in a file.
    pub(crate) fn parse(head: &[u8], key_part: Key) -> Result<Self, FormError> {
        let mut name = None;
        let mut is_text = true;
        for line in lines(head)? {
            let colon = line.iter().position(|byte| *byte == b':').ok_or(FormError::BadPartHead)?;
            let (key, value) = line.split_at(colon);
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            // This also refuses lines that continue the one before: they begin with a space.
            // And those in which some readers would see a boundary (RFC 2046 §5.1.1).
            if key.is_empty() || key.starts_with(b"--") || !key.iter().all(|byte| is_token(*byte)) {
                return Err(FormError::BadPartHead);
            }
            if key.eq_ignore_ascii_case(b"content-disposition") {
                let (found, is_file) = disposition(value).ok_or(FormError::BadPartHead)?;
                if name.replace(found).is_some() {
                    return Err(FormError::BadPartHead);
                }
                // In a browser, JSON with its own content type is a file.
                is_text &= !is_file || key_part == Key::Session;
            } else if key.eq_ignore_ascii_case(b"content-transfer-encoding") {
                is_text &=
                    [&b"7bit"[..], b"8bit", b"binary"].iter().any(|plain| value.eq_ignore_ascii_case(plain));
            }
        }
        match name.ok_or(FormError::BadPartHead)? {
            name if name == key_part.name().as_bytes() && !is_text => Err(FormError::IsNoText(key_part)),
            name if name == key_part.name().as_bytes() => Ok(Self::Key),
            name if name.eq_ignore_ascii_case(key_part.name().as_bytes()) => Ok(Self::Twin),
            _ => Ok(Self::Other),
        }
    }
}

/// Splits at line ends. A `\r` or `\n` alone is none, and readers differ in what it is, as they do in
/// which control characters are white space.
fn lines(head: &[u8]) -> Result<Vec<&[u8]>, FormError> {
    let mut lines = Vec::new();
    let mut rest = head;
    while !rest.is_empty() {
        let end = memchr::memmem::find(rest, b"\r\n");
        let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(FormError::BadPartHead);
        }
        lines.push(line);
        rest = end.and_then(|end| rest.get(end + 2..)).unwrap_or_default();
    }
    Ok(lines)
}

/// Returns the name of a part and whether it is a file.
fn disposition(value: &[u8]) -> Option<(Vec<u8>, bool)> {
    let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
    let (kind, parameters) = value.split_at(end);
    if !kind.trim_ascii().eq_ignore_ascii_case(b"form-data") {
        return None;
    }
    let mut name = None;
    let mut is_file = false;
    for (key, value) in Parameters(parameters.get(1..).unwrap_or_default()).all()? {
        match key.as_slice() {
            b"name" if name.replace(value).is_some() => return None,
            b"name" => {}
            // RFC 7578 §4.2 forbids it, and some readers take it for the name.
            b"name*" => return None,
            b"filename" | b"filename*" => is_file = true,
            _ => {}
        }
    }
    Some((name?, is_file))
}

/// The parameters of a header's value: `a=b; c="d"`.
struct Parameters<'h>(&'h [u8]);

impl Parameters<'_> {
    /// Returns names in lower case and values without quotes; `None` if they cannot be read.
    fn all(mut self) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut all = Vec::new();
        loop {
            self.0 = self.0.trim_ascii_start();
            if self.0.is_empty() {
                return Some(all);
            }
            let end = self.0.iter().position(|byte| !is_token(*byte))?;
            let (name, rest) = self.0.split_at(end);
            self.0 = rest.strip_prefix(b"=")?;
            let value = if self.0.first() == Some(&b'"') { self.quoted()? } else { self.token()? };
            all.push((name.to_ascii_lowercase(), value));
            self.0 = self.0.trim_ascii_start();
            match self.0.split_first() {
                None => return Some(all),
                Some((b';', rest)) => self.0 = rest,
                Some(_) => return None,
            }
        }
    }

    fn token(&mut self) -> Option<Vec<u8>> {
        let end = self.0.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t')).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        (!token.is_empty() && !token.contains(&b'"')).then(|| token.to_vec())
    }

    fn quoted(&mut self) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        let mut bytes = self.0.iter().enumerate().skip(1);
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    self.0 = self.0.get(at + 1..)?;
                    return Some(value);
                }
                b'\\' => value.push(*bytes.next()?.1),
                other => value.push(*other),
            }
        }
        None
    }
}

/// Tells whether a byte may stand in a token (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
