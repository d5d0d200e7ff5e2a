//! Keeps a session with one target, so that the provider's prompt cache is warm: weighted rendezvous
//! hashing with bounded load.
//!
//! Every target draws a number from the session and its own name, and the highest wins. So nothing is
//! stored, several gateways agree, and a target that goes takes only its own sessions with it: for all
//! others the highest number is still there.

/// By how much a target may be above its fair share before its sessions go elsewhere.
const BOUND: f64 = 1.25;

/// Requests that are never too many for a target. With three requests in flight over three targets a
/// fair share is one, and two requests of one session would part ways.
const FEW: f64 = 8.0;

/// Whether a request went to the target whose cache knows its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stickiness {
    /// It went there.
    Hit,
    /// That target was overloaded, out of order or tried before.
    Miss,
}

/// What sticky balancing needs to know of a target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    pub(crate) hash: u64,
    pub(crate) weight: u32,
    pub(crate) in_flight: u32,
    /// Whether it can have the request.
    pub(crate) is_open: bool,
}

/// Returns the target of a session, by its place in `seats`; `None` if none is open. The seats are walked
/// twice and must be the same each time.
pub(crate) fn pick(session: u64, seats: impl Iterator<Item = Seat> + Clone) -> Option<(usize, Stickiness)> {
    let (mut load, mut weights) = (1.0, 0.0);
    for seat in seats.clone().filter(|seat| seat.is_open) {
        load += f64::from(seat.in_flight);
        weights += f64::from(seat.weight);
    }
    let mut home = None;
    let mut best = None;
    // Where all are overloaded, the least of evils is the session's own.
    let mut open = None;
    for (place, seat) in seats.enumerate() {
        let score = score(session, &seat);
        keep_higher(&mut home, place, score);
        if seat.is_open {
            keep_higher(&mut open, place, score);
            let share = load * f64::from(seat.weight) / weights;
            if f64::from(seat.in_flight) + 1.0 <= (share * BOUND).ceil().max(FEW) {
                keep_higher(&mut best, place, score);
            }
        }
    }
    let (place, _) = best.or(open)?;
    let is_home = home.is_some_and(|(home, _)| home == place);
    Some((place, if is_home { Stickiness::Hit } else { Stickiness::Miss }))
}

fn keep_higher(kept: &mut Option<(usize, f64)>, place: usize, score: f64) {
    if kept.is_none_or(|(_, highest)| score > highest) {
        *kept = Some((place, score));
    }
}

/// The number that a target draws: exponentially distributed with its weight as the mean, which makes the
/// chance to be the highest proportional to the weight ("weighted rendezvous hashing").
fn score(session: u64, seat: &Seat) -> f64 {
    // 53 bits are what an f64 holds; a half more keeps the logarithm off zero.
    let uniform = ((mix(session, seat.hash) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    f64::from(seat.weight) / -uniform.ln()
}

/// Hashes a session's name (64-bit FNV-1a, finished by `mix`). The same in every process and version.
pub fn session_hash(name: &[u8]) -> u64 {
    let fnv = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(fnv, 0)
}

/// Mixes two numbers so that each bit of the result hangs on all of theirs (the finish of SplitMix64).
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut z = a ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(name: &str, weight: u32, in_flight: u32, is_open: bool) -> Seat {
        Seat { hash: session_hash(name.as_bytes()), weight, in_flight, is_open }
    }

    fn pick_of(session: u64, seats: &[Seat]) -> Option<(usize, Stickiness)> {
        pick(session_hash(&session.to_le_bytes()), seats.iter().copied())
    }

    // Spec: load-balancing B-17.
    #[test]
    fn sessions_spread_by_weight() {
        let seats = [seat("a", 1, 0, true), seat("b", 2, 0, true), seat("c", 5, 0, true)];
        let mut counts = [0_u32; 3];
        for session in 0..8000 {
            let (place, stickiness) = pick_of(session, &seats).unwrap();
            assert_eq!(stickiness, Stickiness::Hit);
            counts[place] += 1;
        }
        for (count, expected) in counts.into_iter().zip([1000, 2000, 5000]) {
            assert!(count.abs_diff(expected) < 150, "{counts:?}");
        }
    }

    // Spec: load-balancing B-17.
    #[test]
    fn a_target_that_goes_takes_only_its_own_sessions_with_it() {
        let seats = ["a", "b", "c", "d"].map(|name| seat(name, 1, 0, true));
        let mut without_c = seats;
        without_c[2].is_open = false;
        let mut moved = 0;
        for session in 0..4000 {
            let (before, _) = pick_of(session, &seats).unwrap();
            let (after, stickiness) = pick_of(session, &without_c).unwrap();
            assert_eq!(before == 2, before != after);
            assert_eq!(before == 2, stickiness == Stickiness::Miss);
            moved += u32::from(before != after);
        }
        assert!((850..1150).contains(&moved), "{moved} of 4000");
    }

    // Spec: load-balancing B-17.
    #[test]
    fn an_overloaded_target_is_passed_over() {
        let home = pick_of(7, &[seat("a", 1, 0, true), seat("b", 1, 0, true)]).unwrap().0;
        let check = |at_home: u32, elsewhere: u32, expected: Stickiness| {
            let mut seats = [seat("a", 1, elsewhere, true), seat("b", 1, elsewhere, true)];
            seats[home].in_flight = at_home;
            assert_eq!(pick_of(7, &seats).unwrap().1, expected, "{at_home} {elsewhere}");
        };
        check(0, 0, Stickiness::Hit);
        check(7, 0, Stickiness::Hit);
        check(8, 0, Stickiness::Miss);
        check(40, 40, Stickiness::Hit);
        check(60, 40, Stickiness::Hit);
        check(70, 40, Stickiness::Miss);
    }

    // Spec: load-balancing B-17.
    #[test]
    fn where_none_is_open_there_is_none() {
        assert_eq!(pick_of(7, &[]), None);
        assert_eq!(pick_of(7, &[seat("a", 1, 0, false)]), None);
    }
}
