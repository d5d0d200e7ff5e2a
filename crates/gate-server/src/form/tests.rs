//! Forms, good and bad, cut in every way.

use proptest::prelude::*;

use super::*;

/// What a form turns out to be: its model's value and place.
type Found = Result<Option<(String, Range<usize>)>, FormError>;

fn boundary() -> Boundary {
    Boundary::parse("boundary=b").unwrap()
}

fn scan(pieces: &[&[u8]]) -> Found {
    let mut scanner = FormScanner::new(&boundary(), Key::Model);
    for piece in pieces {
        scanner.push(piece)?;
    }
    scanner.finish()?;
    Ok(scanner.found().map(|model| (String::from_utf8_lossy(&model.value).into_owned(), model.span.clone())))
}

/// Reads a form whole and byte by byte.
fn read(form: &str) -> Found {
    let whole = scan(&[form.as_bytes()]);
    let bytes: Vec<&[u8]> = form.as_bytes().chunks(1).collect();
    assert_eq!(scan(&bytes), whole, "{form:?}");
    whole
}

fn part(name: &str, value: &str) -> String {
    format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

#[track_caller]
fn check(form: &str, expected: Result<Option<&str>, FormError>) {
    let found = read(form);
    if let Ok(Some((value, span))) = &found {
        assert_eq!(form.get(span.clone()), Some(value.as_str()), "{form:?}");
    }
    assert_eq!(
        found.map(|model| model.map(|(value, _)| value)),
        expected.map(|v| v.map(str::to_owned)),
        "{form:?}"
    );
}

#[test]
fn the_model_is_found_in_any_order_of_the_parts() {
    let file = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a; name=\\\"model\\\".wav\"\r\n\
                Content-Type: audio/wav\r\n\r\n\r\n--a\r\n--\r\n\r\n";
    let model = part("model", "whisper-1");
    let other = part("prompt", "name=\"model\"");
    for parts in [[&model, file, &other], [file, &model, &other], [file, &other, &model]] {
        check(&format!("{}--b--\r\n", parts.concat()), Ok(Some("whisper-1")));
    }
    check(&format!("{file}{other}--b--"), Ok(None));
    check(&format!("{}--b--", part("model", "")), Ok(Some("")));
    check("--b--\r\n", Ok(None));
}

#[test]
fn heads_are_read_as_senders_write_them() {
    for head in [
        "content-disposition: form-data; name=model",
        "CONTENT-DISPOSITION:form-data;name=\"model\"",
        "Content-Type: text/plain\r\nContent-Disposition: form-data ; NAME=\"model\" ;",
        "Content-Disposition: form-data; name=\"mod\\el\"",
        "Content-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: 8bit",
    ] {
        check(&format!("--b  \r\n{head}\r\n\r\nx\r\n--b--"), Ok(Some("x")));
    }
}

#[test]
fn a_form_that_readers_could_read_differently_is_refused() {
    use FormError::*;
    let model = part("model", "x");
    check("", Err(NoOpening));
    check("{\"model\":\"x\"}", Err(NoOpening));
    check("\r\n--b--", Err(NoOpening));
    check("preamble\r\n--b--", Err(NoOpening));
    check(&model, Err(Unclosed));
    check("--b", Err(Unclosed));
    check(&format!("{model}--b"), Err(Unclosed));
    check(&format!("{model}--b-"), Err(Unclosed));
    check(&format!("{model}--b--\r\nmore"), Err(AfterEnd));
    check(&format!("{model}--b--{model}"), Err(AfterEnd));
    check(&format!("{model}--bb\r\n"), Err(BadBoundary));
    check(&format!("--b{}\r\n", " ".repeat(65)), Err(BadBoundary));
    check(&part("file", "x\n--b--"), Err(BadBoundary));
    check("--b\r\ncontent-disposition: form-data; name=a\r\n\r\n--b--", Err(BadBoundary));
    check(&format!("{model}{model}--b--"), Err(Repeated(Key::Model)));
    check(&format!("{model}{}--b--", part("Model", "y")), Err(Repeated(Key::Model)));
    check(&format!("{}{model}--b--", part("MODEL", "y")), Err(Repeated(Key::Model)));
    check(&format!("{}--b--", part("MODEL", "y")), Ok(None));
    check(&(part("model", &"x".repeat(Key::Model.max_bytes() + 1)) + "--b--"), Err(TooLong(Key::Model)));
    check(
        &(part("model", &"x".repeat(Key::Model.max_bytes())) + "--b--"),
        Ok(Some(&"x".repeat(Key::Model.max_bytes()))),
    );
    for head in [
        "",
        "x",
        ": form-data",
        "content-type: text/plain",
        "content-disposition: form-data",
        "content-disposition: attachment; name=model",
        "content-disposition: form-data; name=a; name=model",
        "content-disposition: form-data; name*=utf-8''model",
        "content-disposition: form-data; name=\"model",
        "content-disposition: form-data; name=\"model\" x",
        "content-disposition: form-data;\r\n name=model",
        "content-disposition: form-data; name=a\ncontent-disposition: form-data; name=model",
        "content-disposition: form-data; name=a\r\ncontent-disposition: form-data; name=model",
        "content disposition: form-data; name=model",
        "content-disposition: form-data;\u{c} name=model",
        "content-disposition: form-data; name=model; x=\u{7f}",
        "--bA: x\r\ncontent-disposition: form-data; name=model",
    ] {
        check(&format!("--b\r\n{head}\r\n\r\nx\r\n--b--"), Err(BadPartHead));
    }
    let long = format!("content-disposition: form-data; name=a\r\nx: {}", "y".repeat(MAX_PART_HEAD_BYTES));
    check(&format!("--b\r\n{long}\r\n\r\nx\r\n--b--"), Err(BadPartHead));
    for head in ["; filename=a", "; filename*=utf-8''a", "\r\ncontent-transfer-encoding: base64"] {
        check(
            &format!("--b\r\ncontent-disposition: form-data; name=model{head}\r\n\r\nx\r\n--b--"),
            Err(IsNoText(Key::Model)),
        );
    }
}

#[test]
fn the_boundary_comes_from_the_content_type() {
    fn check(parameters: &str, expected: Option<&str>) {
        let found = Boundary::parse(parameters);
        assert_eq!(
            found.ok().map(|b| b.as_bytes().to_vec()),
            expected.map(|b| b.as_bytes().to_vec()),
            "{parameters}"
        );
    }
    check("boundary=abc", Some("abc"));
    check(" charset=utf-8 ; Boundary=\"a b:c\"", Some("a b:c"));
    check("boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW", Some("----WebKitFormBoundary7MA4YWxkTrZu0gW"));
    check("", None);
    check("boundary=", None);
    check("boundary=\"\"", None);
    check("boundary=a; boundary=b", None);
    check("boundary=\"a", None);
    check("boundary=\"a \"", None);
    check("boundary=\"a\\\nb\"", None);
    check(&format!("boundary={}", "a".repeat(71)), None);
    assert!(Boundary::parse("").unwrap_err().message.contains("no boundary"));
}

#[test]
fn a_huge_file_is_not_held() {
    let mut scanner = FormScanner::new(&boundary(), Key::Model);
    scanner.push(b"--b\r\ncontent-disposition: form-data; name=file; filename=a\r\n\r\n").unwrap();
    let piece = [b'\n'; 64 * 1024];
    for _ in 0..1000 {
        scanner.push(&piece).unwrap();
        assert!(scanner.carry.len() < 8 && scanner.carry.capacity() < 256 * 1024);
    }
    scanner.push(b"\r\n--b--").unwrap();
    scanner.finish().unwrap();
}

/// Pieces that forms are made of, in an order that often makes one.
fn forms() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(part("model", "gpt-4").into_bytes()),
        4 => Just(part("file", "\r\n-\r\n--\r\n--a\n-").into_bytes()),
        1 => Just(part("Model", "x").into_bytes()),
        1 => Just(b"--b".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => Just(b"--b--".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    (prop::collection::vec(piece, 0..6), any::<bool>()).prop_map(|(pieces, closes)| {
        let mut form = pieces.concat();
        if closes {
            form.extend_from_slice(b"--b--\r\n");
        }
        form
    })
}

proptest! {
    // Spec: api A-44.
    #[test]
    fn any_chunking_gives_the_same_result(form in forms(), cuts in prop::collection::vec(0usize..400, 0..8)) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(form.len())).collect();
        cuts.extend([0, form.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &form[cut[0]..cut[1]]).collect();
        prop_assert_eq!(scan(&pieces), scan(&[&form]));
    }
}
