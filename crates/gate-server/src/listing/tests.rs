//! Pages and ids; the lists' shapes are tested through the gateway.

use super::*;

fn cut(query: &str) -> Result<(Vec<&'static str>, bool), ErrorCode> {
    let entries: Vec<Entry<'static>> = ["a", "b", "c", "d"].map(|id| Entry { id, owner: "o" }).into();
    let page = Page::parse(Some(query)).map_err(|error| error.code)?;
    let (page, has_more) = page.cut(&entries).map_err(|error| error.code)?;
    Ok((page.iter().map(|entry| entry.id).collect(), has_more))
}

// Spec: api A-30.
#[test]
fn pages_are_cut_as_the_vendor_does() {
    for (query, ids, has_more) in [
        ("", &["a", "b", "c", "d"][..], false),
        ("limit=1000", &["a", "b", "c", "d"], false),
        ("limit=2", &["a", "b"], true),
        ("limit=2&after_id=b", &["c", "d"], false),
        ("after_id=a&limit=2", &["b", "c"], true),
        ("before_id=d&limit=2", &["b", "c"], true),
        ("before_id=c", &["a", "b"], false),
        ("after_id=d", &[], false),
        ("other=1&limit=1", &["a"], true),
    ] {
        assert_eq!(cut(query), Ok((ids.to_vec(), has_more)), "{query}");
    }
    for query in ["limit=0", "limit=x", "limit=1001", "after_id=nope"] {
        assert_eq!(cut(query), Err(ErrorCode::BadRequest), "{query}");
    }
}

// Spec: api A-33.
#[test]
fn percent_encoding_is_undone_or_refused() {
    for (text, expected) in [
        ("a.b", Some("a.b")),
        ("meta%2Fllama", Some("meta/llama")),
        ("a%3ab", Some("a:b")),
        ("%", None),
        ("%2", None),
        ("%zz", None),
        ("%+1", None),
        ("%ff", None),
    ] {
        assert_eq!(decode(text).as_deref(), expected, "{text}");
    }
}
