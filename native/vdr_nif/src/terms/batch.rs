//! Batches of commands as messages. They are built on the link's thread, not on a scheduler.

use super::encode::field;
use super::primitive::{binary, list, pair, word};
use rustler::types::tuple::make_tuple;
use rustler::{Encoder, Env, Term};
use vdr_commands::{Affected, Effect, Field};
use vdr_replica::batch::{Batch, Command};

mod atoms {
    rustler::atoms! {
        commands, replication_start, streaming_start, link_lost,
        module = "Elixir.Vdr.RedisStream.ReplicaCommand",
        __struct__, db, command, raw_command, affected_keys, offset, context, generic, all,
        phase, replication_id, unit, full_sync, stream,
    }
}

/// How many of the command's next arguments are compared with a field.
const LOOK_AHEAD: usize = 4;

/// A batch, and what its commands have in common.
pub struct Commands<'a> {
    pub batch: &'a Batch,
    pub replication_id: &'a str,
    pub full_sync: bool,
}

/// `{:commands, number, [command]}`.
pub fn commands_message<'a>(env: Env<'a>, number: u64, message: &Commands<'_>) -> Term<'a> {
    let mut encoder = CommandEncoder::new(env, message);
    let commands: Vec<Term<'a>> = message.batch.commands().map(|command| encoder.command(message, command)).collect();
    (atoms::commands(), number, commands).encode(env)
}

pub fn replication_start(env: Env<'_>) -> Term<'_> {
    atoms::replication_start().to_term(env)
}

pub fn streaming_start(env: Env<'_>) -> Term<'_> {
    atoms::streaming_start().to_term(env)
}

pub fn link_lost(env: Env<'_>) -> Term<'_> {
    atoms::link_lost().to_term(env)
}

/// Encodes one command after the other. Terms that they have in common are made once.
struct CommandEncoder<'a> {
    env: Env<'a>,
    keys: [Term<'a>; 7],
    replication_id: Term<'a>,
    phase: Term<'a>,
    context: Option<(Option<u64>, Term<'a>)>,
}

impl<'a> CommandEncoder<'a> {
    fn new(env: Env<'a>, message: &Commands<'_>) -> Self {
        let keys = [
            atoms::__struct__(),
            atoms::affected_keys(),
            atoms::command(),
            atoms::context(),
            atoms::db(),
            atoms::offset(),
            atoms::raw_command(),
        ];
        let phase = if message.full_sync { atoms::full_sync() } else { atoms::stream() };
        CommandEncoder {
            env,
            keys: keys.map(|key| key.to_term(env)),
            replication_id: binary(env, message.replication_id.as_bytes()),
            phase: phase.to_term(env),
            context: None,
        }
    }

    fn command(&mut self, message: &Commands<'_>, command: &Command) -> Term<'a> {
        let env = self.env;
        let args: Vec<&[u8]> = message.batch.args(command).collect();
        let mut known =
            ArgTerms { env, terms: args.iter().map(|arg| binary(env, arg)).collect(), args: &args, next: 0 };
        let raw = (atoms::generic(), &known.terms).encode(env);
        let values = [
            atoms::module().to_term(env),
            affected_keys(command.db, &args, &mut known),
            tuple(&args, &mut known, raw),
            self.context(command.unit),
            command.db.encode(env),
            command.offset.encode(env),
            raw,
        ];
        // The keys are distinct, so there is always a map.
        Term::map_from_term_arrays(env, &self.keys, &values).unwrap_or(raw)
    }

    fn context(&mut self, unit: Option<u64>) -> Term<'a> {
        if let Some((of, context)) = self.context
            && of == unit
        {
            return context;
        }
        let env = self.env;
        let keys = [atoms::phase(), atoms::replication_id(), atoms::unit()].map(|key| key.to_term(env));
        let values = [self.phase, self.replication_id, unit.encode(env)];
        let context = Term::map_from_term_arrays(env, &keys, &values).unwrap_or(self.phase);
        self.context = Some((unit, context));
        context
    }
}

/// The arguments of a command as terms. Each is made once, however often the command repeats it.
struct ArgTerms<'a, 'b> {
    env: Env<'a>,
    terms: Vec<Term<'a>>,
    args: &'b [&'b [u8]],
    /// The next argument, since they are mostly asked for in order.
    next: usize,
}

impl<'a> ArgTerms<'a, '_> {
    fn term(&mut self, bytes: &[u8]) -> Term<'a> {
        let ahead = self.args.iter().zip(&self.terms).enumerate().skip(self.next).take(LOOK_AHEAD);
        for (index, (arg, term)) in ahead {
            if *arg == bytes {
                self.next = index + 1;
                return *term;
            }
        }
        binary(self.env, bytes)
    }
}

/// The keys that a command may change; `:all` where they are not known.
fn affected_keys<'a>(db: u32, args: &[&[u8]], known: &mut ArgTerms<'a, '_>) -> Term<'a> {
    let env = known.env;
    let (mut keys, mut whole, mut last): (Vec<Term<'a>>, bool, Vec<u8>) = (Vec::new(), false, Vec::new());
    known.next = 1;
    match args.split_first().map(|(name, rest)| (vdr_commands::write(name), *name, rest)) {
        Some((Some(row), _, rest)) => vdr_commands::for_each_affected(row, db, rest, &mut |touch| match touch {
            // MOVE touches the same key in two databases.
            Affected::Key { key, .. } if row.effect == Effect::MovesToDatabase && last == key => {}
            Affected::Key { key, .. } => {
                keys.push(known.term(key));
                if row.effect == Effect::MovesToDatabase {
                    last = key.to_vec();
                }
            }
            Affected::Db(_) | Affected::All => whole = true,
        }),
        Some((None, name, _)) => whole = vdr_commands::control(name).is_none(),
        None => {}
    }
    if whole { atoms::all().to_term(env) } else { keys.encode(env) }
}

fn tuple<'a>(args: &[&[u8]], known: &mut ArgTerms<'a, '_>, raw: Term<'a>) -> Term<'a> {
    let env = known.env;
    known.next = 1;
    let tuple = vdr_commands::tuple(args);
    if tuple.name == "generic" {
        return raw;
    }
    let mut terms = Vec::with_capacity(tuple.fields.len() + 1);
    terms.push(word(env, tuple.name));
    terms.extend(tuple.fields.iter().map(|part| part_term(part, known)));
    make_tuple(env, &terms)
}

fn part_term<'a>(part: &Field, known: &mut ArgTerms<'a, '_>) -> Term<'a> {
    let env = known.env;
    match part {
        Field::Bytes(bytes) => known.term(bytes),
        Field::List(parts) => list(env, parts.iter().map(|part| part_term(part, known))),
        Field::Pair(parts) => {
            let first = part_term(&parts.0, known);
            pair(env, first, part_term(&parts.1, known))
        }
        Field::Int(_) | Field::Float(_) | Field::Word(_) => field(env, part),
    }
}
