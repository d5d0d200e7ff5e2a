//! The ways of names that were asked for before. To resolve a name is the dearest part of routing, and clients
//! ask for the same few again and again. Within one configuration a name always means the same, so that
//! nothing in here grows old. What finds no room is resolved each time.

use std::collections::HashMap;

use arc_swap::ArcSwap;
use gate_model_ref::ProviderKind;

use crate::balance::Way;

/// Names that are kept of each kind: clients may send any.
const MOST_NAMES: usize = 256;

/// The ways of one configuration, by the kind of which a name is asked for, and the name.
#[derive(Debug, Default)]
pub(crate) struct KnownWays {
    openai: Names,
    anthropic: Names,
}

/// All are replaced where one is added: every request reads them, and soon they change no more.
type Names = ArcSwap<HashMap<Box<str>, Way>>;

impl KnownWays {
    /// Returns the way of a name, which is looked for the first time.
    ///
    /// # Errors
    /// Those of `find`. They are not kept.
    pub(crate) fn of<E>(
        &self,
        kind: ProviderKind,
        name: &str,
        find: impl FnOnce() -> Result<Way, E>,
    ) -> Result<Way, E> {
        let names = match kind {
            ProviderKind::OpenAi => &self.openai,
            ProviderKind::Anthropic => &self.anthropic,
        };
        let known = names.load();
        if let Some(way) = known.get(name) {
            return Ok(way.clone());
        }
        let way = find()?;
        if known.len() < MOST_NAMES {
            names.rcu(|known| {
                let mut known = HashMap::clone(known);
                known.insert(name.into(), way.clone());
                known
            });
        }
        Ok(way)
    }
}

#[cfg(test)]
mod tests {
    use gate_balance::Registry;
    use gate_config::{Sources, load};

    use super::*;
    use crate::balance::{Balance, Stop};

    /// A model, or why there is none.
    type Found = Result<&'static str, &'static str>;

    /// Asks for names, each of which leads to the model beside it if it is looked for, and expects the last.
    fn check(rows: &[(ProviderKind, &str, Found, Found)]) {
        let text = "[llm.provider.openai]\napi_key = 'k'\n";
        let config = load(&Sources::empty().with_text("test", text)).unwrap().config;
        let balance = Balance::new(&config.server, &config.providers, &Registry::telling(|_| ()));
        let provider = config.providers.find("openai").unwrap();
        let ways = KnownWays::default();
        for (kind, name, found, expected) in rows {
            let find = || found.map(|model| balance.alone(Stop { provider, model: Some(model.into()) }));
            let way = ways.of(*kind, name, find);
            let model = way.map(|way| way.stops().first().unwrap().model.as_deref().unwrap().to_owned());
            assert_eq!(model.as_deref().map_err(|error| *error), *expected, "{name}");
        }
    }

    const OPENAI: ProviderKind = ProviderKind::OpenAi;

    #[test]
    fn a_name_of_a_kind_is_looked_for_until_it_is_found() {
        check(&[
            (OPENAI, "a", Err("unknown"), Err("unknown")),
            (OPENAI, "a", Ok("one"), Ok("one")),
            (OPENAI, "a", Ok("another"), Ok("one")),
            (OPENAI, "b", Ok("another"), Ok("another")),
            (ProviderKind::Anthropic, "a", Ok("another"), Ok("another")),
        ]);
    }

    #[test]
    fn what_finds_no_room_is_looked_for_each_time() {
        let names: Vec<String> = (0..MOST_NAMES).map(|number| number.to_string()).collect();
        let mut rows: Vec<_> =
            names.iter().map(|name| (OPENAI, name.as_str(), Ok("one"), Ok("one"))).collect();
        rows.extend([
            (OPENAI, "last", Ok("one"), Ok("one")),
            (OPENAI, "last", Ok("another"), Ok("another")),
            (OPENAI, "0", Ok("another"), Ok("one")),
        ]);
        check(&rows);
    }
}
