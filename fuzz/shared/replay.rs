//! Runs a property on every file of its corpus, as an ordinary test.

use std::path::Path;

/// Runs `property` on the inputs in `fuzz/corpus/<target>`; captured output names the one that failed.
pub(crate) fn replay(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    for path in paths {
        println!("{}", path.display());
        property(&std::fs::read(&path).unwrap());
    }
}
