//! Remembers which provider made an object, so that a later request for the object's id goes there.
//! It reads the id from the beginning of an answer; the ids that requests name are given to it.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gate_config::{ProviderIndex, ProviderTree};
use gate_usage::ContentType;
use http::HeaderValue;
use memchr::memmem;

use crate::containers::ContainerSearch;

/// The most ids that are kept; the oldest go first. An entry takes some 200 bytes.
const MAX_IDS: usize = 16 * 1024;
/// The lengths of ids that are kept: a shorter one could be any word of a path.
const ID_BYTES: std::ops::RangeInclusive<usize> = 8..=128;
/// How much of an answer is looked at: vendors put the id at the beginning.
const MAX_LOOK_BYTES: usize = 4 * 1024;

/// The makers of objects by their ids. It lives beside the configuration and survives a reload.
#[derive(Default)]
pub(crate) struct Makers(Mutex<Made>);

#[derive(Default)]
struct Made {
    /// The provider of each id.
    makers: HashMap<Arc<str>, Arc<str>>,
    /// The ids, oldest first.
    ids: VecDeque<Arc<str>>,
}

impl Makers {
    /// Returns the provider that made an object in the path, whose first segment is a collection.
    pub(crate) fn find(&self, tail: &str) -> Option<Arc<str>> {
        self.find_any(tail.split('/').skip(2))
    }

    /// Returns the provider that made the first of these objects whose maker is known.
    pub(crate) fn find_any<'i>(&self, ids: impl Iterator<Item = &'i str>) -> Option<Arc<str>> {
        let mut ids = ids.filter(|id| ID_BYTES.contains(&id.len())).peekable();
        ids.peek()?;
        let made = self.lock();
        ids.find_map(|id| made.makers.get(id)).map(Arc::clone)
    }

    /// Notes who made what the address of an answer ends with, if that can be an id. A call over
    /// WebRTC is answered by no JSON, and named there alone.
    pub(crate) fn note_location(&self, location: Option<&HeaderValue>, maker: &Arc<str>) {
        let location = location.and_then(|location| location.to_str().ok()).unwrap_or_default();
        let path = location.split(['?', '#']).next().unwrap_or_default();
        let id = path.rsplit('/').next().unwrap_or_default();
        if ID_BYTES.contains(&id.len()) {
            self.note(id, maker);
        }
    }

    /// Notes who made an object. The first word counts, so that no provider takes over an id of
    /// another.
    fn note(&self, id: &str, maker: &Arc<str>) {
        let mut made = self.lock();
        if made.makers.contains_key(id) {
            return;
        }
        if made.ids.len() >= MAX_IDS
            && let Some(oldest) = made.ids.pop_front()
        {
            made.makers.remove(&oldest);
        }
        let id: Arc<str> = id.into();
        made.ids.push_back(Arc::clone(&id));
        made.makers.insert(id, Arc::clone(maker));
    }

    /// A panic elsewhere leaves at worst an id without its place in the order.
    fn lock(&self) -> MutexGuard<'_, Made> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Makers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Makers").field("ids", &self.lock().ids.len()).finish()
    }
}

/// Tells whether it matters who made an object: not where a request for it goes to the one provider
/// of its kind in any case.
pub(crate) fn matters(providers: &ProviderTree, maker: ProviderIndex) -> bool {
    let kind = providers.provider(maker).kind;
    let others = |(at, provider): (ProviderIndex, &gate_config::Provider)| {
        at != maker && provider.kind == kind && provider.is_configured
    };
    providers.kind_root(kind) != Some(maker) || providers.providers().any(others)
}

/// Looks for the ids in an answer that may be a new object, or tell of one.
#[derive(Debug)]
pub(crate) struct Birth {
    makers: Arc<Makers>,
    maker: Arc<str>,
    /// What was seen of the answer; `None` once it has been decided.
    seen: Option<Vec<u8>>,
    /// What looks for the container that the answer tells of, where it may.
    container: Option<ContainerSearch>,
}

impl Birth {
    pub(crate) fn new(makers: Arc<Makers>, maker: Arc<str>) -> Self {
        Self { makers, maker, seen: Some(Vec::new()), container: None }
    }

    /// Looks for the container of an answer to `messages` too, or alone if the answer itself is nothing
    /// that a later request names.
    pub(crate) fn of_messages(self, content_type: ContentType, makes_object: bool) -> Self {
        let container = Some(ContainerSearch::new(content_type));
        Self { seen: self.seen.filter(|_| makes_object), container, ..self }
    }

    /// Looks at the next piece of the answer.
    pub(crate) fn look(&mut self, data: &[u8]) {
        let container = self.container.as_mut().and_then(|search| search.look(data));
        self.note(container);
        let Some(seen) = &mut self.seen else { return };
        let room = MAX_LOOK_BYTES - seen.len();
        seen.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
        if let Some(id) = id_in(seen) {
            let id = id.to_owned();
            self.note(Some(id));
            self.seen = None;
        } else if seen.len() >= MAX_LOOK_BYTES {
            self.seen = None;
        }
    }

    /// Looks at the end of an answer that is whole.
    pub(crate) fn finish(&mut self) {
        let container = self.container.as_mut().and_then(ContainerSearch::finish);
        self.note(container);
    }

    fn note(&self, id: Option<String>) {
        if let Some(id) = id.filter(|id| ID_BYTES.contains(&id.len())) {
            self.makers.note(&id, &self.maker);
        }
    }
}

/// Returns the value of the first member `id`, be it in JSON or in the first event of a stream,
/// where the object stands within. A quote inside a string is escaped, so that no text looks so.
fn id_in(answer: &[u8]) -> Option<&str> {
    for at in memmem::find_iter(answer, b"\"id\"") {
        let rest = answer.get(at + 4..)?.trim_ascii_start();
        let Some(rest) = rest.strip_prefix(b":") else { continue };
        let rest = rest.trim_ascii_start().strip_prefix(b"\"")?;
        let end = rest.iter().position(|byte| !byte.is_ascii_alphanumeric() && !b"_-.:".contains(byte))?;
        let (id, rest) = rest.split_at(end);
        return rest.starts_with(b"\"").then(|| std::str::from_utf8(id).ok()).flatten();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_id_of_an_answer_is_the_objects() {
        fn check(answer: &str, expected: Option<&str>) {
            assert_eq!(id_in(answer.as_bytes()), expected, "{answer}");
        }
        check(r#"{"id":"file-abc123","object":"file"}"#, Some("file-abc123"));
        check("{\n  \"id\" : \"resp_1\",", Some("resp_1"));
        check("event: response.created\ndata: {\"response\":{\"id\":\"resp_1\"", Some("resp_1"));
        check(r#"{"x":"\"id\":\"no\"","id":"yes"}"#, Some("yes"));
        check(r#"{"list":["id","x"],"id":"yes"}"#, Some("yes"));
        check(r#"{"id":1,"other":{"id":"no"}}"#, None);
        check(r#"{"id":"cut"#, None);
        check(r#"{"id":"sp ace"}"#, None);
        check(r#"{"object":"file"}"#, None);
    }

    // Spec: api A-46.
    #[test]
    fn ids_are_kept_to_a_bound_and_the_oldest_go_first() {
        let makers = Makers::default();
        let (a, b): (Arc<str>, Arc<str>) = ("openai.a".into(), "openai.b".into());
        for n in 0..=MAX_IDS {
            makers.note(&format!("file-{n:08}"), &a);
        }
        assert_eq!(makers.find("/files/file-00000000"), None);
        assert_eq!(makers.find("/files/file-00000001/content"), Some(Arc::clone(&a)));
        assert_eq!(makers.lock().makers.len(), MAX_IDS);
        assert_eq!(makers.lock().ids.len(), MAX_IDS);
        // The first word counts.
        makers.note("file-00000001", &b);
        assert_eq!(makers.find("/files/file-00000001"), Some(a));
        assert_eq!(makers.find("/file-00000001"), None);
    }

    // Spec: api A-62.
    #[test]
    fn a_maker_matters_where_its_kind_has_another() {
        let check = |config: &str, maker: &str, expected: bool| {
            let sources = gate_config::Sources::empty().with_text("test", config);
            let providers = gate_config::load(&sources).unwrap().config.providers;
            assert_eq!(matters(&providers, providers.find(maker).unwrap()), expected, "{maker} in {config}");
        };
        let root = "[llm.provider.openai]\napi_key = \"k\"\n";
        let azure = "[llm.provider.openai.azure]\napi_key = \"k\"\napi_base = \"http://a/v1\"\n";
        let glm = "[llm.provider.anthropic.glm]\napi_key = \"k\"\napi_base = \"http://g\"\n";
        check(root, "openai", false);
        check(&[root, glm].concat(), "openai", false);
        check(&[root, azure].concat(), "openai", true);
        check(&[root, azure].concat(), "openai.azure", true);
        // Nothing without a maker goes anywhere else.
        check(azure, "openai.azure", true);
    }

    #[test]
    fn only_the_beginning_of_an_answer_is_looked_at() {
        let makers = Arc::new(Makers::default());
        let mut birth = Birth::new(Arc::clone(&makers), "openai.a".into());
        for piece in ["{\"i", "d\":\"resp_", "12345\",", "\"id\":\"resp_67890\""] {
            birth.look(piece.as_bytes());
        }
        assert!(
            makers.find("/responses/resp_12345").is_some() && makers.find("/responses/resp_67890").is_none()
        );
        let mut birth = Birth::new(Arc::clone(&makers), "openai.a".into());
        birth.look(&[b' '; 3 * MAX_LOOK_BYTES]);
        birth.look(b"{\"id\":\"resp_late00\"}");
        assert!(makers.find("/responses/resp_late00").is_none());
    }
}
