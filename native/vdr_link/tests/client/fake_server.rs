//! A server that answers each command by a function, and notes what it was sent.

use parking_lot::Mutex;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use vdr_link::Endpoint;
use vdr_replica::resp::Decoder;

pub const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

type Answer = dyn Fn(&str) -> Option<String> + Send + Sync;

/// See the module.
pub struct FakeServer {
    pub port: u16,
    sent: Arc<Mutex<Vec<String>>>,
}

impl FakeServer {
    /// `answer` gets the words of a command in one line. None: the server hangs up.
    pub fn start(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, sent) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::default()));
        let (notes, answer): (_, Arc<Answer>) = (Arc::clone(&sent), Arc::new(answer));
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (notes, answer) = (Arc::clone(&notes), Arc::clone(&answer));
                thread::spawn(move || serve(socket.unwrap(), &notes, &*answer));
            }
        });
        FakeServer { port, sent }
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::tcp("127.0.0.1", self.port)
    }

    /// How often a command was sent.
    pub fn count(&self, command: &str) -> usize {
        self.sent.lock().iter().filter(|sent| *sent == command).count()
    }
}

fn serve(mut socket: TcpStream, notes: &Mutex<Vec<String>>, answer: &Answer) {
    let (mut decoder, mut input, mut piece) = (Decoder::new(), Vec::new(), [0; 65536]);
    loop {
        while let Some(frame) = decoder.decode(&input).unwrap() {
            let words: Vec<String> =
                decoder.args(&input).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            input.drain(..frame.skipped + frame.len);
            let command = words.join(" ");
            notes.lock().push(command.clone());
            let Some(reply) = answer(&command) else { return };
            if socket.write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
        match socket.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(len) => input.extend_from_slice(&piece[..len]),
        }
    }
}

pub fn info(offset: u64) -> String {
    let text = format!("role:master\r\nmaster_replid:{ID}\r\nmaster_repl_offset:{offset}\r\nsecond_repl_offset:-1\r\n");
    format!("${}\r\n{text}\r\n", text.len())
}

pub fn role(offset: u64) -> String {
    format!("*3\r\n$6\r\nmaster\r\n:{offset}\r\n*0\r\n")
}
