//! Token counts with one meaning, whatever the vendor calls them and includes in them.

/// The tokens of one request. `None` means that the provider said nothing, not that it was zero.
///
/// | field                | meaning                                                             |
/// |----------------------|---------------------------------------------------------------------|
/// | `input_tokens`       | all input, **including** what was read from and written to a cache  |
/// | `output_tokens`      | all output, **including** reasoning                                 |
/// | `cache_read_tokens`  | the part of `input_tokens` that a cache served                      |
/// | `cache_write_tokens` | the part of `input_tokens` that was put into a cache                |
/// | `reasoning_tokens`   | the part of `output_tokens` that the model thought and did not show |
///
/// OpenAI counts like this; Anthropic's `input_tokens` leaves out both cache parts, which are
/// therefore added to it. So the price of a request follows from these five numbers alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All input tokens, cached or not.
    pub input_tokens: Option<u64>,
    /// All output tokens, shown or not.
    pub output_tokens: Option<u64>,
    /// Input tokens that came from a cache.
    pub cache_read_tokens: Option<u64>,
    /// Input tokens that were written to a cache.
    pub cache_write_tokens: Option<u64>,
    /// Output tokens spent on reasoning.
    pub reasoning_tokens: Option<u64>,
}

impl Usage {
    /// Tells whether nothing at all is known.
    ///
    /// ```
    /// # use gate_usage::Usage;
    /// assert!(Usage::default().is_empty());
    /// assert!(!Usage { output_tokens: Some(0), ..Usage::default() }.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Who counted the tokens of a [`Usage`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UsageSource {
    /// The provider reported them.
    Provider,
    /// The gateway guessed them.
    Estimate,
    /// Nobody: the usage is empty.
    #[default]
    None,
}

impl UsageSource {
    /// Returns the name that logs and metrics show.
    ///
    /// ```
    /// # use gate_usage::UsageSource;
    /// assert_eq!(UsageSource::Provider.as_str(), "provider");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Estimate => "estimate",
            Self::None => "none",
        }
    }
}
