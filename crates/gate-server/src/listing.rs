//! Lists of models and providers, in the shapes that the vendors' SDKs read.

use gate_config::{ListedModel, Scope};
use gate_model_ref::ProviderKind;
use http::StatusCode;
use serde::Serialize;

use crate::answer::Answer;
use crate::error::{ApiError, ErrorCode};
use crate::failure;
use crate::snapshot::Snapshot;

/// The age of every listed model. Nobody knows the real one, and clients sort by it, so it is the
/// same for all and for ever: 1 January 2026.
const CREATED: u32 = 1_767_225_600;
const CREATED_AT: &str = "2026-01-01T00:00:00Z";

/// A model in OpenAI's list.
#[derive(Serialize)]
struct OpenAiModel<'a> {
    id: &'a str,
    object: &'static str,
    created: u32,
    owned_by: &'a str,
    permission: [(); 0],
}

#[derive(Serialize)]
struct OpenAiList<T> {
    object: &'static str,
    data: Vec<T>,
}

/// A model in Anthropic's list.
#[derive(Serialize)]
struct AnthropicModel<'a> {
    r#type: &'static str,
    id: &'a str,
    display_name: &'a str,
    created_at: &'static str,
    /// Anthropic's SDK insists on it.
    lifecycle: &'static str,
}

#[derive(Serialize)]
struct AnthropicList<'a> {
    data: Vec<AnthropicModel<'a>>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

/// Answers a list of models: all, or those of a pinned kind or provider.
///
/// # Errors
/// 400 for a page that cannot be cut.
pub(crate) fn models(
    snapshot: &Snapshot,
    scope: Option<Scope>,
    query: Option<&str>,
    dialect: ProviderKind,
) -> Result<Answer, ApiError> {
    let entries: Vec<Entry<'_>> = entries(snapshot, scope).collect();
    Ok(match dialect {
        ProviderKind::OpenAi => Answer::json(
            StatusCode::OK,
            &OpenAiList { object: "list", data: entries.iter().map(Entry::openai).collect() },
        ),
        ProviderKind::Anthropic => {
            let (page, has_more) = Page::parse(query)?.cut(&entries)?;
            Answer::json(
                StatusCode::OK,
                &AnthropicList {
                    data: page.iter().map(Entry::anthropic).collect(),
                    has_more,
                    first_id: page.first().map(|entry| entry.id),
                    last_id: page.last().map(|entry| entry.id),
                },
            )
        }
    })
}

/// Answers one model by its listed id; an id that holds slashes may come percent-encoded.
///
/// # Errors
/// 404 if no such model is configured.
pub(crate) fn model(
    snapshot: &Snapshot,
    scope: Option<Scope>,
    encoded_id: &str,
    dialect: ProviderKind,
) -> Result<Answer, ApiError> {
    let not_found = |id: &str| {
        ApiError::new(
            ErrorCode::ModelNotFound,
            format!("no model `{}` is configured; GET /v1/models lists them", failure::shown(id)),
        )
    };
    let id = decode(encoded_id).ok_or_else(|| not_found(encoded_id))?;
    let listed = snapshot.providers.find_model(&id, scope).ok_or_else(|| not_found(&id))?;
    let entry = Entry::of(snapshot, &listed);
    Ok(match dialect {
        ProviderKind::OpenAi => Answer::json(StatusCode::OK, &entry.openai()),
        ProviderKind::Anthropic => Answer::json(StatusCode::OK, &entry.anthropic()),
    })
}

/// A provider in the list of providers; it shows no key and no header.
#[derive(Serialize)]
struct ListedProvider<'a> {
    id: &'a str,
    r#type: &'a str,
    models: Vec<&'a str>,
    api_base: String,
}

/// Answers the list of providers.
pub(crate) fn providers(snapshot: &Snapshot) -> Answer {
    let data = snapshot
        .providers
        .providers()
        .filter(|(_, provider)| provider.is_configured)
        .map(|(_, provider)| ListedProvider {
            id: &provider.id,
            r#type: provider.kind.as_str(),
            models: provider.models.iter().map(|model| model.name.as_str()).collect(),
            api_base: provider.api_base.without_query(),
        })
        .collect();
    Answer::json(StatusCode::OK, &OpenAiList { object: "list", data })
}

/// One line of the list.
struct Entry<'a> {
    id: &'a str,
    owner: &'a str,
}

impl<'a> Entry<'a> {
    fn of(snapshot: &'a Snapshot, listed: &ListedModel<'a>) -> Self {
        let provider = snapshot.providers.provider(listed.provider).id.as_str();
        Self { id: listed.id, owner: provider.rsplit('.').next().unwrap_or(provider) }
    }

    fn openai(&self) -> OpenAiModel<'a> {
        OpenAiModel { id: self.id, object: "model", created: CREATED, owned_by: self.owner, permission: [] }
    }

    fn anthropic(&self) -> AnthropicModel<'a> {
        AnthropicModel {
            r#type: "model",
            id: self.id,
            display_name: self.id,
            created_at: CREATED_AT,
            lifecycle: "active",
        }
    }
}

fn entries(snapshot: &Snapshot, scope: Option<Scope>) -> impl Iterator<Item = Entry<'_>> {
    snapshot.providers.models(scope).map(|listed| Entry::of(snapshot, &listed))
}

/// The part of a list that Anthropic's parameters ask for. Without `limit` it is the whole list,
/// so that a client that does not page sees everything.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    limit: Option<usize>,
    after_id: Option<String>,
    before_id: Option<String>,
}

impl Page {
    fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let mut page = Self::default();
        for (name, value) in query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=1000).contains(limit));
                    let message = "`limit` must be a whole number from 1 to 1000";
                    page.limit = Some(limit.ok_or_else(|| ApiError::new(ErrorCode::BadRequest, message))?);
                }
                "after_id" => page.after_id = decode(value),
                "before_id" => page.before_id = decode(value),
                _ => {}
            }
        }
        Ok(page)
    }

    /// Returns the page and whether more lies beyond it, in its direction.
    fn cut<'e, 'a>(&self, entries: &'e [Entry<'a>]) -> Result<(&'e [Entry<'a>], bool), ApiError> {
        let position = |id: &str| {
            entries.iter().position(|entry| entry.id.eq_ignore_ascii_case(id)).ok_or_else(|| {
                let message = format!("the list has no `{}` to page from", failure::shown(id));
                ApiError::new(ErrorCode::BadRequest, message)
            })
        };
        let start = self.after_id.as_deref().map(position).transpose()?.map_or(0, |at| at + 1);
        let end = self.before_id.as_deref().map(position).transpose()?.unwrap_or(entries.len());
        let between = entries.get(start..end).unwrap_or_default();
        let limit = self.limit.unwrap_or(between.len()).min(between.len());
        // Backwards, the page is the part next to the id.
        let (page, rest) = if self.before_id.is_some() && self.after_id.is_none() {
            let (rest, page) = between.split_at(between.len() - limit);
            (page, rest)
        } else {
            between.split_at(limit)
        };
        Ok((page, !rest.is_empty()))
    }
}

/// Decodes `%XX`; `None` if that is malformed or no text.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let (hex, after) = after.split_first_chunk::<2>()?;
            let hex =
                std::str::from_utf8(hex).ok().filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = after;
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
