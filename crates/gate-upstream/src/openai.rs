//! What is particular to the OpenAI dialect on the way out.

use crate::AuthStyle;

/// How OpenAI's own API wants its key: `authorization: Bearer sk-…`.
pub(crate) const DEFAULT_AUTH: AuthStyle = AuthStyle::Bearer;
