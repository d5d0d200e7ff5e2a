//! `cargo xtask validate-config` as a process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::path::Path;
use std::process::{Command, Output};

use gate_config::{Report, SourceArgs, Sources};

fn run(home: &Path, file: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.env_clear().env("HOME", home).env("EMX_HOME", home).current_dir(home);
    command.arg("validate-config").arg(file).output().unwrap()
}

// Spec: mvp M-7.
#[test]
fn it_prints_the_same_report_as_the_gateway() {
    let home = tempfile::TempDir::new().unwrap();
    for (text, code) in [
        ("[llm]\nport = 0\n[llm.provider.openai]\napi_key = \"k\"\nmodel = \"gpt-4\"\n", 0),
        ("[llm]\nprot = 0\n", 1),
    ] {
        let file = home.path().join("gate.toml");
        std::fs::write(&file, text).unwrap();
        let output = run(home.path(), &file);
        assert_eq!(output.status.code(), Some(code));
        let sources = Sources::empty().with_file(&file).with_args(SourceArgs::default());
        let report = Report::of(&sources, &|_, _| Ok(()));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{report}\n"));
    }
}
