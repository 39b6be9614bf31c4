//! Checks that `docs/commands.md` agrees with the rows and with the lists of each server's writes.
//! `make docs` writes the file.

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;
    use std::path::{Path, PathBuf};

    /// The primary sends these commands as others, which are mirrored: the effect, not the request.
    const SENT_AS_OTHERS: &[(&str, &str)] = &[
        ("blmove", "LMOVE"),
        ("blmpop", "LPOP, RPOP"),
        ("blpop", "LPOP"),
        ("brpop", "RPOP"),
        ("brpoplpush", "RPOPLPUSH"),
        ("bzmpop", "ZPOPMIN, ZPOPMAX"),
        ("bzpopmax", "ZPOPMAX"),
        ("bzpopmin", "ZPOPMIN"),
        ("eval", "what the script wrote"),
        ("evalsha", "what the script wrote"),
        ("fcall", "what the function wrote"),
        ("migrate", "DEL, and RESTORE on the other server"),
        ("spop", "SREM, DEL, UNLINK"),
        ("xautoclaim", "XCLAIM"),
        ("xreadgroup", "XCLAIM, XGROUP"),
    ];

    const HEAD: &str = "# Commands of the stream\n\n\
        What the library does with each command that a primary may send to its replicas, by server version. `make docs` \
        generates this page from the command table, and from the write commands that `COMMAND` lists on each server \
        (`docs/commands/`).\n\n\
        - **mirrored**: applied to the mirror's data\n\
        - **as ...**: never sent; the primary sends these commands instead, and they are mirrored\n\
        - **ignored**: changes no data that the mirror keeps\n\
        - **`:other`**: the key is known to exist, with the type `:other`; its value is not mirrored\n\
        - **unknown**: counted in `Veidrodelis.info/1`, and logged once per name; reads of the keys that it names return \
        `{:error, :unknown_value}` until a write replaces them; with `on_unknown_command: :stop` it ends the link\n\
        - **-**: the server has no such command\n\n\
        Writes of modules that make a key are `:other`; other commands of modules are unknown.\n\n";

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    /// Each server's name and its writes.
    fn servers() -> Vec<(String, BTreeSet<String>)> {
        let files = std::fs::read_dir(root().join("docs/commands")).unwrap().map(|entry| entry.unwrap().path());
        let mut servers: Vec<_> = files
            .map(|path| {
                let names = std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
                (path.file_stem().unwrap().to_string_lossy().into_owned(), names)
            })
            .collect();
        servers.sort();
        servers
    }

    fn fate(name: &str) -> String {
        if let Some((_, others)) = SENT_AS_OTHERS.iter().find(|(asked, _)| *asked == name) {
            format!("as {others}")
        } else if let Some(row) = vdr_commands::write(name.as_bytes()) {
            let is_other = row.leaves == vdr_commands::Leaves::Kind(vdr_data::value::Kind::Other);
            if is_other { "`:other`".to_owned() } else { "mirrored".to_owned() }
        } else if vdr_commands::control(name.as_bytes()).is_some() {
            "ignored".to_owned()
        } else {
            "unknown".to_owned()
        }
    }

    fn document() -> String {
        let servers = servers();
        let mut names: BTreeSet<String> = servers.iter().flat_map(|(_, names)| names.iter().cloned()).collect();
        names.extend(vdr_commands::writes().map(|row| row.name.to_owned()));
        names.extend(vdr_commands::controls().map(|row| row.name.to_owned()));
        let mut text = HEAD.to_owned();
        let columns: String = servers.iter().map(|(name, _)| format!(" {name} |")).collect();
        writeln!(text, "| command | other versions |{columns}\n|---|---|{}", "---|".repeat(servers.len())).unwrap();
        for name in names {
            let fate = fate(&name);
            let cell = |writes: &BTreeSet<String>| {
                if writes.contains(&name) { format!(" {fate} |") } else { " - |".to_owned() }
            };
            let cells: String = servers.iter().map(|(_, writes)| cell(writes)).collect();
            writeln!(text, "| {} | {fate} |{cells}", name.to_ascii_uppercase()).unwrap();
        }
        text
    }

    #[test]
    fn the_table_of_commands_is_what_the_rows_say() {
        let path = root().join("docs/commands.md");
        let text = document();
        if std::env::var_os("VDR_WRITE_DOCS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert!(std::fs::read_to_string(&path).unwrap() == text, "docs/commands.md is not current: run `make docs`");
    }

    #[test]
    fn every_write_of_the_servers_is_mirrored_or_known_not_to_matter() {
        for (server, writes) in servers() {
            let unknown: Vec<&String> = writes.iter().filter(|name| fate(name) == "unknown").collect();
            let modules_only = unknown.iter().all(|name| MODULES.contains(&name.as_str()));
            assert!(modules_only, "{server}: {unknown:?}");
        }
    }

    /// Commands of vector sets, a module that newer servers contain.
    const MODULES: &[&str] = &["vadd", "vrem", "vsetattr"];
}
