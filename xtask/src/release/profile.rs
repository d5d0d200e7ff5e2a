//! Reads what an instrumented program left behind, and writes it as LLVM's text format.
//!
//! The file that a program writes at its end is that of its own LLVM and no other; text is read by
//! `llvm-profdata` of every version. Kept are the counters. Which functions were called through
//! pointers, and how much was copied, is left out: that hardly matters to us.
//! Layout: `INSTR_PROF_RAW_HEADER` and `INSTR_PROF_DATA` in LLVM's `InstrProfData.inc`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

/// The magic of a program with 64-bit pointers, little-endian: `\xfflprofr\x81`.
const MAGIC: u64 = 0xff6c_7072_6f66_7281;
/// The version that this reads; the byte above it holds flags, of which the highest says that
/// counters are those of the compiler's intermediate code.
const VERSION: u64 = 10;
const VERSION_BITS: u64 = (1 << 56) - 1;
const OF_INTERMEDIATE_CODE: u64 = 1 << 56;
/// Sixteen words.
const HEADER_BYTES: usize = 128;
/// What the file says of each function.
const RECORD_BYTES: usize = 64;
const WORD_BYTES: usize = 8;

/// How often each branch of each function was taken, added up over runs.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    /// By the function's name and the hash of its shape.
    functions: BTreeMap<(String, u64), Vec<u64>>,
}

impl Profile {
    /// Adds what one run left.
    ///
    /// # Errors
    /// It is no such file, of another version, or cut off.
    pub(crate) fn add(&mut self, file: &[u8]) -> Result<(), String> {
        let word = |index: usize| word_at(file, index * WORD_BYTES);
        if word(0)? != MAGIC {
            return Err("it is no profile of a program of 64 bits".to_owned());
        }
        let version = word(1)?;
        if version & VERSION_BITS != VERSION || version & OF_INTERMEDIATE_CODE == 0 {
            return Err(format!(
                "it has version {}, and this reads {VERSION}: the compiler has another LLVM now",
                version & VERSION_BITS
            ));
        }
        let records = HEADER_BYTES + length(word(2)?)?;
        let count = length(word(3)?)?;
        let counters = records + count * RECORD_BYTES + length(word(4)?)?;
        let names = counters + length(word(5)?)? * WORD_BYTES + length(word(6)?)?;
        let names = names + length(word(7)?)? + length(word(8)?)?;
        let names = part(file, names, length(word(9)?)?)?;
        let names = names_by_hash(names)?;
        // Both are addresses relative to what holds them, so that they move along with the record.
        let start = word(10)?;
        for index in 0..count {
            let at = records + index * RECORD_BYTES;
            let (name, shape) = (word_at(file, at)?, word_at(file, at + 8)?);
            let offset = word_at(file, at + 16)?.wrapping_sub(start);
            let offset = offset.wrapping_add((index * RECORD_BYTES) as u64);
            let length_of_counters = part(file, at + 48, 4)?.iter().rev();
            let many = length_of_counters.fold(0, |sum, byte| sum * 256 + usize::from(*byte));
            let name = names.get(&name).ok_or("a function has no name")?;
            let sums = self.functions.entry(((*name).to_owned(), shape)).or_default();
            sums.resize(many, 0);
            for (position, sum) in sums.iter_mut().enumerate() {
                let count = word_at(file, counters + length(offset)? + position * WORD_BYTES)?;
                *sum = sum.saturating_add(count);
            }
        }
        Ok(())
    }

    /// Returns how many functions ran at all.
    pub(crate) fn used(&self) -> usize {
        self.functions.values().filter(|counts| counts.iter().any(|count| *count > 0)).count()
    }

    /// Writes it as `llvm-profdata merge` reads it.
    pub(crate) fn to_text(&self) -> String {
        let mut text = ":ir\n".to_owned();
        for ((name, shape), counts) in &self.functions {
            // A `String` takes every byte.
            let _ = writeln!(text, "{name}\n{shape}\n{}", counts.len());
            for count in counts {
                let _ = writeln!(text, "{count}");
            }
            text.push('\n');
        }
        text
    }
}

/// Reads blocks of names, each with its length before and after compression, as LEB128 both.
fn names_by_hash(mut bytes: &[u8]) -> Result<HashMap<u64, &str>, String> {
    let mut names = HashMap::new();
    // Blocks are aligned with zeros.
    while let Some(start) = bytes.iter().position(|byte| *byte != 0) {
        bytes = &bytes[start..];
        let (size, compressed) = (leb128(&mut bytes)?, leb128(&mut bytes)?);
        if compressed != 0 {
            return Err("its names are compressed".to_owned());
        }
        let block = part(bytes, 0, size)?;
        bytes = &bytes[size..];
        for name in block.split(|byte| *byte == 1) {
            let hash = u64::from_le_bytes(md5::compute(name)[..8].try_into().map_err(|_| "a short hash")?);
            names.insert(hash, std::str::from_utf8(name).map_err(|_| "a name is no text")?);
        }
    }
    Ok(names)
}

fn leb128(bytes: &mut &[u8]) -> Result<usize, String> {
    let mut value = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or("it is cut off")?;
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a length has no end".to_owned())
}

fn word_at(file: &[u8], at: usize) -> Result<u64, String> {
    let bytes = part(file, at, WORD_BYTES)?;
    bytes.try_into().map(u64::from_le_bytes).map_err(|_| "it is cut off".to_owned())
}

fn part(file: &[u8], at: usize, length: usize) -> Result<&[u8], String> {
    let end = at.checked_add(length).ok_or("a length is too large")?;
    file.get(at..end).ok_or_else(|| "it is cut off".to_owned())
}

fn length(word: u64) -> Result<usize, String> {
    // Beyond that no file is; sums of a few of them cannot overflow.
    usize::try_from(word)
        .ok()
        .filter(|length| *length < usize::MAX / 1024)
        .ok_or_else(|| "a length is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with two functions: `f` with two counters, and `gate::g` with one.
    fn file(version: u64, counts: [u64; 3]) -> Vec<u8> {
        let names = b"\x09\x00f\x01gate::g\0\0\0";
        let functions: [(&[u8], u64, u64, u32); 2] = [(b"f", 77, 0, 2), (b"gate::g", 78, 16, 1)];
        let distance: u64 = 0x1000;
        let mut file = Vec::new();
        let header = [MAGIC, OF_INTERMEDIATE_CODE | version, 8, 2, 0, 3, 0, 0, 0, names.len() as u64];
        for word in header.into_iter().chain([distance, 0, 0, 0, 0, 2]) {
            file.extend(word.to_le_bytes());
        }
        file.extend([0; 8]);
        for (index, (name, shape, offset, many)) in functions.into_iter().enumerate() {
            file.extend(&md5::compute(name)[..8]);
            file.extend(shape.to_le_bytes());
            file.extend((distance + offset - (index * RECORD_BYTES) as u64).to_le_bytes());
            file.extend([0; 24]);
            file.extend(many.to_le_bytes());
            file.extend([0; 12]);
        }
        file.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
        file.extend(names);
        file
    }

    #[test]
    fn runs_add_up_and_are_written_as_text() {
        let mut profile = Profile::default();
        profile.add(&file(VERSION, [5, 0, 0])).unwrap();
        assert_eq!(profile.used(), 1);
        profile.add(&file(VERSION, [1, 2, 9])).unwrap();
        assert_eq!(profile.used(), 2);
        assert_eq!(profile.to_text(), ":ir\nf\n77\n2\n6\n2\n\ngate::g\n78\n1\n9\n\n");
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let whole = file(VERSION, [1, 2, 3]);
        for (bytes, said) in [
            (&b"text"[..], "cut off"),
            (&[0; 200], "no profile"),
            (&file(VERSION + 1, [1, 2, 3]), "another LLVM"),
            (&whole[..whole.len() - 8], "cut off"),
            (&whole[..300], "cut off"),
        ] {
            let error = Profile::default().add(bytes).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
