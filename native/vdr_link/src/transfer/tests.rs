//! The file here is `DIGITS`: ten bytes of which the last says that it ends. What a real reader of
//! files does with bytes is its own business; where the file ends is all that the framing learns
//! from it.

use super::*;

const DIGITS: &[u8] = b"0123456789";
const MARK: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN";
const STREAM: &[u8] = b"*1\r\n$4\r\nping\r\n";

/// What became of one transfer.
#[derive(Debug, PartialEq)]
struct Outcome {
    file: Vec<u8>,
    /// Err: the text of the cause. Ok(false): it waits for more.
    end: Result<bool, String>,
    rest: Vec<u8>,
}

/// Feeds `wire` in pieces that end where `cuts` says.
fn run_cut(wire: &[u8], cuts: &[usize]) -> Outcome {
    let mut transfer = Transfer::new();
    let (mut file, mut input) = (Vec::new(), BytesMut::new());
    let mut end = Ok(false);
    let mut ends: Vec<usize> = cuts.iter().copied().chain([wire.len()]).collect();
    ends.dedup();
    let mut at = 0;
    for until in ends {
        input.extend_from_slice(&wire[at..until]);
        at = until;
        if end == Ok(false) {
            end = transfer.advance(&mut input, |bytes| read(&mut file, bytes)).map_err(|fault| match fault {
                TransferFault::Framing(error) => error.to_string(),
                TransferFault::Sink(error) => error.to_string(),
            });
        }
    }
    Outcome { file, end, rest: input.to_vec() }
}

/// Takes digits up to the first 9.
fn read(file: &mut Vec<u8>, bytes: &[u8]) -> Result<RdbStep, SinkError> {
    assert!(!bytes.is_empty(), "nothing is no news");
    let (taken, step) = match bytes.iter().position(|byte| *byte == b'9') {
        Some(last) => (last + 1, RdbStep::Done { consumed: last + 1 }),
        None => (bytes.len(), RdbStep::More),
    };
    if !bytes[..taken].iter().all(u8::is_ascii_digit) {
        return Err(SinkError::soon("rdb_corrupt", "no digit"));
    }
    file.extend_from_slice(&bytes[..taken]);
    Ok(step)
}

fn run(wire: &[u8]) -> Outcome {
    run_cut(wire, &[])
}

fn sized(length: &str) -> Vec<u8> {
    [b"\n\n$", length.as_bytes(), b"\r\n", DIGITS, STREAM].concat()
}

fn marked(mark: &[u8]) -> Vec<u8> {
    [b"\n$EOF:", MARK, b"\r\n", DIGITS, mark, STREAM].concat()
}

fn error(wire: &[u8]) -> String {
    run(wire).end.unwrap_err()
}

#[test]
fn both_framings_give_the_file_and_leave_the_stream() {
    for wire in [sized("10"), marked(MARK), sized("0010")] {
        assert_eq!(run(&wire), Outcome { file: DIGITS.to_vec(), end: Ok(true), rest: STREAM.to_vec() });
    }
}

#[test]
fn every_split_in_two_and_in_three_gives_the_same() {
    for wire in [sized("10"), marked(MARK)] {
        let whole = run(&wire);
        for first in 0..=wire.len() {
            for second in first..=wire.len() {
                assert_eq!(run_cut(&wire, &[first, second]), whole, "cut at {first} and {second}");
            }
        }
        let bytewise: Vec<usize> = (1..wire.len()).collect();
        assert_eq!(run_cut(&wire, &bytewise), whole);
    }
}

#[test]
fn a_wrong_byte_anywhere_in_the_mark_is_told_at_once() {
    for wrong in 0..MARK.len() {
        let mut mark = MARK.to_vec();
        mark[wrong] = b'!';
        let wire = marked(&mark);
        assert_eq!(error(&wire), "no end mark behind the file");
        // Not a byte more is needed than the wrong one, however they come.
        let upto = wire.len() - STREAM.len() - MARK.len() + wrong + 1;
        let bytewise: Vec<usize> = (1..upto).collect();
        assert_eq!(run_cut(&wire[..upto], &bytewise).end, Err("no end mark behind the file".to_owned()));
        assert_eq!(run(&wire[..upto - 1]).end, Ok(false));
    }
}

#[test]
fn a_transfer_that_stops_anywhere_waits_for_the_rest() {
    for wire in [sized("10"), marked(MARK)] {
        let needed = wire.len() - STREAM.len();
        for upto in 0..needed {
            assert_eq!(run(&wire[..upto]).end, Ok(false), "{upto} of {needed}");
        }
        assert_eq!(run(&wire[..needed]).end, Ok(true));
    }
}

#[test]
fn a_length_that_is_not_the_files_is_told() {
    assert_eq!(error(&sized("9")), "file longer than announced");
    assert_eq!(error(&sized("1")), "file longer than announced");
    assert_eq!(error(&sized("11")), "file ended 1 bytes before the announced length");
    assert_eq!(
        error(&sized("9223372036854775807")),
        "file ended 9223372036854775797 bytes before the announced length"
    );
}

#[test]
fn the_reader_sees_no_byte_behind_the_announced_end() {
    let wire = [b"$5\r\n".as_slice(), DIGITS].concat();
    assert_eq!(run(&wire).file, b"01234");
}

#[test]
fn a_header_that_no_server_sends_is_refused_and_shown() {
    let numbers = ["9223372036854775808", "18446744073709551616", "-1", "+5", "0", "", "1e3", "12 ", "0x10"];
    for number in numbers {
        assert_eq!(error(&sized(number)), format!("header ${}", number.trim_end()), "{number:?}");
    }
    assert_eq!(error(b"$EOF:tooshort\r\n"), "header $EOF:tooshort");
    assert_eq!(error(&[b"$EOF:", MARK, b"x\r\n"].concat()), format!("header $EOF:{}x", MARK.escape_ascii()));
    assert_eq!(error(b"$\xff\xfe\r\n"), "header $\\xff\\xfe");
    assert_eq!(error(b"*3\r\n"), "header *3");
    assert_eq!(error(b"\n\r\nREDIS0011"), "header REDIS0011");
    assert!(error(&[b'$'; 4096]).len() < 200);
}

#[test]
fn a_header_without_an_end_is_not_waited_for() {
    let endless = [b"$".as_slice(), &[b'1'; MAX_HEADER_BYTES]].concat();
    let bytewise: Vec<usize> = (1..endless.len()).collect();
    assert!(run_cut(&endless, &bytewise).end.is_err());
    assert_eq!(run(&endless[..MAX_HEADER_BYTES - 1]).end, Ok(false));
}

#[test]
fn an_error_in_the_place_of_the_file_is_shown_whole_however_it_comes() {
    let wire = b"\n-ERR BGSAVE failed\r\n";
    for cut in 0..wire.len() {
        assert_eq!(run_cut(wire, &[cut]).end, Err("the primary says -ERR BGSAVE failed".to_owned()));
    }
    let fault = Transfer::new().advance(&mut BytesMut::from(&wire[..]), |_| Ok(RdbStep::More)).unwrap_err();
    assert!(matches!(fault, TransferFault::Framing(TransferError::Aborted { .. })), "{fault:?}");
}

#[test]
fn what_the_reader_says_of_the_file_ends_the_transfer() {
    let fault = Transfer::new().advance(&mut BytesMut::from(&b"$3\r\n0x9"[..]), |bytes| read(&mut Vec::new(), bytes));
    assert!(matches!(fault.unwrap_err(), TransferFault::Sink(SinkError { code: "rdb_corrupt", .. })));
}

#[test]
fn a_reader_that_claims_more_than_it_was_given_is_held_to_what_there_was() {
    let mut input = BytesMut::from(&sized("10")[..]);
    let greedy = Transfer::new().advance(&mut input, |_| Ok(RdbStep::Done { consumed: usize::MAX }));
    assert!(matches!(greedy, Ok(true)));
    assert_eq!(input, STREAM);
}
