//! All targets that are known, beside the configuration. A reload asks for its targets by identity and
//! finds those that it had, with all that was learnt of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::health::Change;
use crate::target::{Provider, Target, TargetId, Tell};

/// The live state of every target.
#[derive(Debug)]
pub struct Registry {
    known: Mutex<Known>,
    tell: Tell,
}

impl Default for Registry {
    /// Makes a registry that tells nobody of changes.
    fn default() -> Self {
        Self::telling(|_| {})
    }
}

#[derive(Debug, Default)]
struct Known {
    providers: HashMap<String, Arc<Provider>>,
    targets: HashMap<TargetId, Arc<Target>>,
}

impl Registry {
    /// Makes an empty registry. When a request or a probe shows that a target is doing otherwise than
    /// before, `tell` is called, by whoever settles that request: it must not block.
    pub fn telling(tell: fn(&Change<'_>)) -> Self {
        Self { known: Mutex::default(), tell }
    }

    /// Returns the target of that identity: the known one, or a new one that nothing is known of.
    pub fn target(&self, id: TargetId, now: Instant) -> Arc<Target> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = known.targets.get(&id) {
            return Arc::clone(target);
        }
        let provider = known.providers.entry(id.provider.clone());
        let provider = Arc::clone(provider.or_insert_with(|| Arc::new(Provider::new(now))));
        let target = Arc::new(Target::new(id.clone(), provider, self.tell, now));
        known.targets.insert(id, Arc::clone(&target));
        target
    }

    /// Forgets the targets that no configuration and no request has any more. To be called after a
    /// reload, when the old configuration has been let go.
    pub fn forget_unused(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.targets.retain(|_, target| Arc::strong_count(target) > 1);
        known.providers.retain(|_, provider| Arc::strong_count(provider) > 1);
    }

    /// Returns all targets, sorted by provider and key.
    pub fn targets(&self) -> Vec<Arc<Target>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut targets: Vec<_> = known.targets.values().map(Arc::clone).collect();
        targets.sort_by(|a, b| (&a.id().provider, a.id().key).cmp(&(&b.id().provider, b.id().key)));
        targets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(provider: &str, key: u32) -> TargetId {
        TargetId { provider: provider.to_owned(), key }
    }

    // Spec: load-balancing B-20.
    #[test]
    fn a_target_is_known_again_by_provider_and_key() {
        let now = Instant::now();
        let registry = Registry::default();
        let first = registry.target(id("openai.a", 0), now);
        assert!(Arc::ptr_eq(&first, &registry.target(id("openai.a", 0), now)));
        let other_key = registry.target(id("openai.a", 1), now);
        assert!(!Arc::ptr_eq(&first, &other_key));
        assert!(Arc::ptr_eq(first.provider(), other_key.provider()));
        assert!(!Arc::ptr_eq(first.provider(), registry.target(id("openai.b", 0), now).provider()));
    }

    // Spec: load-balancing B-20.
    #[test]
    fn what_nothing_uses_is_forgotten() {
        let now = Instant::now();
        let registry = Registry::default();
        let kept = registry.target(id("openai.a", 0), now);
        drop(registry.target(id("openai.b", 0), now));
        registry.forget_unused();
        let left: Vec<_> = registry.targets().iter().map(|target| target.id().clone()).collect();
        assert_eq!(left, [kept.id().clone()]);
        assert_eq!(registry.known.lock().unwrap().providers.len(), 1);
    }
}
