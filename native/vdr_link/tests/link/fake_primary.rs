//! A scripted primary with one connection at a time. The test's own thread drives it, so that a
//! test reads from top to bottom.

use crate::tape::Tape;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use vdr_link::{Endpoint, LinkConfig};

pub const ID: &str = "0123456789abcdef0123456789abcdef01234567";
pub const MARK: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN";

/// The longest wait for something that must happen, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct FakePrimary {
    listener: TcpListener,
}

impl FakePrimary {
    pub fn start() -> Self {
        FakePrimary { listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    pub fn config(&self) -> LinkConfig {
        let mut config = LinkConfig::new(Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: self.port() });
        config.ack_interval = Duration::from_millis(50);
        config
    }

    pub fn accept(&self) -> Peer {
        self.listener.set_nonblocking(true).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    stream.set_nodelay(true).unwrap();
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    return Peer { stream, came: Vec::new(), newlines: 0 };
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("nobody connects: {error}"),
            }
        }
    }
}

/// The primary's end of a link.
pub struct Peer {
    stream: TcpStream,
    came: Vec<u8>,
    /// How many keepalives the link has sent.
    pub newlines: usize,
}

impl Peer {
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// As [`Peer::send`], for bytes that the link may no longer accept.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// The next command, or `None` if the link has closed the connection.
    pub fn try_command(&mut self) -> Option<Vec<String>> {
        loop {
            if let Some(command) = self.take_command() {
                return Some(command);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(bytes) => self.came.extend_from_slice(&chunk[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the link says nothing: {error}"),
            }
        }
    }

    pub fn command(&mut self) -> Vec<String> {
        self.try_command().expect("the link has closed")
    }

    /// Parses an array of bulk strings; newlines may precede it.
    fn take_command(&mut self) -> Option<Vec<String>> {
        let blank = self.came.iter().take_while(|byte| **byte == b'\n').count();
        self.came.drain(..blank);
        self.newlines += blank;
        let text = String::from_utf8(self.came.clone()).unwrap();
        let (count, mut rest) = text.strip_prefix('*')?.split_once("\r\n")?;
        let mut words = Vec::new();
        for _ in 0..count.parse::<usize>().unwrap() {
            let (length, tail) = rest.strip_prefix('$')?.split_once("\r\n")?;
            let length: usize = length.parse().unwrap();
            words.push(tail.get(..length)?.to_owned());
            rest = tail.get(length + 2..)?;
        }
        let used = text.len() - rest.len();
        self.came.drain(..used);
        Some(words)
    }

    /// Accepts everything up to PSYNC, and returns the arguments of PSYNC.
    pub fn greet(&mut self) -> (String, String) {
        loop {
            let words = self.command();
            match words[0].as_str() {
                "PING" => self.send("+PONG\r\n"),
                "PSYNC" => return (words[1].clone(), words[2].clone()),
                _ => self.send("+OK\r\n"),
            }
        }
    }

    /// Sends the file with its length, so that the stream follows.
    pub fn full_sync(&mut self, offset: u64, file: impl AsRef<[u8]>) {
        self.greet();
        self.send(format!("+FULLRESYNC {ID} {offset}\r\n${}\r\n", file.as_ref().len()));
        self.send(file);
    }

    /// The offset of the next acknowledgement.
    pub fn ack(&mut self) -> u64 {
        let words = self.command();
        assert_eq!(words[..2], ["REPLCONF", "ACK"], "{words:?}");
        words[2].parse().unwrap()
    }

    /// Waits for the acknowledgement of exactly this offset.
    pub fn ack_of(&mut self, offset: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let acked = self.ack();
            if acked == offset {
                return;
            }
            assert!(acked < offset, "{acked} was acknowledged, {offset} is all there is");
            assert!(Instant::now() < deadline, "{acked} and no more is acknowledged");
        }
    }

    /// Waits until the link closes, and returns how long it took.
    pub fn closed(mut self) -> Duration {
        let since = Instant::now();
        while self.try_command().is_some() {}
        since.elapsed()
    }

    /// Ends the connection by a reset, as a host does that does not know the connection.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Shuts down the primary's direction. The link may go on sending.
    pub fn say_no_more(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

/// A command in the encoding of the stream.
pub fn frame(words: &[&str]) -> Vec<u8> {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    vdr_replica::handshake::command(&words)
}

/// A snapshot file with string keys in database 0 and without a checksum.
pub fn snapshot(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut file = b"REDIS0011\xfe\x00".to_vec();
    for (key, value) in pairs {
        file.push(0);
        for text in [key, value] {
            file.push(u8::try_from(text.len()).ok().filter(|length| *length < 64).unwrap());
            file.extend_from_slice(text.as_bytes());
        }
    }
    file.push(0xff);
    file.extend_from_slice(&[0; 8]);
    file
}

/// Attaches a tape to a new fake primary, up to the end of the file. Nothing of the stream was
/// sent.
pub fn streaming(tape: &Tape, tune: impl FnOnce(&mut LinkConfig)) -> (FakePrimary, Peer, vdr_link::LinkHandle) {
    let primary = FakePrimary::start();
    let mut config = primary.config();
    tune(&mut config);
    let link = tape.attach(config);
    let mut peer = primary.accept();
    peer.full_sync(100, "file#");
    peer.ack_of(100);
    (primary, peer, link)
}
