//! Ends a request that comes back: each gateway that a request passes adds itself to a header.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::client_headers::{ClientHeaders, Field};
use crate::error::{ApiError, ErrorCode};

/// The header that lists the gateways passed, nearest last.
const HOPS: HeaderName = Field::XGatewayHops.name();
/// More gateways in a row than any sensible set-up has.
const MAX_HOPS: usize = 8;

/// This gateway's name in the header: random, so that no two running gateways share one.
#[derive(Clone, Debug)]
pub(crate) struct Instance(HeaderValue);

impl Instance {
    pub(crate) fn random() -> Self {
        Self::named(&format!("{:016x}", fastrand::u64(..)))
    }

    /// Takes digits and letters for a name; anything else would be an empty one.
    fn named(name: &str) -> Self {
        Self(HeaderValue::from_str(name).unwrap_or_else(|_| HeaderValue::from_static("")))
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// The gateways that a request has passed, this one included once it has passed.
#[derive(Debug)]
pub(crate) struct Hops {
    before: Vec<String>,
    /// What the request that goes on says.
    value: Option<HeaderValue>,
}

impl Hops {
    /// Reads the header of a request.
    ///
    /// # Errors
    /// 400 if it is not text.
    pub(crate) fn parse(headers: ClientHeaders<'_>) -> Result<Self, ApiError> {
        let mut hops = Vec::new();
        for value in headers.get_all(Field::XGatewayHops) {
            let text = value
                .to_str()
                .map_err(|_| ApiError::new(ErrorCode::BadRequest, "`x-gateway-hops` is not readable text"))?;
            hops.extend(text.split(',').map(|hop| hop.trim().to_owned()).filter(|hop| !hop.is_empty()));
        }
        Ok(Self { before: hops, value: None })
    }

    /// Adds this gateway.
    ///
    /// # Errors
    /// 508 if it is among them already, or if there are too many.
    pub(crate) fn pass(mut self, instance: &Instance) -> Result<Self, ApiError> {
        let name = instance.name();
        if self.before.iter().any(|hop| hop == name) || self.before.len() >= MAX_HOPS {
            return Err(ApiError::new(
                ErrorCode::LoopDetected,
                "the request came back to this gateway: an `api_base` on its way points at the gateway itself",
            ));
        }
        // Nearly every request comes from a client.
        self.value = if self.before.is_empty() {
            Some(instance.0.clone())
        } else {
            HeaderValue::try_from(format!("{},{name}", self.before.join(","))).ok()
        };
        Ok(self)
    }

    /// Writes the header of the request that goes on.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        if let Some(value) = self.value {
            headers.insert(HOPS, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(hops: &str) -> HeaderMap {
        HeaderMap::from_iter([(HOPS, HeaderValue::from_str(hops).unwrap())])
    }

    #[test]
    fn a_gateway_adds_itself_behind_those_before() {
        let mut sent = HeaderMap::new();
        let instance = Instance::named("me");
        Hops::parse(ClientHeaders::of(&headers("a, b"))).unwrap().pass(&instance).unwrap().write(&mut sent);
        assert_eq!(sent.get(HOPS).unwrap(), "a,b,me");
    }

    #[test]
    fn a_request_that_comes_back_is_ended() {
        let instance = Instance::named("me");
        for hops in ["me", "a,me", "a,me,b", "1,2,3,4,5,6,7,8"] {
            let error = Hops::parse(ClientHeaders::of(&headers(hops))).unwrap().pass(&instance).unwrap_err();
            assert_eq!(error.code, ErrorCode::LoopDetected, "{hops}");
        }
    }
}
