//! Which cause makes which kind, and how an error reads.

use std::collections::HashSet;

use super::*;

#[test]
fn exhaustion_of_this_machine_is_not_blamed_on_the_provider() {
    fn check(fault: fn(io::Error) -> Fault, error: io::Error, kind: UpstreamErrorKind) {
        let shown = error.to_string();
        assert_eq!(fault(error).kind, kind, "{shown}");
    }
    use UpstreamErrorKind::{Connect, Dns, LocalResource};
    let os = io::Error::from_raw_os_error;
    let (too_many_files_here, too_many_files_anywhere) = (24, 23);
    for code in [too_many_files_here, too_many_files_anywhere] {
        check(Fault::connect, os(code), LocalResource);
        check(Fault::dns, os(code), LocalResource);
    }
    check(Fault::connect, io::ErrorKind::AddrNotAvailable.into(), LocalResource);
    check(Fault::connect, io::ErrorKind::OutOfMemory.into(), LocalResource);
    check(Fault::connect, io::ErrorKind::ConnectionRefused.into(), Connect);
    check(Fault::connect, io::ErrorKind::NetworkUnreachable.into(), Connect);
    check(Fault::dns, io::Error::other("no such host"), Dns);
}

#[test]
fn an_error_says_what_happened_at_which_provider_and_its_source_why() {
    let endpoint: Arc<str> = Arc::from("openai.eu");
    let error = UpstreamError::new(
        Arc::clone(&endpoint),
        Sent::Nothing,
        0,
        Fault::connect(io::ErrorKind::ConnectionRefused.into()),
    );
    assert_eq!(error.to_string(), "provider `openai.eu`: cannot connect");
    assert_eq!(error.source().unwrap().to_string(), "connection refused");
    assert_eq!((error.kind(), error.sent()), (UpstreamErrorKind::Connect, Sent::Nothing));

    let error = UpstreamError::new(endpoint, Sent::Maybe, 0, UpstreamErrorKind::ReadTimeout.into());
    assert_eq!(error.to_string(), "provider `openai.eu`: the response body fell silent");
    assert!(error.source().is_none());
}

#[test]
fn kinds_have_names_of_their_own() {
    use UpstreamErrorKind::*;
    let kinds = [
        Dns,
        DnsTimeout,
        Connect,
        ConnectTimeout,
        Tls,
        TlsTimeout,
        Closed,
        ClosedMidBody,
        Protocol,
        FirstByteTimeout,
        ReadTimeout,
        WriteTimeout,
        TotalTimeout,
        PoolFull,
        LocalResource,
        InvalidRequest,
    ];
    let names: HashSet<_> = kinds.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(names.len(), kinds.len());
    for kind in kinds {
        assert_eq!(kind.is_timeout(), kind.as_str().ends_with("_timeout"), "{kind:?}");
    }
}
