//! A sink with a small capacity, which is busy after each chunk: nothing may be lost or repeated,
//! and the primary must get keepalives meanwhile.

use bytes::BytesMut;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use vdr_link::{BoxFuture, Endpoint, LinkConfig, LinkEnd, Observer, Position, RdbStep, Sink, SinkError, StreamStep};

const FILE: &[u8] = b"a file, whose format is the sink's affair.";
const STREAM: &[u8] = b"one two three four ";
const BITE: usize = 3;

#[derive(Default)]
struct Seen {
    file: Vec<u8>,
    stream: Vec<u8>,
    bites: usize,
}

/// Busy for some time after each chunk.
struct Nibbler {
    seen: Arc<Mutex<Seen>>,
    full_until: Option<tokio::time::Instant>,
}

impl Nibbler {
    fn take_chunk(&mut self) {
        self.full_until = Some(tokio::time::Instant::now() + Duration::from_millis(100));
        self.seen.lock().unwrap().bites += 1;
    }
}

impl Sink for Nibbler {
    fn position(&self) -> Option<Position> {
        None
    }

    fn continued(&mut self, _replication_id: &str) {}

    fn sync_started(&mut self, _start: Option<&Position>) {}

    fn rdb(&mut self, bytes: &[u8]) -> Result<RdbStep, SinkError> {
        self.take_chunk();
        let mut seen = self.seen.lock().unwrap();
        let consumed = BITE.min(bytes.len()).min(FILE.len() - seen.file.len());
        seen.file.extend_from_slice(&bytes[..consumed]);
        Ok(if seen.file.len() == FILE.len() { RdbStep::Done { consumed } } else { RdbStep::Part { consumed } })
    }

    fn sync_finished(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn stream(&mut self, input: &mut BytesMut) -> Result<StreamStep, SinkError> {
        self.take_chunk();
        let bite = input.split_to(BITE.min(input.len()));
        self.seen.lock().unwrap().stream.extend_from_slice(&bite);
        Ok(StreamStep { ack_wanted: false, left: !input.is_empty() })
    }

    fn applied(&self) -> u64 {
        self.seen.lock().unwrap().stream.len() as u64
    }

    fn ended(&mut self) {}

    fn ready(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(until) = self.full_until {
                tokio::time::sleep_until(until).await;
                self.full_until = None;
            }
        })
    }
}

struct Ends(Mutex<Sender<String>>);

impl Observer for Ends {
    fn ended(&self, end: &LinkEnd) {
        self.0.lock().unwrap().send(end.code().to_owned()).unwrap();
    }
}

/// Sends `framed` at once after the handshake, then reads what the replica sends up to `last`, and
/// closes the connection. It reads on until the replica has closed it, too: a socket that is
/// dropped with unread bytes resets the connection.
fn primary(framed: Vec<u8>, last: &'static str) -> (u16, Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        open(&mut reader, &socket);
        (&socket).write_all(&framed).unwrap();
        let mut acks = 0;
        loop {
            let words = words(&mut reader);
            acks += usize::from(words.first().is_some_and(|word| word == "REPLCONF"));
            if words.last().is_none_or(|word| word == last) {
                break;
            }
        }
        sender.send(acks).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        let _until_closed = reader.read_to_end(&mut Vec::new());
    });
    (port, receiver)
}

fn open(reader: &mut BufReader<TcpStream>, mut socket: &TcpStream) {
    loop {
        match words(reader).first().map(String::as_str) {
            Some("PSYNC") => {
                return socket.write_all(b"+FULLRESYNC 8371445ee47ab80cf9a6b53e3a8ec7b2a6c6d3f1 0\r\n").unwrap();
            }
            Some("PING") => socket.write_all(b"+PONG\r\n").unwrap(),
            _ => socket.write_all(b"+OK\r\n").unwrap(),
        }
    }
}

/// The words of the next command. Keepalives, which are empty lines, are skipped.
fn words(reader: &mut BufReader<TcpStream>) -> Vec<String> {
    let mut line = String::new();
    while line.trim().is_empty() {
        line.clear();
        if reader.read_line(&mut line).unwrap() == 0 {
            return Vec::new();
        }
    }
    let count: usize = line.trim().trim_start_matches('*').parse().unwrap();
    (0..count).map(|_| word(reader)).collect()
}

fn word(reader: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut bytes = vec![0; line.trim().trim_start_matches('$').parse::<usize>().unwrap() + 2];
    reader.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap().trim().to_owned()
}

fn in_chunks(framing: &[&[u8]]) {
    let (port, receiver) = primary(framing.concat(), "19");
    let mut config = LinkConfig::new(Endpoint::Tcp { host: "127.0.0.1".into(), port });
    config.ack_interval = Duration::from_millis(20);
    // Shorter than the whole transfer: the silence of a busy sink is not the primary's. And so long
    // that a busy machine does not make the primary look silent.
    config.timeouts.read = Duration::from_millis(1500);
    let (seen, (end, ends)) = (Arc::new(Mutex::new(Seen::default())), channel());
    let sink = Nibbler { seen: seen.clone(), full_until: None };
    let started = Instant::now();
    let _link = vdr_link::spawn(config, sink, Ends(Mutex::new(end))).unwrap();
    let acks = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(ends.recv_timeout(Duration::from_secs(20)).unwrap(), "closed");
    let seen = seen.lock().unwrap();
    assert_eq!((seen.file.as_slice(), seen.stream.as_slice()), (FILE, STREAM));
    assert!(seen.bites >= (FILE.len() + STREAM.len()) / BITE);
    assert!(started.elapsed() > Duration::from_millis(1900), "the bites did not wait for room");
    assert!(acks > 2, "only {acks} acknowledgements while there was no room");
}

#[test]
fn a_file_of_known_length_and_a_stream_are_taken_in_chunks() {
    let header = format!("${}\r\n", FILE.len());
    in_chunks(&[header.as_bytes(), FILE, STREAM]);
}

#[test]
fn a_file_between_marks_and_a_stream_are_taken_in_chunks() {
    let mark = [b'x'; 40];
    in_chunks(&[b"$EOF:", &mark, b"\r\n", FILE, &mark, STREAM]);
}
