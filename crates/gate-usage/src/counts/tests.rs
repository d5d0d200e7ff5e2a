//! What the vendors' numbers mean together.

use super::*;

/// Returns the usage of an object with these members.
fn usage_of(members: &[(Section, &str, u64)]) -> Usage {
    counts_of(members).usage()
}

fn counts_of(members: &[(Section, &str, u64)]) -> Counts {
    let mut counts = Counts::NONE;
    for &(section, key, number) in members {
        counts.set(section, key.as_bytes(), number);
    }
    counts
}

// Spec: monitoring L-16.
#[test]
fn every_vendors_numbers_get_the_one_meaning() {
    use Section::{InputDetails, OutputDetails, Top};
    fn check(members: &[(Section, &str, u64)], expected: [Option<u64>; 5]) {
        let Usage { input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens } =
            usage_of(members);
        let found = [input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens];
        assert_eq!(found, expected, "{members:?}");
    }
    check(&[], [None; 5]);
    // OpenAI: the details are parts of the counts.
    check(
        &[
            (Top, "prompt_tokens", 10),
            (Top, "completion_tokens", 5),
            (InputDetails, "cached_tokens", 8),
            (InputDetails, "cache_write_tokens", 1),
            (OutputDetails, "reasoning_tokens", 4),
            (Top, "total_tokens", 15),
        ],
        [Some(10), Some(5), Some(8), Some(1), Some(4)],
    );
    check(
        &[(Top, "input_tokens", 10), (InputDetails, "cached_tokens", 8)],
        [Some(10), None, Some(8), None, None],
    );
    // Anthropic: the cache stands beside the input.
    check(
        &[
            (Top, "input_tokens", 10),
            (Top, "cache_read_input_tokens", 200),
            (Top, "cache_creation_input_tokens", 3000),
            (Top, "output_tokens", 5),
        ],
        [Some(3210), Some(5), Some(200), Some(3000), None],
    );
    // A translator that keeps Anthropic's names beside OpenAI's input, which has the cache in it.
    check(
        &[(Top, "prompt_tokens", 210), (Top, "input_tokens", 10), (Top, "cache_read_input_tokens", 200)],
        [Some(210), None, Some(200), None, None],
    );
    // The cache alone does not tell the input.
    check(&[(Top, "cache_read_input_tokens", 200)], [None, None, Some(200), None, None]);
    check(&[(Top, "prompt_cache_hit_tokens", 6)], [None, None, Some(6), None, None]);
    check(&[(Top, "cached_tokens", 6)], [None, None, Some(6), None, None]);
    // Reasoning is a part of the output, but for the vendor whose total proves otherwise.
    let reasoning = |total| {
        [
            (Top, "prompt_tokens", 10),
            (Top, "completion_tokens", 5),
            (OutputDetails, "reasoning_tokens", 4),
            (Top, "total_tokens", total),
        ]
    };
    check(&reasoning(15), [Some(10), Some(5), None, None, Some(4)]);
    check(&reasoning(19), [Some(10), Some(9), None, None, Some(4)]);
    check(&reasoning(18), [Some(10), Some(5), None, None, Some(4)]);
    check(
        &[(Top, "completion_tokens", 5), (Top, "reasoning_tokens", 4)],
        [None, Some(5), None, None, Some(4)],
    );
    // Counts in the wrong section, and names that nobody knows.
    check(&[(InputDetails, "prompt_tokens", 1), (OutputDetails, "cached_tokens", 1)], [None; 5]);
    check(&[(Top, "tokens", 1), (InputDetails, "audio_tokens", 1), (Top, "", 1)], [None; 5]);
}

#[test]
fn sums_that_no_number_holds_do_not_wrap() {
    use Section::{OutputDetails, Top};
    let usage = usage_of(&[
        (Top, "input_tokens", u64::MAX),
        (Top, "cache_read_input_tokens", u64::MAX),
        (Top, "cache_creation_input_tokens", 1),
        (Top, "output_tokens", u64::MAX),
        (OutputDetails, "reasoning_tokens", 1),
        (Top, "total_tokens", 0),
    ]);
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(u64::MAX), Some(u64::MAX)));
}

// Spec: monitoring L-15.
#[test]
fn a_later_report_corrects_only_the_counts_that_it_has() {
    use Section::Top;
    let start = counts_of(&[
        (Top, "input_tokens", 7),
        (Top, "cache_read_input_tokens", 100),
        (Top, "cache_creation_input_tokens", 20),
        (Top, "output_tokens", 1),
    ]);
    let delta = counts_of(&[(Top, "cache_read_input_tokens", 90), (Top, "output_tokens", 0)]);
    let usage = start.corrected_by(delta).usage();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(117), Some(0)));
    assert_eq!((usage.cache_read_tokens, usage.cache_write_tokens), (Some(90), Some(20)));
    assert_eq!(start.corrected_by(Counts::NONE), start);
    assert_eq!(Counts::NONE.corrected_by(start), start);
}
