//! The text of a line: the message, then the fields. It is bounded, and has no control characters:
//! a server's words in it begin no line of their own.

use std::fmt::{self, Debug, Write};
use tracing::field::{Field, Visit};

/// The longest text; what is longer ends with an ellipsis.
pub const LINE_BYTES_MAX: usize = 2048;

/// The field that names the instance, see [`Number`].
const INSTANCE: &str = "vdr";

#[derive(Clone, Debug, Default)]
pub struct Text {
    text: String,
    is_cut: bool,
}

impl Text {
    pub fn into_string(self) -> String {
        self.text
    }

    fn push(&mut self, char: char) -> fmt::Result {
        if self.is_cut {
            return Err(fmt::Error);
        }
        if self.text.len().saturating_add(char.len_utf8()) > LINE_BYTES_MAX {
            self.is_cut = true;
            self.text.push('…');
            return Err(fmt::Error);
        }
        self.text.push(char);
        Ok(())
    }

    fn append(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // An error means that the line is full.
        let _cut = match field.name() {
            INSTANCE => Ok(()),
            "message" => self.write_fmt(value),
            name if self.text.is_empty() => write!(self, "{name}={value}"),
            name => write!(self, " {name}={value}"),
        };
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            if char.is_control() {
                char.escape_default().try_for_each(|escaped| self.push(escaped))?;
            } else {
                self.push(char)?;
            }
        }
        Ok(())
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.append(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.append(field, format_args!("{value}"));
    }
}

/// The number of the instance that an event or a span names. It is found without formatting
/// anything.
#[derive(Default)]
pub struct Number(pub Option<u64>);

impl Visit for Number {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == INSTANCE {
            self.0 = Some(value);
        }
    }

    fn record_str(&mut self, _field: &Field, _value: &str) {}

    fn record_debug(&mut self, _field: &Field, _value: &dyn Debug) {}
}
