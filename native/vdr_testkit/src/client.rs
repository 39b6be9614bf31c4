//! A small blocking client with the part of RESP2 that tests need.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use vdr_replica::resp;

/// A command, its name first.
pub type Command = Vec<Vec<u8>>;

/// Makes a command from words.
pub fn command(words: &[&str]) -> Command {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Option<Vec<u8>>),
    Array(Option<Vec<Reply>>),
}

impl Reply {
    pub fn text(&self) -> String {
        match self {
            Reply::Simple(text) | Reply::Error(text) => text.clone(),
            Reply::Bulk(Some(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            Reply::Int(int) => int.to_string(),
            other => format!("{other:?}"),
        }
    }

    pub fn items(self) -> Vec<Reply> {
        match self {
            Reply::Array(Some(items)) => items,
            _ => Vec::new(),
        }
    }
}

pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Client { stream: BufReader::with_capacity(1 << 16, stream) })
    }

    pub fn call(&mut self, words: &[&str]) -> io::Result<Reply> {
        let mut replies = self.pipeline(&[command(words)])?;
        replies.pop().ok_or_else(|| io::Error::other("no reply"))
    }

    /// Sends all commands, then reads a reply for each.
    pub fn pipeline(&mut self, commands: &[Command]) -> io::Result<Vec<Reply>> {
        self.send(commands)?;
        commands.iter().map(|_| self.reply()).collect()
    }

    pub fn send(&mut self, commands: &[Command]) -> io::Result<()> {
        let mut out = Vec::new();
        for command in commands {
            resp::encode(&command.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut out);
        }
        self.stream.get_mut().write_all(&out)
    }

    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        let Some(kind) = text.chars().next() else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let rest = text[1..].to_owned();
        let number = || rest.parse::<i64>().map_err(io::Error::other);
        Ok(match kind {
            '+' => Reply::Simple(rest),
            '-' => Reply::Error(rest),
            ':' => Reply::Int(number()?),
            '$' => Reply::Bulk(self.bulk(number()?)?),
            '*' => match number()? {
                -1 => Reply::Array(None),
                count => Reply::Array(Some((0..count).map(|_| self.reply()).collect::<io::Result<_>>()?)),
            },
            other => return Err(io::Error::other(format!("unexpected reply {other:?}"))),
        })
    }

    fn bulk(&mut self, len: i64) -> io::Result<Option<Vec<u8>>> {
        let Ok(len) = usize::try_from(len) else { return Ok(None) };
        let mut bytes = vec![0; len + 2];
        self.stream.read_exact(&mut bytes)?;
        bytes.truncate(len);
        Ok(Some(bytes))
    }
}
