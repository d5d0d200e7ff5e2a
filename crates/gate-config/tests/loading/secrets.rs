//! Keys: where they come from, and that nothing shows them.

use std::fs;

use gate_config::{Report, Sources, load};

use crate::{loaded, problems, provider, text};

fn key(sources: &Sources) -> Option<String> {
    provider(&loaded(sources), "openai").api_key.map(|key| key.expose().to_owned())
}

// Spec: config C-39.
#[test]
fn a_key_can_be_in_a_variable_or_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.toml");
    let check = |content: &str, expected: &str| {
        fs::write(directory.path().join("key"), content).unwrap();
        fs::write(&config, "[llm.provider.openai]\napi_key = 'file:key'").unwrap();
        assert_eq!(key(&Sources::empty().with_file(&config)).as_deref(), Some(expected), "{content:?}");
    };
    check("sk-1", "sk-1");
    check("sk-1\n", "sk-1");
    check("sk-1\r\n", "sk-1");
    let absolute =
        format!("[llm.provider.openai]\napi_key = 'file:{}'", directory.path().join("key").display());
    assert_eq!(key(&text(&absolute)).as_deref(), Some("sk-1"));

    let by_name = text("[llm.provider.openai]\napi_key = 'env:MY_KEY'").with_env([("MY_KEY", "sk-2")]);
    assert_eq!(key(&by_name).as_deref(), Some("sk-2"));
    let twice = Sources::empty().with_env([("EMX_LLM_OPENAI_API_KEY", "env:MY_KEY"), ("MY_KEY", "sk-3")]);
    assert_eq!(key(&twice).as_deref(), Some("sk-3"));
}

// Spec: config C-40.
#[test]
fn a_key_that_is_not_there_names_its_setting() {
    let directory = tempfile::tempdir().unwrap();
    let check = |value: &str, message: &str| {
        let sources = text(&format!("[llm.provider.openai]\napi_key = '{value}'")).with_env([("EMPTY", "")]);
        assert_eq!(problems(&sources), [format!("llm.provider.openai.api_key (a.toml): {message}")]);
    };
    check("env:NOT_SET", "the environment variable `NOT_SET` is not set, or is empty");
    check("env:EMPTY", "the environment variable `EMPTY` is not set, or is empty");
    check("env:", "the environment variable that it names is not set, or is empty");
    // Someone who puts the key itself there must not find it in a log.
    check("env:sk-canary", "the environment variable that it names is not set, or is empty");
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("empty"), "\n").unwrap();
    check(&format!("file:{}", path("empty")), &format!("the file `{}` is empty", path("empty")));
    fs::write(path("two-lines"), "a\nb\n").unwrap();
    check(
        &format!("file:{}", path("two-lines")),
        "the key holds a character that no header can carry (byte 1): only printable ASCII",
    );
    let missing = path("missing");
    let found = problems(&text(&format!("[llm.provider.openai]\napi_key = 'file:{missing}'")));
    assert!(found[0].contains(&format!("cannot read the file `{missing}`: ")), "{found:?}");
    let pasted = problems(&text("[llm.provider.openai]\napi_key = 'file:sk-canary'"));
    assert!(
        pasted[0].contains("cannot read the file that it names: ") && !pasted[0].contains("canary"),
        "{pasted:?}"
    );
}

// Spec: config C-41.
#[test]
fn no_output_shows_a_key() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("key"), "canary-file").unwrap();
    let path = directory.path().join("config.toml");
    let keys = "[llm.provider.openai]\napi_key = 'canary-literal'\nheaders = { x-token = 'canary-header' }\n\
                query = { token = 'canary-query' }\n\
                [llm.provider.openai.x]\napi_base = 'https://x.example/v1?key=canary-base'\napi_key = 'env:MY_KEY'\n\
                [llm.provider.anthropic]\napi_key = 'file:key'\n";
    let env =
        [("MY_KEY", "canary-env"), ("OPENAI_API_KEY", "canary-loser"), ("ANTHROPIC_API_KEY", "canary-loser")];
    let check = |toml: &str, is_usable: bool| {
        fs::write(&path, toml).unwrap();
        let sources = Sources::empty().with_file(&path).with_env(env);
        let report = Report::of(&sources, &|_, _| Ok(()));
        assert_eq!(report.is_ok(), is_usable, "{report}");
        let mut outputs = vec![format!("{sources:?}"), report.to_string(), format!("{report:?}")];
        match load(&sources) {
            Ok(loaded) => {
                outputs.push(format!("{loaded:?}"));
                outputs.extend(loaded.warnings.iter().map(ToString::to_string));
            }
            Err(problems) => outputs.extend([problems.to_string(), format!("{problems:?}")]),
        }
        for output in outputs {
            assert!(!output.contains("canary"), "{output}");
        }
    };
    check(keys, true);
    // Problems about keys, and about what was meant to be one.
    for broken in [
        "[llm.provider.openai]\napi_key = ['canary']",
        "[llm.provider.openai]\napi_key = { k = 'canary' }",
        "[llm.provider.openai]\napi_key = \"canary\\u007f\"",
        "[llm.provider.openai]\napi_key = \"canary\\n\"",
        "[llm.provider.openai]\napi_key = 'canary '",
        "[llm.provider.openai]\napi_key = 'env:canary'",
        "[llm.provider.openai]\napi_key = 'file:canary'",
        "[llm.provider.openai]\napi_kye = 'canary'",
        "[llm.provider.openai]\napi_keys = ['canary', 'canary']",
        "[llm.provider.openai]\napi_keys = 'canary'",
        "[llm.provider.openai]\napi_keys = ['env:canary', 'file:canary', 'canary ']",
        "[llm.provider]\nopenai = 'canary'",
        "[llm.auth]\nkeys = ['canary']",
        "[llm.provider.openai]\nheaders = { authorization = 'canary' }",
        "[llm.provider.openai]\nheaders = { a = \"canary\\n\" }",
        "[llm.provider.openai]\nheaders = 'canary'",
        "[llm.provider.openai]\nquery = 'canary'",
        "[llm.provider.openai]\napi_base = 'https://user:canary@x.example'",
        "[llm.provider.openai]\napi_base = 'ftp://x.example/?key=canary'",
        "[llm.provider.openai]\napi_key = 'canary",
        "[llm.provider.openai]\napi_key = canary",
    ] {
        check(broken, false);
    }
}
