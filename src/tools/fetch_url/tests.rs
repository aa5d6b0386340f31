//! Pages of a server of our own, one answer per connection.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use super::super::testing::Place;
use super::*;

/// Serves the answers in order, one per connection, and gives its address (`host:port`).
fn server(answers: Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            // The client may have read enough.
            let _ = stream.write_all(&answer);
        }
    });
    address
}

fn answer(head: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut all = format!(
        "HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    all.extend_from_slice(body);
    all
}

/// Fetches from such a server; its address is written `HOST`.
fn fetch(answers: Vec<Vec<u8>>) -> ToolAnswer {
    let place = Place::new();
    let host = server(answers);
    let url = json!({"url": format!("http://{host}/page#part")});
    let ToolAnswer { ok, text } = place.room(None, |room| FetchUrl::new(true).run(&url, room));
    ToolAnswer {
        ok,
        text: text.replace(&host, "HOST"),
    }
}

#[test]
fn a_page_is_its_text_and_a_text_is_itself() {
    let html = "<html><head><title>t</title><style>p {}</style><script>evil()</script></head>\
                <body><h1>Head</h1><p>Some <b>bold</b> text</p><ul><li>one<li>two</ul></body>";
    assert_eq!(
        fetch(vec![answer(
            "200 OK\r\ncontent-type: text/html; charset=utf-8",
            html
        )]),
        ToolAnswer::good("# Head\n\nSome **bold** text\n* one\n* two")
    );
    assert_eq!(
        fetch(vec![answer(
            "200 OK\r\ncontent-type: text/plain; charset=iso-8859-1",
            b"gr\xfc\xdfe"
        )]),
        ToolAnswer::good("grüße")
    );
    assert_eq!(
        fetch(vec![answer(
            "200 OK\r\ncontent-type: application/json",
            "{\"a\": 1}\n"
        )]),
        ToolAnswer::good("{\"a\": 1}")
    );
    assert_eq!(
        fetch(vec![answer("200 OK\r\ncontent-type: text/html", "")]),
        ToolAnswer::good("[the page has no text]")
    );
}

#[test]
fn what_is_no_page_is_a_sentence() {
    assert_eq!(
        fetch(vec![answer(
            "200 OK\r\ncontent-type: image/png",
            vec![0; 2000]
        )]),
        ToolAnswer::bad("http://HOST/page is no text: image/png, 2.0 kB.")
    );
    assert_eq!(
        fetch(vec![answer(
            "404 Not Found\r\ncontent-type: text/plain",
            "no such page"
        )]),
        ToolAnswer::bad("http://HOST/page answered 404 Not Found:\nno such page")
    );
    let garbage = fetch(vec![b"what?\r\n\r\n".to_vec()]);
    assert!(
        !garbage.ok
            && garbage
                .text
                .starts_with("http://HOST/page cannot be fetched: ")
    );
    let short = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort".to_vec();
    let broken = fetch(vec![short]);
    assert!(
        !broken.ok && broken.text.starts_with("http://HOST/page broke off: "),
        "{broken:?}"
    );
}

#[test]
fn redirects_are_followed_on_the_host_and_told_elsewhere() {
    let to = |place: &str| answer(&format!("302 Found\r\nlocation: {place}"), "");
    let text = || answer("200 OK\r\ncontent-type: text/plain", "here");
    assert_eq!(
        fetch(vec![to("/other"), to("sub/third"), text()]),
        ToolAnswer::good("here")
    );
    assert_eq!(
        fetch(vec![to("http://elsewhere.example/x?y=1")]),
        ToolAnswer::bad(
            "The page redirects to http://elsewhere.example/x?y=1, which is another host: call \
             fetch_url with that."
        )
    );
    let circle = fetch((0..20).map(|_| to("/page")).collect());
    assert_eq!(
        circle,
        ToolAnswer::bad("http://HOST/page redirects more than 5 times.")
    );
}

/// Larger than what is read, nested deeper than any stack, and packed: bounded each time.
#[test]
fn hostile_pages_are_bounded() {
    let large = answer(
        "200 OK\r\ncontent-type: text/plain",
        "word ".repeat(2_000_000),
    );
    let large = fetch(vec![large]).text;
    assert!(large.ends_with("\n[only the first 4.2 MB were read]"));
    assert!(large.len() < (4 << 20) + 100);
    let deep = format!("{}deep", "<div>".repeat(100_000));
    assert_eq!(
        fetch(vec![answer("200 OK\r\ncontent-type: text/html", deep)]),
        ToolAnswer::bad("http://HOST/page cannot be shown: its HTML is nested more than 400 deep.")
    );
}

#[test]
fn addresses_that_are_none_or_near_are_refused() {
    let place = Place::new();
    let tool = FetchUrl::new(false);
    let fetch = |url: &str| {
        let answer = place.room(None, |room| tool.run(&json!({"url": url}), room));
        assert!(!answer.ok);
        answer.text
    };
    for url in [
        "",
        "nothing",
        "https://",
        "/etc/passwd",
        "http://a b/",
        "http://exämple.org/",
    ] {
        assert!(
            fetch(url).contains("cannot be fetched"),
            "{url}: {}",
            fetch(url)
        );
    }
    for (url, why) in [
        (
            "file:///etc/passwd",
            "it is no address of the form https://host/path",
        ),
        ("ftp://host/", "only http and https can be"),
        (
            "https://good.example@evil.example/",
            "it must not hold a user or a password",
        ),
    ] {
        assert_eq!(fetch(url), format!("{url:?} cannot be fetched: {why}."));
    }
    let near = |host: &str| {
        format!(
            "{host} is on this machine or in a private network: such addresses are not fetched."
        )
    };
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "0.0.0.0",
        "169.254.169.254",
        "2130706433",
    ] {
        let said = fetch(&format!("http://{host}:1/x"));
        assert!(
            said == near(host) || said.starts_with("There is no host"),
            "{host}: {said}"
        );
    }
    assert_eq!(
        tool.subject(
            &json!({"url": " HTTPS://Example.org/a#b "}),
            &place.project()
        ),
        Subject::Url("https://example.org/a".into())
    );
}

#[test]
fn a_host_that_never_answers_can_be_left() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let place = Place::new();
    let answer = std::thread::scope(|scope| {
        let call = scope.spawn(|| {
            place.room(None, |room| {
                FetchUrl::new(true).run(&json!({"url": url}), room)
            })
        });
        // The request is under way when it is cancelled.
        let _silent = listener.accept().unwrap();
        place.cancel();
        call.join().unwrap()
    });
    assert_eq!(
        answer,
        ToolAnswer::bad("Fetching the page was interrupted.")
    );
}
