//! What `--validate` prints.

use std::cell::RefCell;
use std::io;

use gate_config::{Report, Sources};

use crate::{QUIET, text};

fn free(_host: &str, _port: u16) -> io::Result<()> {
    Ok(())
}

// Spec: mvp M-6; config C-6.
#[test]
fn a_usable_configuration_is_shown_whole() {
    let sources = text(
        "[llm.provider.openai]\napi_key = 'k'\nmodel = 'gpt-4'\nmodels = ['gpt-4', 'gpt-4o-mini']\n\
         [llm.provider.openai.azure]\napi_base = 'https://r.openai.azure.com/openai/deployments/d'\napi_key = 'a'\n\
         [llm.provider.anthropic.glm]\napi_base = 'https://open.bigmodel.cn/api/anthropic'\n\
         [llm.provider.anthropic.glm.glm-5]\nmodel = 'glm-5-air'\n",
    )
    .with_env([("EMX_LLM_PORT", "9000")]);
    let report = Report::of(&sources, &free);
    assert!(report.is_ok());
    assert_eq!(
        report.to_string(),
        "\
the configuration is usable

address:  http://127.0.0.1:9000
sources:  a.toml
          environment variable EMX_LLM_PORT
warnings: llm.provider.anthropic.glm: has no key; set `api_key`, or `auth = \"none\"` if it needs none
hints:    llm.provider.openai.azure: an Azure deployment needs `query = { api-version = \"2024-10-21\" }`
          llm.provider.openai.azure: Azure takes a key with `auth = \"api-key\"`; a bearer token must be one of Entra ID

openai  https://api.openai.com/v1/chat/completions (key from a.toml, only these models)
  openai.gpt-4        sends `gpt-4`
  openai.gpt-4o-mini  sends `gpt-4o-mini`

openai.azure  https://r.openai.azure.com/openai/deployments/d/chat/completions (key from a.toml, passes other models through)

anthropic.glm  https://open.bigmodel.cn/api/anthropic/v1/messages (no key, passes other models through)
  anthropic.glm.glm-5  sends `glm-5-air`"
    );
}

// Spec: config C-56.
#[test]
fn a_deployment_is_shown_for_each_model() {
    let sources = text(
        "[llm.provider.openai.azure]\napi_base = 'https://r.openai.azure.com/openai/deployments/{model}'\n\
         query = { api-version = '1' }\nauth = 'api-key'\napi_key = 'a'\nmodels = ['gpt-4', 'ft:b']\n",
    );
    let report = Report::of(&sources, &free).to_string();
    let providers = report.split_once("\n\n").and_then(|(_, rest)| rest.split_once("\n\n")).unwrap().1;
    assert_eq!(
        providers,
        "\
openai.azure  https://r.openai.azure.com/openai/deployments/{model}/chat/completions?api-version=1 (key from a.toml, only these models)
  openai.azure.gpt-4  sends `gpt-4` to https://r.openai.azure.com/openai/deployments/gpt-4/chat/completions?api-version=1
  openai.azure.ft:b   sends `ft:b` to https://r.openai.azure.com/openai/deployments/ft%3Ab/chat/completions?api-version=1"
    );
}

// Spec: mvp M-6.
#[test]
fn every_problem_is_shown_and_the_address_is_not_tried() {
    let calls = RefCell::new(0);
    let report = Report::of(&text("[llm]\nport = 'x'\nhots = 'y'"), &|_, _| {
        *calls.borrow_mut() += 1;
        Ok(())
    });
    assert!(!report.is_ok());
    assert_eq!(
        report.to_string(),
        "the configuration cannot be used: 2 problems\n\
         llm.hots (a.toml): there is no such setting; did you mean `host`?\n\
         llm.port (a.toml): expected a whole number from 0 to 65535, found the text \"x\""
    );
    assert_eq!(*calls.borrow(), 0);
}

// Spec: mvp M-6.
#[test]
fn an_address_that_is_taken_is_not_ok() {
    let tried = RefCell::new(Vec::new());
    let report = Report::of(&text(&format!("[llm]\nhost = '::1'\nport = 80\n{QUIET}")), &|host, port| {
        tried.borrow_mut().push((host.to_owned(), port));
        Err(io::Error::new(io::ErrorKind::AddrInUse, "address in use"))
    });
    assert!(!report.is_ok());
    assert_eq!(*tried.borrow(), [("::1".to_owned(), 80)]);
    let lines = report.to_string();
    assert!(
        lines.starts_with(
            "the address cannot be used\n\naddress:  http://[::1]:80 cannot be used: address in use\n"
        ),
        "{lines}"
    );
}

// Spec: config C-46.
#[test]
fn a_gateway_that_could_only_refuse_is_not_ok() {
    let report = Report::of(&Sources::empty(), &free);
    assert!(!report.is_ok());
    assert_eq!(
        report.to_string(),
        "\
the configuration is not usable: it configures no provider

address:  http://127.0.0.1:8848
sources:  built-in defaults only
warnings: no provider and no key is configured, so every request will be refused; add a key, or start with --demo"
    );
}

// Spec: config C-43; mvp M-6.
#[test]
fn warnings_are_shown_below_the_problems() {
    let sources = text("[llm]\nport = 'x'").with_env([("EMX_LLM_PROT", "1")]);
    assert_eq!(
        Report::of(&sources, &free).to_string(),
        "\
the configuration cannot be used: 1 problem
llm.port (a.toml): expected a whole number from 0 to 65535, found the text \"x\"
warnings:
environment variable EMX_LLM_PROT: ignored: it matches no setting and no section; did you mean EMX_LLM_PORT?"
    );
}

// Spec: mvp M-6.
#[test]
fn hints_point_at_what_looks_unfinished() {
    let check = |settings: &str, hint: Option<&str>| {
        let toml = format!("[llm.provider.openai]\napi_key = 'k'\n{settings}");
        let report = Report::of(&text(&toml), &free).to_string();
        let found = report.lines().find_map(|line| line.strip_prefix("hints:    llm.provider.openai: "));
        assert_eq!(found, hint, "{report}");
    };
    let azure = "api_base = 'https://r.openai.azure.com/openai/deployments/d'\nauth = 'api-key'\n";
    check(azure, Some("an Azure deployment needs `query = { api-version = \"2024-10-21\" }`"));
    check(&format!("{azure}query = {{ api-version = '1' }}"), None);
    check(
        "api_base = 'https://r.openai.azure.com/openai/deployments/d?api-version=1'\nauth = 'api-key'",
        None,
    );
    check("api_base = 'https://r.openai.azure.com/openai/v1'\nauth = 'api-key'", None);
    check("api_base = 'http://10.0.0.1:8000/v1'", Some("sends its key to 10.0.0.1:8000 without encryption"));
    for local in ["localhost", "127.8.8.8", "[::1]", "[::ffff:127.0.0.1]"] {
        check(&format!("api_base = 'http://{local}:8000/v1'"), None);
    }
    check(
        "api_base = 'http://127.example:8000/v1'",
        Some("sends its key to 127.example:8000 without encryption"),
    );
    check("api_base = 'http://10.0.0.1:8000/v1'\nauth = 'none'", None);
}

#[test]
fn any_free_port_is_said_so() {
    let report = Report::of(&text(&format!("[llm]\nport = 0\n{QUIET}")), &free).to_string();
    assert!(report.contains("address:  http://127.0.0.1 (any free port)\n"), "{report}");
}
