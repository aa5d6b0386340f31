//! A model's vocabulary: text to tokens and back. Read-only and shared between threads.

use std::sync::Arc;

use llama_cpp_sys_2 as sys;

use super::handle::ModelHandle;
use crate::ledger::Token;

/// Why a text did not become tokens.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VocabError {
    /// llama.cpp counts in 32 bits.
    #[error("a text of {0} bytes is too long to be tokenized at once")]
    TooLong(usize),
    /// llama.cpp refused.
    #[error("llama.cpp could not tokenize a text of {0} bytes")]
    Failed(usize),
}

/// A vocabulary; keeps its model alive.
#[derive(Clone)]
pub struct Vocab {
    ptr: *const sys::llama_vocab,
    _model: Arc<ModelHandle>,
}

// SAFETY: llama.cpp documents its tokenizing API as thread-safe; a vocabulary is never changed
// after load, and the model it belongs to is kept alive.
unsafe impl Send for Vocab {}
unsafe impl Sync for Vocab {}

impl Vocab {
    pub(super) fn of(model: &Arc<ModelHandle>) -> Vocab {
        // SAFETY: the handle holds a loaded model.
        let ptr = unsafe { sys::llama_model_get_vocab(model.0) };
        Vocab {
            ptr,
            _model: model.clone(),
        }
    }

    pub(super) fn raw(&self) -> *const sys::llama_vocab {
        self.ptr
    }

    /// Number of tokens in the vocabulary.
    pub fn size(&self) -> usize {
        // SAFETY: the pointer is valid while `self` lives (here and below).
        unsafe { sys::llama_vocab_n_tokens(self.ptr) }.max(0) as usize
    }

    /// Whether `token` is an id of this vocabulary.
    pub fn has(&self, token: Token) -> bool {
        token.0 >= 0 && (token.0 as usize) < self.size()
    }

    /// Whether this is a SentencePiece vocabulary, which puts a space before every text that is
    /// tokenized on its own.
    pub fn is_spm(&self) -> bool {
        unsafe { sys::llama_vocab_type(self.ptr) == sys::LLAMA_VOCAB_TYPE_SPM }
    }

    /// llama.cpp's name for the kind of vocabulary.
    pub fn kind(&self) -> &'static str {
        match unsafe { sys::llama_vocab_type(self.ptr) } {
            sys::LLAMA_VOCAB_TYPE_SPM => "SPM",
            sys::LLAMA_VOCAB_TYPE_BPE => "BPE",
            sys::LLAMA_VOCAB_TYPE_WPM => "WPM",
            sys::LLAMA_VOCAB_TYPE_UGM => "UGM",
            sys::LLAMA_VOCAB_TYPE_RWKV => "RWKV",
            sys::LLAMA_VOCAB_TYPE_PLAMO2 => "PLaMo2",
            _ => "none",
        }
    }

    /// Tokens of `text`. With `special`, control and user-defined tokens in the text become tokens
    /// (and no space prefix is put before them); without, they are ordinary text. Never adds BOS
    /// or EOS.
    ///
    /// # Errors
    /// When the text is longer than llama.cpp can count.
    pub fn tokenize(&self, text: &str, special: bool) -> Result<Vec<Token>, VocabError> {
        let len = i32::try_from(text.len()).map_err(|_| VocabError::TooLong(text.len()))?;
        if len == 0 {
            return Ok(Vec::new());
        }
        // No vocabulary makes more tokens than bytes, but for prefixes.
        let mut room = text.len() + 16;
        loop {
            let mut tokens = vec![Token(0); room];
            let room_i32 = i32::try_from(room).map_err(|_| VocabError::TooLong(text.len()))?;
            // SAFETY: `Token` is a transparent i32; the buffer has `room` of them.
            let n = unsafe {
                sys::llama_tokenize(
                    self.ptr,
                    text.as_ptr().cast(),
                    len,
                    tokens.as_mut_ptr().cast(),
                    room_i32,
                    false,
                    special,
                )
            };
            if n == i32::MIN {
                return Err(VocabError::Failed(text.len()));
            }
            if n >= 0 {
                tokens.truncate(n as usize);
                return Ok(tokens);
            }
            let need = n.unsigned_abs() as usize;
            if need <= room {
                return Err(VocabError::Failed(text.len()));
            }
            room = need;
        }
    }

    /// The bytes of one token as they appear in a running text. Control tokens give nothing unless
    /// `special`. A token may hold a part of a UTF-8 character.
    pub fn piece(&self, token: Token, special: bool) -> Vec<u8> {
        if !self.has(token) {
            return Vec::new();
        }
        let mut room = 64i32;
        loop {
            let mut bytes = vec![0u8; room as usize];
            // SAFETY: the id is in the vocabulary and the buffer has `room` bytes.
            let n = unsafe {
                sys::llama_token_to_piece(
                    self.ptr,
                    token.0,
                    bytes.as_mut_ptr().cast(),
                    room,
                    0,
                    special,
                )
            };
            if n >= 0 {
                bytes.truncate(n as usize);
                return bytes;
            }
            if -n <= room {
                return Vec::new();
            }
            room = -n;
        }
    }

    /// The bytes of some tokens in a running text, see [`Vocab::piece`].
    pub fn bytes(&self, tokens: &[Token], special: bool) -> Vec<u8> {
        tokens
            .iter()
            .flat_map(|t| self.piece(*t, special))
            .collect()
    }

    /// The token's text as it stands in the vocabulary (escaped as the vocabulary does).
    pub fn text(&self, token: Token) -> String {
        if !self.has(token) {
            return String::new();
        }
        super::text::text(unsafe { sys::llama_vocab_get_text(self.ptr, token.0) })
    }

    fn attr(&self, token: Token) -> sys::llama_token_attr {
        if !self.has(token) {
            return sys::LLAMA_TOKEN_ATTR_UNDEFINED;
        }
        unsafe { sys::llama_vocab_get_attr(self.ptr, token.0) }
    }

    /// A control token: never shown, never made from content.
    pub fn is_control(&self, token: Token) -> bool {
        self.attr(token) & (sys::LLAMA_TOKEN_ATTR_CONTROL | sys::LLAMA_TOKEN_ATTR_UNKNOWN) != 0
    }

    /// A token added by the model's makers that is text, such as `<think>` in many models.
    pub fn is_user_defined(&self, token: Token) -> bool {
        self.attr(token) & sys::LLAMA_TOKEN_ATTR_USER_DEFINED != 0
    }

    /// Whether the tokenizer strips white space to the left and to the right of this token.
    pub fn strips(&self, token: Token) -> (bool, bool) {
        let attr = self.attr(token);
        (
            attr & sys::LLAMA_TOKEN_ATTR_LSTRIP != 0,
            attr & sys::LLAMA_TOKEN_ATTR_RSTRIP != 0,
        )
    }

    /// Whether sampling this token ends a generation.
    pub fn is_end(&self, token: Token) -> bool {
        self.has(token) && unsafe { sys::llama_vocab_is_eog(self.ptr, token.0) }
    }

    fn optional(&self, token: sys::llama_token) -> Option<Token> {
        (token >= 0).then_some(Token(token))
    }

    /// Beginning of a text.
    pub fn bos(&self) -> Option<Token> {
        self.optional(unsafe { sys::llama_vocab_bos(self.ptr) })
    }

    /// End of a text.
    pub fn eos(&self) -> Option<Token> {
        self.optional(unsafe { sys::llama_vocab_eos(self.ptr) })
    }

    /// End of a turn.
    pub fn eot(&self) -> Option<Token> {
        self.optional(unsafe { sys::llama_vocab_eot(self.ptr) })
    }

    /// Whether the vocabulary wants a BOS token before the first text.
    pub fn adds_bos(&self) -> bool {
        unsafe { sys::llama_vocab_get_add_bos(self.ptr) }
    }

    /// All ids.
    pub fn tokens(&self) -> impl Iterator<Item = Token> {
        (0..self.size() as i32).map(Token)
    }
}
