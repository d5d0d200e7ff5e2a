//! The examples of the standard, and its corners.

use super::*;

/// Writes out what a stream consists of: each data line as `d<…>`, each name as `e<…>`, each end
/// of an event as `;`.
fn pieces(stream: &[u8]) -> String {
    let mut text = String::new();
    let mut lexer = Lexer::new();
    lexer.push(stream, |piece| match piece {
        Piece::Line(Field::Data) => text.push('d'),
        Piece::Line(Field::Event) => text.push('e'),
        Piece::Text { part, .. } => text.push_str(&format!("<{}>", part.escape_ascii())),
        Piece::End => text.push(';'),
    });
    text
}

#[test]
fn a_stream_is_cut_as_the_standard_says() {
    fn check(stream: &str, expected: &str) {
        assert_eq!(pieces(stream.as_bytes()), expected, "{stream:?}");
    }
    check("", "");
    check("data: x\n\n", "d<x>;");
    check("event: a\ndata: x\n\n", "e<a>d<x>;");
    check("data: a\ndata: b\n\n", "d<a>d<b>;");
    check("data\n\ndata\ndata\n\ndata:", "d;dd;d");
    check(
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n",
        "d<first event>;d<second event>;",
    );
    // One space behind the colon does not count; any other does.
    check("data:x\n\ndata:  x\n\ndata:\tx\n\n", "d<x>;d< x>;d<\\tx>;");
    check("data: a: b\n\n", "d<a: b>;");
    // Each kind of line end, and their mixture.
    check("data: x\r\rdata: y\r\n\r\ndata: z\n\r\n", "d<x>;d<y>;d<z>;");
    check("data: x\r\ndata: y\r\n\r\n", "d<x>d<y>;");
    // Blank lines alone are no events, and neither are comments.
    check("\n\n\r\r\n\n: x\n\n:\n\n", "");
    // Names are compared whole and in their own case.
    check("Data: x\ndat: x\ndatas: x\n data: x\ndata : x\n\n", ";");
    check("dataaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: x\n\n", ";");
    // A byte order mark counts only as the first thing.
    check("\u{feff}data: x\n\n", "d<x>;");
    check("\u{feff}\u{feff}data: x\n\n", ";");
    check("\n\u{feff}data: x\n\n", ";");
}

#[test]
fn half_a_byte_order_mark_is_a_part_of_a_name() {
    fn check(stream: &[u8], expected: &str) {
        assert_eq!(pieces(stream), expected, "{}", stream.escape_ascii());
    }
    check(b"\xEF\xBBdata: x\n\ndata: y\n\n", ";d<y>;");
    check(b"\xEF\n\ndata: y\n\n", ";d<y>;");
    check(b"\xEF\xBB\xBFdata: y\n\n", "d<y>;");
}

#[test]
fn a_line_end_cut_in_two_is_one() {
    let mut ends = 0;
    let mut lexer = Lexer::new();
    for part in ["data: x\r", "\ndata: y\r", "\n\r", "\n", "data: z\n\n"] {
        lexer.push(part.as_bytes(), |piece| ends += usize::from(piece == Piece::End));
    }
    assert_eq!(ends, 2);
}

#[test]
fn the_last_part_of_an_event_is_known_as_such_only_right_before_a_blank_line() {
    fn check(parts: &[&str], expected: &[bool]) {
        let mut found = Vec::new();
        let mut lexer = Lexer::new();
        for part in parts {
            lexer.push(part.as_bytes(), |piece| {
                if let Piece::Text { is_last, .. } = piece {
                    found.push(is_last);
                }
            });
        }
        assert_eq!(found, expected, "{parts:?}");
    }
    check(&["event: a\ndata: x\n\n"], &[false, true]);
    check(&["data: x\ndata: y\n\n"], &[false, true]);
    check(&["data: x", "y\n\n"], &[false, true]);
    check(&["data: x\n", "\n"], &[false]);
    check(&["data: x\r\n\r\n"], &[true]);
    check(&["data: x\r\ndata: y\r\n"], &[false, false]);
    check(&["data: x\nid: 1\n\n"], &[false]);
}
