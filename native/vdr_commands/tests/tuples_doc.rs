//! Checks that the table of command tuples in the docs of `Vdr.RedisStream.ReplicaCommand` is what
//! the rows say. `make docs` writes it.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;
    use std::path::{Path, PathBuf};
    use vdr_commands::{Leaves, Part, Write};
    use vdr_data::value::Kind;

    const BEGIN: &str = "  | tuple | commands |\n";
    const END: &str = "\n  Commands that later";

    fn file() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../lib/vdr/redis_stream/replica_command.ex")
    }

    /// The slots of a part. `None` for what the tuple leaves out.
    fn slots(part: Part) -> Option<&'static str> {
        Some(match part {
            Part::Key => "key",
            Part::Source => "source",
            Part::Keys => "[key]",
            Part::Sources | Part::CountedSources => "[source]",
            Part::KeyPairs => "[{key, value}]",
            Part::Bin => "binary",
            Part::Bins | Part::CountedBins => "[binary]",
            Part::Pairs | Part::CountedPairs => "[{binary, binary}]",
            Part::Int => "integer",
            Part::Float => "float",
            Part::Word => "word",
            Part::Scored => "[{float, member}], options",
            Part::Options => "options",
            Part::Fields => "options, [field]",
            Part::PlainFields => "[field]",
            Part::FieldPairs => "options, [{field, value}]",
            Part::Ids => "options, [id]",
            Part::AddOptions | Part::Dropped => return None,
        })
    }

    fn tuple_of(row: &Write) -> String {
        let slots: String = row.shape.iter().filter_map(|part| slots(*part)).map(|slot| format!(", {slot}")).collect();
        format!("{{name{slots}}}")
    }

    /// Rows of modules all have the same shape, and the text names it.
    fn is_of_module(row: &Write) -> bool {
        row.leaves == Leaves::Kind(Kind::Other)
    }

    fn table() -> String {
        let mut commands = BTreeMap::<String, Vec<&str>>::new();
        for row in vdr_commands::writes().filter(|row| !is_of_module(row)) {
            commands.entry(tuple_of(row)).or_default().push(row.name);
        }
        let mut text = format!("{BEGIN}  |---|---|\n");
        for (tuple, mut names) in commands {
            names.sort_unstable();
            writeln!(text, "  | `{tuple}` | {} |", names.join(", ")).unwrap();
        }
        text
    }

    #[test]
    fn the_table_of_tuples_is_what_the_rows_say() {
        let text = std::fs::read_to_string(file()).unwrap();
        let (before, rest) = text.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        let current = format!("{before}{}{END}{after}", table());
        if std::env::var_os("VDR_WRITE_DOCS").is_some() {
            std::fs::write(file(), &current).unwrap();
        }
        assert!(std::fs::read_to_string(file()).unwrap() == current, "the table is not current: run `make docs`");
    }

    #[test]
    fn a_module_s_rows_have_the_shape_that_the_text_names() {
        for row in vdr_commands::writes().filter(|row| is_of_module(row)) {
            assert_eq!(tuple_of(row), "{name, key, [binary]}", "{}", row.name);
        }
    }

    /// What the text says: optional arguments are one list, and only the last slots hold lists that
    /// may be empty.
    #[test]
    fn a_row_has_one_slot_for_options_at_most() {
        for row in vdr_commands::writes() {
            let slots: Vec<&str> = row.shape.iter().filter_map(|part| slots(*part)).collect();
            assert!(slots.concat().matches("options").count() <= 1, "{}", row.name);
        }
    }
}
