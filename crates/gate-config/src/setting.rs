//! Every setting that a configuration may hold, as one table: its name, its other names, its shape.
//! Unknown keys, suggestions, environment variables and type checks all read it; it holds no value.

use gate_model_ref::ProviderKind;

use crate::{AuthStyle, LogFormat, LogLevel, OnDisconnect, Strategy};

/// A kind of table with its own set of settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableKind {
    /// `[llm]`
    Llm,
    /// `[llm.limits]`
    Limits,
    /// `[llm.timeout]`
    Timeout,
    /// `[llm.tls]`
    Tls,
    /// `[llm.load_balancing]`
    LoadBalancing,
    /// `[llm.retry]`
    Retry,
    /// `[llm.circuit_breaker]`
    CircuitBreaker,
    /// `[llm.health_check]`
    HealthCheck,
    /// `[llm.provider]`, the top of inheritance.
    ProviderRoot,
    /// Any table below `[llm.provider]`.
    Provider,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    /// Names that mean the same, from emx-llm.
    pub(crate) aliases: &'static [&'static str],
    pub(crate) shape: Shape,
}

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Any text that is not empty.
    Text,
    /// A text that no message may show.
    Secret,
    /// `true` or `false`.
    Flag,
    /// A whole number between two bounds, both included.
    Whole { min: u64, max: u64 },
    /// Seconds, fractions allowed, at most a year.
    Seconds(Zero),
    /// A number between two bounds, both included, fractions allowed.
    Number { min: u32, max: u32 },
    /// A list of texts.
    Texts,
    /// One text, or a list of 1 to 16 of them.
    OneOrMore,
    /// A list of 1 to 64 texts that no message may show.
    Secrets,
    /// A list of whole numbers between two bounds, both included.
    Wholes { min: u64, max: u64 },
    /// A table of texts; its values may hold credentials and are not shown.
    Pairs,
    /// One of a few words.
    OneOf(&'static [&'static str]),
}

/// Whether a time may be 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zero {
    Allowed,
    Refused,
}

const fn setting(name: &'static str, shape: Shape) -> Setting {
    Setting { name, aliases: &[], shape }
}

const fn renamed(name: &'static str, aliases: &'static [&'static str], shape: Shape) -> Setting {
    Setting { name, aliases, shape }
}

/// Makes the shape of an enum: any of the words that its `as_str` gives for `ALL` of it.
macro_rules! one_of {
    ($words:ty) => {{
        const WORDS: [&str; <$words>::ALL.len()] = {
            let mut words = [""; <$words>::ALL.len()];
            let mut at = 0;
            // A loop over an iterator cannot run at compile time.
            while at < words.len() {
                words[at] = <$words>::ALL[at].as_str();
                at += 1;
            }
            words
        };
        Shape::OneOf(&WORDS)
    }};
}

const KINDS: Shape = one_of!(ProviderKind);

const LLM: &[Setting] = &[
    setting("host", Shape::Text),
    setting("port", Shape::Whole { min: 0, max: 65_535 }),
    setting("log_level", one_of!(LogLevel)),
    setting("log_format", one_of!(LogFormat)),
    setting("allowed_hosts", Shape::Texts),
    setting("allow_unauthenticated", Shape::Flag),
    setting("allow_admin_paths", Shape::Flag),
    setting("sse_keepalive_sec", Shape::Seconds(Zero::Allowed)),
    setting("estimate_usage", Shape::Flag),
];

const LIMITS: &[Setting] = &[
    // The bounds keep a slip of the keyboard from becoming a gateway that accepts nothing, or that
    // one request can exhaust.
    setting("max_request_size_mb", Shape::Whole { min: 1, max: 4096 }),
    setting("max_upload_size_mb", Shape::Whole { min: 0, max: 1 << 20 }),
    setting("max_request_duration_sec", Shape::Seconds(Zero::Refused)),
    setting("max_connections", Shape::Whole { min: 1, max: 1_000_000 }),
    setting("max_connections_per_ip", Shape::Whole { min: 0, max: 1_000_000 }),
    setting("max_streams_per_connection", Shape::Whole { min: 1, max: 1000 }),
    setting("ping_interval", Shape::Seconds(Zero::Allowed)),
    setting("ping_timeout", Shape::Seconds(Zero::Refused)),
    setting("header_timeout", Shape::Seconds(Zero::Refused)),
    setting("idle_timeout", Shape::Seconds(Zero::Refused)),
    setting("body_idle_timeout", Shape::Seconds(Zero::Refused)),
    setting("min_body_rate", Shape::Whole { min: 0, max: 1 << 30 }),
    setting("max_in_flight", Shape::Whole { min: 1, max: 1_000_000 }),
    setting("max_body_memory_mb", Shape::Whole { min: 1, max: 1 << 20 }),
    setting("body_memory_wait", Shape::Seconds(Zero::Allowed)),
    // A target alone may have 8 KiB.
    setting("max_header_size_kb", Shape::Whole { min: 16, max: 1024 }),
    setting("max_headers", Shape::Whole { min: 16, max: 1000 }),
];

const TIMEOUT: &[Setting] = &[
    setting("connection", Shape::Seconds(Zero::Allowed)),
    setting("first_byte", Shape::Seconds(Zero::Allowed)),
    setting("read", Shape::Seconds(Zero::Allowed)),
    setting("write", Shape::Seconds(Zero::Allowed)),
    setting("total", Shape::Seconds(Zero::Allowed)),
    setting("drain", Shape::Seconds(Zero::Allowed)),
    setting("drain_delay", Shape::Seconds(Zero::Allowed)),
];

const TLS: &[Setting] =
    &[setting("enabled", Shape::Flag), setting("cert_file", Shape::Text), setting("key_file", Shape::Text)];

const LOAD_BALANCING: &[Setting] = &[setting("strategy", one_of!(Strategy)), setting("sticky", Shape::Flag)];

const RETRY: &[Setting] = &[
    setting("max_attempts", Shape::Whole { min: 1, max: 10 }),
    setting("backoff_base", Shape::Seconds(Zero::Allowed)),
    setting("backoff_multiplier", Shape::Number { min: 1, max: 100 }),
    setting("backoff_max", Shape::Seconds(Zero::Allowed)),
    // Below 400 there is an answer, which a client must get.
    setting("retryable_status", Shape::Wholes { min: 400, max: 599 }),
    setting("budget_percent", Shape::Whole { min: 0, max: 100 }),
    setting("hold_size_kb", Shape::Whole { min: 0, max: 1024 }),
    setting("hold_time", Shape::Seconds(Zero::Allowed)),
];

const CIRCUIT_BREAKER: &[Setting] = &[
    setting("enabled", Shape::Flag),
    setting("failure_threshold", Shape::Whole { min: 1, max: 10_000 }),
    setting("recovery_timeout", Shape::Seconds(Zero::Refused)),
    setting("half_open_max_calls", Shape::Whole { min: 1, max: 10_000 }),
];

const HEALTH_CHECK: &[Setting] = &[
    setting("passive", Shape::Flag),
    setting("failure_threshold", Shape::Whole { min: 1, max: 10_000 }),
    setting("success_threshold", Shape::Whole { min: 1, max: 10_000 }),
    setting("active", Shape::Flag),
    setting("interval", Shape::Seconds(Zero::Refused)),
    setting("timeout", Shape::Seconds(Zero::Refused)),
    setting("endpoint", Shape::Text),
];

/// `[llm.provider]` has what can be inherited, and two settings of its own.
const PROVIDER_ROOT: &[Setting] = &[
    setting("default", Shape::Text),
    setting("type", KINDS),
    API_BASE,
    API_KEY,
    API_KEYS,
    AUTH,
    QUERY,
    HEADERS,
    EXACT_BASE,
    PROVIDER_TIMEOUT,
    MAX_TOKENS,
    MAX_CONNECTIONS,
    CA_FILE,
    CLIENT_CERT_FILE,
    CLIENT_KEY_FILE,
    ANTHROPIC_VERSION,
    WEBSOCKET,
    ON_DISCONNECT,
    INJECT_STREAM_USAGE,
    HEDGE_AFTER_MS,
];

const PROVIDER: &[Setting] = &[
    setting("type", KINDS),
    API_BASE,
    API_KEY,
    API_KEYS,
    renamed("model", &["default_model"], Shape::Text),
    setting("models", Shape::Texts),
    setting("open", Shape::Flag),
    setting("weight", Shape::Whole { min: 1, max: 10_000 }),
    setting("fallback", Shape::OneOrMore),
    AUTH,
    QUERY,
    HEADERS,
    EXACT_BASE,
    PROVIDER_TIMEOUT,
    MAX_TOKENS,
    MAX_CONNECTIONS,
    CA_FILE,
    CLIENT_CERT_FILE,
    CLIENT_KEY_FILE,
    ANTHROPIC_VERSION,
    WEBSOCKET,
    ON_DISCONNECT,
    INJECT_STREAM_USAGE,
    HEDGE_AFTER_MS,
];

const API_BASE: Setting = renamed("api_base", &["base_url"], Shape::Text);
const API_KEY: Setting = setting("api_key", Shape::Secret);
const API_KEYS: Setting = setting("api_keys", Shape::Secrets);
const AUTH: Setting = setting("auth", one_of!(AuthStyle));
const QUERY: Setting = setting("query", Shape::Pairs);
const HEADERS: Setting = setting("headers", Shape::Pairs);
const EXACT_BASE: Setting = setting("exact_base", Shape::Flag);
const PROVIDER_TIMEOUT: Setting = renamed("timeout", &["timeout_secs"], Shape::Seconds(Zero::Refused));
const MAX_TOKENS: Setting = setting("max_tokens", Shape::Whole { min: 1, max: 1_000_000_000 });
const MAX_CONNECTIONS: Setting = setting("max_connections", Shape::Whole { min: 1, max: 100_000 });
const CA_FILE: Setting = setting("ca_file", Shape::Text);
const CLIENT_CERT_FILE: Setting = setting("client_cert_file", Shape::Text);
const CLIENT_KEY_FILE: Setting = setting("client_key_file", Shape::Text);
const ANTHROPIC_VERSION: Setting = setting("anthropic_version", Shape::Text);
const WEBSOCKET: Setting = setting("websocket", Shape::Flag);
const ON_DISCONNECT: Setting = setting("on_disconnect", one_of!(OnDisconnect));
const INJECT_STREAM_USAGE: Setting = setting("inject_stream_usage", Shape::Flag);

const HEDGE_AFTER_MS: Setting = setting("hedge_after_ms", Shape::Whole { min: 1, max: 600_000 });

/// Keys of `[llm]` that a later version brings.
const LATER_LLM: &[&str] = &["auth", "rate_limit", "quota", "cors", "monitoring"];

/// Keys of a provider that a later version brings.
const LATER_PROVIDER: &[&str] = &["rate_limit", "price"];

impl TableKind {
    /// Returns the settings of such a table.
    pub(crate) const fn settings(self) -> &'static [Setting] {
        match self {
            Self::Llm => LLM,
            Self::Limits => LIMITS,
            Self::Timeout => TIMEOUT,
            Self::Tls => TLS,
            Self::LoadBalancing => LOAD_BALANCING,
            Self::Retry => RETRY,
            Self::CircuitBreaker => CIRCUIT_BREAKER,
            Self::HealthCheck => HEALTH_CHECK,
            Self::ProviderRoot => PROVIDER_ROOT,
            Self::Provider => PROVIDER,
        }
    }

    /// Returns the tables that such a table always may hold.
    pub(crate) const fn subtables(self) -> &'static [&'static str] {
        match self {
            Self::Llm => &[
                "limits",
                "timeout",
                "tls",
                "load_balancing",
                "retry",
                "circuit_breaker",
                "health_check",
                "provider",
            ],
            Self::ProviderRoot => &["openai", "anthropic"],
            _ => &[],
        }
    }

    /// Returns the keys that this version knows but does not have yet.
    pub(crate) const fn later(self) -> &'static [&'static str] {
        match self {
            Self::Llm => LATER_LLM,
            Self::ProviderRoot | Self::Provider => LATER_PROVIDER,
            _ => &[],
        }
    }

    /// Returns the kind of a table of `[llm]` that holds nothing but settings.
    pub(crate) fn of_llm(name: &str) -> Option<Self> {
        Some(match name {
            "limits" => Self::Limits,
            "timeout" => Self::Timeout,
            "tls" => Self::Tls,
            "load_balancing" => Self::LoadBalancing,
            "retry" => Self::Retry,
            "circuit_breaker" => Self::CircuitBreaker,
            "health_check" => Self::HealthCheck,
            _ => return None,
        })
    }

    /// Finds a setting by its name or one of its other names.
    pub(crate) fn find(self, name: &str) -> Option<&'static Setting> {
        self.settings().iter().find(|setting| setting.name == name || setting.aliases.contains(&name))
    }

    /// Tells whether a name in a provider's table is a setting, and so cannot be a section.
    ///
    /// What is a setting of some provider is reserved in `[llm.provider]` too: a table there is
    /// either a kind or a provider, and must not be taken for one by a slip.
    pub(crate) fn is_reserved(self, name: &str) -> bool {
        let is_known = |table: Self| table.find(name).is_some() || table.later().contains(&name);
        is_known(self) || (self == Self::ProviderRoot && is_known(Self::Provider))
    }

    /// Finds the known key that looks most like `name`, if one looks enough like it.
    pub(crate) fn nearest(self, name: &str) -> Option<&'static str> {
        let settings =
            self.settings().iter().flat_map(|s| std::iter::once(s.name).chain(s.aliases.iter().copied()));
        nearest(name, settings.chain(self.subtables().iter().copied()).chain(self.later().iter().copied()))
    }
}

/// Finds the candidate with the fewest slips of the keyboard from `name`: at most one in three
/// characters, and never as many as the candidate has.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    candidates
        .map(|candidate| (strsim::osa_distance(&name, &candidate.to_ascii_lowercase()), candidate))
        .filter(|&(distance, candidate)| {
            distance <= (candidate.len() / 3).max(1) && distance < candidate.len()
        })
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests;
