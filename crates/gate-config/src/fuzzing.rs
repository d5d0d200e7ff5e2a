//! What holds for any configuration and any base URL. Compiled for tests and fuzz targets only.

use std::collections::BTreeMap;

use gate_model_ref::{ModelRef, ProviderKind};

use crate::{ApiBase, Loaded, Problems, Report, Scope, Sources, explain, load};

/// What people may paste behind a base is a path that the gateway knows.
const PATHS: [&str; 3] = ["/chat/completions", "/messages", "/files/f-1"];

/// Checks one configuration, a TOML text: it loads or every problem names its key, and every name
/// is explained as it resolves. A first line `# name` asks for that name too.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // Those that name a file would have it opened, and a device may never end.
    if ["file", "_cert", "/dev", "/proc"].iter().any(|word| text.contains(word)) {
        return;
    }
    let sources = Sources::empty().with_text("fuzz.toml", text);
    check_sources(&sources, text);
}

fn check_sources(sources: &Sources, text: &str) {
    let report = Report::of(sources, &|_, _| Ok(()));
    match load(sources) {
        Ok(loaded) => check_loaded(&loaded, text.lines().next().unwrap_or_default()),
        Err(problems) => {
            assert!(!report.is_ok());
            check_problems(&problems);
        }
    }
    assert!(!report.to_string().is_empty());
}

fn check_problems(problems: &Problems) {
    let found = problems.as_slice();
    assert!(!found.is_empty());
    // Only a text that is no TOML at all has none, and then nothing else was looked at.
    assert!(found.len() == 1 || found.iter().all(|problem| problem.key.is_some()), "{found:?}");
    for problem in found.iter().filter(|problem| problem.key.is_some()) {
        let line = problem.to_string();
        assert!(!problem.message.is_empty() && !line.contains(['\n', '\r', '\x1b']), "{line:?}");
    }
    assert!(!problems.to_string().is_empty());
}

fn check_loaded(loaded: &Loaded, first_line: &str) {
    let tree = &loaded.config.providers;
    for (index, provider) in tree.providers() {
        assert_eq!(tree.find(&provider.id), Some(index), "{}", provider.id);
        check_name(loaded, &provider.id, Some(Scope::Pinned(index)));
    }
    for model in tree.models(None) {
        check_name(loaded, model.id, None);
        assert!(tree.find_model(model.id, None).is_some(), "{}", model.id);
    }
    check_name(loaded, first_line.trim_start_matches('#').trim(), None);
    assert!(loaded.warnings.iter().all(|warning| !warning.to_string().is_empty()));
}

/// The explanation finds a target exactly where a request does.
fn check_name(loaded: &Loaded, name: &str, scope: Option<Scope>) {
    let tree = &loaded.config.providers;
    let explanation = explain(tree, name, scope);
    assert!(!explanation.to_string().is_empty());
    let resolves = |scope| ModelRef::parse(name).is_ok_and(|name| tree.resolve(name, scope).is_ok());
    let kinds = || match ModelRef::parse(name).ok().and_then(ModelRef::kind) {
        Some(kind) => vec![kind],
        None => ProviderKind::ALL.to_vec(),
    };
    let is_found = match scope {
        Some(scope) => resolves(scope),
        None => kinds().into_iter().any(|kind| resolves(Scope::Kind(kind))),
    };
    assert_eq!(explanation.is_found(), is_found, "{explanation}");
}

/// Checks one base URL: what is taken is a URL whose every join is one too, on the same host, and
/// reading what is written names the same server.
pub fn api_base(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let base = match ApiBase::parse(text) {
        Ok(base) => base,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let path = base.path();
    assert!(path.is_empty() || path.starts_with('/'), "{path:?}");
    assert!(!path.ends_with('/') && !path.contains("//"), "{path:?}");
    let query = base.query().map(|query| format!("?{query}")).unwrap_or_default();
    let written = format!("{}{query}", base.without_query());
    let again = ApiBase::parse(&written);
    assert!(again.is_ok(), "{text:?} as {written:?}: {again:?}");
    if let Ok(again) = again {
        assert_eq!(
            (again.scheme(), again.authority(), again.query()),
            (base.scheme(), base.authority(), base.query())
        );
        // Of two endpoints pasted one behind the other each reading drops one.
        assert!(path.starts_with(again.path()), "{text:?} as {written:?}: {again}");
    }
    for kind in ProviderKind::ALL {
        for is_exact in [false, true] {
            PATHS.iter().for_each(|path| check_join(&base, kind, is_exact, path));
        }
    }
}

fn check_join(base: &ApiBase, kind: ProviderKind, is_exact: bool, path: &str) {
    let prefix = base.prefix(kind, is_exact);
    assert!(prefix.is_empty() || prefix.starts_with('/') && !prefix.ends_with('/'), "{prefix:?}");
    let extra = BTreeMap::from([("api-version".to_owned(), "2024 06&x=y".to_owned())]);
    let query = base.query_with(&extra).unwrap_or_default();
    let Ok(below) = base.request_path(path, Some("a/b c")) else { return };
    let url = format!("{}://{}{prefix}{below}?{query}", base.scheme().as_str(), base.authority());
    match url.parse::<http::Uri>() {
        Err(error) => assert!(url.is_empty(), "{url:?} is no URL: {error}"),
        Ok(uri) => {
            let host = uri.host().map(str::to_ascii_lowercase);
            assert_eq!(host.as_deref(), Some(base.host()), "{url:?}");
            assert_eq!(uri.path(), format!("{prefix}{below}"), "{url:?}");
            assert_eq!(uri.query(), Some(query.as_str()), "{url:?}");
        }
    }
}

#[cfg(test)]
#[path = "../../../fuzz/shared/replay.rs"]
mod replay;

#[test]
fn the_corpus_of_configurations_holds() {
    replay::replay("config", config);
}

#[test]
fn the_corpus_of_base_urls_holds() {
    replay::replay("api_base", api_base);
}
