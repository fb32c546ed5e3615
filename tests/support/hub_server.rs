//! A Hub of our own on loopback: the routes that downloads use, with the redirects and headers of the real one,
//! a log of what was asked, and faults on demand.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};

/// The only token with access to gated and private repositories.
pub const READER: &str = "hf_reader";

/// What goes wrong with the next transfer of a file's bytes.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Promises all, closes after this many bytes.
    CutAfter(usize),
    /// Sends the right number of wrong bytes.
    Garble,
    /// Answers with this status and no bytes.
    Status(u16),
    /// Sends all from the start whatever range is asked for.
    IgnoreRange,
    /// Answers nothing until this many milliseconds are over.
    Stall(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Open,
    /// The listing is public, the files are not.
    Gated,
    /// Does not exist for others.
    Private,
}

/// One repository: files are the same at each of its revisions.
#[derive(Clone, Debug)]
pub struct Repo {
    /// `models/org/name` or `datasets/org/name`.
    id: String,
    access: Access,
    /// Branch or tag to commit.
    revisions: BTreeMap<String, String>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Repo {
    pub fn model(name: &str) -> Self {
        Self::new(format!("models/{name}"))
    }

    pub fn dataset(name: &str) -> Self {
        Self::new(format!("datasets/{name}"))
    }

    fn new(id: String) -> Self {
        let revisions = BTreeMap::from([("main".to_owned(), commit("main"))]);
        Self { id, access: Access::Open, revisions, files: BTreeMap::new() }
    }

    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    pub fn file(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(name.to_owned(), bytes.into());
        self
    }

    pub fn revision(mut self, name: &str) -> Self {
        self.revisions.insert(name.to_owned(), commit(name));
        self
    }
}

/// The commit that a revision's name stands for here.
pub fn commit(name: &str) -> String {
    sha256(name.as_bytes())[..40].to_owned()
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Whether it asks for bytes, and not just for size and hash.
    pub fn is_transfer(&self) -> bool {
        self.header("range") != Some("bytes=0-0")
    }
}

struct State {
    repos: Mutex<Vec<Repo>>,
    faults: Mutex<BTreeMap<String, VecDeque<Fault>>>,
    log: Mutex<Vec<Request>>,
    stopped: AtomicBool,
    address: SocketAddr,
}

pub struct HubServer {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl HubServer {
    pub fn start(repos: impl IntoIterator<Item = Repo>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let state = Arc::new(State {
            repos: Mutex::new(repos.into_iter().collect()),
            faults: Mutex::default(),
            log: Mutex::default(),
            stopped: AtomicBool::new(false),
            address: listener.local_addr().expect("an address"),
        });
        let serving = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&serving);
                // A client that hangs up in the middle is part of the game.
                std::thread::spawn(move || drop(state.answer(stream)));
            }
        });
        Self { state, thread: Some(thread) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.state.address)
    }

    /// The next transfers of `file` go wrong in these ways, one after the other.
    pub fn break_transfers(&self, file: &str, faults: impl IntoIterator<Item = Fault>) {
        self.state.faults.lock().unwrap().insert(file.to_owned(), faults.into_iter().collect());
    }

    /// Puts this repository in the place of the one of the same name.
    pub fn replace(&self, repo: Repo) {
        let mut repos = self.state.repos.lock().unwrap();
        repos.retain(|old| old.id != repo.id);
        repos.push(repo);
    }

    pub fn log(&self) -> Vec<Request> {
        self.state.log.lock().unwrap().clone()
    }

    /// The files whose bytes or size were asked for, each once, sorted.
    pub fn requested_files(&self) -> Vec<String> {
        let file = |request: &Request| Some(request.path.split_once("/resolve/")?.1.split_once('/')?.1.to_owned());
        let files: std::collections::BTreeSet<String> = self.log().iter().filter_map(file).collect();
        files.into_iter().collect()
    }

    /// From now on connections are refused.
    pub fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.state.stopped.store(true, Ordering::SeqCst);
            drop(TcpStream::connect(self.state.address));
            thread.join().expect("the server did not panic");
        }
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.stop();
    }
}

type Headers = Vec<(&'static str, String)>;

impl State {
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
                None => break,
            };
        }
        let request = Request { path, headers };
        self.log.lock().unwrap().push(request.clone());
        self.route(&request, &mut stream)?;
        // Closing with the client's bytes unread would reset the connection under the answer.
        stream.shutdown(std::net::Shutdown::Write)?;
        std::io::copy(&mut reader.take(1 << 20), &mut std::io::sink()).map(drop)
    }

    fn route(&self, request: &Request, stream: &mut TcpStream) -> std::io::Result<()> {
        let path = request.path.strip_prefix('/').unwrap_or_default();
        if let Some(rest) = path.strip_prefix("api/resolve-cache/").or_else(|| path.strip_prefix("storage/")) {
            return self.send_file(request, rest, stream);
        }
        if let Some((id, revision)) = path.strip_prefix("api/").and_then(|rest| rest.split_once("/revision/")) {
            return self.send_listing(request, id, &revision.replace("%2F", "/"), stream);
        }
        let Some((id, rest)) = path.split_once("/resolve/") else {
            return refuse(stream, 404, "", "Not found");
        };
        let id = if id.starts_with("datasets/") { id.to_owned() } else { format!("models/{id}") };
        self.send_redirect(request, &id, rest, stream)
    }

    fn find(&self, id: &str) -> Option<Repo> {
        self.repos.lock().unwrap().iter().find(|repo| repo.id == id).cloned()
    }

    fn send_listing(&self, request: &Request, id: &str, revision: &str, stream: &mut TcpStream) -> std::io::Result<()> {
        let token = token(request);
        if token.is_some_and(|token| !token.starts_with("hf_")) {
            return refuse(stream, 401, "", "Invalid credentials in Authorization header");
        }
        let found = self.find(id).filter(|repo| repo.access != Access::Private || token == Some(READER));
        let Some(repo) = found else {
            // The Hub does not tell strangers what exists.
            let status = if token.is_some() { 404 } else { 401 };
            return refuse(stream, status, "RepoNotFound", "Repository not found");
        };
        let commit =
            repo.revisions.get(revision).or_else(|| repo.revisions.values().find(|commit| *commit == revision));
        let Some(commit) = commit else {
            return refuse(stream, 404, "RevisionNotFound", "Invalid rev id");
        };
        let siblings: Vec<_> = repo.files.keys().map(|file| serde_json::json!({ "rfilename": file })).collect();
        let body = serde_json::json!({ "id": id, "sha": commit, "siblings": siblings }).to_string();
        send(stream, "200 OK", &vec![("content-type", "application/json".to_owned())], body.as_bytes())
    }

    /// Large files are at another host, small ones elsewhere on this one.
    fn send_redirect(&self, request: &Request, id: &str, rest: &str, stream: &mut TcpStream) -> std::io::Result<()> {
        let (Some(repo), Some((revision, file))) = (self.find(id), rest.split_once('/')) else {
            return refuse(stream, 404, "RepoNotFound", "Repository not found");
        };
        match (repo.access, token(request)) {
            (Access::Open, _) | (_, Some(READER)) => {}
            (_, None) => {
                return refuse(stream, 401, "GatedRepo", "Access to model is restricted. You must be authenticated");
            }
            (_, Some(_)) => {
                return refuse(stream, 403, "GatedRepo", "You are not in the authorized list");
            }
        }
        let Some(bytes) = repo.files.get(file).filter(|_| repo.revisions.values().any(|commit| commit == revision))
        else {
            return refuse(stream, 404, "EntryNotFound", "Entry not found");
        };
        let mut headers: Headers = vec![("x-repo-commit", revision.to_owned())];
        if is_large(file) {
            headers.push(("x-linked-etag", format!("\"{}\"", sha256(bytes))));
            headers.push(("x-linked-size", bytes.len().to_string()));
            // Another name for the same address is another host to a client.
            headers.push(("location", format!("http://localhost:{}/storage/{id}/{file}", self.address.port())));
            return send(stream, "302 Found", &headers, b"");
        }
        headers.push(("location", format!("/api/resolve-cache/{id}/{file}")));
        send(stream, "307 Temporary Redirect", &headers, b"")
    }

    fn send_file(&self, request: &Request, rest: &str, stream: &mut TcpStream) -> std::io::Result<()> {
        let id: Vec<&str> = rest.splitn(4, '/').collect();
        let repo = self.find(&id[..3].join("/")).expect("a path that a redirect gave");
        let file = id[3];
        let bytes = &repo.files[file];
        let fault = match self.faults.lock().unwrap().get_mut(file) {
            Some(faults) if request.is_transfer() => faults.pop_front(),
            _ => None,
        };
        let mut headers: Headers = Vec::new();
        if !is_large(file) {
            headers.push(("etag", format!("W/\"{}\"", &sha256(bytes)[..40])));
        }
        let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let (mut status, mut part) = ("200 OK", &bytes[..]);
        if let (Some((from, to)), false) = (range, matches!(fault, Some(Fault::IgnoreRange))) {
            let from: usize = from.parse().expect("a range");
            let to = to.parse().map_or(bytes.len(), |to: usize| (to + 1).min(bytes.len()));
            if from >= to {
                headers.push(("content-range", format!("bytes */{}", bytes.len())));
                return send(stream, "416 Range Not Satisfiable", &headers, b"");
            }
            headers.push(("content-range", format!("bytes {from}-{}/{}", to - 1, bytes.len())));
            (status, part) = ("206 Partial Content", &bytes[from..to]);
        }
        match fault {
            Some(Fault::CutAfter(count)) => write(stream, status, &headers, part.len(), &part[..count.min(part.len())]),
            Some(Fault::Garble) => {
                let garbled: Vec<u8> = part.iter().map(|byte| !byte).collect();
                send(stream, status, &headers, &garbled)
            }
            Some(Fault::Status(status)) => refuse(stream, status, "", "broken on purpose"),
            Some(Fault::Stall(millis)) => {
                std::thread::sleep(std::time::Duration::from_millis(millis));
                Ok(())
            }
            Some(Fault::IgnoreRange) | None => send(stream, status, &headers, part),
        }
    }
}

fn is_large(file: &str) -> bool {
    [".safetensors", ".parquet", ".bin"].iter().any(|ending| file.ends_with(ending))
}

fn token(request: &Request) -> Option<&str> {
    request.header("authorization")?.strip_prefix("Bearer ")
}

fn refuse(stream: &mut TcpStream, status: u16, code: &'static str, message: &str) -> std::io::Result<()> {
    let mut headers: Headers = vec![("x-error-message", message.to_owned())];
    if !code.is_empty() {
        headers.push(("x-error-code", code.to_owned()));
    }
    send(stream, &format!("{status} Refused"), &headers, b"")
}

fn send(stream: &mut TcpStream, status: &str, headers: &Headers, body: &[u8]) -> std::io::Result<()> {
    write(stream, status, headers, body.len(), body)
}

/// Promises `length` bytes, whatever comes.
fn write(stream: &mut TcpStream, status: &str, headers: &Headers, length: usize, body: &[u8]) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.extend([*name, ": ", value, "\r\n"]);
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(body)
}
