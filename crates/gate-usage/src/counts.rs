//! The numbers of a usage object as vendors name them, and what they mean together.

use crate::usage::Usage;

/// The counts of one or more usage objects, before they get their one meaning.
///
/// They stay apart until the end because Anthropic spreads them over events: a sum made too early
/// would count the cache twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// `prompt_tokens`: all input.
    prompt: Option<u64>,
    /// `input_tokens`: all input but for the two below.
    input: Option<u64>,
    /// `cache_read_input_tokens`: stands beside `input_tokens`.
    read_beside: Option<u64>,
    /// `cache_creation_input_tokens`: stands beside `input_tokens`.
    written_beside: Option<u64>,
    /// Cached input that the input count includes.
    read_within: Option<u64>,
    /// Input written to a cache that the input count includes.
    written_within: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
    total: Option<u64>,
}

/// The part of a usage object that a key stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// The usage object itself.
    Top,
    /// `prompt_tokens_details`, `input_tokens_details` or `input_token_details`.
    InputDetails,
    /// `completion_tokens_details`, `output_tokens_details` or `output_token_details`.
    OutputDetails,
}

impl Section {
    /// Returns the section that a key of the usage object opens.
    pub(crate) fn opened_by(key: &[u8]) -> Option<Self> {
        match key {
            // OpenAI writes the middle word in the singular where audio is counted.
            b"prompt_tokens_details" | b"input_tokens_details" | b"input_token_details" => {
                Some(Self::InputDetails)
            }
            b"completion_tokens_details" | b"output_tokens_details" | b"output_token_details" => {
                Some(Self::OutputDetails)
            }
            _ => None,
        }
    }
}

impl Counts {
    /// Nothing is known.
    pub(crate) const NONE: Self = Self {
        prompt: None,
        input: None,
        read_beside: None,
        written_beside: None,
        read_within: None,
        written_within: None,
        output: None,
        reasoning: None,
        total: None,
    };

    /// Notes the number at a key; a key that is no count is ignored.
    pub(crate) fn set(&mut self, section: Section, key: &[u8], number: u64) {
        let count = match (section, key) {
            (Section::Top, b"prompt_tokens") => &mut self.prompt,
            (Section::Top, b"input_tokens") => &mut self.input,
            (Section::Top, b"completion_tokens" | b"output_tokens") => &mut self.output,
            (Section::Top, b"total_tokens") => &mut self.total,
            (Section::Top, b"cache_read_input_tokens") => &mut self.read_beside,
            (Section::Top, b"cache_creation_input_tokens") => &mut self.written_beside,
            // DeepSeek's name, and Moonshot's.
            (Section::Top, b"prompt_cache_hit_tokens" | b"cached_tokens") => &mut self.read_within,
            (Section::InputDetails, b"cached_tokens") => &mut self.read_within,
            (Section::InputDetails, b"cache_write_tokens") => &mut self.written_within,
            (Section::Top | Section::OutputDetails, b"reasoning_tokens") => &mut self.reasoning,
            _ => return,
        };
        *count = Some(number);
    }

    /// Returns these counts, corrected by those of a later report.
    pub(crate) fn corrected_by(self, later: Self) -> Self {
        Self {
            prompt: later.prompt.or(self.prompt),
            input: later.input.or(self.input),
            read_beside: later.read_beside.or(self.read_beside),
            written_beside: later.written_beside.or(self.written_beside),
            read_within: later.read_within.or(self.read_within),
            written_within: later.written_within.or(self.written_within),
            output: later.output.or(self.output),
            reasoning: later.reasoning.or(self.reasoning),
            total: later.total.or(self.total),
        }
    }

    /// Gives the counts their one meaning.
    pub(crate) fn usage(&self) -> Usage {
        let beside = self.read_beside.unwrap_or(0).saturating_add(self.written_beside.unwrap_or(0));
        // A translator in front of the provider may send both names; `prompt_tokens` is the one
        // that never leaves the cache out.
        let input_tokens = self.prompt.or(self.input.map(|input| input.saturating_add(beside)));
        Usage {
            input_tokens,
            output_tokens: self.output_with_reasoning(input_tokens),
            cache_read_tokens: self.read_within.or(self.read_beside),
            cache_write_tokens: self.written_within.or(self.written_beside),
            reasoning_tokens: self.reasoning,
        }
    }

    /// Returns the output including reasoning.
    ///
    /// xAI's `completion_tokens` leaves reasoning out. Only the total tells: it is the sum of
    /// three numbers there and of two everywhere else.
    fn output_with_reasoning(&self, input: Option<u64>) -> Option<u64> {
        let output = self.output?;
        let with_reasoning = output.saturating_add(self.reasoning.unwrap_or(0));
        let is_left_out =
            self.total.is_some() && self.total == input.and_then(|input| input.checked_add(with_reasoning));
        Some(if is_left_out { with_reasoning } else { output })
    }
}

#[cfg(test)]
mod tests;
