//! Values of types that are not mirrored, those of modules, and Redis 8's vector sets and arrays:
//! their keys are there, with the type `other`, so that EXPIRE, RENAME and the like find them.

use crate::context::Apply;
use crate::cursor::ArgCursor;
use crate::error::ApplyResult;
use crate::row::AffectedKeys::InShape;
use crate::row::Effect::Each;
use crate::row::Leaves;
use crate::row::Part::{Bins, Key};
use crate::row::{Write, row};
use vdr_data::value::{Kind, Value, ValueRef};

pub const WRITES: &[Write] = &[
    keeps("vadd"),
    keeps("vsetattr"),
    may_remove("vrem"),
    keeps("arset"),
    keeps("armset"),
    keeps("arinsert"),
    keeps("arring"),
    keeps("arseek"),
    may_remove("ardel"),
    may_remove("ardelrange"),
    keeps("gcra"),
    keeps("json.set"),
    keeps("json.merge"),
    keeps("json.numincrby"),
    keeps("json.nummultby"),
    keeps("json.strappend"),
    keeps("json.arrappend"),
    keeps("json.arrinsert"),
    keeps("json.arrpop"),
    keeps("json.arrtrim"),
    keeps("json.clear"),
    keeps("json.toggle"),
    may_remove("json.del"),
    may_remove("json.forget"),
    keeps("bf.reserve"),
    keeps("bf.add"),
    keeps("bf.madd"),
    keeps("bf.insert"),
    keeps("bf.loadchunk"),
    keeps("cf.reserve"),
    keeps("cf.add"),
    keeps("cf.addnx"),
    keeps("cf.insert"),
    keeps("cf.insertnx"),
    keeps("cf.del"),
    keeps("cf.loadchunk"),
    keeps("cms.initbydim"),
    keeps("cms.initbyprob"),
    keeps("cms.incrby"),
    keeps("cms.merge"),
    keeps("topk.reserve"),
    keeps("topk.add"),
    keeps("topk.incrby"),
    keeps("tdigest.create"),
    keeps("tdigest.add"),
    keeps("tdigest.reset"),
    keeps("tdigest.merge"),
    keeps("ts.create"),
    keeps("ts.alter"),
    keeps("ts.add"),
    keeps("ts.incrby"),
    keeps("ts.decrby"),
    keeps("ts.del"),
];

/// A write that makes the key or changes its value.
const fn keeps(name: &'static str) -> Write {
    row(name, &[Key, Bins], InShape, Leaves::Kind(Kind::Other), Each, keep)
}

/// A write that changes the value, and removes the key when nothing is left of it.
const fn may_remove(name: &'static str) -> Write {
    row(name, &[Key, Bins], InShape, Leaves::Kind(Kind::Other), Each, doubt)
}

fn keep(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    args.rest();
    match apply.get(key).map(|entry| entry.value()) {
        None => apply.replace(key, Value::Other),
        Some(ValueRef::Other) => {}
        // Whoever wrote that must have been followed less well than this.
        Some(_) => apply.db().make_unknown(key),
    }
    Ok(())
}

fn doubt(apply: &mut Apply<'_>, args: &mut ArgCursor<'_>) -> ApplyResult {
    let key = args.bytes()?;
    args.rest();
    apply.db().make_unknown(key);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::harness::Mirror;

    #[test]
    fn an_array_is_a_key_of_another_type() {
        let mut mirror = Mirror::new();
        mirror.run(&["arset a 0 x y", "armset a 5 z", "arinsert a z", "rename a b", "ardel b 0"]);
        assert_eq!((mirror.ask("type b"), mirror.has("a")), ("UnknownValue".into(), false));
    }

    #[test]
    fn a_key_of_another_type_is_there_until_it_may_be_gone() {
        let mut mirror = Mirror::new();
        mirror.run(&["json.set j $ 1", "pexpireat j 5000000", "json.arrappend j $ 2", "rename j k", "copy k l"]);
        assert_eq!(
            (mirror.ask("type k"), mirror.expires("l"), mirror.has("j")),
            ("other".into(), Some(5_000_000), false)
        );
        assert_eq!(mirror.ask("get k"), "WrongType");
        mirror.run(&["vrem k x"]);
        for read in ["get k", "type k", "exists k", "ttl k", "mget [k]", "hlen k"] {
            assert_eq!(mirror.ask(read), "UnknownValue", "{read}");
        }
        mirror.run(&["set k 1"]);
        assert_eq!((mirror.ask("get k"), mirror.ask("ttl k")), ("1".into(), "infinity".into()));
        mirror.run(&["vadd k x"]);
        assert_eq!(mirror.ask("get k"), "UnknownValue");
        mirror.run(&["del k"]);
        assert_eq!(mirror.ask("get k"), "nil");
    }
}
