use super::*;

fn applier() -> Applier {
    Applier::new(Keyspace::default(), 100, 0, Some(b"__vdr_tx".to_vec()))
}

fn run(applier: &mut Applier, command: &str) -> Result<Applied, Divergence> {
    let args: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
    applier.command(&args, 10, 0)
}

fn visible(applier: &Applier, key: &str) -> Option<String> {
    let value = applier.visible().unwrap().0.view(0, 0).string(key.as_bytes()).unwrap()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

#[test]
fn a_multi_becomes_visible_with_its_exec() {
    let mut applier = applier();
    for command in ["SET a 1", "MULTI", "SET a 2", "SET b 2"] {
        run(&mut applier, command).unwrap();
    }
    assert_eq!((visible(&applier, "a").as_deref(), visible(&applier, "b")), (Some("1"), None));
    assert_eq!((applier.visible().unwrap().1, applier.resume_offset()), (110, 110));
    run(&mut applier, "EXEC").unwrap();
    assert_eq!((visible(&applier, "a").as_deref(), visible(&applier, "b").as_deref()), (Some("2"), Some("2")));
    assert_eq!((applier.visible().unwrap().1, applier.resume_offset()), (150, 150));
}

#[test]
fn a_multi_that_is_cut_off_never_was() {
    let mut applier = applier();
    for command in ["SET a 1", "MULTI", "SELECT 3", "SET a 2", "SET __vdr_tx 1"] {
        run(&mut applier, command).unwrap();
    }
    applier.rewind();
    assert_eq!((visible(&applier, "a").as_deref(), applier.resume_offset(), applier.db()), (Some("1"), 110, 0));
    assert_eq!(applier.guard_window(), None);
}

#[test]
fn a_guard_window_outlives_the_link_and_multis() {
    let mut applier = applier();
    for command in ["SET a 1", "SET __vdr_tx x", "SET a 2", "MULTI", "SET a 3"] {
        run(&mut applier, command).unwrap();
    }
    assert_eq!((visible(&applier, "a").as_deref(), applier.visible().unwrap().1), (Some("1"), 110));
    applier.rewind();
    assert_eq!(applier.guard_window(), Some(110));
    assert_eq!(applier.resume_offset(), 130);
    run(&mut applier, "SET a 4").unwrap();
    assert_eq!(visible(&applier, "a").as_deref(), Some("1"));
    run(&mut applier, "SET __vdr_tx y").unwrap();
    assert_eq!(visible(&applier, "a").as_deref(), Some("1"));
}

#[test]
fn a_full_sync_inside_a_guard_window_shows_nothing_until_it_closes() {
    let mut keyspace = Keyspace::default();
    keyspace.db_mut(2).insert(b"__vdr_tx", vdr_data::keyspace::Entry::new(vdr_data::blob::Blob::from("x")));
    let mut applier = Applier::new(keyspace, 5, 2, Some(b"__vdr_tx".to_vec()));
    run(&mut applier, "SET a 1").unwrap();
    assert!(applier.visible().is_none());
    applier.give_up_guard();
    assert_eq!(applier.visible().unwrap().1, 15);
}

#[test]
fn a_write_that_contradicts_the_data_is_a_divergence() {
    let mut applier = applier();
    run(&mut applier, "SET a x").unwrap();
    let divergence = run(&mut applier, "INCRBY a 1").err().unwrap();
    assert_eq!(divergence.error, ApplyError::NotANumber);
    assert_eq!(divergence.command, "INCRBY a");
}

#[test]
fn replconf_getack_wants_an_ack() {
    assert!(matches!(run(&mut applier(), "REPLCONF GETACK *"), Ok(Applied::AckWanted)));
    assert!(matches!(run(&mut applier(), "ping"), Ok(Applied::Control)));
}

/// Runs commands separated by `|`; after each, whether what it did is visible at once.
fn shown(commands: &str) -> String {
    let mut applier = applier();
    let mut shown = String::new();
    for command in commands.split('|') {
        run(&mut applier, command.trim()).unwrap();
        shown.push(if applier.visible().is_some_and(|(_, offset)| offset == applier.offset()) { '1' } else { '.' });
    }
    shown
}

#[test]
fn every_way_to_set_the_guard_key_opens_a_window() {
    for set in [
        "SET __vdr_tx 1",
        "SET __vdr_tx 1 PXAT 99999999999999",
        "SETEX __vdr_tx 5 1",
        "PSETEX __vdr_tx 5000 1",
        "MSET b 1 __vdr_tx 1",
        "LPUSH __vdr_tx 1",
        "RENAME a __vdr_tx",
        "COPY a __vdr_tx",
        "COPY a __vdr_tx DB 3",
    ] {
        assert_eq!(shown(&format!("SET a 1|{set}|SET c 1|SELECT 1|SET c 1")), "1....", "{set}");
    }
    for other in ["SET b __vdr_tx", "LPUSH b __vdr_tx", "DEL __vdr_tx", "SET __vdr_tx2 1", "SET x__vdr_tx 1"] {
        assert_eq!(shown(&format!("SET a 1|{other}|SET c 1")), "111", "{other}");
    }
}

#[test]
fn every_way_to_remove_the_guard_key_closes_the_window() {
    for removal in [
        "DEL __vdr_tx",
        "DEL b __vdr_tx",
        "UNLINK __vdr_tx",
        "RENAME __vdr_tx other",
        "RENAMENX __vdr_tx other",
        "FLUSHALL",
        "FLUSHDB",
        "SWAPDB 0 5",
        "SWAPDB 5 0",
        "MOVE __vdr_tx 5",
        "LPOP __vdr_tx 1",
    ] {
        let set = if removal.starts_with("LPOP") { "LPUSH" } else { "SET" };
        assert_eq!(shown(&format!("{set} __vdr_tx 1|SET a 1|{removal}|SET c 1")), "..11", "{removal}");
    }
    for other in
        ["DEL a", "SET a __vdr_tx", "SWAPDB 3 4", "SELECT 1|FLUSHDB", "COPY __vdr_tx other", "PERSIST __vdr_tx"]
    {
        assert!(!shown(&format!("SET __vdr_tx 1|SET a 1|{other}|SET c 1")).contains('1'), "{other}");
    }
}

#[test]
fn a_second_set_extends_the_same_window() {
    let mut applier = applier();
    for command in ["SET __vdr_tx 1", "SET a 1", "SET __vdr_tx 2"] {
        run(&mut applier, command).unwrap();
        assert_eq!(applier.guard_window(), Some(100));
    }
    run(&mut applier, "DEL __vdr_tx").unwrap();
    assert_eq!(applier.guard_window(), None);
}

#[test]
fn a_window_set_in_two_databases_closes_with_the_last() {
    assert_eq!(shown("SET __vdr_tx 1|SELECT 1|SET __vdr_tx 1|DEL __vdr_tx|SELECT 0|SET a 1|DEL __vdr_tx"), "......1");
    assert_eq!(shown("SET __vdr_tx 1|SELECT 1|SET __vdr_tx 1|SWAPDB 0 1|DEL __vdr_tx|FLUSHALL"), ".....1");
}

#[test]
fn a_key_that_is_carried_into_another_database_guards_nothing_there() {
    assert_eq!(shown("SET __vdr_tx 1|SWAPDB 0 5|SET a 1|SELECT 5|DEL __vdr_tx"), ".1111");
    assert_eq!(shown("SET __vdr_tx 1|MOVE __vdr_tx 5|SELECT 5|SET __vdr_tx 2|DEL __vdr_tx"), ".11.1");
}

#[test]
fn a_window_that_closes_in_a_multi_is_open_until_its_exec() {
    let mut applier = applier();
    for command in ["SET a 1", "SET __vdr_tx 1", "SET a 2", "MULTI", "SET a 3", "DEL __vdr_tx", "SET b 3"] {
        run(&mut applier, command).unwrap();
    }
    assert_eq!((visible(&applier, "a").as_deref(), visible(&applier, "b")), (Some("1"), None));
    run(&mut applier, "EXEC").unwrap();
    assert_eq!((visible(&applier, "a").as_deref(), visible(&applier, "b").as_deref()), (Some("3"), Some("3")));
}

#[test]
fn a_window_that_a_cut_off_multi_closed_is_open_again() {
    let mut applier = applier();
    for command in ["SET a 1", "SET __vdr_tx 1", "SET a 2", "MULTI", "DEL __vdr_tx"] {
        run(&mut applier, command).unwrap();
    }
    applier.rewind();
    assert_eq!((visible(&applier, "a").as_deref(), applier.guard_window()), (Some("1"), Some(110)));
    for command in ["MULTI", "DEL __vdr_tx", "EXEC"] {
        run(&mut applier, command).unwrap();
    }
    assert_eq!(visible(&applier, "a").as_deref(), Some("2"));
}

#[test]
fn a_window_that_opens_in_a_multi_holds_back_all_of_it() {
    let commands = ["SET a 1", "MULTI", "SET a 2", "SET __vdr_tx 1", "EXEC", "SET a 3"];
    let mut applier = applier();
    for command in commands {
        run(&mut applier, command).unwrap();
    }
    assert_eq!(visible(&applier, "a").as_deref(), Some("1"));
    run(&mut applier, "UNLINK __vdr_tx").unwrap();
    assert_eq!(visible(&applier, "a").as_deref(), Some("3"));
}

#[test]
fn a_window_given_up_inside_of_a_multi_shows_the_state_before_the_multi() {
    let mut applier = applier();
    for command in ["SET __vdr_tx 1", "SET a 1", "MULTI", "SET a 2"] {
        run(&mut applier, command).unwrap();
    }
    applier.give_up_guard();
    assert_eq!(visible(&applier, "a").as_deref(), Some("1"));
    run(&mut applier, "EXEC").unwrap();
    assert_eq!(visible(&applier, "a").as_deref(), Some("2"));
    // Set anew, it guards anew.
    run(&mut applier, "SET __vdr_tx 2").unwrap();
    assert_eq!(applier.guard_window(), Some(applier.offset() - 10));
}

#[test]
fn without_a_guard_key_nothing_is_held_back() {
    let mut applier = Applier::new(Keyspace::default(), 0, 0, None);
    run(&mut applier, "SET __vdr_tx 1").unwrap();
    assert_eq!(applier.visible().unwrap().1, 10);
}

#[test]
fn a_step_back_goes_over_idle_talk_and_nothing_else() {
    let mut applier = applier();
    for command in ["SET a 1", "PUBLISH c m", "PING", "REPLCONF GETACK *"] {
        run(&mut applier, command).unwrap();
    }
    assert_eq!(applier.resume_offset(), 140);
    applier.rewind_keepalives();
    assert_eq!(applier.resume_offset(), 110);
    for command in ["SELECT 3", "PING"] {
        run(&mut applier, command).unwrap();
    }
    applier.rewind_keepalives();
    assert_eq!((applier.resume_offset(), applier.db()), (120, 3));
    for command in ["FROBNICATE x", "PING"] {
        run(&mut applier, command).unwrap();
    }
    applier.rewind_keepalives();
    assert_eq!(applier.resume_offset(), 130);
}

#[test]
fn a_step_back_does_not_leave_a_multi_nor_go_behind_one_that_was_cut_off() {
    let mut applier = applier();
    for command in ["SET a 1", "PING", "MULTI", "PUBLISH c m"] {
        run(&mut applier, command).unwrap();
    }
    applier.rewind_keepalives();
    assert_eq!(applier.offset(), 140);
    applier.rewind();
    applier.rewind_keepalives();
    assert_eq!(applier.offset(), 120);
}

#[test]
fn too_much_idle_talk_is_not_asked_for_again() {
    let mut applier = applier();
    run(&mut applier, "SET a 1").unwrap();
    for _ in 0..=KEEPALIVE_REWIND_MAX_BYTES / 10 {
        run(&mut applier, "PING").unwrap();
    }
    let before = applier.resume_offset();
    applier.rewind_keepalives();
    assert_eq!(applier.resume_offset(), before);
}
