defmodule Vdr.Native do
  @moduledoc false
  # The functions of the native library, and nothing else. Their results are documented where they
  # are defined, in `native/vdr_nif`. Nobody but `Vdr.Read`, `Vdr.Script`, `Vdr.Keys`,
  # `Vdr.Snapshot`, `Vdr.RdbFile`, `Vdr.Writes`, `Vdr.Watch`, `Vdr.Mirror.Stores`, `Vdr.Link`,
  # `Vdr.Log`, `Vdr.NativeLog`, the handler's process, `Vdr.Testing.Primary`, `Vdr.Overview` and the
  # facade calls them.

  # The library is built while Elixir is compiled, which would load the module without it.
  @compile {:autoload, false}
  @on_load :load

  def load do
    path = Vdr.NativeLibrary.path()
    path |> String.to_charlist() |> :erlang.load_nif(0) |> Vdr.NativeLibrary.loaded(path)
  end

  def version, do: missing()

  # Reads
  def commands, do: missing()
  def error_codes, do: missing()
  def read(_source, _db, _name, _args), do: missing()
  def read_dirty(_source, _db, _name, _args), do: missing()
  def get(_source, _db, _key), do: missing()
  def hget(_source, _db, _key, _field), do: missing()
  def sismember(_source, _db, _key, _member), do: missing()
  def zscore(_source, _db, _key, _member), do: missing()
  def lindex(_source, _db, _key, _index), do: missing()
  def read_tx(_source, _db, _operations), do: missing()
  def read_tx_dirty(_source, _db, _operations), do: missing()

  # An instance
  def store_new(_stale_ms, _guard_key, _only), do: missing()
  def store_close(_store), do: missing()
  def ready(_store), do: missing()
  def status(_store), do: missing()
  def memory_bytes(_store), do: missing()
  def snapshot(_store), do: missing()
  def link_start(_store, _config, _pid, _tag), do: missing()
  def link_stop(_store), do: missing()
  def notices_to(_store, _pid, _tag), do: missing()
  def notices_take(_store), do: missing()

  # The log of an instance or a handler
  def log_listen(_source, _pid, _tag), do: missing()
  def log_take(_source), do: missing()
  def log_level(_source), do: missing()
  def log_set_level(_source, _level), do: missing()

  # Commands of the user, and positions
  def client_start(_store, _config, _pid, _tag), do: missing()
  def client_follow(_store, _server), do: missing()
  def client_answer(_store, _number, _answer), do: missing()
  def client_state(_store), do: missing()
  def client_call(_store, _kind, _db, _commands, _awaits, _caller), do: missing()
  def client_call_dirty(_store, _kind, _db, _commands, _awaits, _caller), do: missing()
  def client_sync(_store, _pid, _tag), do: missing()
  def client_cancel(_store, _ticket), do: missing()
  def position(_store), do: missing()
  def position_await(_store, _replication_id, _offset, _caller), do: missing()

  # Watches
  def watch(_store, _db, _watched, _ref, _pid, _manner), do: missing()
  def unwatch(_store, _db, _watched, _pid), do: missing()
  def watch_may_have_missed(_store, _db, _watched, _replication_id, _offset), do: missing()
  def watch_acknowledge(_store, _pid, _count), do: missing()
  def watch_sampler(_pid), do: missing()
  def watch_samples, do: missing()
  def watch_sent(_number), do: missing()
  def watch_sampled(_number, _sent, _waiting), do: missing()
  def watch_sampled_dirty(_number, _sent, _waiting), do: missing()

  # A Sentinel monitor
  def sentinel_start(_source, _config, _pid, _tag), do: missing()
  def sentinel_look_up(_sentinel), do: missing()
  def sentinel_answer(_sentinel, _number, _answer), do: missing()

  # A handler
  def handler_new(_pid, _tag, _only, _initial), do: missing()
  def handler_handled(_handler, _number), do: missing()
  def handler_status(_handler), do: missing()

  # A primary that a test plays
  def feed_start(_store, _config, _pid, _tag), do: missing()
  def feed_attach(_feed, _caller), do: missing()
  def feed_continue(_feed, _replication_id, _caller), do: missing()
  def feed_file(_feed, _position, _file, _caller), do: missing()
  def feed_data(_feed, _position, _source, _caller), do: missing()
  def feed_stream(_feed, _bytes, _caller), do: missing()
  def feed_end(_feed, _caller), do: missing()
  def feed_time(_store, _time_ms, _caller), do: missing()

  # Scripts
  def lua_attempt(_source, _db, _script, _keys, _args, _limits), do: missing()
  def lua_start(_source, _db, _script, _arguments, _limits, _caller), do: missing()
  def lua_answer(_ticket), do: missing()
  def lua_answer_dirty(_ticket), do: missing()
  def lua_load(_source, _pid, _tag), do: missing()

  # Snapshots
  def walk_keys(_source, _db, _after, _filter, _count), do: missing()
  def large_keys(_source, _count), do: missing()
  def diff_new(_old, _new, _db), do: missing()
  def diff_next(_changes, _count), do: missing()
  def snapshot_offset(_source), do: missing()
  def snapshot_keys(_source), do: missing()
  def snapshot_from_commands(_db, _commands), do: missing()
  def snapshot_apply(_source, _db, _commands, _now_ms), do: missing()
  def snapshot_expired(_source, _now_ms), do: missing()
  def digest(_source), do: missing()
  def digest_value(_source, _db, _key), do: missing()

  # Snapshot files
  def rdb_open(_path, _purpose), do: missing()
  def rdb_step(_file), do: missing()

  defp missing, do: :erlang.nif_error(:native_library_not_loaded)
end
