//! Scripted Sentinels and servers: threads that answer commands from a table that tests change.

use parking_lot::Mutex;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use vdr_link::Address;
use vdr_replica::resp::Decoder;

/// The answers of a Sentinel about the group, or of a server about itself.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub id: String,
    pub primary: Option<Address>,
    pub epoch: Option<u64>,
    pub others: Vec<(Address, String)>,
    pub replicas: Vec<Address>,
    pub role: &'static str,
    /// Accepts connections and sends nothing.
    pub silent: bool,
    /// Answers every command with this.
    pub garbage: Option<&'static [u8]>,
    pub password: Option<&'static str>,
}

pub struct Fake {
    pub address: Address,
    pub view: Arc<Mutex<View>>,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
    subscribers: Arc<Mutex<Vec<TcpStream>>>,
    stopped: Arc<AtomicBool>,
}

impl Fake {
    pub fn start(view: View) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fake = Fake {
            address: Address::new("127.0.0.1", listener.local_addr().unwrap().port()),
            view: Arc::new(Mutex::new(view)),
            sockets: Arc::default(),
            subscribers: Arc::default(),
            stopped: Arc::default(),
        };
        let (view, sockets, subscribers) = (fake.view.clone(), fake.sockets.clone(), fake.subscribers.clone());
        let stopped = fake.stopped.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (view, subscribers, socket) = (view.clone(), subscribers.clone(), socket.unwrap());
                sockets.lock().push(socket.try_clone().unwrap());
                std::thread::spawn(move || serve(socket, &view, &subscribers));
            }
        });
        fake
    }

    /// Publishes a switch to all subscribers.
    pub fn publish(&self, group: &str, to: &Address) {
        let text = format!("{group} 127.0.0.1 1 {} {}", to.host, to.port);
        let message = array(&[bulk("message"), bulk("+switch-master"), bulk(&text)]);
        for mut socket in self.subscribers.lock().iter() {
            let _gone = socket.write_all(message.as_bytes());
        }
    }

    pub fn has_subscriber(&self) -> bool {
        !self.stopped.load(Ordering::SeqCst) && !self.subscribers.lock().is_empty()
    }

    /// Closes all connections and stops listening.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _wakes_the_listener = TcpStream::connect((self.address.host.as_str(), self.address.port));
        std::thread::sleep(Duration::from_millis(20));
        for socket in self.sockets.lock().drain(..) {
            let _gone = socket.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(mut socket: TcpStream, view: &Mutex<View>, subscribers: &Mutex<Vec<TcpStream>>) {
    let (mut decoder, mut input, mut chunk) = (Decoder::new(), Vec::new(), [0; 4096]);
    while let Ok(bytes) = socket.read(&mut chunk)
        && bytes > 0
    {
        input.extend_from_slice(&chunk[..bytes]);
        while let Some(frame) = decoder.decode(&input).unwrap() {
            let words: Vec<String> =
                decoder.args(&input).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            input.drain(..frame.skipped + frame.len);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            if words[0] == "SUBSCRIBE" {
                subscribers.lock().push(socket.try_clone().unwrap());
            }
            if let Some(reply) = answer(&words, &view.lock())
                && socket.write_all(&reply).is_err()
            {
                return;
            }
        }
    }
}

fn answer(words: &[&str], view: &View) -> Option<Vec<u8>> {
    if view.silent {
        return None;
    }
    if let Some(garbage) = view.garbage {
        return Some(garbage.to_vec());
    }
    let text = match words {
        ["AUTH", rest @ ..] => match view.password {
            Some(password) if rest.last() == Some(&password) => "+OK\r\n".to_owned(),
            _ => "-WRONGPASS invalid username-password pair or user is disabled.\r\n".to_owned(),
        },
        ["SUBSCRIBE", channel] => array(&[bulk("subscribe"), bulk(channel), ":1\r\n".to_owned()]),
        ["PING"] => array(&[bulk("pong"), bulk("")]),
        ["ROLE"] => array(&[bulk(view.role), ":0\r\n".to_owned(), array(&[])]),
        ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "g"] => match &view.primary {
            Some(primary) => array(&[bulk(&primary.host), bulk(&primary.port.to_string())]),
            None => "*-1\r\n".to_owned(),
        },
        ["SENTINEL", "MASTER", "g"] => match view.epoch {
            Some(epoch) => array(&[bulk("name"), bulk("g"), bulk("config-epoch"), bulk(&epoch.to_string())]),
            None => "-NOPERM User mirror has no permissions to run the 'sentinel|master' command\r\n".to_owned(),
        },
        ["SENTINEL", "SENTINELS", "g"] => {
            let others = view.others.iter().map(|(address, id)| {
                let port = address.port.to_string();
                array(&["ip", &address.host, "port", &port, "runid", id].map(bulk))
            });
            array(&others.collect::<Vec<_>>())
        }
        ["SENTINEL", "REPLICAS", "g"] => {
            let replicas = view.replicas.iter().map(|address| {
                let port = address.port.to_string();
                let fields = ["ip", &address.host, "port", &port, "flags", "slave", "master-link-status", "ok"];
                array(&fields.map(bulk))
            });
            array(&replicas.collect::<Vec<_>>())
        }
        ["SENTINEL", "MYID"] => bulk(&view.id),
        _ => "-ERR unknown command\r\n".to_owned(),
    };
    Some(text.into_bytes())
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn array(elements: &[String]) -> String {
    format!("*{}\r\n{}", elements.len(), elements.concat())
}
