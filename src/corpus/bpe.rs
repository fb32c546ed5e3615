//! Byte-level BPE tokenizers (Sennrich et al., arXiv 1508.07909) trained on one's own text.

use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer,
    TokenizerBuilder,
    models::bpe::{BPE, BpeTrainerBuilder},
    pre_tokenizers::byte_level::ByteLevel,
};

use super::CorpusError;
use crate::foreign::guarded;

/// The token that ends documents.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// The smallest vocabulary: every byte, and the end of text.
pub const SMALLEST_VOCAB: usize = 257;

/// Learns merges until there are `vocab` tokens, or no pair comes twice. Any text can be encoded with it, and comes back as it was.
///
/// # Errors
/// Whatever the documents give; a vocabulary below [`SMALLEST_VOCAB`].
pub fn train_bpe<D>(documents: D, vocab: usize) -> Result<Tokenizer, CorpusError>
where
    D: Iterator<Item = Result<String, CorpusError>> + Send,
{
    if vocab < SMALLEST_VOCAB {
        return Err(CorpusError::TooSmall { flag: "--vocab", value: vocab, least: SMALLEST_VOCAB });
    }
    let mut failure = None;
    let good = |document: Result<String, CorpusError>| document.map_err(|error| failure = Some(error)).ok();
    // All of it: the trainer counts words, which are few, but takes only what it can send between threads.
    let texts: Vec<String> = documents.map_while(good).collect();
    if let Some(error) = failure {
        return Err(error);
    }
    let refused = |reason: String| CorpusError::Tokenizer { document: 0, reason };
    let trained = guarded(|| learn(texts, vocab)).map_err(refused)?;
    trained.map_err(|error| refused(error.to_string()))
}

fn learn(texts: Vec<String>, vocab: usize) -> tokenizers::Result<Tokenizer> {
    let byte_level = ByteLevel::new(false, true, true);
    let mut tokenizer =
        TokenizerBuilder::<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>::new()
            .with_model(BPE::default())
            .with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(byte_level)))
            .with_decoder(Some(DecoderWrapper::ByteLevel(byte_level)))
            .build()?;
    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(vocab)
        .min_frequency(2)
        .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer.train(&mut trainer, texts.into_iter())?;
    Tokenizer::from_bytes(serde_json::to_vec(&tokenizer)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> impl Iterator<Item = Result<String, CorpusError>> + Send {
        crate::corpus::builtin::stories(1).take(300).map(|story| Ok(story.text))
    }

    #[test]
    fn any_text_comes_back_as_it_was() {
        let tokenizer = train_bpe(texts(), 400).unwrap();
        assert_eq!(tokenizer.get_vocab_size(true), 400);
        for text in ["Anna went to the mill.", " two  spaces\n\ttab", "naïve — 漢字 🦀", ""] {
            let ids = tokenizer.encode(text, false).unwrap();
            assert_eq!(tokenizer.decode(ids.get_ids(), false).unwrap(), text);
        }
        assert_eq!(tokenizer.token_to_id(END_OF_TEXT), Some(0));
    }

    #[test]
    fn the_same_text_gives_the_same_tokenizer() {
        let json = || train_bpe(texts(), 500).unwrap().to_string(false).unwrap();
        assert_eq!(json(), json());
    }

    #[test]
    fn a_vocabulary_without_room_for_bytes_is_refused() {
        assert!(train_bpe(texts(), 200).unwrap_err().to_string().contains("--vocab"));
    }
}
