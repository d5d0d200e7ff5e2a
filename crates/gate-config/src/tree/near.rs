//! Configured names that look like one that nothing has. Only a refused request comes here, but a
//! client can send many of those, so most names are ruled out without measuring a distance.

use gate_model_ref::ProviderKind;

use super::index::path_below_kind;
use super::{ProviderTree, Scope};

/// The most names that are offered.
pub(super) const MOST: usize = 3;

/// The largest distance at which two names still look alike, however long they are.
const FARTHEST: usize = 6;

/// Returns the full names of up to three configured models that look like `name`, nearest first.
/// Behind its kind, a name is compared with each way to say a model: its path, its name alone, and
/// the upstream model.
pub(super) fn names(tree: &ProviderTree, name: &str, scope: Scope) -> Vec<String> {
    let name = match name.split_once('.') {
        Some((first, rest)) if ProviderKind::from_segment(first).is_some() => rest,
        _ => name,
    };
    let name = name.to_ascii_lowercase();
    let name = Looks::of(&name);
    let mut near: Vec<(usize, &str)> = Vec::new();
    for model in tree.models(Some(scope)) {
        let bare = model.id.get(tree.provider(model.provider).id.len() + 1..).unwrap_or_default();
        let upstream = (bare != model.upstream).then_some(model.upstream);
        // A path has a dot more than the name alone; without one in the name it is never nearer.
        let path = name.text.contains('.').then(|| path_below_kind(model.id)).filter(|path| *path != bare);
        let forms = [Some(bare), upstream, path].into_iter().flatten();
        if let Some(distance) = forms.filter_map(|form| name.distance(form)).min() {
            near.push((distance, model.id));
        }
    }
    // The sort is stable: the order of the configuration decides between equals.
    near.sort_by_key(|(distance, _)| *distance);
    near.into_iter().take(MOST).map(|(_, id)| id.to_owned()).collect()
}

/// A name in lower case, and what rules others out at a glance.
pub(crate) struct Looks<'a> {
    text: &'a str,
    bytes: u64,
    limit: usize,
}

impl<'a> Looks<'a> {
    fn of(text: &'a str) -> Self {
        Self::within(text, (text.len() / 3 + 1).min(FARTHEST))
    }

    /// Looks for others that are so many edits away at most; `text` is in lower case.
    pub(crate) fn within(text: &'a str, limit: usize) -> Self {
        Self { text, bytes: bytes_of(text), limit }
    }

    /// Returns how many edits lie between the name and a configured one, if they are few.
    pub(crate) fn distance(&self, configured: &str) -> Option<usize> {
        // An edit changes the length by one at most, and takes away or adds one byte each.
        let length = self.text.len().abs_diff(configured.len());
        let bytes = (self.bytes ^ bytes_of(configured)).count_ones() as usize;
        if length > self.limit || bytes > 2 * self.limit {
            return None;
        }
        let distance = strsim::osa_distance(self.text, &configured.to_ascii_lowercase());
        (distance <= self.limit).then_some(distance)
    }
}

/// Returns which bytes occur in a text, whatever their case, one bit for all that end alike.
fn bytes_of(text: &str) -> u64 {
    text.bytes().fold(0, |seen, byte| seen | 1 << (byte.to_ascii_lowercase() & 63))
}
