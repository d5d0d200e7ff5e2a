//! When the system is asked and when memory answers, on a paused clock.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::time::{advance, sleep};

use super::*;

fn addresses(list: &[&str]) -> Vec<SocketAddr> {
    list.iter().map(|address| address.parse().unwrap()).collect()
}

async fn ask(resolver: &Resolver, outcome: io::Result<Vec<SocketAddr>>) -> io::Result<Vec<SocketAddr>> {
    resolver.resolve("api.test", 443, async { outcome }).await
}

fn fails<T>() -> io::Result<T> {
    Err(io::Error::other("no answer from the name server"))
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_fresh_for_thirty_seconds_and_stands_in_for_five_minutes() {
    let resolver = Resolver::default();
    let (old, new) = (addresses(&["1.1.1.1:443"]), addresses(&["2.2.2.2:443"]));
    assert_eq!(ask(&resolver, Ok(old.clone())).await.unwrap(), old);
    advance(Duration::from_millis(29_999)).await;
    assert_eq!(ask(&resolver, Ok(new.clone())).await.unwrap(), old, "still fresh");
    advance(Duration::from_millis(1)).await;
    assert_eq!(ask(&resolver, fails()).await.unwrap(), old, "not fresh, but usable");
    assert_eq!(ask(&resolver, Ok(new.clone())).await.unwrap(), new, "asked again each time until then");
    advance(Duration::from_millis(299_999)).await;
    assert_eq!(ask(&resolver, fails()).await.unwrap(), new);
    advance(Duration::from_millis(1)).await;
    assert_eq!(ask(&resolver, fails()).await.unwrap_err().to_string(), "no answer from the name server");
}

#[tokio::test(start_paused = true)]
async fn a_host_without_addresses_is_an_error() {
    let resolver = Resolver::default();
    let error = ask(&resolver, Ok(Vec::new())).await.unwrap_err();
    assert_eq!(error.to_string(), "the host has no address");
}

#[tokio::test(start_paused = true)]
async fn hosts_and_ports_are_told_apart() {
    let resolver = Resolver::default();
    let first = addresses(&["1.1.1.1:443"]);
    ask(&resolver, Ok(first)).await.unwrap();
    for (host, port) in [("api.test", 80), ("api.other", 443)] {
        let own = addresses(&["3.3.3.3:1"]);
        let answer = resolver.resolve(host, port, async { Ok(own.clone()) }).await.unwrap();
        assert_eq!(answer, own, "{host}:{port}");
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_ask_together_ask_once() {
    let resolver = Arc::new(Resolver::default());
    let asked = Arc::new(AtomicUsize::new(0));
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (resolver, asked) = (Arc::clone(&resolver), Arc::clone(&asked));
        askers.spawn(async move {
            let lookup = async {
                asked.fetch_add(1, Relaxed);
                sleep(Duration::from_secs(1)).await;
                Ok(addresses(&["1.1.1.1:443"]))
            };
            resolver.resolve("api.test", 443, lookup).await.unwrap()
        });
    }
    assert_eq!(askers.join_all().await.len(), 100);
    assert_eq!(asked.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_asker_who_leaves_passes_the_turn_on() {
    let resolver = Resolver::default();
    let never = resolver.resolve("api.test", 443, std::future::pending());
    assert!(tokio::time::timeout(Duration::from_secs(1), never).await.is_err());
    let found = addresses(&["1.1.1.1:443"]);
    assert_eq!(ask(&resolver, Ok(found.clone())).await.unwrap(), found);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_answer_is_asked_for_again() {
    let resolver = Resolver::default();
    ask(&resolver, Ok(addresses(&["1.1.1.1:443"]))).await.unwrap();
    resolver.forget("api.test", 443);
    let moved = addresses(&["2.2.2.2:443"]);
    assert_eq!(ask(&resolver, Ok(moved.clone())).await.unwrap(), moved);
}
