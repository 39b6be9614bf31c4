//! TLS with real servers: authorities, client certificates, and failures.

use crate::certificates::{Authority, Certified, Folder};
use crate::fake_primary::FakePrimary;
use crate::real_servers::{Pair, on_every_server};
use crate::tape::{Ended, Tape};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;
use vdr_link::{
    Endpoint, Identity, LinkConfig, LinkState, Pem, Retry, Roots, TlsConfig, TlsErrorKind, Verify, Versions,
};
use vdr_testkit::free_port;

fn trusting(authority: &Authority) -> TlsConfig {
    TlsConfig { roots: Roots::Pem(pem(&authority.pem())), ..TlsConfig::default() }
}

fn pem(text: &str) -> Pem {
    Pem::Bytes(text.as_bytes().to_vec())
}

fn identity(certified: &Certified) -> Option<Identity> {
    Some(Identity { certificates: pem(&certified.certificate), key: pem(&certified.key) })
}

/// Runs `scenario` with each server. The server has this certificate, asks for clients'
/// certificates by `auth_clients`, and trusts `authority`.
fn with_certificate(certified: &Certified, authority: &Authority, more: &[&str], scenario: impl Fn(&mut Pair)) {
    let folder = Folder::new();
    let port = free_port().unwrap();
    let certificate = folder.write("server.crt", &certified.certificate);
    let key = folder.write("server.key", &certified.key);
    let ca = folder.write("ca.crt", &authority.pem());
    let port_text = port.to_string();
    let mut settings = vec!["--tls-port", &port_text, "--tls-cert-file", &certificate];
    settings.extend(["--tls-key-file", &key, "--tls-ca-cert-file", &ca]);
    settings.extend(more);
    on_every_server(&settings, |pair| {
        pair.config.endpoint = Endpoint::Tcp { host: "localhost".to_owned(), port };
        scenario(pair);
    });
}

const NO_CLIENT_CERTIFICATES: [&str; 2] = ["--tls-auth-clients", "no"];

fn end_with(pair: &mut Pair, tls: TlsConfig) -> Ended {
    pair.config.tls = Some(tls);
    pair.attach();
    pair.tape.end()
}

fn assert_mirrored(pair: &mut Pair, tls: TlsConfig) {
    pair.config.tls = Some(tls);
    pair.attach();
    pair.tape.wait("streaming or ended", |notes| notes.end.is_some() || notes.states.contains(&LinkState::Streaming));
    assert_eq!(pair.tape.see(|notes| notes.end.clone()), None);
    pair.assert_equal();
}

#[test]
fn a_trusted_primary_is_mirrored_over_both_versions() {
    let authority = Authority::new("ours");
    let certified = authority.certify(&["localhost", "127.0.0.1"]);
    with_certificate(&certified, &authority, &NO_CLIENT_CERTIFICATES, |pair| {
        pair.fill();
        for versions in [Versions::All, Versions::Only12, Versions::Only13] {
            assert_mirrored(pair, TlsConfig { versions, ..trusting(&authority) });
            pair.call(&["APPEND", "string:1", "more"]);
            pair.assert_equal();
        }
        let der = TlsConfig { roots: Roots::Der(vec![authority.der()]), ..TlsConfig::default() };
        assert_mirrored(pair, der);
        // A killed link resumes.
        let partial = pair.syncs().1;
        pair.call(&["CLIENT", "KILL", "TYPE", "replica"]);
        let end = pair.tape.end();
        assert!(["closed", "connection_reset"].contains(&end.code), "{}", end.text);
        pair.attach_until_streaming();
        pair.assert_equal();
        assert_eq!(pair.syncs().1, partial + 1);
    });
}

#[test]
fn an_unknown_authority_is_no_wrong_name() {
    let (authority, other) = (Authority::new("ours"), Authority::new("another"));
    let certified = authority.certify(&["localhost"]);
    with_certificate(&certified, &authority, &NO_CLIENT_CERTIFICATES, |pair| {
        let end = end_with(pair, trusting(&other));
        assert_eq!((end.code, end.retry, end.state), ("tls_unknown_ca", Retry::Slowly, LinkState::Init));
        assert_eq!(end_with(pair, TlsConfig::default()).code, "tls_unknown_ca", "the system does not know it either");

        let named = |name: &str| TlsConfig { server_name: Some(name.to_owned()), ..trusting(&authority) };
        let end = end_with(pair, named("primary.example"));
        assert_eq!((end.code, end.retry), ("tls_wrong_name", Retry::Slowly));
        let chain = |tls| TlsConfig { verify: Verify::Chain, ..tls };
        assert_eq!(end_with(pair, chain(TlsConfig { server_name: None, ..trusting(&other) })).code, "tls_unknown_ca");
        assert_mirrored(pair, chain(named("primary.example")));
        assert_mirrored(pair, TlsConfig { verify: Verify::None, ..named("primary.example") });

        let Endpoint::Tcp { host, .. } = &mut pair.config.endpoint else { panic!("not by path") };
        *host = "127.0.0.1".to_owned();
        assert_eq!(end_with(pair, trusting(&authority)).code, "tls_wrong_name", "made out to a name, not an address");
        assert_mirrored(pair, named("localhost"));
    });
}

#[test]
fn an_expired_certificate_is_reported() {
    let authority = Authority::new("ours");
    let certified = authority.certify_expired(&["localhost"]);
    with_certificate(&certified, &authority, &NO_CLIENT_CERTIFICATES, |pair| {
        let end = end_with(pair, trusting(&authority));
        assert_eq!((end.code, end.retry), ("tls_certificate_expired", Retry::Slowly));
        assert_mirrored(pair, TlsConfig { verify: Verify::None, ..trusting(&authority) });
    });
}

#[test]
fn a_primary_that_wants_a_client_certificate_is_reported() {
    let (authority, other) = (Authority::new("ours"), Authority::new("another"));
    let (server, client) = (authority.certify(&["localhost"]), authority.certify(&["a client"]));
    let (stranger, late) = (other.certify(&["a client"]), authority.certify_expired(&["a client"]));
    with_certificate(&server, &authority, &["--tls-auth-clients", "yes"], |pair| {
        pair.fill();
        for versions in [Versions::Only12, Versions::Only13] {
            let tls = |who| TlsConfig { identity: who, versions, ..trusting(&authority) };
            assert_mirrored(pair, tls(identity(&client)));
            let end = end_with(pair, tls(None));
            // TLS 1.2 has no alert for it.
            let word = match versions {
                Versions::Only12 => "tls_handshake_failed",
                _ => "tls_client_certificate_required",
            };
            assert_eq!((end.code, end.retry), (word, Retry::Slowly), "{}", end.text);
            for refused in [&stranger, &late] {
                let end = end_with(pair, tls(identity(refused)));
                assert_eq!((end.code, end.retry), ("tls_client_certificate_refused", Retry::Slowly), "{}", end.text);
            }
        }
    });
}

#[test]
fn versions_without_overlap_are_reported() {
    let authority = Authority::new("ours");
    let certified = authority.certify(&["localhost"]);
    let settings = ["--tls-auth-clients", "no", "--tls-protocols", "TLSv1.2"];
    with_certificate(&certified, &authority, &settings, |pair| {
        let end = end_with(pair, TlsConfig { versions: Versions::Only13, ..trusting(&authority) });
        assert_eq!((end.code, end.retry), ("tls_version_refused", Retry::Slowly), "{}", end.text);
        assert_mirrored(pair, trusting(&authority));
    });
}

#[test]
fn a_client_without_tls_at_a_tls_port_is_told_so() {
    let authority = Authority::new("ours");
    let certified = authority.certify(&["localhost"]);
    with_certificate(&certified, &authority, &NO_CLIENT_CERTIFICATES, |pair| {
        pair.attach();
        let end = pair.tape.end();
        assert_eq!((end.code, end.retry, end.state), ("tls_required", Retry::Slowly, LinkState::Ping), "{}", end.text);
    });
    // With a certificate asked for, too.
    with_certificate(&certified, &authority, &[], |pair| {
        pair.attach();
        assert_eq!(pair.tape.end().code, "tls_required");
    });
}

/// The end of a TLS link to a peer that answers its first bytes with these.
fn end_after_answer(bytes: &[u8], then_close: bool) -> Ended {
    let primary = FakePrimary::start();
    let tape = Tape::new();
    let mut config = primary.config();
    config.tls = Some(TlsConfig { verify: Verify::None, ..TlsConfig::default() });
    // So long that a busy machine does not end it before the answer.
    config.timeouts.handshake = Duration::from_secs(2);
    let _link = tape.attach(config);
    let mut peer = primary.accept();
    peer.send(bytes);
    if then_close {
        peer.say_no_more();
    }
    let end = tape.end();
    assert_eq!(end.state, LinkState::Init);
    end
}

#[test]
fn a_peer_without_tls_is_reported() {
    for text in ["-ERR Protocol error\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n"] {
        let end = end_after_answer(text.as_bytes(), false);
        assert_eq!((end.code, end.retry), ("tls_not_spoken", Retry::Slowly), "{text:?}: {}", end.text);
    }
    assert_eq!(end_after_answer(b"\x16\x03\x03\x00\x04\x02\xff\xff\xff", false).code, "tls_protocol");
    let end = end_after_answer(b"", true);
    assert_eq!((end.code, end.retry), ("closed", Retry::Soon), "{}", end.text);
    let end = end_after_answer(b"", false);
    assert_eq!((end.code, end.retry), ("handshake_timeout", Retry::Soon), "{}", end.text);
}

/// A proxy for one connection to `port` that flips a bit of the `at`th byte on the way back.
fn damaging(port: u16, at: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let back = std::thread::spawn(move || carry(server, client, Some(at)));
        carry(from, to, None);
        let _ = back.join();
    });
    own
}

fn carry(mut from: TcpStream, mut to: TcpStream, damage: Option<usize>) {
    let (mut chunk, mut carried) = ([0; 4096], 0);
    while let Ok(bytes) = from.read(&mut chunk)
        && bytes > 0
    {
        if let Some(at) = damage.and_then(|at| at.checked_sub(carried)).filter(|at| *at < bytes) {
            chunk[at] ^= 1;
        }
        carried += bytes;
        if to.write_all(&chunk[..bytes]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

#[test]
fn a_bit_that_turns_on_the_way_never_reaches_the_data() {
    let authority = Authority::new("ours");
    let certified = authority.certify(&["localhost"]);
    with_certificate(&certified, &authority, &NO_CLIENT_CERTIFICATES, |pair| {
        pair.fill();
        let Endpoint::Tcp { port, .. } = pair.config.endpoint else { panic!("not by path") };
        // After the handshake, in the middle of the file.
        let damaged = damaging(port, 6000);
        pair.config.endpoint = Endpoint::Tcp { host: "localhost".to_owned(), port: damaged };
        let end = end_with(pair, trusting(&authority));
        assert_eq!((end.code, end.retry, end.state), ("tls_protocol", Retry::Soon, LinkState::RdbTransfer));
        assert_eq!(pair.mirrored.keys(), None);
        pair.config.endpoint = Endpoint::Tcp { host: "localhost".to_owned(), port };
        assert_mirrored(pair, trusting(&authority));
    });
}

#[test]
fn a_configuration_that_cannot_work_is_reported_before_the_link_connects() {
    let folder = Folder::new();
    let authority = Authority::new("ours");
    let (ours, other) = (authority.certify(&["a client"]), authority.certify(&["a client"]));
    let empty = folder.write("empty", "");
    let absent = folder.path("absent");
    let who = |certificate: &str, key: &str| TlsConfig {
        identity: Some(Identity { certificates: pem(certificate), key: pem(key) }),
        ..trusting(&authority)
    };
    let trust = |roots| TlsConfig { roots, ..TlsConfig::default() };
    let named = |name: &str| TlsConfig { server_name: Some(name.to_owned()), ..trusting(&authority) };
    let damaged = ours.key.replace("-----BEGIN", "-----BEGIN\n");
    let encrypted = ours.key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let rows = [
        (trust(Roots::Pem(Pem::File(absent))), "cacertfile: "),
        (trust(Roots::Pem(Pem::File(empty.into()))), "cacertfile: no certificate in PEM form"),
        (trust(Roots::Pem(Pem::File("/dev/zero".into()))), "cacertfile: /dev/zero: longer than 16777216 bytes"),
        (trust(Roots::Pem(pem(&ours.key))), "cacertfile: no certificate in PEM form"),
        (trust(Roots::Pem(pem("-----BEGIN CERTIFICATE-----\nAAAA\n"))), "cacertfile: damaged PEM"),
        (trust(Roots::Der(Vec::new())), "cacerts: no certificate"),
        (trust(Roots::Der(vec![vec![1, 2, 3]])), "cacerts: "),
        (who(&ours.certificate, &ours.certificate), "keyfile: no unencrypted private key in PEM form"),
        (who(&ours.certificate, &encrypted), "keyfile: no unencrypted private key in PEM form"),
        (who(&ours.certificate, &damaged), "keyfile: "),
        (who("", &ours.key), "certfile: no certificate in PEM form"),
        (who(&ours.certificate, &other.key), "certfile and keyfile: "),
        (named("no name"), "server_name: \"no name\" is not a host name"),
        (named(""), "server_name: \"\" is not a host name"),
    ];
    for (tls, text) in rows {
        let tape = Tape::new();
        let mut config = LinkConfig::new(Endpoint::Tcp { host: "no-such-host.invalid".to_owned(), port: 1 });
        config.tls = Some(tls);
        let shown = format!("{config:?}");
        assert!(!shown.contains("PRIVATE KEY") && !shown.contains("BEGIN"), "{shown}");
        let _link = tape.attach(config);
        let end = tape.end();
        assert_eq!((end.code, end.retry), (TlsErrorKind::BadConfig.code(), Retry::Slowly), "{}", end.text);
        assert!(end.text.contains(text), "{text}: {}", end.text);
        assert!(!end.text.contains("BEGIN"), "{}", end.text);
    }
}

#[test]
fn files_that_are_renewed_are_in_force_with_the_next_link() {
    let (authority, other) = (Authority::new("ours"), Authority::new("another"));
    let certified = authority.certify(&["localhost"]);
    let folder = Folder::new();
    with_certificate(&certified, &authority, &NO_CLIENT_CERTIFICATES, |pair| {
        let file = folder.write("roots.pem", &other.pem());
        let tls = TlsConfig { roots: Roots::Pem(Pem::File(file.into())), ..TlsConfig::default() };
        assert_eq!(end_with(pair, tls.clone()).code, "tls_unknown_ca");
        folder.write("roots.pem", &format!("{}\n{}", other.pem(), authority.pem()));
        assert_mirrored(pair, tls);
    });
}
