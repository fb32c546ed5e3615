//! The Hub's HTTP routes: what a revision holds, what a file is, and its bytes.

use std::io::Read;
use std::time::Duration;

use serde::Deserialize;
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::{Agent, Body};

use super::repository::Repository;
use super::{HubConfig, HubError};

/// Listings of large data sets have tens of thousands of names.
const LISTING_LIMIT: u64 = 256 << 20;
/// Renamed repositories and the Hub's own indirection need one or two.
const RELATIVE_REDIRECTS: usize = 5;

/// The revision as the server resolves it.
#[derive(Debug)]
pub(super) struct Listing {
    pub commit: String,
    pub files: Vec<String>,
}

/// What is known of a file before its bytes.
#[derive(Debug)]
pub(super) struct Entry {
    /// Name of the blob in the cache; the sha256 of a large file.
    pub etag: String,
    pub bytes: u64,
    /// Where the bytes are asked for, with the token.
    url: String,
}

impl Entry {
    /// The hash to check against, where the Hub gives one that covers the bytes alone. Small files that are not in
    /// large-file storage have git's own hash, and are checked by size.
    pub fn sha256(&self) -> Option<&str> {
        let hex = self.etag.len() == 64 && self.etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then_some(self.etag.as_str())
    }
}

/// Bytes of a file from `start` on.
pub(super) struct Stream {
    pub start: u64,
    pub reader: Box<dyn Read>,
}

/// One repository on one server.
pub(super) struct Remote<'a> {
    config: &'a HubConfig,
    repository: &'a Repository,
    agent: Agent,
}

impl<'a> Remote<'a> {
    pub fn new(config: &'a HubConfig, repository: &'a Repository) -> Self {
        // `identity`: with compression the length of an answer is not that of the file. `RedirectAuthHeaders` stays
        // `Never`: the servers that hold large files must not see the token.
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .accept_encoding("identity")
            .user_agent(concat!("depthscope/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(config.timeout))
            .timeout_connect(Some(config.timeout))
            .timeout_recv_response(Some(config.timeout))
            .timeout_per_read(Some(config.timeout))
            .build()
            .into();
        Self { config, repository, agent }
    }

    /// The commit and the file names of the revision, asked for at most `retries` times more.
    pub fn listing(&self, retries: u32) -> Result<Listing, HubError> {
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        #[derive(Deserialize)]
        struct Info {
            sha: String,
            siblings: Vec<Sibling>,
        }

        let url = self.repository.listing_url(&self.config.endpoint);
        let body = self.patiently(retries, || {
            let response = self.get(&url, None, Redirects::All)?;
            if response.status() != StatusCode::OK {
                return Err(self.refusal(&url, &response, None));
            }
            let body = response.into_body().into_with_config().limit(LISTING_LIMIT).read_to_vec();
            body.map_err(|error| unreachable(&url, &error))
        })?;
        let info: Info = serde_json::from_slice(&body).map_err(|error| protocol(&url, error.to_string()))?;
        // The commit becomes a folder of the cache.
        if info.sha.is_empty() || !info.sha.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(protocol(&url, format!("commit {:?} is not a hash", info.sha)));
        }
        let mut files: Vec<String> = info.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        files.sort_unstable();
        Ok(Listing { commit: info.sha, files })
    }

    /// Size and hash of a file. One byte is asked for by GET and not HEAD, which not every mirror answers.
    pub fn entry(&self, commit: &str, file: &str) -> Result<Entry, HubError> {
        let url = self.repository.file_url(&self.config.endpoint, commit, file);
        self.patiently(self.config.retries, || {
            let mut url = url.clone();
            for _ in 0..RELATIVE_REDIRECTS {
                let response = self.get(&url, Some("bytes=0-0"), Redirects::None)?;
                match on_same_host(&url, &response) {
                    Some(next) => url = next,
                    None => return self.read_entry(url, &response, commit, file),
                }
            }
            Err(protocol(&url, "too many redirects".to_owned()))
        })
    }

    fn read_entry(&self, url: String, response: &Response<Body>, commit: &str, file: &str) -> Result<Entry, HubError> {
        let status = response.status();
        let empty = status == StatusCode::RANGE_NOT_SATISFIABLE && range_total(response.headers()) == Some(0);
        if !(status.is_success() || status.is_redirection() || empty) {
            return Err(self.refusal(&url, response, Some((commit, file))));
        }
        let headers = response.headers();
        let etag = text(headers, "x-linked-etag").or_else(|| text(headers, "etag")).map(bare_etag);
        let etag = etag.ok_or_else(|| protocol(&url, "neither x-linked-etag nor etag is given".to_owned()))?;
        // The etag becomes a file of the cache.
        if etag.is_empty() || !etag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            return Err(protocol(&url, format!("etag {etag:?} is not a hash")));
        }
        let etag = etag.to_owned();
        let length = |headers| text(headers, "content-length").and_then(|length| length.parse().ok());
        let bytes = match status {
            _ if headers.contains_key("x-linked-size") => {
                text(headers, "x-linked-size").and_then(|size| size.parse().ok())
            }
            StatusCode::OK => length(headers),
            status if status.is_redirection() => self.size_behind(&url)?,
            _ => range_total(headers),
        };
        let bytes = bytes.ok_or_else(|| protocol(&url, "the size is not given".to_owned()))?;
        Ok(Entry { etag, bytes, url })
    }

    /// The size that the server of the bytes tells, where the Hub itself did not.
    fn size_behind(&self, url: &str) -> Result<Option<u64>, HubError> {
        let response = self.get(url, Some("bytes=0-0"), Redirects::All)?;
        if !response.status().is_success() {
            return Err(self.refusal(url, &response, None));
        }
        Ok(match response.status() {
            StatusCode::PARTIAL_CONTENT => range_total(response.headers()),
            _ => text(response.headers(), "content-length").and_then(|length| length.parse().ok()),
        })
    }

    /// The bytes of a file from `offset` on, or from the start where the server knows no ranges.
    pub fn open(&self, entry: &Entry, offset: u64) -> Result<Stream, HubError> {
        let range = (offset > 0).then(|| format!("bytes={offset}-"));
        let response = self.get(&entry.url, range.as_deref(), Redirects::All)?;
        let start = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => range_start(response.headers())
                .ok_or_else(|| protocol(&entry.url, "content-range is missing or malformed".to_owned()))?,
            _ => return Err(self.refusal(&entry.url, &response, None)),
        };
        Ok(Stream { start, reader: Box::new(response.into_body().into_reader()) })
    }

    /// Waits before the `failures`-th retry.
    pub fn pause(&self, failures: u32) {
        let pause = self.config.pause.saturating_mul(1 << failures.saturating_sub(1).min(16));
        std::thread::sleep(pause.min(Duration::from_secs(10)));
    }

    pub const fn retries(&self) -> u32 {
        self.config.retries
    }

    fn patiently<T>(&self, retries: u32, ask: impl Fn() -> Result<T, HubError>) -> Result<T, HubError> {
        let mut failures = 0;
        loop {
            match ask() {
                Err(error) if error.is_passing() && failures < retries => {
                    failures += 1;
                    self.pause(failures);
                }
                answer => return answer,
            }
        }
    }

    fn get(&self, url: &str, range: Option<&str>, redirects: Redirects) -> Result<Response<Body>, HubError> {
        let mut request = self.agent.get(url);
        if redirects == Redirects::None {
            request = request.config().max_redirects(0).max_redirects_will_error(false).build();
        }
        if let Some(range) = range {
            request = request.header("range", range);
        }
        if let Some(token) = &self.config.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.call().map_err(|error| unreachable(url, &error))
    }

    /// Says what a status other than success means; the Hub gives the reason in headers.
    fn refusal(&self, url: &str, response: &Response<Body>, file: Option<(&str, &str)>) -> HubError {
        let status = response.status().as_u16();
        let headers = response.headers();
        let said = text(headers, "x-error-message").map(|said| format!(", it says {said:?}")).unwrap_or_default();
        let code = text(headers, "x-error-code").unwrap_or_default();
        let repo = self.repository.shown();
        let endpoint = self.config.endpoint.clone();
        let page = self.repository.page(&endpoint);
        let credential = if self.config.token.is_some() { "a token was sent" } else { "no token was sent" };

        match (status, code, file) {
            (401 | 403 | 404, "RepoNotFound", _) => HubError::RepoMissing { repo, status, credential, endpoint },
            (404, "RevisionNotFound", _) => {
                HubError::RevisionMissing { repo, revision: self.repository.revision().to_owned(), page }
            }
            (401, "", _) if said.contains("Invalid credentials") => HubError::TokenRefused { repo, said, endpoint },
            (401 | 403, _, _) => HubError::Gated { repo, status, credential, said, page, endpoint },
            (404, _, Some((commit, file))) => {
                HubError::FileMissing { repo, file: file.to_owned(), commit: commit.to_owned() }
            }
            (404, _, None) => HubError::RepoMissing { repo, status, credential, endpoint },
            (429, _, _) => HubError::Busy { url: url.to_owned() },
            (408 | 500..=599, _, _) => HubError::Server { status, url: url.to_owned(), said },
            _ => protocol(url, format!("status {status}{said}")),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Redirects {
    /// The answer is wanted, wherever it comes from.
    All,
    /// The Hub's own headers are wanted, which come with the redirect to the server of the bytes.
    None,
}

/// Where a redirect within the same host leads: one to another host has the headers that are wanted, this has not.
fn on_same_host(url: &str, response: &Response<Body>) -> Option<String> {
    let location = text(response.headers(), "location").filter(|_| response.status().is_redirection())?;
    let host_end = url.find("://").map_or(0, |at| at + 3);
    let origin = url[host_end..].find('/').map_or(url, |at| &url[..host_end + at]);
    let relative = location.starts_with('/') && !location.starts_with("//");
    relative.then(|| format!("{origin}{location}"))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// `W/"abc"` and `"abc"` are `abc` in the cache.
fn bare_etag(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

/// The total of `bytes 0-0/123` and of `bytes */123`.
fn range_total(headers: &HeaderMap) -> Option<u64> {
    text(headers, "content-range")?.rsplit_once('/')?.1.parse().ok()
}

/// The start of `bytes 5-9/10`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    text(headers, "content-range")?.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

fn unreachable(url: &str, error: &ureq::Error) -> HubError {
    use ureq::Error;
    match error {
        Error::Http(_) | Error::BadUri(_) | Error::TooManyRedirects | Error::BodyExceedsLimit(_) => {
            protocol(url, error.to_string())
        }
        _ => HubError::Unreachable { url: url.to_owned(), reason: error.to_string() },
    }
}

fn protocol(url: &str, problem: String) -> HubError {
    HubError::Protocol { url: url.to_owned(), problem }
}
