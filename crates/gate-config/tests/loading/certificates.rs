//! Files of certificates and keys: what is missing in them is found at load.

use std::fs;
use std::path::Path;

use gate_config::{Report, Sources, TlsConfig};
use tempfile::TempDir;

use crate::{QUIET, loaded, problems, provider};

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";

/// Returns a directory with the files of a root and of a provider below it.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in [("ca.pem", CERTIFICATE), ("root.pem", CERTIFICATE), ("x.pem", CERTIFICATE)] {
        fs::write(directory.path().join(name), content).unwrap();
    }
    for name in ["root.key", "x.key"] {
        fs::write(directory.path().join(name), KEY).unwrap();
    }
    directory
}

/// Returns a configuration that lies beside its files.
fn config(directory: &Path, toml: &str) -> Sources {
    let path = directory.join("config.toml");
    Sources::empty().with_text(path.to_str().unwrap(), toml)
}

// Spec: config C-19, C-28.
#[test]
fn a_certificate_is_inherited_with_its_key() {
    let directory = directory();
    let toml = "[llm.provider.openai]\napi_key = 'k'\nca_file = 'ca.pem'\n\
                client_cert_file = 'root.pem'\nclient_key_file = 'root.key'\n\
                [llm.provider.openai.eu]\napi_key = 'k'\n\
                [llm.provider.openai.x]\napi_key = 'x'\nclient_cert_file = 'x.pem'\nclient_key_file = 'x.key'";
    let loaded = loaded(&config(directory.path(), toml));
    for (path, cert, key) in [("openai.eu", "root.pem", "root.key"), ("openai.x", "x.pem", "x.key")] {
        let provider = provider(&loaded, path);
        let identity = provider.client_identity.unwrap();
        assert_eq!(identity.cert_file, directory.path().join(cert));
        assert_eq!(identity.key_file, directory.path().join(key));
        assert_eq!(provider.ca_file.unwrap(), directory.path().join("ca.pem"));
    }
}

// Spec: config C-28.
#[test]
fn half_a_pair_is_refused_even_where_the_other_half_is_inherited() {
    let directory = directory();
    let together = "`client_cert_file` and `client_key_file` go together; set both in one table, or none";
    let check = |toml: &str, keys: &[&str]| {
        let sources = config(directory.path(), toml);
        let file = directory.path().join("config.toml");
        let expected: Vec<_> =
            keys.iter().map(|key| format!("llm.provider.{key} ({}): {together}", file.display())).collect();
        assert_eq!(problems(&sources), expected, "{toml}");
    };
    let (cert, key) = ("client_cert_file = 'root.pem'\n", "client_key_file = 'root.key'\n");
    let openai = "[llm.provider.openai]\n";
    check(&format!("{openai}{cert}"), &["openai.client_cert_file"]);
    check(&format!("{openai}{key}"), &["openai.client_key_file"]);
    check(&format!("[llm.provider]\n{cert}"), &["client_cert_file"]);
    let below = "[llm.provider.openai.x]\napi_key = 'k'\n";
    check(&format!("{openai}{cert}{key}{below}{cert}"), &["openai.x.client_cert_file"]);
    check(&format!("{openai}{cert}{key}{below}{key}"), &["openai.x.client_key_file"]);
    check(&format!("{openai}{cert}{below}{key}"), &["openai.client_cert_file", "openai.x.client_key_file"]);
    // Two sources may each say one half of one table.
    let halves = config(directory.path(), &format!("{openai}api_key = 'k'\n{cert}"));
    let key_file = directory.path().join("root.key").display().to_string();
    let halves = halves.with_env([("EMX_LLM_OPENAI_CLIENT_KEY_FILE", key_file)]);
    assert!(provider(&loaded(&halves), "openai").client_identity.is_some());
}

// Spec: config C-52.
#[test]
fn files_that_hold_nothing_of_use_are_found_at_load() {
    let directory = directory();
    let no_certificate = "holds no certificate in PEM form (`-----BEGIN CERTIFICATE-----`)";
    let no_key = "holds no private key in PEM form (`-----BEGIN PRIVATE KEY-----`)";
    let damaged = "is damaged: a block in it has no end, or is not base64";
    let check = |setting: &str, content: &str, message: Option<&str>| {
        let file = directory.path().join("file.pem");
        fs::write(&file, content).unwrap();
        let other = match setting {
            "client_cert_file" => "client_key_file = 'x.key'",
            "client_key_file" => "client_cert_file = 'x.pem'",
            _ => "",
        };
        let toml = format!("[llm.provider.openai]\n{setting} = 'file.pem'\n{other}");
        let config_file = directory.path().join("config.toml");
        let place = format!("llm.provider.openai.{setting} ({}): ", config_file.display());
        let expected = message.map(|message| place + &message.replace("FILE", &file.display().to_string()));
        assert_eq!(problems(&config(directory.path(), &toml)), Vec::from_iter(expected), "{content}");
    };
    let holds = |nothing: &str| format!("the file `FILE` {nothing}");
    for setting in ["ca_file", "client_cert_file"] {
        check(setting, CERTIFICATE, None);
        check(setting, &format!("a comment\r\n{}", CERTIFICATE.replace('\n', "\r\n")), None);
        check(setting, &format!("{KEY}{CERTIFICATE}"), None);
        check(setting, "", Some(&holds(no_certificate)));
        check(setting, KEY, Some(&holds(no_certificate)));
        check(setting, "-----BEGIN CERTIFICATE-----\nMAA=\n", Some(&holds(damaged)));
        check(setting, &CERTIFICATE.replace("END", "BEGIN"), Some(&holds(damaged)));
        check(setting, &CERTIFICATE.replace("END CERT", "END OTHER CERT"), Some(&holds(damaged)));
        check(setting, &CERTIFICATE.replace("MAA=", "MAA=\n?"), Some(&holds(damaged)));
        check(setting, &format!("{CERTIFICATE}{}", CERTIFICATE.replace("MAA=", "é")), Some(&holds(damaged)));
        check(setting, &format!("{CERTIFICATE}{}", KEY.replace("MAA=", "?")), None);
        check(setting, "0\u{82}\u{1}der", Some(&holds(no_certificate)));
    }
    for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
        check("client_key_file", &KEY.replace("PRIVATE KEY", label), None);
    }
    check("client_key_file", CERTIFICATE, Some(&holds(no_key)));
    check("client_key_file", &KEY.replace("PRIVATE", "PUBLIC"), Some(&holds(no_key)));
    check("client_key_file", &KEY.replace("MAA=", "MAA"), None);
    let encrypted = "the private key in `FILE` is encrypted, and nobody is there to type its password; \
                     decrypt it with `openssl pkey`";
    check("client_key_file", &KEY.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), Some(encrypted));
    let headers = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMAA=";
    let old_style = KEY.replace("PRIVATE", "RSA PRIVATE").replace("MAA=", headers);
    check("client_key_file", &old_style, Some(encrypted));
}

// Spec: config C-41, C-52.
#[test]
fn files_that_cannot_be_read_are_named_and_pasted_keys_are_not() {
    let directory = directory();
    let check = |name: &str, value: &str, message: &str| {
        let toml = format!("[llm.provider.openai]\n{name} = '''{value}'''");
        let found = problems(&config(directory.path(), &toml));
        assert!(found[0].starts_with(&format!("llm.provider.openai.{name} (")), "{found:?}");
        assert!(found[0].contains(message) && !found[0].contains("MAA="), "{found:?}");
    };
    let missing = format!("cannot read the file `{}`: ", directory.path().join("none.pem").display());
    let is_directory = format!("cannot read the file `{}`: ", directory.path().join(".").display());
    for name in ["ca_file", "client_cert_file", "client_key_file"] {
        check(name, "none.pem", &missing);
        check(name, ".", &is_directory);
        check(name, KEY, "expected the path of a PEM file, found what such a file holds");
    }
}

// Spec: config C-58.
#[test]
fn the_listeners_files_switch_its_tls_on() {
    let directory = directory();
    let check = |toml: &str, is_on: bool| {
        let sources = config(directory.path(), &format!("{QUIET}{toml}"));
        let files = TlsConfig {
            cert_file: directory.path().join("root.pem"),
            key_file: directory.path().join("root.key"),
        };
        assert_eq!(loaded(&sources).config.server.tls, is_on.then_some(files), "{toml}");
    };
    let files = "[llm.tls]\ncert_file = 'root.pem'\nkey_file = 'root.key'\n";
    check("", false);
    check("[llm.tls]\n", false);
    check("[llm.tls]\nenabled = false\n", false);
    check(files, true);
    check(&format!("{files}enabled = true\n"), true);
    check(&format!("{files}enabled = false\n"), false);
    check("[llm.tls]\nenabled = false\ncert_file = 'nowhere.pem'\n", false);
    // Half of it may come from the environment, as seen from where the program was started.
    let half = config(directory.path(), &format!("{QUIET}[llm.tls]\ncert_file = 'root.pem'\n"));
    let key_file = directory.path().join("root.key").display().to_string();
    let whole = half.with_env([("EMX_LLM_TLS_KEY_FILE", key_file)]);
    assert!(loaded(&whole).config.server.tls.is_some());
}

// Spec: config C-58.
#[test]
fn a_listener_without_what_it_needs_is_refused() {
    let directory = directory();
    let file = directory.path().join("config.toml");
    let check = |toml: &str, setting: &str, message: &str| {
        let found = problems(&config(directory.path(), &format!("[llm.tls]\n{toml}")));
        assert_eq!(found, [format!("llm.tls.{setting} ({}): {message}", file.display())], "{toml}");
    };
    let needs =
        |missing: &str| format!("a TLS listener needs `cert_file` and `key_file`; `{missing}` is not set");
    check("enabled = true", "enabled", &needs("cert_file"));
    check("cert_file = 'root.pem'", "cert_file", &needs("key_file"));
    check("key_file = 'root.key'", "key_file", &needs("cert_file"));
    check("enabled = 1", "enabled", "expected `true` or `false`, found the number 1");
    check("certfile = 'root.pem'", "certfile", "there is no such setting; did you mean `cert_file`?");
    let holds = |name: &str, noun: &str| {
        format!("the file `{}` holds no {noun} in PEM form", directory.path().join(name).display())
    };
    let swapped = config(directory.path(), "[llm.tls]\ncert_file = 'root.key'\nkey_file = 'root.pem'\n");
    let found = problems(&swapped);
    assert!(found[0].contains(&holds("root.key", "certificate")), "{found:?}");
    assert!(found[1].contains(&holds("root.pem", "private key")), "{found:?}");
}

// Spec: config C-58.
#[test]
fn the_report_shows_the_listener_and_what_its_certificate_lacks() {
    let directory = directory();
    let toml = format!("{QUIET}[llm.tls]\ncert_file = 'root.pem'\nkey_file = 'root.key'\n");
    let sources = config(directory.path(), &toml);
    let cert = directory.path().join("root.pem").display().to_string();
    let check = |certified: Result<(), String>, verdict: &str, line: &str| {
        let report = Report::with_certificate(&sources, &|_, _| Ok(()), &|_| certified.clone());
        assert_eq!(report.is_ok(), certified.is_ok());
        let report = report.to_string();
        assert!(report.starts_with(verdict), "{report}");
        assert!(report.contains("address:  https://127.0.0.1:8848\n"), "{report}");
        assert!(report.contains(&format!("tls:      certificate from {cert}{line}\n")), "{report}");
    };
    check(Ok(()), "the configuration is usable", "");
    let why = "the key is another's";
    check(Err(why.to_owned()), "the certificate cannot be used", &format!(" cannot be used: {why}"));
}

// Spec: config C-58.
#[cfg(unix)]
#[test]
fn a_listeners_key_that_others_can_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let directory = directory();
    let key = directory.path().join("root.key");
    let toml = format!("{QUIET}[llm.tls]\ncert_file = 'root.pem'\nkey_file = 'root.key'\n");
    for (mode, count) in [(0o600, 0), (0o644, 1)] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let warnings = loaded(&config(directory.path(), &toml)).warnings;
        let about_key = warnings.iter().filter(|warning| warning.to_string().contains("root.key"));
        assert_eq!(about_key.count(), count, "{mode:o}: {warnings:?}");
    }
}

// Spec: config C-59, C-60.
#[test]
fn one_address_may_have_half_of_the_connections_unless_it_is_said() {
    for (toml, most, streams) in [
        ("", Some(5000), 128),
        ("max_connections = 1", Some(1), 128),
        ("max_connections = 300", Some(150), 128),
        ("max_connections_per_ip = 7\nmax_streams_per_connection = 9", Some(7), 9),
        ("max_connections_per_ip = 0", None, 128),
    ] {
        let sources = Sources::empty().with_text("a.toml", &format!("[llm.limits]\n{toml}\n"));
        let limits = loaded(&sources).config.server.limits;
        assert_eq!(limits.max_connections_per_ip, most, "{toml}");
        assert_eq!(limits.max_streams_per_connection, streams, "{toml}");
    }
}

// Spec: config C-61.
#[test]
fn a_silent_client_is_asked_as_often_as_it_is_said() {
    for (toml, interval, timeout) in [
        ("", Some(30.0), 20.0),
        ("ping_interval = 0", None, 20.0),
        ("ping_interval = 0.5\nping_timeout = 2", Some(0.5), 2.0),
    ] {
        let sources = Sources::empty().with_text("a.toml", &format!("[llm.limits]\n{toml}\n"));
        let limits = loaded(&sources).config.server.limits;
        assert_eq!(limits.ping_interval.map(|time| time.as_secs_f64()), interval, "{toml}");
        assert_eq!(limits.ping_timeout.as_secs_f64(), timeout, "{toml}");
    }
}
