//! The numbers of an attention layer.

/// How scores are made and which of them count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key-value heads; divides `heads`.
    pub kv_heads: usize,
    /// Size of a query and of a key.
    pub head_dim: usize,
    /// Size of a value.
    pub value_dim: usize,
    /// What `q·k` is multiplied by.
    pub scale: f64,
    /// Bound c of the scores, `c·tanh(s / c)` (Gemma 2, arXiv 2408.00118).
    pub soft_cap: Option<f64>,
    /// Which keys a query sees.
    pub sight: Sight,
    /// Keys that a query sees, itself included; all before it if absent. Hugging Face's convention: candle's mask admits one more.
    pub window: Option<usize>,
}

/// Which way a query looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Itself and what came before.
    Back,
    /// The whole sequence: encoders.
    Both,
}

impl AttentionShape {
    /// Causal attention whose scores are `q·k / √head_dim`.
    #[must_use]
    pub fn new(heads: usize, kv_heads: usize, head_dim: usize) -> Self {
        Self {
            heads,
            kv_heads,
            head_dim,
            value_dim: head_dim,
            scale: 1.0 / (head_dim as f64).sqrt(),
            soft_cap: None,
            sight: Sight::Back,
            window: None,
        }
    }

    /// The same with a window.
    #[must_use]
    pub const fn with_window(self, window: Option<usize>) -> Self {
        Self { window, ..self }
    }

    /// Whether it is what [`Self::new`] gives, its window aside: what can be trained.
    #[must_use]
    pub fn is_plain(self) -> bool {
        self == Self::new(self.heads, self.kv_heads, self.head_dim).with_window(self.window)
    }
}
