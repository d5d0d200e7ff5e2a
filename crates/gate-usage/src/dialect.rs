//! Where each operation of the vendors' APIs keeps its usage, and how its streams end.

use crate::json::Origin;

/// The shape of an answer, by the operation that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's chat completions.
    ChatCompletions,
    /// OpenAI's text completions.
    Completions,
    /// OpenAI's responses.
    Responses,
    /// The events of OpenAI's realtime sessions. Here a last word is one that closes an account: of an
    /// answer, or of the transcript of what the user said.
    Realtime,
    /// OpenAI's embeddings.
    Embeddings,
    /// OpenAI's generation and editing of images.
    Images,
    /// OpenAI's speech, transcription and translation.
    Audio,
    /// Anthropic's messages.
    Messages,
    /// Anthropic's counting of tokens. It costs nothing, so it has no usage.
    CountTokens,
    /// Any other: whatever looks like usage or like an end in one of the above is taken for it.
    Other,
}

/// How the usage reports of one stream combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Combination {
    /// A later report replaces all of an earlier one.
    Replace,
    /// A later report corrects those counts that it has.
    Correct,
}

impl Dialect {
    /// Tells whether `usage` at the top of an event or a body is the request's.
    pub(crate) const fn has_usage(self) -> bool {
        !matches!(self, Self::CountTokens)
    }

    /// Tells whether a choice may hold the usage (Moonshot).
    pub(crate) const fn has_choices(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Completions | Self::Other)
    }

    /// Returns what a usage is called that stands in the object at a top-level key.
    pub(crate) fn origin_within(self, key: &[u8]) -> Option<Origin> {
        match (self, key) {
            (Self::Messages | Self::Other, b"message") => Some(Origin::Message),
            (Self::Responses | Self::Realtime | Self::Other, b"response") => Some(Origin::Response),
            // Groq reports here, asked or not.
            (Self::ChatCompletions | Self::Completions | Self::Other, b"x_groq") => Some(Origin::Vendor),
            _ => None,
        }
    }

    /// Returns how reports combine: Anthropic's `message_start` has the input, `message_delta`
    /// the output so far and sometimes a better input.
    pub(crate) const fn combination(self) -> Combination {
        match self {
            Self::Messages => Combination::Correct,
            _ => Combination::Replace,
        }
    }

    /// Tells whether the events of a stream have names, which say when it ends.
    pub(crate) const fn has_named_events(self) -> bool {
        matches!(
            self,
            Self::Responses | Self::Realtime | Self::Images | Self::Audio | Self::Messages | Self::Other
        )
    }

    /// Tells whether an event of this name, or with this `type`, says that the provider failed.
    pub(crate) fn is_error(self, name: &[u8]) -> bool {
        self.has_named_events()
            && match name {
                b"error" => true,
                b"response.failed" => matches!(self, Self::Responses | Self::Other),
                _ => false,
            }
    }

    /// Tells whether an event of this name, or with this `type`, is the last of a stream.
    pub(crate) fn is_terminal(self, name: &[u8]) -> bool {
        const MESSAGES: &[&[u8]] = &[b"message_stop", b"error"];
        const RESPONSES: &[&[u8]] =
            &[b"response.completed", b"response.incomplete", b"response.failed", b"error"];
        const REALTIME: &[&[u8]] =
            &[b"response.done", b"conversation.item.input_audio_transcription.completed", b"error"];
        const IMAGES: &[&[u8]] = &[b"image_generation.completed", b"image_edit.completed", b"error"];
        const AUDIO: &[&[u8]] = &[b"transcript.text.done", b"speech.audio.done", b"error"];
        match self {
            // These end with `[DONE]`; what tells of an error is its shape, not a name.
            Self::ChatCompletions | Self::Completions | Self::Embeddings | Self::CountTokens => false,
            Self::Messages => MESSAGES.contains(&name),
            Self::Responses => RESPONSES.contains(&name),
            Self::Realtime => REALTIME.contains(&name),
            Self::Images => IMAGES.contains(&name),
            Self::Audio => AUDIO.contains(&name),
            Self::Other => [MESSAGES, RESPONSES, IMAGES, AUDIO].iter().any(|names| names.contains(&name)),
        }
    }
}
