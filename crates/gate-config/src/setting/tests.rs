//! The table of settings, by the slips that people make.

use super::*;

#[test]
fn a_slip_of_the_keyboard_finds_its_setting() {
    for (table, name, expected) in [
        (TableKind::Provider, "api_kye", Some("api_key")),
        (TableKind::Provider, "apikey", Some("api_key")),
        (TableKind::Provider, "API_KEY", Some("api_key")),
        (TableKind::Provider, "base_ulr", Some("base_url")),
        (TableKind::Provider, "wieght", Some("weight")),
        (TableKind::Llm, "hosts", Some("host")),
        (TableKind::Llm, "limit", Some("limits")),
        (TableKind::Limits, "max_conections", Some("max_connections")),
        (TableKind::Timeout, "drain-delay", Some("drain_delay")),
        (TableKind::Llm, "banana", None),
    ] {
        assert_eq!(table.nearest(name), expected, "{name}");
    }
}

#[test]
fn no_name_means_two_settings() {
    for table in [
        TableKind::Llm,
        TableKind::Limits,
        TableKind::Timeout,
        TableKind::Tls,
        TableKind::LoadBalancing,
        TableKind::Retry,
        TableKind::CircuitBreaker,
        TableKind::HealthCheck,
        TableKind::ProviderRoot,
        TableKind::Provider,
    ] {
        let mut names: Vec<_> =
            table.settings().iter().flat_map(|s| [&[s.name], s.aliases].concat()).collect();
        names.extend(table.subtables().iter().chain(table.later()));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "{table:?}");
    }
}
