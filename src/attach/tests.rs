//! Frames and the socket, without a model.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use serde_json::json;

use super::frame::{Down, Joining, Up};
use super::lines::{Frames, LineError, line};
use super::place::{Seat, SeatError, connect};
use crate::agent::{Done, Event, Input, NewSession, TurnOptions, WhichSession};
use crate::chat::Message;
use crate::service::{Request, Tooling};

#[test]
fn frames_come_whole_however_the_bytes_are_cut() {
    let wanted = Joining {
        open: WhichSession::FromWords("two\nlines".into()),
        new: NewSession {
            folder: "/work".into(),
            seed: Some(u64::MAX),
            ..NewSession::default()
        },
        agent: true,
        attended: false,
        tooling: Tooling::default(),
        script: Some("{\"text\":\"é\"}\n".into()),
    };
    let mut options = TurnOptions::default();
    options.sampling.temperature = 0.1;
    let message = json!({"role": "user", "content": "a\u{0}\u{2028}b"});
    let message = Message::from_json(&message).expect("a message");
    let request = Request::Say {
        input: Input::Messages(vec![message]),
        options,
    };
    let ask = |request| Up::Request {
        id: 7,
        stopped: true,
        request: Box::new(request),
    };
    let mut bytes = line(&Up::Open(Box::new(wanted.clone()))).expect("a line");
    bytes.extend(line(&ask(request.clone())).expect("a line"));
    bytes.extend(line(&Up::Close).expect("a line"));
    for piece in [1, 2, 7, bytes.len()] {
        let mut lines = Frames::default();
        let mut came = Vec::new();
        for bytes in bytes.chunks(piece) {
            lines.push(bytes);
            while let Some(frame) = lines.next::<Up>().expect("a frame") {
                came.push(frame);
            }
        }
        let [
            Up::Open(open),
            Up::Request {
                id: 7,
                stopped: true,
                request: said,
            },
            Up::Close,
        ] = &came[..]
        else {
            panic!("{came:?}");
        };
        assert_eq!((&open.open, open.new.seed), (&wanted.open, Some(u64::MAX)));
        assert_eq!(open.script, wanted.script);
        assert_eq!(**said, request);
    }
    let event = Down::Event {
        id: 7,
        event: Event::Done(Done::Heard),
    };
    let mut lines = Frames::default();
    lines.push(&line(&event).expect("a line"));
    let came = lines.next().expect("a frame");
    assert!(matches!(
        came,
        Some(Down::Event {
            id: 7,
            event: Event::Done(Done::Heard)
        })
    ));
}

#[test]
fn a_line_without_an_end_and_a_line_that_is_no_frame_are_refused() {
    let mut lines = Frames::of(1000);
    lines.push(&[b'x'; 1000]);
    assert!(matches!(lines.next::<Up>(), Ok(None)));
    lines.push(b"x");
    assert!(matches!(lines.next::<Up>(), Err(LineError::TooLong(1000))));
    for text in [
        "\n",
        "{}\n",
        "\"open\"\n",
        "{\"stop\":{\"id\":-1}}\n",
        "\u{0}\n",
    ] {
        let mut lines = Frames::default();
        lines.push(text.as_bytes());
        assert!(
            matches!(lines.next::<Up>(), Err(LineError::Unread(_))),
            "{text:?}"
        );
    }
}

#[test]
fn a_socket_that_a_dead_gateway_left_is_nobodys_and_the_next_one_takes_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let short = dir.path().join("home");
    // Longer than the path of a socket may be.
    let long = dir.path().join("x".repeat(120)).join("home");
    for home in [short, long] {
        if cfg!(not(target_os = "linux")) && home.as_os_str().len() > 100 {
            continue;
        }
        std::fs::create_dir_all(&home).unwrap();
        assert!(connect(&home).unwrap().is_none());
        let path = home.join("gateway.sock");
        // No socket at all, and one whose listener is gone.
        std::fs::write(&path, "").unwrap();
        assert!(connect(&home).unwrap().is_none());
        std::fs::remove_file(&path).unwrap();
        let left = dir.path().join("s");
        drop(UnixListener::bind(&left).unwrap());
        std::fs::rename(&left, &path).unwrap();
        assert!(connect(&home).unwrap().is_none());

        let seat = Seat::take(&home).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut client = connect(&home).unwrap().expect("a gateway");
        let (mut server, _) = seat.listener().accept().unwrap();
        server.write_all(b"hello").unwrap();
        drop(server);
        let mut came = String::new();
        client.read_to_string(&mut came).unwrap();
        assert_eq!(came, "hello");
        assert!(matches!(Seat::take(&home), Err(SeatError::Held(_))));
        drop(seat);
        assert!(!path.exists());
        drop(Seat::take(&home).unwrap());
    }
}
