//! Batches of whole commands.

use std::ops::Range;

/// A batch that holds this many commands is full.
pub const BATCH_COMMANDS_MAX: usize = 4096;
/// A batch that holds this many bytes of commands is full. A single command may be longer.
pub const BATCH_BYTES_MAX: usize = 512 << 10;

/// One command of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The database that was selected for it.
    pub db: u32,
    /// The offset at its end. In a full sync: the offset of the whole file.
    pub offset: u64,
    /// Within a MULTI: the offset at which the MULTI begins, which names it.
    pub unit: Option<u64>,
    args: Range<usize>,
}

/// Commands in order, with their bytes in one buffer.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) args: Vec<Range<usize>>,
    commands: Vec<Command>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    pub fn len(&self) -> usize {
        self.commands.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_full(&self) -> bool {
        self.commands.len() >= BATCH_COMMANDS_MAX || self.bytes.len() >= BATCH_BYTES_MAX
    }

    pub fn commands(&self) -> impl Iterator<Item = &Command> {
        self.commands.iter()
    }

    /// The arguments of a command of this batch, its name first.
    pub fn args<'b>(&'b self, command: &Command) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        let ranges = self.args.get(command.args.clone()).unwrap_or_default();
        ranges.iter().map(|range| self.bytes.get(range.clone()).unwrap_or_default())
    }

    /// Adds a whole command.
    pub fn push<'a>(&mut self, db: u32, offset: u64, unit: Option<u64>, args: impl IntoIterator<Item = &'a [u8]>) {
        let first = self.args.len();
        args.into_iter().for_each(|arg| self.arg(arg));
        self.commands.push(Command { db, offset, unit, args: first..self.args.len() });
    }

    /// Empties the batch and keeps its capacity, unless that is far more than a batch needs.
    pub fn clear(&mut self) {
        if self.bytes.capacity() > 2 * BATCH_BYTES_MAX {
            *self = Batch::default();
        }
        self.bytes.clear();
        self.args.clear();
        self.commands.clear();
    }

    pub(super) fn append(&mut self, other: &Batch) {
        let (bytes, args) = (self.bytes.len(), self.args.len());
        self.bytes.extend_from_slice(&other.bytes);
        self.args.extend(other.args.iter().map(|range| range.start + bytes..range.end + bytes));
        self.commands.extend(
            other
                .commands
                .iter()
                .map(|command| Command { args: command.args.start + args..command.args.end + args, ..command.clone() }),
        );
    }

    pub(super) fn arg(&mut self, arg: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(arg);
        self.args.push(start..self.bytes.len());
    }

    /// Turns the arguments that were added from `first` on into one command.
    pub(super) fn close(&mut self, db: u32, offset: u64, first: usize) {
        self.commands.push(Command { db, offset, unit: None, args: first..self.args.len() });
    }
}

#[cfg(test)]
pub fn text(batch: &Batch) -> Vec<String> {
    let line = |command: &Command| {
        let words: Vec<String> = batch.args(command).map(|arg| arg.escape_ascii().to_string()).collect();
        words.join(" ")
    };
    batch.commands().map(line).collect()
}
