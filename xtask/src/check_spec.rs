//! `cargo xtask check-spec`: the numbered behaviours of spec/ and the tests that cite them.
//!
//! A behaviour is a line of a document that begins with `**R-12**`; one marked `*(planned)*` is not
//! built yet and needs no test. A test cites with a comment such as `// Spec: routing .`

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

/// Where tests and their citations stand.
const CODE: [&str; 3] = ["crates", "bins", "xtask"];

/// A numbered behaviour: its document and number, such as `routing R-12`.
type Behaviour = (String, String);

pub(crate) fn run() -> ExitCode {
    match check(&root()) {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => {
            for problem in &problems {
                eprintln!("{problem}");
            }
            eprintln!("{} problems between spec/ and the tests", problems.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("cannot read the workspace: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the workspace's folder: this package's parent.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

fn check(root: &Path) -> io::Result<Vec<String>> {
    let mut stated = BTreeMap::new();
    for path in files(&root.join("spec"), "md")? {
        let document = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for (number, is_planned) in behaviours(&fs::read_to_string(&path)?) {
            stated.insert((document.clone(), number), is_planned);
        }
    }
    let mut cited = BTreeSet::new();
    for folder in CODE {
        for path in files(&root.join(folder), "rs")? {
            cited.extend(citations(&fs::read_to_string(&path)?));
        }
    }
    let uncited = stated
        .iter()
        .filter(|(behaviour, is_planned)| !**is_planned && !cited.contains(*behaviour))
        .map(|((document, number), _)| format!("spec/{document}.md: {number} is cited by no test"));
    let unknown = cited
        .iter()
        .filter(|behaviour| !stated.contains_key(*behaviour))
        .map(|(document, number)| format!("a test cites {document} {number}, which spec/ does not state"));
    Ok(uncited.chain(unknown).collect())
}

/// Returns the numbers that a document states, each with whether it is only planned.
fn behaviours(text: &str) -> Vec<(String, bool)> {
    text.lines()
        .filter_map(|line| {
            let (number, rest) = line.strip_prefix("**")?.split_once("**")?;
            is_number(number).then(|| (number.to_owned(), rest.trim_start().starts_with("*(planned)*")))
        })
        .collect()
}

/// Returns what the comments of a source file cite. `R-3 to R-5` means each of the three.
fn citations(text: &str) -> Vec<Behaviour> {
    let mut found = Vec::new();
    for line in text.lines().filter_map(|line| line.trim_start().strip_prefix("// Spec: ")) {
        let mut document = "";
        let mut range_from = None;
        for word in line.split_whitespace() {
            let number = word.trim_end_matches(['.', ',', ';']);
            if word == "to" {
                range_from =
                    found.last().and_then(|(_, number): &Behaviour| split(number).map(|(_, n)| n + 1));
            } else if let Some((prefix, last)) = split(number) {
                for n in range_from.take().unwrap_or(last)..=last {
                    found.push((document.to_owned(), format!("{prefix}-{n}")));
                }
            } else {
                document = number;
            }
        }
    }
    found
}

fn is_number(text: &str) -> bool {
    split(text).is_some()
}

/// Splits `R-12` into its letter and its number.
fn split(text: &str) -> Option<(&str, u32)> {
    let (prefix, number) = text.split_once('-')?;
    let is_letter = prefix.len() == 1 && prefix.bytes().all(|b| b.is_ascii_uppercase());
    is_letter.then(|| number.parse().ok().map(|number| (prefix, number))).flatten()
}

fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaviours_are_the_lines_that_begin_with_a_number() {
        let text = "# T\n**A-1** One.\nsee **A-2** here\n**A-3** *(planned)* Three.\n**Note** none\n";
        assert_eq!(behaviours(text), [("A-1".to_owned(), false), ("A-3".to_owned(), true)]);
    }

    #[test]
    fn citations_name_a_document_and_numbers() {
        let cited = |document: &str, number: &str| (document.to_owned(), number.to_owned());
        // Put together here, or this file would cite what no document states.
        let text = ["    // ", "Spec: api A-1, A-3 to A-5; routing R-2.\nlet x = 1; // nothing"].concat();
        let expected = [
            cited("api", "A-1"),
            cited("api", "A-3"),
            cited("api", "A-4"),
            cited("api", "A-5"),
            cited("routing", "R-2"),
        ];
        assert_eq!(citations(&text), expected);
    }
}
