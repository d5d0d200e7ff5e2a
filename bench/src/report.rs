//! Rows, their medians over rounds, and whether the targets are reached.

use serde::Serialize;

use crate::scenario::{Limit, Measure, Target};

/// One line of the table: one system in one scenario. Times are in microseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    pub scenario: String,
    pub system: &'static str,
    /// CPU time per request or event, or what the unit says.
    pub figure: Option<f64>,
    pub unit: &'static str,
    /// Requests a second; of streams, events a second.
    pub per_second: Option<f64>,
    /// Latency; of streams, the time to the first event.
    pub p50_us: Option<f64>,
    pub p90_us: Option<f64>,
    pub p99_us: Option<f64>,
    /// Between two events.
    pub gap_p99_us: Option<f64>,
    pub rss_mib: Option<f64>,
    pub failed: Option<f64>,
    pub fault: Option<String>,
    /// CPU cores that processes which are no part of this took meanwhile.
    pub others: Option<f64>,
    /// The targets, each reached or not.
    pub verdict: String,
}

/// Makes one row of the rows of several rounds: of each figure the median.
pub(crate) fn median_row(rounds: &[Row]) -> Option<Row> {
    let first = rounds.first()?;
    let over = |field: fn(&Row) -> Option<f64>| median(rounds.iter().filter_map(field).collect());
    Some(Row {
        scenario: first.scenario.clone(),
        system: first.system,
        unit: first.unit,
        figure: over(|row| row.figure),
        per_second: over(|row| row.per_second),
        p50_us: over(|row| row.p50_us),
        p90_us: over(|row| row.p90_us),
        p99_us: over(|row| row.p99_us),
        gap_p99_us: over(|row| row.gap_p99_us),
        rss_mib: over(|row| row.rss_mib),
        others: over(|row| row.others),
        // A fault in one round is a fault.
        failed: first.failed.map(|_| rounds.iter().filter_map(|row| row.failed).sum()),
        fault: rounds.iter().find_map(|row| row.fault.clone()),
        verdict: String::new(),
    })
}

/// Returns the middle value; of an even number, the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(f64::midpoint(*values.get(low)?, *values.get(high)?))
}

/// Returns a percentile of sorted nanoseconds, in microseconds.
pub(crate) fn percentile_us(sorted: &[u64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(rank).map(|nanoseconds| *nanoseconds as f64 / 1000.0)
}

/// Returns the row's figure as a multiple of another system's in the same scenario.
pub(crate) fn ratio(rows: &[Row], row: &Row, system: &str) -> Option<f64> {
    let other = find(rows, &row.scenario, system)?.figure.filter(|figure| *figure > 0.0)?;
    (row.system != system).then_some(row.figure? / other)
}

/// Says of each target whether the gateway's row reaches it.
pub(crate) fn verdict(rows: &[Row], scenario: &str, system: &str, targets: &[Target]) -> String {
    let said = targets.iter().map(|target| {
        let reached = value(rows, scenario, system, target.measure);
        let (bound, unit, per) = match target.limit {
            Limit::AtMost(limit) => (format!("≤ {limit}"), "", Some(1.0)),
            Limit::Times(factor, other) => {
                (format!("≤ {factor} × {other}"), " ×", value(rows, scenario, other, target.measure))
            }
        };
        let (Limit::AtMost(limit) | Limit::Times(limit, _)) = target.limit;
        let name = match target.measure {
            Measure::Figure => "",
            Measure::AddedP50 => "added p50 ",
            Measure::FirstP99 => "first p99 ",
            Measure::GapP99 => "gap p99 ",
            Measure::Failed => "failed ",
        };
        let word = match reached.zip(per).map(|(reached, per)| reached / per) {
            Some(times) if times <= limit => format!("reached ({}{unit})", short(times)),
            Some(times) => format!("NOT reached ({}{unit})", short(times)),
            None => "not measured".to_owned(),
        };
        format!("{name}{bound}: {word}")
    });
    said.collect::<Vec<_>>().join("; ")
}

fn value(rows: &[Row], scenario: &str, system: &str, measure: Measure) -> Option<f64> {
    let row = find(rows, scenario, system)?;
    match measure {
        Measure::Figure => row.figure,
        Measure::AddedP50 => Some(row.p50_us? - find(rows, scenario, "direct")?.p50_us?),
        Measure::FirstP99 => row.p99_us,
        Measure::GapP99 => row.gap_p99_us,
        Measure::Failed => row.failed,
    }
}

fn find<'a>(rows: &'a [Row], scenario: &str, system: &str) -> Option<&'a Row> {
    rows.iter().find(|row| row.scenario == scenario && row.system == system)
}

/// Writes the rows as one table, its columns aligned, ratios to the named systems among them.
pub(crate) fn table(rows: &[Row], peers: &[&str]) -> String {
    let mut lines = vec![header(peers)];
    let mut before = None;
    for row in rows {
        if before.is_some_and(|scenario| scenario != &row.scenario) {
            lines.push(Vec::new());
        }
        before = Some(&row.scenario);
        lines.push(cells(rows, row, peers));
    }
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max())
        .map(|width| width.unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in &lines {
        let mut written = String::new();
        for (index, (cell, width)) in line.iter().zip(&widths).enumerate() {
            // Words stand left, numbers right.
            let is_text = index < 2 || index + 1 == columns;
            written += &if is_text { format!("{cell:<width$}  ") } else { format!("{cell:>width$}  ") };
        }
        text += written.trim_end();
        text.push('\n');
    }
    text
}

fn header(peers: &[&str]) -> Vec<String> {
    let start = ["scenario", "system", "figure"].map(str::to_owned);
    let ratios = peers.iter().map(|peer| format!("× {peer}"));
    let end = ["per s", "p50 µs", "p90 µs", "p99 µs", "gap p99 µs", "RSS MiB", "failed", "others", "target"];
    start.into_iter().chain(ratios).chain(end.map(str::to_owned)).collect()
}

fn cells(rows: &[Row], row: &Row, peers: &[&str]) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), short);
    let figure =
        row.figure.map_or_else(|| "-".to_owned(), |figure| format!("{} {}", short(figure), row.unit));
    let ratios = peers
        .iter()
        .map(|peer| ratio(rows, row, peer).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")));
    let start = [row.scenario.clone(), row.system.to_owned(), figure];
    let end = [row.per_second, row.p50_us, row.p90_us, row.p99_us, row.gap_p99_us, row.rss_mib, row.failed];
    let others = row.others.map_or_else(|| "-".to_owned(), |others| format!("{others:.2}"));
    let end = end.into_iter().map(number).chain([others, row.verdict.clone()]);
    start.into_iter().chain(ratios).chain(end).collect()
}

/// Writes a number with about three digits.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(system: &'static str, figure: f64, p50_us: f64) -> Row {
        Row {
            scenario: "s".to_owned(),
            system,
            figure: Some(figure),
            unit: "µs",
            p50_us: Some(p50_us),
            failed: Some(0.0),
            ..Row::default()
        }
    }

    #[test]
    fn targets_are_reached_or_not() {
        let rows = [row("direct", 5.0, 20.0), row("emx-gate", 24.0, 80.0), row("nginx", 20.0, 50.0)];
        for (measure, limit, expected) in [
            (Measure::Figure, Limit::Times(1.25, "nginx"), "≤ 1.25 × nginx: reached (1.20 ×)"),
            (Measure::Figure, Limit::Times(1.1, "nginx"), "≤ 1.1 × nginx: NOT reached (1.20 ×)"),
            (Measure::Figure, Limit::Times(1.1, "haproxy"), "≤ 1.1 × haproxy: not measured"),
            (Measure::AddedP50, Limit::Times(2.0, "nginx"), "added p50 ≤ 2 × nginx: reached (2 ×)"),
            (Measure::AddedP50, Limit::Times(1.5, "nginx"), "added p50 ≤ 1.5 × nginx: NOT reached (2 ×)"),
            (Measure::Failed, Limit::AtMost(0.0), "failed ≤ 0: reached (0)"),
            (Measure::GapP99, Limit::AtMost(9.0), "gap p99 ≤ 9: not measured"),
        ] {
            assert_eq!(verdict(&rows, "s", "emx-gate", &[Target { measure, limit }]), expected);
        }
    }

    #[test]
    fn rounds_become_their_medians_and_faults_add_up() {
        let mut rounds = vec![row("nginx", 9.0, 1.0), row("nginx", 1.0, 3.0), row("nginx", 2.0, 2.0)];
        rounds[2].failed = Some(2.0);
        let row = median_row(&rounds).unwrap();
        assert_eq!((row.figure, row.p50_us, row.failed), (Some(2.0), Some(2.0), Some(2.0)));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn a_percentile_is_a_value_that_was_seen() {
        let sorted: Vec<u64> = (1..=200).map(|n| n * 1000).collect();
        for (percent, expected) in [(50, 100.0), (99, 198.0), (100, 200.0), (0, 1.0)] {
            assert_eq!(percentile_us(&sorted, percent), Some(expected), "{percent}");
        }
        assert_eq!(percentile_us(&[], 50), None);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [row("direct", 5.0, 20.0), row("emx-gate", 1234.0, 80.0)];
        let table = table(&rows, &["direct"]);
        let expected = "\
scenario  system     figure  × direct  per s  p50 µs  p90 µs  p99 µs  gap p99 µs  RSS MiB  failed  others  target
s         direct       5 µs         -      -      20       -       -           -        -       0       -
s         emx-gate  1234 µs    246.80      -      80       -       -           -        -       0       -
";
        assert_eq!(table, expected);
    }
}
