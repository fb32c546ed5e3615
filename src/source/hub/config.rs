//! Where the Hub is, where its cache is and who asks: the same environment variables as the Python library's.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::HubError;

/// The public Hub.
const PUBLIC_ENDPOINT: &str = "https://huggingface.co";

/// Whether servers may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Ask the Hub, and fall back on the cache when it does not answer.
    Online,
    /// Use the cache alone.
    Offline,
}

/// How the Hub is reached. [`HubConfig::from_env`] is what a user expects; tests and libraries fill it by hand.
#[derive(Clone)]
pub struct HubConfig {
    /// Base URL without a trailing slash.
    pub endpoint: String,
    /// The folder that holds `models--org--name`, shared with the Python library.
    pub cache: PathBuf,
    /// Sent as `Authorization: Bearer …` to the endpoint, never to the file servers that it redirects to.
    pub token: Option<String>,
    /// Whether servers may be asked.
    pub network: Network,
    /// How many times in a row a request may fail without a single new byte before it is given up.
    pub retries: u32,
    /// Wait before the first retry; doubled for each further one, up to ten seconds.
    pub pause: Duration,
    /// How long a silent server is waited for.
    pub timeout: Duration,
}

impl HubConfig {
    /// The public Hub without a token, with this cache folder.
    #[must_use]
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: PUBLIC_ENDPOINT.to_owned(),
            cache: cache.into(),
            token: None,
            network: Network::Online,
            retries: 5,
            pause: Duration::from_millis(500),
            timeout: Duration::from_secs(30),
        }
    }

    /// Reads the process environment; see [`HubConfig::from_lookup`] for the variables.
    ///
    /// # Errors
    /// As [`HubConfig::from_lookup`].
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Reads the variables through `lookup`; an empty value counts as unset.
    ///
    /// - cache: `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `HF_HOME/hub`; `HF_HOME` is by default
    ///   `$XDG_CACHE_HOME/huggingface`, else `~/.cache/huggingface`
    /// - token: `HF_TOKEN`, else `HUGGING_FACE_HUB_TOKEN`, else the file `HF_TOKEN_PATH`, by default `HF_HOME/token`
    /// - endpoint: `HF_ENDPOINT`
    /// - offline: `HF_HUB_OFFLINE`, else `TRANSFORMERS_OFFLINE`, is `1`, `true`, `yes` or `on`
    ///
    /// # Errors
    /// [`HubError::NoHome`] when nothing says where the cache is, [`HubError::BadEndpoint`] and
    /// [`HubError::BadToken`] for values that cannot be used.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let read = |name: &str| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let user = read("HOME").or_else(|| read("USERPROFILE")).map(PathBuf::from);
        let expand = |path: String| match (path.strip_prefix("~/"), &user) {
            (Some(rest), Some(user)) => user.join(rest),
            _ => PathBuf::from(path),
        };

        let home = read("HF_HOME")
            .map(expand)
            .or_else(|| read("XDG_CACHE_HOME").map(|cache| expand(cache).join("huggingface")))
            .or_else(|| user.as_ref().map(|user| user.join(".cache/huggingface")));
        let cache = read("HF_HUB_CACHE")
            .or_else(|| read("HUGGINGFACE_HUB_CACHE"))
            .map(expand)
            .or_else(|| home.as_ref().map(|home| home.join("hub")))
            .ok_or(HubError::NoHome)?;
        let token_file = read("HF_TOKEN_PATH").map(expand).or_else(|| home.map(|home| home.join("token")));
        let token = read("HF_TOKEN")
            .or_else(|| read("HUGGING_FACE_HUB_TOKEN"))
            .or_else(|| token_file.and_then(|file| token_in(&file)));
        let offline =
            read("HF_HUB_OFFLINE").or_else(|| read("TRANSFORMERS_OFFLINE")).is_some_and(|value| is_yes(&value));

        let config = Self {
            endpoint: read("HF_ENDPOINT")
                .unwrap_or_else(|| PUBLIC_ENDPOINT.to_owned())
                .trim_end_matches('/')
                .to_owned(),
            token,
            network: if offline { Network::Offline } else { Network::Online },
            ..Self::new(cache)
        };
        config.check()?;
        Ok(config)
    }

    /// Refuses what would only fail later, and less clearly, inside a request.
    pub(super) fn check(&self) -> Result<(), HubError> {
        let host = self.endpoint.strip_prefix("https://").or_else(|| self.endpoint.strip_prefix("http://"));
        if host.is_none_or(|host| host.is_empty() || host.contains(char::is_whitespace)) {
            return Err(HubError::BadEndpoint { endpoint: self.endpoint.clone() });
        }
        match &self.token {
            Some(token) if !token.chars().all(|c| c.is_ascii_graphic()) => Err(HubError::BadToken),
            _ => Ok(()),
        }
    }
}

/// A token must not end up in a log.
impl fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubConfig")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("network", &self.network)
            .field("retries", &self.retries)
            .field("pause", &self.pause)
            .field("timeout", &self.timeout)
            .finish()
    }
}

fn token_in(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    Some(text.trim().to_owned()).filter(|token| !token.is_empty())
}

fn is_yes(value: &str) -> bool {
    ["1", "true", "yes", "on"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}
