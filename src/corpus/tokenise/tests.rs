use super::*;

/// One token per word, `a`=3, `b`=4, `c`=5; `special` is written around every text.
fn tokenizer(special: &str) -> Tokenizer {
    let processor = match special {
        "" => "null".to_owned(),
        template => {
            let parts: Vec<String> = template
                .split(' ')
                .map(|part| match part {
                    "A" => r#"{"Sequence":{"id":"A","type_id":0}}"#.to_owned(),
                    other => format!(r#"{{"SpecialToken":{{"id":"{other}","type_id":0}}}}"#),
                })
                .collect();
            let tokens =
                r#""<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]},"</s>":{"id":"</s>","ids":[2],"tokens":["</s>"]}"#;
            let single = parts.join(",");
            format!(
                r#"{{"type":"TemplateProcessing","single":[{single}],"pair":[{single}],"special_tokens":{{{tokens}}}}}"#
            )
        }
    };
    let json = format!(
        r#"{{"version":"1.0",
        "truncation":{{"direction":"Right","max_length":3,"strategy":"LongestFirst","stride":0}},
        "padding":{{"strategy":{{"Fixed":9}},"direction":"Right","pad_to_multiple_of":null,"pad_id":0,"pad_type_id":0,
            "pad_token":"<unk>"}},
        "added_tokens":[],"normalizer":null,"pre_tokenizer":{{"type":"WhitespaceSplit"}},"post_processor":{processor},
        "decoder":null,"model":{{"type":"WordLevel","vocab":{{"<unk>":0,"<s>":1,"</s>":2,"a":3,"b":4,"c":5}},
            "unk_token":"<unk>"}}}}"#
    );
    json.parse().unwrap()
}

fn cut(packing: Packing, seq_len: usize, samples: usize) -> Cut {
    Cut { packing, framing: Framing::Documents, seq_len, samples, separator: None }
}

fn run(texts: &[&str], special: &str, cut: Cut) -> Result<Sequences, CorpusError> {
    tokenise(texts.iter().map(|text| Ok((*text).to_owned())), &tokenizer(special), &cut)
}

#[test]
fn packed_documents_follow_each_other_with_their_special_tokens() {
    let sequences = run(&["a b", "c", "a a a"], "<s> A", cut(Packing::Packed, 4, 2)).unwrap();
    assert_eq!(sequences.ids, [[1, 3, 4, 1], [5, 1, 3, 3]]);
    assert_eq!((sequences.documents, sequences.missing(), sequences.truncated), (3, 0, 0));
}

#[test]
fn sequences_that_are_framed_have_the_special_tokens_of_a_text_each() {
    let framed = |packing, seq_len| Cut { framing: Framing::Sequences, separator: Some(2), ..cut(packing, seq_len, 9) };
    let ids = |texts: &[&str], cut| run(texts, "<s> A </s>", cut).unwrap().ids;
    assert_eq!(ids(&["a b", "c", "a a a"], framed(Packing::Packed, 4)), [[1, 3, 4, 2], [1, 5, 3, 2], [1, 3, 3, 2]]);
    assert_eq!(ids(&["a b"], framed(Packing::Packed, 9)), [[1, 3, 4, 2]]);
    assert_eq!(ids(&["a b c", "", "c"], framed(Packing::PerDocument, 4)), [vec![1, 3, 4, 2], vec![1, 5, 2]]);
    let message = run(&["a"], "<s> A </s>", framed(Packing::Packed, 2)).unwrap_err().to_string();
    assert!(message.contains("use 3 or more"), "{message}");
}

#[test]
fn a_separator_is_written_only_where_the_tokenizer_writes_nothing() {
    let cut = Cut { separator: Some(2), ..cut(Packing::Packed, 3, 2) };
    assert_eq!(run(&["a b", "c", "a b"], "", cut).unwrap().ids, [[3, 4, 2], [5, 2, 3]]);
    assert_eq!(run(&["a b", "c", "a b"], "<s> A", cut).unwrap().ids, [[1, 3, 4], [1, 5, 1]]);
}

#[test]
fn one_sequence_per_document_has_its_own_length_up_to_the_limit() {
    let sequences = run(&["a b c a b", "c", "a b", "a"], "<s> A </s>", cut(Packing::PerDocument, 5, 9)).unwrap();
    assert_eq!(sequences.ids, [vec![1, 3, 4, 5, 3], vec![1, 5, 2], vec![1, 3, 4, 2], vec![1, 3, 2]]);
    assert_eq!((sequences.truncated, sequences.missing(), sequences.skipped, sequences.longest()), (1, 5, 0, 5));
}

#[test]
fn documents_of_one_token_are_left_out_and_counted() {
    let sequences = run(&["a", "b c"], "", cut(Packing::PerDocument, 5, 2)).unwrap();
    assert_eq!((sequences.ids, sequences.skipped), (vec![vec![4, 5]], 1));
}

#[test]
fn text_shorter_than_one_sequence_gives_one_that_is_shorter() {
    let sequences = run(&["a b c"], "", cut(Packing::Packed, 64, 4)).unwrap();
    assert_eq!((sequences.ids.clone(), sequences.missing()), (vec![vec![3, 4, 5]], 3));
}

#[test]
fn no_more_documents_are_read_than_the_samples_need() {
    let mut read = 0;
    let endless = std::iter::repeat_with(|| {
        read += 1;
        Ok("a b c".to_owned())
    });
    let sequences = tokenise(endless, &tokenizer(""), &cut(Packing::Packed, 3, 5)).unwrap();
    assert_eq!((sequences.ids.len(), sequences.documents), (5, 5));
    assert!(read <= 12, "{read}");
}

#[test]
fn fewer_samples_are_the_first_of_more() {
    let texts: Vec<String> = (0..200).map(|i| "a b c ".repeat(i % 7 + 1)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for packing in [Packing::Packed, Packing::PerDocument] {
        let all = run(&texts, "<s> A", cut(packing, 8, usize::MAX)).unwrap();
        let few = run(&texts, "<s> A", cut(packing, 8, 30)).unwrap();
        assert_eq!(all.ids[..30], few.ids, "{packing:?}");
        assert_eq!((all.missing(), all.documents), (0, 200));
        assert_ne!(all.hash, few.hash);
    }
}

#[test]
fn a_long_document_is_tokenised_in_pieces_as_if_it_were_whole() {
    let long = "a b c\nb ".repeat(PIECE / 3);
    let whole = run(&[&long, "c"], "<s> A </s>", cut(Packing::Packed, 1000, usize::MAX)).unwrap();
    let words: Vec<u32> = std::iter::once(1)
        .chain(long.split_whitespace().map(|word| u32::from(word.as_bytes()[0] - b'a' + 3)))
        .chain([2, 1, 5, 2])
        .collect();
    let expected: Vec<&[u32]> = words.chunks_exact(1000).collect();
    assert_eq!(whole.ids, expected);
    let beginning = run(&[&long], "<s> A </s>", cut(Packing::PerDocument, 10, 1)).unwrap();
    assert_eq!((beginning.ids[0].as_slice(), beginning.truncated), (&words[..10], 1));
}

#[test]
fn pieces_put_together_are_the_text_whatever_its_letters() {
    for text in
        ["ü".repeat(PIECE * 2), "a ".repeat(PIECE * 2), format!("{}\n{}", "x".repeat(PIECE + 9), "y".repeat(PIECE * 3))]
    {
        let pieces = pieces(&text);
        assert_eq!(pieces.concat(), text);
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= 2 * PIECE));
    }
}

#[test]
fn impossible_requests_and_too_little_text_are_named() {
    let error = |texts: &[&str], cut| run(texts, "", cut).unwrap_err().to_string();
    assert_eq!(error(&["a"], cut(Packing::Packed, 1, 1)), "--seq-len is too small (1); use 2 or more");
    assert_eq!(error(&["a"], cut(Packing::Packed, 2, 0)), "--samples is too small (0); use 1 or more");
    for packing in [Packing::Packed, Packing::PerDocument] {
        assert_eq!(
            error(&["a"], cut(packing, 8, 1)),
            "text is too short (1 document(s), 1 token(s) in the longest); a prediction needs two tokens, give more text"
        );
    }
}

#[test]
fn an_error_of_the_documents_comes_through_if_it_is_in_the_way() {
    let broken = || Err(CorpusError::Empty { files: 1, blank: 2 });
    let enough = tokenise([Ok("a b".to_owned()), broken()], &tokenizer(""), &cut(Packing::Packed, 2, 1)).unwrap();
    assert_eq!(enough.ids, [[3, 4]]);
    let texts = [Ok("a b".to_owned()), broken()];
    let error = tokenise(texts, &tokenizer(""), &cut(Packing::Packed, 8, 1)).unwrap_err();
    assert_eq!(error.to_string(), "text is empty (1 file(s), 2 blank document(s)); give a file with text");
}
