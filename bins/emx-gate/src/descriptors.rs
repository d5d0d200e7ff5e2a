//! Room for connections: each takes a file descriptor, and the limit that a shell or a service manager
//! starts programs with is often the 1024 that old programs can bear. Beyond it connections fail.

/// Raises the limit on open files as far as the system lets this process. Returns a warning if so many
/// connections are still more than it allows.
pub(crate) fn make_room(max_connections: usize) -> Option<String> {
    let limit = raise()?;
    // A limit that does not fit a number of connections is none.
    let limit = usize::try_from(limit).ok()?;
    (max_connections >= limit).then(|| {
        format!(
            "`max_connections` is {max_connections}, but this process may open {limit} files, and each connection is \
             one; raise the limit (`ulimit -n`, `LimitNOFILE=`) or lower the setting"
        )
    })
}

/// Raises the soft limit to the hard one, and returns what then counts; nothing if there is no limit.
#[cfg(unix)]
fn raise() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        // Some systems have a hard limit on paper that they do not grant.
        Err(_) => current,
    }
}

/// Elsewhere sockets are not counted so.
#[cfg(not(unix))]
fn raise() -> Option<u64> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    // Spec: security S-39.
    #[test]
    fn the_limit_is_raised_and_what_it_does_not_allow_is_said() {
        use rustix::process::{Resource, getrlimit};

        assert_eq!(make_room(1), None);
        let limits = getrlimit(Resource::Nofile);
        assert_eq!(limits.current, limits.maximum);
        let Some(most) = limits.maximum else { return };
        let most = usize::try_from(most).unwrap();
        assert_eq!(make_room(most - 1), None);
        let warning = make_room(most).unwrap();
        assert!(
            warning
                .starts_with(&format!("`max_connections` is {most}, but this process may open {most} files"))
        );
    }
}
