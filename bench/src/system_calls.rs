//! What the standard library has not got, and what differs outside Unix. The benchmark runs on Linux
//! only; elsewhere it has to compile, as the workspace does.

use std::fs::File;
use std::io;
use std::path::Path;

/// Asks a process to end by itself. One that cannot be asked any more has ended.
#[cfg(unix)]
pub(crate) fn ask_to_end(id: u32) {
    use rustix::process::{Pid, Signal, kill_process};
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// Lets this process and those it starts open as many files as the system allows, and returns how
/// many that is.
#[cfg(unix)]
pub(crate) fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Where it fails the scenarios with many streams say so by themselves.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Creates a file that only its owner reads, as the gateway asks of one with a key.
#[cfg(unix)]
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Lets other users into a folder.
#[cfg(unix)]
pub(crate) fn open_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
pub(crate) fn ask_to_end(_id: u32) {}

#[cfg(not(unix))]
pub(crate) fn raise_open_files() -> u64 {
    0
}

#[cfg(not(unix))]
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    File::create(path)
}

#[cfg(not(unix))]
pub(crate) fn open_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}
