//! Budget taken, waited for and given back, on a paused clock.

use std::time::Duration;

use tokio::time::Instant;

use super::*;

const KIB: u64 = 1024;

fn limits(most: u64) -> Limits {
    Limits { max_body_memory_bytes: most, body_memory_wait: Duration::from_secs(1), ..Limits::default() }
}

fn held(memory: &Arc<BodyMemory>) -> u64 {
    memory.held.load(SeqCst)
}

// Spec: security S-44.
#[tokio::test(start_paused = true)]
async fn a_body_takes_what_has_come_and_not_what_was_declared() {
    let (limits, memory) = (limits(1024 * KIB), Arc::default());
    let bounds = Bounds { limits: &limits, memory: &memory };
    for (declared, first) in [(None, 64 * KIB), (Some(10), 10), (Some(900 * KIB), 64 * KIB), (Some(0), 0)] {
        let hold = bounds.enter(declared).await.unwrap();
        assert_eq!(held(&memory), first, "{declared:?}");
        drop(hold);
        assert_eq!(held(&memory), 0);
    }
    let mut hold = bounds.enter(Some(900 * KIB)).await.unwrap();
    hold.cover(500 * 1024).unwrap();
    hold.cover(100).unwrap();
    assert_eq!(held(&memory), 500 * KIB);
    assert!(hold.cover(1025 * 1024).is_err());
    assert_eq!(held(&memory), 500 * KIB, "a refusal takes nothing");
}

// Spec: security S-44.
#[tokio::test(start_paused = true)]
async fn the_share_lives_as_long_as_the_last_piece_of_the_bytes() {
    let (limits, memory) = (limits(1024 * KIB), Arc::default());
    let bounds = Bounds { limits: &limits, memory: &memory };
    let hold = bounds.enter(None).await.unwrap();
    let bytes = hold.keep(Bytes::from_static(b"0123456789"));
    assert_eq!((held(&memory), &bytes[..]), (10, &b"0123456789"[..]));
    let piece = bytes.slice(3..5);
    drop(bytes);
    assert_eq!(held(&memory), 10);
    drop(piece);
    assert_eq!(held(&memory), 0);
    bounds.enter(None).await.unwrap().keep(Bytes::new());
    assert_eq!(held(&memory), 0);
}

// Spec: security S-44.
#[tokio::test(start_paused = true)]
async fn a_new_body_waits_for_room_and_not_for_long() {
    let (limits, memory) = (limits(256 * KIB), Arc::default());
    let bounds = Bounds { limits: &limits, memory: &memory };
    let mut holds = Vec::new();
    for _ in 0..3 {
        holds.push(bounds.enter(None).await.unwrap());
    }
    let begin = Instant::now();
    let error = bounds.enter(None).await.unwrap_err();
    assert_eq!(
        (error.code, error.retry_after, begin.elapsed().as_secs()),
        (ErrorCode::Overloaded, Some(1), 1)
    );
    assert_eq!(memory.waiting.load(SeqCst), 0);

    // The last quarter is for those that grow, so that they come through.
    holds[0].cover(128 * 1024).unwrap();
    assert!(holds[1].cover(65 * 1024).is_err());

    // Those who wait enter in turn as soon as there is room.
    let begin = Instant::now();
    let free = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        holds.clear();
    };
    let ((), first, second) = tokio::join!(free, bounds.enter(None), bounds.enter(None));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(begin.elapsed().as_millis(), 300);
}

// Spec: security S-44.
#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_is_not_in_the_way() {
    let (limits, memory) = (limits(256 * KIB), Arc::default());
    let bounds = Bounds { limits: &limits, memory: &memory };
    let mut holds = Vec::new();
    for _ in 0..3 {
        holds.push(bounds.enter(None).await.unwrap());
    }
    let gone = timeout(Duration::from_millis(100), bounds.enter(None)).await;
    assert!(gone.is_err());
    let free = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        holds.pop();
    };
    let ((), entered) = tokio::join!(free, bounds.enter(None));
    assert!(entered.is_ok());
}
