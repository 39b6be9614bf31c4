//! The steps of a handshake, and the command of each.

/// The step of a handshake: which reply is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Ping,
    Auth,
    Role,
    Info,
    StringLimit,
    ListeningPort,
    CapaEof,
    CapaPsync2,
    Version,
    Psync,
}

impl Step {
    /// Whether the command waits for the replies to those before it. All others are sent together
    /// with the one before them.
    pub(super) fn waits(self) -> bool {
        matches!(self, Step::Ping | Step::Auth | Step::ListeningPort | Step::Psync)
    }

    /// The command whose reply is awaited, with its option.
    pub fn words(self) -> &'static str {
        match self {
            Step::StringLimit => "CONFIG GET",
            Step::ListeningPort => "REPLCONF listening-port",
            Step::CapaEof => "REPLCONF capa eof",
            Step::CapaPsync2 => "REPLCONF capa psync2",
            Step::Version => "REPLCONF version",
            Step::Ping | Step::Auth | Step::Role | Step::Info | Step::Psync => self.command(),
        }
    }

    /// The command whose reply is awaited.
    pub fn command(self) -> &'static str {
        match self {
            Step::Ping => "PING",
            Step::Auth => "AUTH",
            Step::Role => "ROLE",
            Step::Info => "INFO",
            Step::StringLimit => "CONFIG",
            Step::ListeningPort | Step::CapaEof | Step::CapaPsync2 | Step::Version => "REPLCONF",
            Step::Psync => "PSYNC",
        }
    }
}
