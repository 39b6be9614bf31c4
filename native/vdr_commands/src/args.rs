//! The arguments of a read, from the BEAM or from Lua.

use crate::error::ReadError;

/// One argument, made from a BEAM term or a Lua value.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg<'a> {
    Bytes(&'a [u8]),
    Int(i64),
    Float(f64),
    /// An atom of the BEAM. Lua passes a string instead: see [`Args::word`].
    Word(&'a str),
    Bool(bool),
    Nil,
    List(Vec<Arg<'a>>),
    Tuple(Vec<Arg<'a>>),
}

/// A cursor over arguments. Every method takes the next argument, and returns
/// [`ReadError::BadArgument`] if it is missing or of the wrong kind.
pub struct Args<'a> {
    rest: &'a [Arg<'a>],
}

impl<'a> Args<'a> {
    #[inline]
    pub fn new(args: &'a [Arg<'a>]) -> Self {
        Args { rest: args }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub fn value(&mut self) -> Result<&'a Arg<'a>, ReadError> {
        let (first, rest) = self.rest.split_first().ok_or(ReadError::BadArgument)?;
        self.rest = rest;
        Ok(first)
    }

    /// Takes the next argument if it is nil. A caller passes nil for an option that it did not get.
    pub fn take_nil(&mut self) -> bool {
        let [Arg::Nil, rest @ ..] = self.rest else { return false };
        self.rest = rest;
        true
    }

    /// A key, member, field or pattern.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], ReadError> {
        match self.value()? {
            Arg::Bytes(bytes) => Ok(bytes),
            _ => Err(ReadError::BadArgument),
        }
    }

    /// A list of keys, members or fields.
    pub fn byte_list(&mut self) -> Result<Vec<&'a [u8]>, ReadError> {
        match self.value()? {
            Arg::List(items) => Args::new(items).all_bytes(),
            _ => Err(ReadError::BadArgument),
        }
    }

    fn all_bytes(&mut self) -> Result<Vec<&'a [u8]>, ReadError> {
        let mut all = Vec::with_capacity(self.rest.len());
        while !self.is_empty() {
            all.push(self.bytes()?);
        }
        Ok(all)
    }

    /// An integer. A Lua number without a fraction counts as an integer.
    pub fn int(&mut self) -> Result<i64, ReadError> {
        match self.value()? {
            Arg::Int(int) => Ok(*int),
            _ => Err(ReadError::BadArgument),
        }
    }

    /// An integer of at least 0.
    pub fn count(&mut self) -> Result<usize, ReadError> {
        usize::try_from(self.int()?).map_err(|_| ReadError::BadArgument)
    }

    /// A word such as `byte`: an atom from the BEAM, a string from Lua.
    pub fn word(&mut self) -> Result<&'a str, ReadError> {
        match self.value()? {
            Arg::Word(word) => Ok(word),
            Arg::Bytes(bytes) => std::str::from_utf8(bytes).map_err(|_| ReadError::BadArgument),
            _ => Err(ReadError::BadArgument),
        }
    }

    /// A boolean, or a list with one as an option: `[{name, flag}]`. `default` where the caller
    /// gave neither.
    pub fn flag(&mut self, name: &str, default: bool) -> Result<bool, ReadError> {
        if self.is_empty() {
            return Ok(default);
        }
        match self.value()? {
            Arg::Bool(flag) => Ok(*flag),
            // The first of two options of one name wins, as in the keyword lists of Elixir.
            Arg::List(options) => options.iter().rev().try_fold(default, |_, option| Self::option(option, name)),
            _ => Err(ReadError::BadArgument),
        }
    }

    fn option(option: &Arg<'_>, name: &str) -> Result<bool, ReadError> {
        let (Arg::Tuple(pair) | Arg::List(pair)) = option else { return Err(ReadError::BadArgument) };
        let mut pair = Args::new(pair);
        match (pair.word()? == name, pair.value()?, pair.is_empty()) {
            (true, Arg::Bool(flag), true) => Ok(*flag),
            _ => Err(ReadError::BadArgument),
        }
    }
}
