//! A server on this machine that answers as a test wants: it redirects, breaks off, announces what it
//! does not send. Beside it a small hub with one repository, whose answers a test can bend.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What a client asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    /// Which request of this path it is, counted from 0.
    pub nth: usize,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The first byte that is asked for.
    pub fn from(&self) -> usize {
        let range = self.header("range").and_then(|r| r.strip_prefix("bytes="));
        let from = range.and_then(|r| r.trim_end_matches('-').parse().ok());
        from.unwrap_or(0)
    }
}

/// What it gets.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The length that is announced; `None` sends chunks.
    pub length: Option<usize>,
    /// The connection is cut after so many bytes of the body.
    pub cut: Option<usize>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        let body = body.into();
        Reply {
            status,
            headers: Vec::new(),
            length: Some(body.len()),
            body,
            cut: None,
        }
    }

    pub fn with(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn announcing(mut self, length: Option<usize>) -> Reply {
        self.length = length;
        self
    }

    pub fn cut_after(mut self, bytes: usize) -> Reply {
        self.cut = Some(bytes);
        self
    }

    /// The bytes from where they are asked for.
    pub fn part(asked: &Asked, bytes: &[u8]) -> Reply {
        match (asked.header("range"), asked.from()) {
            (None, _) => Reply::new(200, bytes),
            (Some(_), from) if from >= bytes.len() => {
                Reply::new(416, "").with("Content-Range", &format!("bytes */{}", bytes.len()))
            }
            (Some(_), from) => {
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                Reply::new(206, &bytes[from..]).with("Content-Range", &range)
            }
        }
    }
}

type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A server; dropping it ends it.
pub struct Server {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    address: std::net::SocketAddr,
}

impl Server {
    pub fn new(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (log, ended, answer) = (asked.clone(), stop.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || drop(serve(stream, &log, &*answer)));
            }
        });
        Server {
            url: format!("http://{address}"),
            asked,
            stop,
            address,
        }
    }

    /// What was asked so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("a log").clone()
    }

    /// How often a path with these words in it was asked for.
    pub fn count(&self, words: &str) -> usize {
        self.asked()
            .iter()
            .filter(|a| a.path.contains(words))
            .count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

/// One request of one connection.
fn serve(stream: TcpStream, log: &Mutex<Vec<Asked>>, answer: &Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let asked = {
        let mut log = log.lock().expect("a log");
        let nth = log.iter().filter(|a| a.path == path).count();
        log.push(Asked { path, headers, nth });
        log[log.len() - 1].clone()
    };
    let reply = answer(&asked);
    let mut to = stream;
    let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len()).min(reply.body.len())];
    match reply.length {
        Some(length) => head += &format!("Content-Length: {length}\r\n\r\n"),
        None => head += "Transfer-Encoding: chunked\r\n\r\n",
    }
    to.write_all(head.as_bytes())?;
    match reply.length {
        Some(_) => to.write_all(body)?,
        None => {
            for part in body.chunks(1000) {
                write!(to, "{:x}\r\n", part.len())?;
                to.write_all(part)?;
                to.write_all(b"\r\n")?;
            }
            if reply.cut.is_none() {
                to.write_all(b"0\r\n\r\n")?;
            }
        }
    }
    to.flush()?;
    to.shutdown(Shutdown::Write)?;
    // What the client still sends must not become a reset that takes our bytes away.
    drop(reader.read_to_end(&mut Vec::new()));
    Ok(())
}

/// The commit of the hub's branch.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

pub fn sum(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// What the hub says of a repository with these files.
pub fn listing(files: &[(&str, &[u8])]) -> Value {
    let siblings: Vec<Value> = files
        .iter()
        .map(|(name, bytes)| {
            json!({"rfilename": name, "size": bytes.len(), "blobId": COMMIT,
                "lfs": {"sha256": sum(bytes), "size": bytes.len(), "pointerSize": 135}})
        })
        .collect();
    json!({"sha": COMMIT, "siblings": siblings, "cardData": {"license": "apache-2.0"}})
}

/// An honest hub with the repository `o/r`, but for what `bend` answers.
pub fn hub(
    files: &[(&str, Vec<u8>)],
    bend: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static,
) -> Server {
    let files: Vec<(String, Vec<u8>)> = files
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), bytes.clone()))
        .collect();
    Server::new(move |asked| {
        if let Some(reply) = bend(asked) {
            return reply;
        }
        let all: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
        if asked.path == "/api/models/o/r/revision/main?blobs=true" {
            return Reply::new(200, listing(&all).to_string());
        }
        let file = asked.path.strip_prefix(&format!("/o/r/resolve/{COMMIT}/"));
        match file.and_then(|file| all.iter().find(|(name, _)| *name == file)) {
            Some((_, bytes)) => Reply::part(asked, bytes),
            None => Reply::new(404, "nothing here"),
        }
    })
}
