//! What the command line means for `doctor`.

use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Only {
    #[command(flatten)]
    args: Args,
}

fn args(flags: &[&str]) -> Args {
    Only::try_parse_from([&["doctor"], flags].concat()).unwrap().args
}

// Spec: mvp M-16.
#[test]
fn flags_choose_clients_and_no_flag_chooses_all() {
    assert_eq!(args(&[]).clients(), Client::ALL);
    assert_eq!(args(&["--codex"]).clients(), [Client::Codex]);
    assert_eq!(args(&["--anthropic", "--openai"]).clients(), [Client::OpenAi, Client::Anthropic]);
}

// Spec: mvp M-16.
#[test]
fn a_model_is_meant_for_the_kind_that_it_can_have() {
    let check = |flags: &[&str], kind, expected| {
        let args = args(flags);
        assert_eq!(args.model_for(kind, &args.clients()), expected, "{flags:?} {kind}");
    };
    let (openai, anthropic) = (ProviderKind::OpenAi, ProviderKind::Anthropic);
    check(&["--model", "openai.azure.gpt-4"], openai, Some("openai.azure.gpt-4"));
    check(&["--model", "openai.azure.gpt-4"], anthropic, None);
    check(&["--model", "gpt-4", "--codex"], openai, Some("gpt-4"));
    check(&["--model", "gpt-4"], openai, None);
    check(&[], openai, None);
}

// Spec: mvp M-16.
#[test]
fn addresses_are_those_that_clients_are_given() {
    let check = |url: &str, expected: Result<&str, &str>| {
        let base = Caller::try_new(url, "k".to_owned()).map(|caller| caller.base());
        assert_eq!(base.as_deref(), expected.as_ref().copied(), "{url}");
    };
    check("http://127.0.0.1:8848", Ok("http://127.0.0.1:8848"));
    check("http://gate:80/v1/", Ok("http://gate:80"));
    check("http://gate/llm/v1", Ok("http://gate/llm"));
    check("https://gate/v1", Ok("https://gate"));
    check("127.0.0.1:8848", Err("is no URL: begin it with http:// or https://"));
    check("http://a b", Err("is no URL: write one such as http://127.0.0.1:8848"));
}

// Spec: mvp M-16.
#[test]
fn every_client_has_rules_and_every_rule_a_client() {
    for client in Client::ALL {
        let count = Check::ALL.iter().filter(|check| check.is_for(client)).count();
        assert!(count > 5, "{} has {count}", client.name());
    }
    for check in Check::ALL {
        assert!(Client::ALL.iter().any(|client| check.is_for(*client)), "{check:?}");
    }
}
