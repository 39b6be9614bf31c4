//! Reads a server's log for the cause of its death.

/// The first line of a server's report about its own bug.
const BUG_REPORT: &str = "BUG REPORT START";
/// The end of each stack line of the thread that runs commands.
const OWN_THREAD: &str = "(main+";
/// An argument of the command that the server was running.
const ARGUMENT: &str = "argv[";
/// How many lines to show of each part of a bug report, or of any other log.
const SHOWN: usize = 24;

/// The start of a bug report, its stack, and the command that the server was running, as far as the
/// log has them. Without a bug report, the last lines.
pub fn last_words(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let shown: Vec<String> = match lines.iter().position(|line| line.contains(BUG_REPORT)) {
        Some(report) => of_report(&lines[report..]),
        None => lines.iter().skip(lines.len().saturating_sub(SHOWN)).map(|line| (*line).to_owned()).collect(),
    };
    shown.iter().map(|line| format!("\n    {line}")).collect()
}

fn of_report(report: &[&str]) -> Vec<String> {
    let beginning = report.iter().take_while(|line| !line.is_empty());
    let stack = report.split(|line| line.is_empty()).find(|part| part.iter().any(|line| line.contains(OWN_THREAD)));
    let stack = stack.unwrap_or_default().iter().filter_map(|line| function(line));
    // The log has the command more than once.
    let command = report.iter().skip_while(|line| !line.starts_with(ARGUMENT)).enumerate();
    let command = command.take_while(|(at, line)| line.starts_with(&format!("{ARGUMENT}{at}]"))).map(|(_, line)| line);
    let to_text = |line: &&str| (*line).to_owned();
    let (beginning, command) = (beginning.take(SHOWN).map(to_text), command.take(SHOWN).map(to_text));
    beginning.chain(stack.take(SHOWN).map(|function| format!("  in {function}"))).chain(command).collect()
}

/// The function in a stack line, which follows the program's path.
fn function(line: &str) -> Option<&str> {
    let (_, behind) = line.split_once('(')?;
    let (function, _) = behind.split_once(')')?;
    Some(function).filter(|function| !function.starts_with('+'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "7:M * Ready to accept connections tcp


=== REDIS BUG REPORT START: Cut & paste starting from here ===
7:M # Redis 8.0.2 crashed by signal: 11, si_code: 1

------ STACK TRACE ------
EIP:
/bin/redis-server *:7000(freeClient+0x224) [0x7f4cb0eb2364]

8 bio_aof
/bin/redis-server *:7000(bioProcessBackgroundJobs+0x1ea) [0x7f4cb0f56e4a]

7 redis-server *
/bin/redis-server *:7000(freeClient+0x224) [0x7f4cb0eb2364]
/bin/redis-server *:7000(+0x1d6919) [0x7f4cb0fd6919]
/bin/redis-server *:7000(functionFlushCommand+0x41) [0x7f4cb0fd9261]
/bin/redis-server *:7000(main+0x3c3) [0x7f4cb0e79a23]

------ CURRENT CLIENT INFO ------
argc: '2'
argv[0]: '\"FUNCTION\"'
argv[1]: '\"FLUSH\"'
argc: 2
argv[0]: '\"FUNCTION\"'
argv[1]: '\"FLUSH\"'
";

    #[test]
    fn of_a_bug_report_the_beginning_the_stack_and_the_command_are_told() {
        let expected = "
    === REDIS BUG REPORT START: Cut & paste starting from here ===
    7:M # Redis 8.0.2 crashed by signal: 11, si_code: 1
      in freeClient+0x224
      in functionFlushCommand+0x41
      in main+0x3c3
    argv[0]: '\"FUNCTION\"'
    argv[1]: '\"FLUSH\"'";
        assert_eq!(last_words(REPORT), expected);
    }

    #[test]
    fn a_log_without_a_report_is_told_from_its_end() {
        let log: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let words = last_words(&log);
        assert!(words.starts_with("\n    line 76\n") && words.ends_with("\n    line 99"), "{words}");
        assert_eq!(last_words(""), "");
    }
}
