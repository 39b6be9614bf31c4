//! Commands: made from words, and shown to people.

/// Makes a command from words and byte strings.
macro_rules! cmd {
    ($($part:expr),+ $(,)?) => {
        vec![$(<[u8]>::to_vec(::std::convert::AsRef::<[u8]>::as_ref(&$part))),+]
    };
}
pub(crate) use cmd;

/// A command for people: bytes escaped, long arguments cut.
pub fn show(command: &[Vec<u8>]) -> String {
    let words = command.iter().take(24).map(|word| {
        let text = word.escape_ascii().to_string();
        if text.len() > 80 { format!("{}..({} bytes)", text.get(..60).unwrap_or_default(), word.len()) } else { text }
    });
    words.collect::<Vec<_>>().join(" ")
}
