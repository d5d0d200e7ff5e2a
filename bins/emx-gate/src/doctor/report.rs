//! The lines that `doctor` prints: one for each rule, then the sum.

use anstyle::{AnsiColor, Style};

use super::checks::Check;
use super::{Client, Verdict};

/// One rule with its outcome.
pub(super) struct Row {
    pub(super) check: Check,
    pub(super) needed_by: Vec<Client>,
    pub(super) verdict: Verdict,
}

/// Prints the rules in columns.
pub(super) fn print(rows: &[Row]) {
    let names: Vec<String> = rows.iter().map(|row| clients(&row.needed_by)).collect();
    let width =
        |texts: &mut dyn Iterator<Item = &str>| texts.map(|text| text.chars().count()).max().unwrap_or(0);
    let rule_width = width(&mut rows.iter().map(|row| row.check.name()));
    let client_width = width(&mut names.iter().map(String::as_str));
    for (row, name) in rows.iter().zip(&names) {
        let (word, color, text) = match &row.verdict {
            Verdict::Pass(text) => ("pass", AnsiColor::Green, text.clone()),
            Verdict::Fail(text) => ("FAIL", AnsiColor::Red, format!("{text}; {}", row.check.why())),
            Verdict::NotTried(text) => ("----", AnsiColor::Yellow, text.clone()),
        };
        let style = Style::new().fg_color(Some(color.into()));
        let rule = row.check.name();
        anstream::println!("{style}{word}{style:#}  {rule:<rule_width$}  {name:<client_width$}  {text}");
    }
    let count = |is: fn(&Verdict) -> bool| rows.iter().filter(|row| is(&row.verdict)).count();
    let (passed, failed) =
        (count(|v| matches!(v, Verdict::Pass(_))), count(|v| matches!(v, Verdict::Fail(_))));
    anstream::println!("\n{passed} passed, {failed} failed, {} not tried", rows.len() - passed - failed);
}

fn clients(clients: &[Client]) -> String {
    clients.iter().map(|client| client.name()).collect::<Vec<_>>().join(" ")
}
