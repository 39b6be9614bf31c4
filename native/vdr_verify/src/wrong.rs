//! A planted fault, to show that the machine finds it: the mirror takes one command for another.
//!
//! The fault is here and not in the library. It changes the bytes of the name on their way from the
//! link to the mirror. Both names have the same length, so the frame, and with it every offset,
//! stays as it is.

use std::str::FromStr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    name: Vec<u8>,
    taken_for: Vec<u8>,
}

impl FromStr for Wrong {
    type Err = String;

    /// `LPUSH=RPUSH`: the mirror pushes right when the primary pushes left.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, taken_for) = text.split_once('=').unwrap_or_default();
        if name.is_empty() || name.len() != taken_for.len() {
            return Err(format!("--wrong takes two commands of one length, as LPUSH=RPUSH, got {text}"));
        }
        Ok(Wrong { name: name.into(), taken_for: taken_for.into() })
    }
}

impl Wrong {
    /// Changes a frame that begins at its array header.
    pub fn plant(&self, frame: &mut [u8]) {
        // The name follows two lines: the array's length and the name's own length.
        let lines = frame.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let Some(start) = lines.map(|(at, _)| at + 1).nth(1) else { return };
        let Some(rest) = frame.get_mut(start..) else { return };
        let Some((name, behind)) = rest.split_at_mut_checked(self.name.len()) else { return };
        if name.eq_ignore_ascii_case(&self.name) && behind.starts_with(b"\r\n") {
            name.copy_from_slice(&self.taken_for);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_is_changed_and_only_whole() {
        let wrong: Wrong = "LPUSH=RPUSH".parse().unwrap();
        for (frame, expected) in [
            ("*2\r\n$5\r\nlpush\r\n$5\r\nLPUSH\r\n", "*2\r\n$5\r\nRPUSH\r\n$5\r\nLPUSH\r\n"),
            ("*1\r\n$6\r\nLPUSHX\r\n", "*1\r\n$6\r\nLPUSHX\r\n"),
            ("*1\r\n$4\r\nLPUS\r\n", "*1\r\n$4\r\nLPUS\r\n"),
            ("*1\r\n", "*1\r\n"),
        ] {
            let mut frame = frame.as_bytes().to_vec();
            wrong.plant(&mut frame);
            assert_eq!(frame.escape_ascii().to_string(), expected.as_bytes().escape_ascii().to_string());
        }
    }

    #[test]
    fn names_of_two_lengths_are_refused() {
        for text in ["", "LPUSH", "LPUSH=LPOP", "="] {
            assert!(text.parse::<Wrong>().is_err(), "{text}");
        }
    }
}
