//! Says on what the figures were reached: figures without it cannot be compared.

use std::fs;
use std::process::Command;

use crate::systems::Kind;

/// Returns one line about machine, commit and versions.
pub(crate) fn describe(kinds: &[Kind]) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": ")).map_or("unknown CPU", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let commit = output("git", &["describe", "--always", "--dirty"]);
    let mut line = format!("{model}, {cores} cores, Linux {}, commit {commit}", kernel.trim());
    for kind in kinds {
        let version = match kind {
            Kind::Nginx => output("/usr/sbin/nginx", &["-v"]),
            Kind::Haproxy => output("/usr/sbin/haproxy", &["-v"]),
            Kind::Direct | Kind::Gateway => continue,
        };
        line += ", ";
        line += version.lines().next().unwrap_or_default();
    }
    line
}

/// Returns what a program says; versions come on either stream.
fn output(program: &str, arguments: &[&str]) -> String {
    let said = Command::new(program).args(arguments).output();
    said.map_or_else(
        |_| "unknown".to_owned(),
        |said| String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).trim().to_owned(),
    )
}
