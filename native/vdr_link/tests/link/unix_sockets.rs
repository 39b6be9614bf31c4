//! Primaries on the same machine, by the path of a socket.

use crate::certificates::Folder;
use crate::real_servers::{Pair, on_every_server};
use crate::tape::Tape;
use vdr_link::{Endpoint, LinkConfig, LinkState, Retry, TlsConfig};

#[test]
fn a_real_server_is_mirrored_through_its_socket() {
    let folder = Folder::new();
    let path = folder.path("primary.sock");
    on_every_server(&["--unixsocket", path.to_str().unwrap()], |pair: &mut Pair| {
        pair.config.endpoint = Endpoint::Unix { path: path.clone() };
        pair.fill();
        pair.attach();
        pair.tape.wait_for(LinkState::Streaming);
        pair.assert_equal();
        assert_eq!(pair.tape.see(|notes| notes.peer), None, "a path has no address");
        pair.call(&["SET", "one", "more"]);
        pair.call(&["CLIENT", "KILL", "TYPE", "replica"]);
        assert_eq!(pair.tape.end().retry, Retry::Soon);
        pair.attach_until_streaming();
        pair.assert_equal();
        assert_eq!(pair.syncs(), (1, 1));
    });
}

#[test]
fn a_path_without_a_primary_is_reported() {
    let folder = Folder::new();
    let end = |path| {
        let tape = Tape::new();
        let _link = tape.attach(LinkConfig::new(Endpoint::Unix { path }));
        tape.end()
    };
    let nothing = end(folder.path("nothing.sock"));
    assert_eq!((nothing.code, nothing.retry, nothing.state), ("socket_not_found", Retry::Soon, LinkState::Init));
    assert!(nothing.text.contains("nothing.sock"), "{}", nothing.text);
    folder.write("file", "no socket");
    assert_eq!(end(folder.path("file")).code, "connection_refused");
    assert_eq!(end(folder.path(&"long".repeat(100))).code, "connect_failed", "longer than the system's limit");
}

#[test]
fn a_path_is_no_name_that_a_certificate_could_have() {
    let tape = Tape::new();
    let mut config = LinkConfig::new(Endpoint::Unix { path: "primary.sock".into() });
    config.tls = Some(TlsConfig::default());
    let _link = tape.attach(config);
    let end = tape.end();
    assert_eq!((end.code, end.retry), ("tls_bad_config", Retry::Slowly));
    assert!(end.text.contains("server_name"), "{}", end.text);
}
