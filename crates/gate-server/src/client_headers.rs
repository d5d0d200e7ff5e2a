//! Which of the headers that the gateway reads a request has: found in one look at the names, where asking the
//! map for each would hash some twenty names for every request. What a header means is its reader's affair.

use http::header::{self, HeaderMap, HeaderName, HeaderValue, ValueIter};

/// A header of a client's request that some step reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Field {
    AnthropicVersion,
    ApiKey,
    Authorization,
    ContentEncoding,
    ContentType,
    Expect,
    Host,
    Origin,
    TransferEncoding,
    Upgrade,
    XApiKey,
    XGatewayApiKey,
    XGatewayHops,
    XGatewayProvider,
    XProviderApiKey,
}

impl Field {
    /// Finds the header of a name.
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "anthropic-version" => Self::AnthropicVersion,
            "api-key" => Self::ApiKey,
            "authorization" => Self::Authorization,
            "content-encoding" => Self::ContentEncoding,
            "content-type" => Self::ContentType,
            "expect" => Self::Expect,
            "host" => Self::Host,
            "origin" => Self::Origin,
            "transfer-encoding" => Self::TransferEncoding,
            "upgrade" => Self::Upgrade,
            "x-api-key" => Self::XApiKey,
            "x-gateway-api-key" => Self::XGatewayApiKey,
            "x-gateway-hops" => Self::XGatewayHops,
            "x-gateway-provider" => Self::XGatewayProvider,
            "x-provider-api-key" => Self::XProviderApiKey,
            _ => return None,
        })
    }

    /// Returns the header's name.
    pub(crate) const fn name(self) -> HeaderName {
        match self {
            Self::AnthropicVersion => HeaderName::from_static("anthropic-version"),
            Self::ApiKey => HeaderName::from_static("api-key"),
            Self::Authorization => header::AUTHORIZATION,
            Self::ContentEncoding => header::CONTENT_ENCODING,
            Self::ContentType => header::CONTENT_TYPE,
            Self::Expect => header::EXPECT,
            Self::Host => header::HOST,
            Self::Origin => header::ORIGIN,
            Self::TransferEncoding => header::TRANSFER_ENCODING,
            Self::Upgrade => header::UPGRADE,
            Self::XApiKey => HeaderName::from_static("x-api-key"),
            Self::XGatewayApiKey => HeaderName::from_static("x-gateway-api-key"),
            Self::XGatewayHops => HeaderName::from_static("x-gateway-hops"),
            Self::XGatewayProvider => HeaderName::from_static("x-gateway-provider"),
            Self::XProviderApiKey => HeaderName::from_static("x-provider-api-key"),
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// Which headers a request has: a bit for each [`Field`], and one for any name with `_`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Present(u32);

const UNDERSCORE: u32 = 1 << 31;

impl Present {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let bits = headers.keys().map(|name| match Field::of(name.as_str()) {
            Some(field) => field.bit(),
            // All bytes of a name are looked at in less time than a search takes to begin.
            None if name.as_str().bytes().fold(false, |any, byte| any | (byte == b'_')) => UNDERSCORE,
            None => 0,
        });
        Self(bits.fold(0, |all, bit| all | bit))
    }

    pub(crate) const fn has(self, field: Field) -> bool {
        self.0 & field.bit() != 0
    }

    /// Tells whether any name has a `_`.
    pub(crate) const fn has_underscore(self) -> bool {
        self.0 & UNDERSCORE != 0
    }
}

/// The headers of a client's request.
#[derive(Clone, Copy)]
pub(crate) struct ClientHeaders<'h> {
    pub(crate) map: &'h HeaderMap,
    pub(crate) present: Present,
}

impl<'h> ClientHeaders<'h> {
    /// Looks at the names of a map.
    pub(crate) fn of(map: &'h HeaderMap) -> Self {
        Self { map, present: Present::of(map) }
    }

    /// Tells whether there may be several values of these headers together: for certain not where there is
    /// one of them at most, and no header has two values.
    pub(crate) fn has_several(self, fields: &[Field]) -> bool {
        let count = fields.iter().filter(|field| self.present.has(**field)).count();
        count > 1 || self.map.len() > self.map.keys_len()
    }

    /// Returns the first value of a header.
    pub(crate) fn get(self, field: Field) -> Option<&'h HeaderValue> {
        if self.present.has(field) { self.map.get(field.name()) } else { None }
    }

    /// Returns all values of a header.
    pub(crate) fn get_all(self, field: Field) -> Values<'h> {
        Values(self.present.has(field).then(|| self.map.get_all(field.name()).iter()))
    }
}

/// The values of a header, if there are any.
pub(crate) struct Values<'h>(Option<ValueIter<'h, HeaderValue>>);

impl<'h> Iterator for Values<'h> {
    type Item = &'h HeaderValue;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.as_mut()?.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Field; 15] = [
        Field::AnthropicVersion,
        Field::ApiKey,
        Field::Authorization,
        Field::ContentEncoding,
        Field::ContentType,
        Field::Expect,
        Field::Host,
        Field::Origin,
        Field::TransferEncoding,
        Field::Upgrade,
        Field::XApiKey,
        Field::XGatewayApiKey,
        Field::XGatewayHops,
        Field::XGatewayProvider,
        Field::XProviderApiKey,
    ];

    #[test]
    fn each_header_is_found_by_its_name_alone() {
        for field in ALL {
            let map = HeaderMap::from_iter([(field.name(), HeaderValue::from_static("v"))]);
            let headers = ClientHeaders::of(&map);
            for other in ALL {
                let expected = (other == field).then_some("v");
                assert_eq!(headers.get(other).map(|value| value.to_str().unwrap()), expected, "{other:?}");
            }
        }
    }

    #[test]
    fn all_values_of_a_header_are_found() {
        let mut map = HeaderMap::new();
        for value in ["a", "b"] {
            map.append("x-api-key", HeaderValue::from_static(value));
        }
        let headers = ClientHeaders::of(&map);
        assert!(headers.get_all(Field::XApiKey).eq(["a", "b"]));
        assert_eq!(headers.get_all(Field::ApiKey).count(), 0);
    }

    #[test]
    fn several_values_are_of_one_header_or_of_two() {
        let check = |names: &[&'static str], expected: bool| {
            let mut map = HeaderMap::new();
            for name in names {
                map.append(*name, HeaderValue::from_static("v"));
            }
            let fields = [Field::XApiKey, Field::Authorization];
            assert_eq!(ClientHeaders::of(&map).has_several(&fields), expected, "{names:?}");
        };
        check(&[], false);
        check(&["x-api-key"], false);
        check(&["x-api-key", "host", "api-key"], false);
        check(&["x-api-key", "authorization"], true);
        check(&["x-api-key", "x-api-key"], true);
    }

    #[test]
    fn a_name_with_an_underscore_is_seen() {
        for (name, expected) in [("x_api-key", true), ("x-api-key", false), ("accept", false)] {
            let map = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("v"))]);
            assert_eq!(Present::of(&map).has_underscore(), expected, "{name}");
        }
    }
}
