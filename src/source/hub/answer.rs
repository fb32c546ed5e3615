//! What the Hub's answers mean: headers, and statuses other than success.

use ureq::http::HeaderMap;

use super::repository::Repository;
use super::{HubConfig, HubError};

/// Says what a status other than success means; the Hub gives the reason in headers. `file` is the commit and the
/// name where one file was asked for, and nothing where the repository was.
pub(super) fn refusal(
    config: &HubConfig,
    repository: &Repository,
    url: &str,
    status: u16,
    headers: &HeaderMap,
    file: Option<(&str, &str)>,
) -> HubError {
    let said = text(headers, "x-error-message").map(|said| format!(", it says {said:?}")).unwrap_or_default();
    let code = text(headers, "x-error-code").unwrap_or_default();
    let repo = repository.shown();
    let endpoint = config.endpoint.clone();
    let page = repository.page(&endpoint);
    let credential = if config.token.is_some() { "a token was sent" } else { "no token was sent" };
    let url = url.to_owned();

    match (status, code, file) {
        (401, "", _) if said.contains("Invalid credentials") => HubError::TokenRefused { repo, said, endpoint },
        // Listings of gated repositories are public, so that a bare 401 for one hides whether it exists.
        (401 | 403 | 404, "RepoNotFound", _) | (401, "", None) => {
            HubError::RepoMissing { repo, status, endpoint, credential, page }
        }
        (401 | 403, _, _) => HubError::Gated { repo, status, credential, said, page, endpoint },
        (404, "RevisionNotFound", _) => {
            HubError::RevisionMissing { repo, revision: repository.revision().to_owned(), page }
        }
        (404, _, Some((commit, file))) => {
            HubError::FileMissing { repo, file: file.to_owned(), commit: commit.to_owned() }
        }
        (404, _, None) => HubError::RepoMissing { repo, status, endpoint, credential, page },
        (429, _, _) => HubError::Busy { url },
        (408 | 500..=599, _, _) => HubError::Server { status, url, said },
        _ => protocol(&url, format!("status {status}{said}")),
    }
}

/// A header as text.
pub(super) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// `W/"abc"` and `"abc"` are `abc` in the cache.
pub(super) fn bare_etag(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

/// A header that is a number of bytes.
pub(super) fn size(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

/// The total of `bytes 0-0/123` and of `bytes */123`.
pub(super) fn range_total(headers: &HeaderMap) -> Option<u64> {
    text(headers, "content-range")?.rsplit_once('/')?.1.parse().ok()
}

/// The start of `bytes 5-9/10`.
pub(super) fn range_start(headers: &HeaderMap) -> Option<u64> {
    text(headers, "content-range")?.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

pub(super) fn unreachable(url: &str, error: &ureq::Error) -> HubError {
    use ureq::Error;
    match error {
        Error::Http(_) | Error::BadUri(_) | Error::TooManyRedirects | Error::BodyExceedsLimit(_) => {
            protocol(url, error.to_string())
        }
        _ => HubError::Unreachable { url: url.to_owned(), reason: error.to_string() },
    }
}

pub(super) fn protocol(url: &str, problem: String) -> HubError {
    HubError::Protocol { url: url.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::super::repository::Kind;
    use super::*;

    fn said(status: u16, code: &str, file: Option<(&str, &str)>) -> String {
        let repository = Repository::new(Kind::Model, "org/tiny", None).expect("a good name");
        let mut headers = HeaderMap::new();
        if !code.is_empty() {
            headers.insert("x-error-code", code.parse().expect("a header"));
        }
        refusal(&HubConfig::new("cache"), &repository, "https://hub/x", status, &headers, file).to_string()
    }

    #[test]
    fn a_bare_401_for_a_listing_tells_both_ways_out() {
        let message = said(401, "", None);
        for part in ["does not exist", "check the spelling", "ask for access at", "set HF_TOKEN"] {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }

    #[test]
    fn a_bare_401_or_403_for_a_file_is_a_gate() {
        assert!(said(401, "", Some(("c0", "config.json"))).contains("is gated (status 401"));
        assert!(said(403, "", None).contains("is gated (status 403"));
    }

    #[test]
    fn a_listed_file_that_is_not_there_is_named() {
        let message = said(404, "EntryNotFound", Some(("c0", "config.json")));
        assert!(message.contains("lists \"config.json\" but does not have it (status 404 at commit c0)"), "{message}");
    }

    #[test]
    fn a_status_without_meaning_for_a_hub_points_at_the_endpoint() {
        assert!(said(418, "", None).contains("status 418); check that HF_ENDPOINT"));
    }

    #[test]
    fn etags_and_ranges_are_read() {
        assert_eq!(bare_etag("W/\"ab\""), "ab");
        assert_eq!(bare_etag("\"ab\""), "ab");
        let mut headers = HeaderMap::new();
        headers.insert("content-range", "bytes 5-9/10".parse().expect("a header"));
        assert_eq!((range_start(&headers), range_total(&headers)), (Some(5), Some(10)));
        headers.insert("content-range", "bytes */0".parse().expect("a header"));
        assert_eq!((range_start(&headers), range_total(&headers)), (None, Some(0)));
    }
}
