//! Embeddings: vectors that depend on the text alone and mean nothing.

use serde_json::{Value, json};

use super::Reply;
use super::ask::Ask;
use super::refusal::Refusal;
use super::text::tokens;

/// The length of a vector where the request does not say one.
const DIMENSIONS: usize = 8;
/// The longest vector that the demo makes.
const MAX_DIMENSIONS: usize = 4096;

pub(super) fn create(ask: &Ask) -> Result<Reply, Refusal> {
    let inputs = inputs(ask.body.get("input"))?;
    let dimensions = ask.count("dimensions")?.unwrap_or(DIMENSIONS);
    if dimensions > MAX_DIMENSIONS {
        return Err(Refusal::parameter("dimensions", "must be at most 4096"));
    }
    // The official Python SDK asks for base64 unless its caller chooses, and decodes it itself.
    let is_base64 = match ask.body.get("encoding_format").and_then(Value::as_str) {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(Refusal::parameter("encoding_format", "must be `float` or `base64`")),
    };
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let vector = vector(&input.text, dimensions);
            let embedding = if is_base64 { json!(base64(&little_endian(&vector))) } else { json!(vector) };
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        })
        .collect();
    let used: usize = inputs.iter().map(|input| input.tokens).sum();
    Ok(Reply::Json(json!({
        "object": "list", "data": data, "model": ask.model,
        "usage": { "prompt_tokens": used, "total_tokens": used },
    })))
}

/// One text to embed, and its length.
struct Input {
    text: String,
    tokens: usize,
}

impl Input {
    fn text(text: &str) -> Self {
        Self { text: text.to_owned(), tokens: tokens(text) }
    }

    /// A text that the client has turned into token numbers already.
    fn numbers(numbers: &[Value]) -> Self {
        let text: Vec<String> = numbers.iter().map(Value::to_string).collect();
        Self { text: text.join(" "), tokens: numbers.len() }
    }
}

/// Reads `input`: a string, an array of strings, one array of token numbers, or several of those.
fn inputs(input: Option<&Value>) -> Result<Vec<Input>, Refusal> {
    let refused = || Refusal::parameter("input", "must be a string or a non-empty array");
    match input {
        None => Err(Refusal::parameter("input", "is required")),
        Some(Value::String(text)) => Ok(vec![Input::text(text)]),
        Some(Value::Array(items)) => match items.first() {
            None => Err(refused()),
            Some(Value::Number(_)) => Ok(vec![Input::numbers(items)]),
            Some(_) => items
                .iter()
                .map(|item| match item {
                    Value::String(text) => Ok(Input::text(text)),
                    Value::Array(numbers) => Ok(Input::numbers(numbers)),
                    _ => Err(refused()),
                })
                .collect(),
        },
        Some(_) => Err(refused()),
    }
}

/// Makes a vector of length 1 from the text: FNV-1a as the seed, then xorshift for each component.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut state = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let raw: Vec<f64> = (0..dimensions)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // The upper half as a number from -1 to 1. The offset keeps it from being 0, and so the
            // length of a vector with one component.
            (f64::from((state >> 32) as u32) + 0.5) / f64::from(1_u32 << 31) - 1.0
        })
        .collect();
    let length = raw.iter().map(|x| x * x).sum::<f64>().sqrt();
    raw.iter().map(|x| (x / length) as f32).collect()
}

fn little_endian(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Encodes as RFC 4648 section 4, with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    let digit = |value: u32| {
        char::from(match (value & 63) as u8 {
            value @ 0..=25 => b'A' + value,
            value @ 26..=51 => b'a' + value - 26,
            value @ 52..=61 => b'0' + value - 52,
            62 => b'+',
            _ => b'/',
        })
    };
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word =
            group.iter().enumerate().fold(0_u32, |word, (i, byte)| word | u32::from(*byte) << (16 - 8 * i));
        for place in 0..4 {
            text.push(if place <= group.len() { digit(word >> (18 - 6 * place)) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        // The test vectors of RFC 4648 section 10, and all bits set for the last two digits.
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn a_vector_has_length_one_and_depends_on_the_text() {
        for text in ["", "a", "hello world"] {
            let vector = vector(text, 16);
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            assert!((length - 1.0).abs() < 1e-5, "{text:?} {length}");
        }
        assert_eq!(vector("same", 8), vector("same", 8));
        assert_ne!(vector("one", 8), vector("two", 8));
    }

    #[test]
    fn every_form_of_input_is_read() {
        fn check(input: &Value, texts: &[&str], tokens: usize) {
            let inputs = inputs(Some(input)).unwrap();
            assert_eq!(inputs.iter().map(|input| input.text.as_str()).collect::<Vec<_>>(), texts, "{input}");
            assert_eq!(inputs.iter().map(|input| input.tokens).sum::<usize>(), tokens, "{input}");
        }
        check(&json!("two words"), &["two words"], 2);
        check(&json!(["a", "b c"]), &["a", "b c"], 3);
        check(&json!([1, 22, 3]), &["1 22 3"], 3);
        check(&json!([[1, 2], [3]]), &["1 2", "3"], 3);
        for wrong in [json!(null), json!([]), json!({}), json!([null]), json!(["a", 1])] {
            assert!(inputs(Some(&wrong)).is_err(), "{wrong}");
        }
    }
}
