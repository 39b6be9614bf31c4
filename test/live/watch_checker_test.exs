defmodule Vdr.Live.WatchCheckerTest do
  # A thousand watchers on overlapping keys, prefixes and patterns, some of them slow, beside random
  # writes. Every event is replayed against the record of the stream that a second link made:
  # nothing is lost, nothing comes twice, out of order or early, and each Missed is exact.
  use Vdr.Test.LiveCase

  alias Vdr.RedisStream.Replica
  alias Vdr.Test.{Recorder, Watcher}
  alias Vdr.WatchEvent.{Key, Missed, Update, Value}

  @moduletag timeout: 180_000

  @watchers 1000
  @batches 150
  # Writes of several keys, of whole databases, and units take their turn.
  @prefixes ~w(a b ab a: b: u:)
  @names ~w(1 2 3 name age)

  live_test "every event of a thousand watchers is in the stream's record, once, in order and in time", %{
    port: port,
    redis: redis,
    id: id
  } do
    seed = String.to_integer(System.get_env("SEED", "#{:rand.uniform(1_000_000)}"))
    :rand.seed(:exsss, seed)

    {:ok, record} =
      Replica.start_link(host: "127.0.0.1", port: port, callback_module: Recorder, callback_opts: %{to: self()})

    Recorder.await!(record, :streaming_start)

    watchers = for n <- 1..@watchers, do: start(id, n)
    # They read while others write.
    for _ <- 1..@batches, do: Redix.pipeline!(redis, batch())
    Redix.command!(redis, ["SET", "end", "1"])
    writes = record |> Recorder.commands_until(["SET", "end", "1"]) |> Enum.map(&write/1)
    Mirror.eventually("the last write is visible", fn -> Veidrodelis.get(id, 0, "end") == {:ok, "1"} end)

    for {pid, watched, notify} <- watchers do
      expected = for write <- writes, hit <- hits(write, watched, notify), do: hit
      told = "SEED=#{seed} #{inspect(watched)} #{notify}"
      Mirror.eventually("all events of #{told}", fn -> Watcher.heard(pid, :ref) |> complete?(expected, notify) end)
      check(notify, Watcher.heard(pid, :ref), expected, told)
    end

    # The values of the last events are those that can be read now.
    for {pid, _watched, :value} <- watchers,
        {key, value} <- pid |> Watcher.heard(:ref) |> last_values(),
        do: assert({key, value} == {key, read(id, key)}, "SEED=#{seed}")

    Replica.stop(record)
  end

  # ---- the watchers

  defp start(id, n) do
    watched =
      Enum.random([{:key, key()}, {:key, key()}, {:prefix, Enum.random(@prefixes ++ [""])}, {:pattern, pattern()}])

    notify = Enum.random([:command, :command, :command, :value, :key])
    # A bound on events of values and keys depends on what was published together: only the others
    # are slow.
    slow? = notify == :command and rem(n, 10) == 0
    bound = if slow?, do: Enum.random([1, 5, 50]), else: 100_000
    on_event = fn {_ref, event} -> check_visible(id, event) end
    opts = [on_event: on_event] ++ if(slow?, do: [pause_ms: 5], else: [])
    {Watcher.start(fn _pid -> watch(id, watched, notify: notify, max_pending: bound) end, opts), watched, notify}
  end

  defp watch(id, {:key, key}, opts), do: Veidrodelis.watch(id, 0, key, :ref, opts)
  defp watch(id, {:prefix, prefix}, opts), do: Veidrodelis.watch_prefix(id, 0, prefix, :ref, opts)
  defp watch(id, {:pattern, pattern}, opts), do: Veidrodelis.watch_pattern(id, 0, pattern, :ref, opts)

  defp pattern do
    case :rand.uniform(4) do
      1 -> Enum.random(@prefixes) <> "*"
      2 -> "*" <> Enum.random(@names)
      3 -> Enum.random(@prefixes) <> "?" <> "*"
      4 -> "*[0-9]"
    end
  end

  # No event comes before its effect is visible.
  defp check_visible(id, event) do
    offset = if is_struct(event, Missed), do: event.to, else: event.offset
    {:ok, snapshot} = Veidrodelis.snapshot(id)
    if Vdr.Snapshot.offset(snapshot) < offset, do: raise("early: #{inspect(event)}")
  end

  # ---- the writes

  defp batch do
    writes = for _ <- 1..:rand.uniform(20), do: write()
    if :rand.uniform(3) == 1, do: [["MULTI"] | writes] ++ [["EXEC"]], else: writes
  end

  defp write do
    [a, b] = Enum.take_random(for(prefix <- @prefixes, name <- @names, do: prefix <> name), 2)

    case :rand.uniform(40) do
      1 ->
        ["FLUSHDB"]

      2 ->
        ["SWAPDB", "0", "1"]

      3 ->
        ["FLUSHALL"]

      n when n in 4..8 ->
        ["MSET", a, number(), b, number()]

      n when n in 9..12 ->
        ["DEL", a, b]

      n when n in 13..14 ->
        ["COPY", a, b, "REPLACE"]

      n when n in 15..16 ->
        ["EVAL", "redis.call('SET', KEYS[1], ARGV[1]) redis.call('DEL', KEYS[2])", "2", a, b, number()]

      n when n in 17..18 ->
        ["GETDEL", a]

      _ ->
        ["SET", a, number()]
    end
  end

  defp key, do: Enum.random(@prefixes) <> Enum.random(@names)
  defp number, do: Integer.to_string(:rand.uniform(1_000_000))

  # A write of the record: its offset, and the keys of database 0 that it affects, or `:all`.
  defp write(command) do
    keys =
      cond do
        elem(command.command, 0) in [:swapdb, :flushall] -> :all
        command.db == 0 -> command.affected_keys
        true -> []
      end

    {command.offset, keys}
  end

  # ---- what is expected of a watch, in order: `{offset, key}`, the key `nil` for several or all

  defp hits({offset, :all}, {:key, key}, _notify), do: [{offset, key}]
  defp hits({offset, :all}, _several, _notify), do: [{offset, nil}]

  defp hits({offset, keys}, watched, notify) do
    case {Enum.filter(keys, &covers?(watched, &1)), watched, notify} do
      {[], _watched, _notify} -> []
      {[_one, _more | _], {what, _name}, :command} when what != :key -> [{offset, nil}]
      {keys, _watched, _notify} -> for key <- keys, do: {offset, key}
    end
  end

  defp covers?({:key, key}, key), do: true
  defp covers?({:key, _other}, _key), do: false
  defp covers?({:prefix, prefix}, key), do: String.starts_with?(key, prefix)
  defp covers?({:pattern, pattern}, key), do: key =~ regex(pattern)

  # Enough for the patterns of this test.
  defp regex(pattern) do
    Regex.compile!("\\A" <> (pattern |> String.replace("?", ".") |> String.replace("*", ".*")) <> "\\z", "s")
  end

  # ---- the check

  defp complete?(heard, expected, :command) do
    Enum.sum(for event <- heard, do: if(is_struct(event, Missed), do: event.count, else: 1)) >= length(expected)
  end

  defp complete?(_heard, [], _notify), do: true
  defp complete?([], _expected, _notify), do: false

  defp complete?(heard, expected, _notify) do
    # The last event of each key is behind its last write.
    last = Map.new(heard, &{&1.key, &1.offset})
    Enum.all?(expected, fn {offset, key} -> Map.get(last, key, -1) >= offset end)
  end

  defp check(:command, heard, expected, told) do
    rest =
      Enum.reduce(heard, expected, fn
        %Missed{from: from, to: to, count: count}, expected ->
          {missed, rest} = Enum.split(expected, count)

          assert {count, from, to} == {length(missed), missed |> hd() |> elem(0), missed |> List.last() |> elem(0)},
                 told

          rest

        %Update{offset: offset, key: key, db: 0}, expected ->
          assert [{^offset, ^key} | rest] = expected, told
          rest
      end)

    assert rest == [], told
  end

  defp check(notify, heard, expected, told) do
    struct = %{value: Value, key: Key}[notify]
    assert Enum.all?(heard, &is_struct(&1, struct)), told
    offsets = Enum.map(heard, & &1.offset)
    assert offsets == Enum.sort(offsets), told
    assert heard |> Enum.map(&{&1.key, &1.offset}) |> Enum.uniq() |> length() == length(heard), told
    by_key = Enum.group_by(heard, & &1.key, & &1.offset)
    written = Enum.group_by(expected, &elem(&1, 1), &elem(&1, 0))
    assert Map.keys(by_key) -- Map.keys(written) == [], told

    for {key, writes} <- written do
      # Each event stands for the writes since the last one, and for at least one of them.
      rest =
        Enum.reduce(Map.get(by_key, key, []), writes, fn offset, writes ->
          {covered, rest} = Enum.split_while(writes, &(&1 <= offset))
          assert covered != [], told
          rest
        end)

      assert rest == [], told
    end

    if notify == :value, do: check_values(heard, told)
  end

  # The old value of each event is the new one of the event before.
  defp check_values(heard, told) do
    Enum.reduce(heard, %{}, fn
      %Value{key: nil}, _values ->
        %{}

      %Value{key: key, old: old, new: new}, values ->
        assert Map.get(values, key, old) == old, told
        Map.put(values, key, new)
    end)
  end

  defp last_values(heard) do
    Enum.reduce(heard, %{}, fn
      %Value{key: nil}, _values -> %{}
      %Value{key: key, new: new}, values -> Map.put(values, key, new)
    end)
  end

  defp read(id, key) do
    case Veidrodelis.get(id, 0, key) do
      {:ok, nil} -> nil
      {:ok, value} -> {:string, value}
    end
  end
end
