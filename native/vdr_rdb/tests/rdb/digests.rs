//! Files of real servers, compared with the digest that the server had when it wrote them: every
//! encoding of every type.

use crate::files::{own_files, shared_folder};
use vdr_data::digest::{Dialect, digest};
use vdr_data::keyspace::Keyspace;
use vdr_rdb::{KeyspaceBuilder, Loader};

/// Files with streams of every version (15, 19, 21, 26), and the digest of a server that counts
/// scores as 7.2 does.
const SHARED: &[(&str, &str)] = &[
    ("redis-rdb-tools/redis_50_with_streams", "6baf2bf94357399d2be9166aa5a7efa8a92a124e"),
    ("generated/redis-7.0.15-alltypes", "3349e103370c4cb66110d6c2218747a45c463231"),
    ("generated/redis-7.2.6-alltypes", "befd23ee48b9caabce12f257ff5febfe4ab729a0"),
    ("generated/redis-7.4.1-alltypes", "860e5e6accb4e0c050b561d50b07381be7c1b200"),
    ("generated/redis-8.0.6-alltypes", "1dbe5f382469d1c196c731d73def4546b1f4df7d"),
    ("generated/redis-8.6.3-alltypes", "83e65322da42c1e9a7c9d0202dc6e32e47bf8de3"),
    ("generated/valkey-8.0.1-alltypes", "8633b1cfd07845116014fdf3f88c3d302e57a671"),
    ("generated/valkey-8.1.1-alltypes", "91982552d0ed73d208909ef44071da0a569837f7"),
    ("generated/valkey-9.1.2-alltypes", "e3a9fc70f371aac90d2b7afa13fa5e13fe1d68bd"),
];

fn keyspace(bytes: &[u8]) -> Keyspace {
    let (mut loader, mut builder) = (Loader::new(), KeyspaceBuilder::new());
    loader.feed(bytes, &mut builder).unwrap();
    builder.into_keyspace()
}

fn dialect(name: &str) -> Dialect {
    let mut parts = name.split('-');
    Dialect::of(parts.next().unwrap(), parts.next().unwrap())
}

#[test]
fn our_own_files_have_the_digest_of_their_server() {
    let mut compared = 0;
    for (name, bytes, answers) in own_files() {
        let expected = answers.lines().next().unwrap().strip_prefix("digest ").unwrap();
        let found = digest(&keyspace(&bytes), dialect(&name), 0).unwrap();
        assert_eq!(found.to_string(), expected, "{name}");
        compared += 1;
    }
    assert!(compared >= 5);
}

#[test]
fn shared_files_with_streams_have_their_known_digest() {
    let Some(root) = shared_folder() else { return };
    for (name, expected) in SHARED {
        let bytes = std::fs::read(root.join(format!("{name}.rdb"))).unwrap();
        let server = name.split_once('/').unwrap().1;
        let found = digest(&keyspace(&bytes), dialect(&server.replace('_', "-")), 0).unwrap();
        assert_eq!(found.to_string(), *expected, "{name}");
    }
}
