use super::*;
use proptest::prelude::*;

const LIMITS: ReplyLimits = ReplyLimits { bytes_max: 1000, depth_max: 4, elements_max: 50 };
const MESSAGE: &[u8] = b"*3\r\n$7\r\nmessage\r\n$-1\r\n*2\r\n:-42\r\n-ERR no\r\n";

fn bulk(text: &'static str) -> Reply {
    Reply::Bulk(Bytes::from_static(text.as_bytes()))
}

fn message() -> Reply {
    let error = Reply::Error(Bytes::from_static(b"ERR no"));
    Reply::Array(vec![bulk("message"), Reply::Null, Reply::Array(vec![Reply::Integer(-42), error])])
}

/// Reads pieces, each of which ends at a cut.
fn read_cut(bytes: &[u8], cuts: &[usize]) -> Result<Vec<Reply>, ReplyError> {
    let (mut reader, mut input, mut replies, mut at) = (ReplyReader::new(LIMITS), BytesMut::new(), Vec::new(), 0);
    for end in cuts.iter().copied().chain([bytes.len()]) {
        input.extend_from_slice(&bytes[at..end.max(at)]);
        at = end.max(at);
        while let Some(reply) = reader.read(&mut input)? {
            replies.push(reply);
        }
    }
    Ok(replies)
}

fn read(bytes: &[u8]) -> Result<Vec<Reply>, ReplyError> {
    read_cut(bytes, &[])
}

#[test]
fn a_reply_cut_anywhere_is_the_same_reply() {
    let bytes = [MESSAGE, b"+PONG\r\n*-1\r\n*0\r\n$0\r\n\r\n"].concat();
    let pong = Reply::Simple(Bytes::from_static(b"PONG"));
    let whole = vec![message(), pong, Reply::Null, Reply::Array(vec![]), bulk("")];
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            assert_eq!(read_cut(&bytes, &[first, second]).unwrap(), whole, "cut at {first} and {second}");
        }
    }
}

#[test]
fn a_byte_is_looked_at_once_however_slowly_the_reply_comes() {
    let (mut reader, mut input) = (ReplyReader::new(LIMITS), BytesMut::new());
    for byte in b"+abc" {
        input.extend_from_slice(&[*byte]);
        assert_eq!(reader.read(&mut input).unwrap(), None);
        assert_eq!(reader.scanned, input.len());
    }
    // Complete elements leave the input before the reply is complete.
    let (mut reader, mut input) = (ReplyReader::new(LIMITS), BytesMut::from(&MESSAGE[..MESSAGE.len() - 1]));
    assert_eq!(reader.read(&mut input).unwrap(), None);
    assert_eq!(&input[..], b"-ERR no\r");
}

#[test]
fn limits_hold() {
    assert_eq!(read("*1\r\n".repeat(100).as_bytes()), Err(ReplyError::TooDeep { depth_max: 4 }));
    assert_eq!(read(b"*1\r\n*1\r\n*1\r\n*1\r\n*0\r\n"), Err(ReplyError::TooDeep { depth_max: 4 }));
    assert_eq!(read(b"*51\r\n"), Err(ReplyError::TooManyElements { elements_max: 50 }));
    // Forty and then forty more inside.
    assert_eq!(read(b"*40\r\n*40\r\n"), Err(ReplyError::TooManyElements { elements_max: 50 }));
    // No number of this machine holds them.
    assert_eq!(read(b"*9223372036854775808\r\n"), Err(ReplyError::TooManyElements { elements_max: 50 }));
    assert_eq!(read(b"$99999999999999999999\r\n"), Err(ReplyError::TooLong { bytes_max: 1000 }));
    assert_eq!(read(b"$1001\r\n"), Err(ReplyError::TooLong { bytes_max: 1000 }));
    assert_eq!(read(&[b'+'; 1001]), Err(ReplyError::TooLong { bytes_max: 1000 }));
    let halves = format!("*2\r\n$600\r\n{0}\r\n$600\r\n{0}\r\n", "x".repeat(600));
    assert_eq!(read(halves.as_bytes()), Err(ReplyError::TooLong { bytes_max: 1000 }));
    // The limits are those of one reply, not of all.
    let many = "$600\r\n".to_owned() + &"x".repeat(600) + "\r\n";
    assert_eq!(read(many.repeat(10).as_bytes()).unwrap().len(), 10);
}

#[test]
fn what_is_not_resp_is_refused() {
    for bad in [
        &b"HTTP/1.1 400 Bad Request\r\n"[..],
        b":99999999999999999999\r\n",
        b"$-2\r\n",
        b"*x\r\n",
        b":\r\n",
        b"$3\r\nabcde",
        b"+OK\n",
        b"\x15\x03\x03",
        b"*11111111111111111111111111",
        b"$1_0\r\n",
    ] {
        assert!(matches!(read(bad), Err(ReplyError::NotResp { .. })), "{}", bad.escape_ascii());
    }
    let error = read(b"AUTH secret\r\n").unwrap_err();
    assert_eq!(error.to_string(), r#"the answer is not RESP: "AUTH secret\r\n""#);
    assert_eq!(error.without_words().to_string(), r#"the answer is not RESP: """#);
}

proptest! {
    #[test]
    fn any_bytes_give_replies_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..300) {
        let cut = cut.min(bytes.len());
        // What an error shows of the bytes depends on the cut.
        prop_assert_eq!(read_cut(&bytes, &[cut]).ok(), read(&bytes).ok());
    }
}
