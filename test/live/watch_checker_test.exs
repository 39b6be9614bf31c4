defmodule Vdr.Live.WatchCheckerTest do
  # A thousand watchers on overlapping keys, prefixes and patterns, some of them slow or standing
  # still, beside random writes and cuts of the link. Every event is replayed against the record of
  # the stream that a second link made: nothing is lost, nothing comes twice, out of order or early,
  # and each Missed is exact. What the writes do is worked out here, from their words.
  use Vdr.Test.LiveCase

  alias Vdr.RedisStream.Replica
  alias Vdr.Test.{Proxy, Recorder, Watcher}
  alias Vdr.WatchEvent.{Init, Key, Missed, Update, Value}

  @moduletag timeout: 300_000

  @watchers 1000
  @late_watchers 100
  @batches 150
  @cut_every 25
  # Writes of several keys, of whole databases, and units take their turn.
  @prefixes ~w(a b ab a: b: u:)
  @names ~w(1 2 3 name age)

  live_test "every event of a thousand watchers is in the stream's record, once, in order and in time",
            %{server: server, port: port, redis: redis},
            mirror: false do
    seed = String.to_integer(System.get_env("SEED", "#{:rand.uniform(1_000_000)}"))
    :rand.seed(:exsss, seed)
    {proxy, id} = behind_proxy!(server)
    reads = :ets.new(:reads, [:public, :set])

    {:ok, record} =
      Replica.start_link(host: "127.0.0.1", port: port, callback_module: Recorder, callback_opts: %{to: self()})

    Recorder.await!(record, :streaming_start)

    watchers = for n <- 1..@watchers, do: start(id, n, reads)
    held = for %{held: true, pid: pid} <- watchers, do: pid
    Enum.each(held, &Watcher.hold/1)
    # They read, and others come, while this writes.
    writer = write_in_background(redis, proxy, seed)
    assert_receive :half, 60_000
    late = for _ <- 1..@late_watchers, do: start_late(id, reads)
    Task.await(writer, 120_000)
    Redix.command!(redis, ["SET", "end", "1"])
    writes = record |> Recorder.commands_until(["SET", "end", "1"]) |> Enum.map(&write/1)
    Mirror.eventually("the last write is visible", fn -> Veidrodelis.get(id, 0, "end") == {:ok, "1"} end)
    Enum.each(held, &Watcher.go_on/1)
    states = states(writes)

    for watcher <- watchers do
      expected = for write <- writes, hit <- hits(write, watcher), do: hit
      told = "SEED=#{seed} #{inspect(Map.delete(watcher, :pid))}"

      Mirror.eventually("all events of #{told}", fn ->
        watcher.pid |> Watcher.heard(:ref) |> complete?(expected, watcher.notify)
      end)

      heard = Watcher.heard(watcher.pid, :ref)
      check(watcher.notify, heard, expected, states, told)
      # What stood still has missed something: so the check of Missed is no empty one.
      if watcher.held and length(expected) > watcher.bound, do: assert(Enum.any?(heard, &is_struct(&1, Missed)), told)
    end

    for watcher <- late do
      expected = for write <- writes, hit <- hits(write, watcher), do: hit
      check_late(watcher, expected, states, "SEED=#{seed} late #{inspect(Map.delete(watcher, :pid))}")
    end

    # Whatever a watcher read on an event is the record's state at the offset of what it read.
    assert :ets.info(reads, :size) > @batches

    for {{offset, key, value}} <- :ets.tab2list(reads) do
      assert {offset, key, value} == {offset, key, state(states, offset)[key]}, "SEED=#{seed}"
    end

    assert %{full_syncs: 1, partial_syncs: partial} = Veidrodelis.info(id)
    assert partial > 0
    Replica.stop(record)
  end

  defp behind_proxy!(server) do
    proxy = start_supervised!({Proxy, Server.port(server)})
    id = {:checked, System.unique_integer([:positive])}
    delays = [reconnect_delay_ms: 5, max_reconnect_delay_ms: 20]
    start_supervised!({Veidrodelis, [id: id, host: "127.0.0.1", port: Proxy.port(proxy)] ++ delays})
    :ok = Veidrodelis.await_ready(id, 20_000)
    {proxy, id}
  end

  # ---- the watchers

  defp start(id, n, reads) do
    watched =
      Enum.random([{:key, key()}, {:key, key()}, {:prefix, Enum.random(@prefixes ++ [""])}, {:pattern, pattern()}])

    notify = Enum.random([:command, :command, :command, :value, :key])
    # A bound on events of values and keys depends on what was published together: only the others
    # are slow.
    slow? = notify == :command and rem(n, 10) == 0
    held? = notify == :command and rem(n, 20) == 5
    bound = if slow? or held?, do: Enum.random([1, 5, 50]), else: 100_000
    opts = [on_event: &read_on(id, reads, &1)] ++ if(slow?, do: [pause_ms: 5], else: [])
    pid = Watcher.start(fn _pid -> watch(id, watched, notify: notify, max_pending: bound) end, opts)
    %{pid: pid, watched: watched, notify: notify, bound: bound, held: held?}
  end

  # A watcher that comes between writes, and what was visible when its watch stood.
  defp start_late(id, reads) do
    watched = Enum.random([{:key, key()}, {:prefix, Enum.random(@prefixes)}, {:pattern, pattern()}])
    test = self()

    set = fn pid ->
      answer = watch(id, watched, max_pending: 100_000)
      {:ok, {_replication_id, offset}} = Veidrodelis.position(id)
      send(test, {:stands, pid, offset})
      answer
    end

    pid = Watcher.start(set, on_event: &read_on(id, reads, &1))
    assert_receive {:stands, ^pid, offset}
    %{pid: pid, watched: watched, notify: :command, since: offset}
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

  # No event comes before its effect is visible: what is read now is compared with the record later.
  defp read_on(id, reads, {_ref, event}) do
    offset = if is_struct(event, Missed), do: event.to, else: event.offset
    {:ok, snapshot} = Veidrodelis.snapshot(id)
    visible = Vdr.Snapshot.offset(snapshot)
    if visible < offset, do: raise("early: #{inspect(event)}")
    key = Map.get(event, :key) || key()
    {:ok, value} = Veidrodelis.get(snapshot, 0, key)
    :ets.insert(reads, {{visible, key, value}})
  end

  # ---- the writes

  defp write_in_background(redis, proxy, seed) do
    test = self()

    Task.async(fn ->
      :rand.seed(:exsss, seed + 1)

      for n <- 1..@batches do
        Redix.pipeline!(redis, batch())
        if n == div(@batches, 2), do: send(test, :half)
        if rem(n, @cut_every) == 0, do: Proxy.cut(proxy, :reset)
      end
    end)
  end

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
  # No two writes write the same.
  defp number, do: Integer.to_string(System.unique_integer([:positive]))

  # ---- what the writes of the record do: all are to database 0

  defp write(%{db: 0, raw_command: {:generic, words}} = recorded),
    do: %{offset: recorded.offset, words: words, command: recorded.command}

  # The keys that a write names, or `:all`.
  defp keys(["SET", key | _value]), do: [key]
  defp keys(["MSET" | pairs]), do: Enum.take_every(pairs, 2)
  defp keys([name | keys]) when name in ["DEL", "UNLINK"], do: keys
  defp keys(["COPY", _from, to | _options]), do: [to]
  defp keys([name | _words]) when name in ["FLUSHDB", "FLUSHALL", "SWAPDB"], do: :all

  # Database 0 after each write, by offset.
  defp states(writes) do
    table = :ets.new(:states, [:ordered_set])
    :ets.insert(table, {0, %{}})

    Enum.reduce(writes, {%{}, %{}}, fn %{words: words, offset: offset}, databases ->
      databases = effect(words, databases)
      :ets.insert(table, {offset, elem(databases, 0)})
      databases
    end)

    table
  end

  defp state(states, offset), do: :ets.lookup_element(states, :ets.prev(states, offset + 1), 2)

  defp effect(["SET", key, value | _options], {zero, one}), do: {Map.put(zero, key, value), one}

  defp effect(["MSET" | pairs], {zero, one}),
    do: {pairs |> Enum.chunk_every(2) |> Enum.reduce(zero, fn [key, value], zero -> Map.put(zero, key, value) end), one}

  defp effect(["COPY", from, to | _options], {zero, one}), do: {Map.put(zero, to, Map.fetch!(zero, from)), one}
  defp effect(["FLUSHDB" | _options], {_zero, one}), do: {%{}, one}
  defp effect(["FLUSHALL" | _options], _both), do: {%{}, %{}}
  defp effect(["SWAPDB", _zero, _one], {zero, one}), do: {one, zero}
  defp effect([_del | keys], {zero, one}), do: {Map.drop(zero, keys), one}

  # ---- what is expected of a watch, in order: `{offset, key, command}`, the key `nil` for several
  # or all

  defp hits(%{offset: offset, words: words, command: command}, %{watched: {what, _name} = watched, notify: notify}) do
    case keys(words) do
      :all ->
        [{offset, if(what == :key, do: elem(watched, 1)), command}]

      keys ->
        case {Enum.filter(keys, &covers?(watched, &1)), what, notify} do
          {[_one, _more | _], what, :command} when what != :key -> [{offset, nil, command}]
          {keys, _what, _notify} -> for key <- keys, do: {offset, key, command}
        end
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
    Enum.all?(expected, fn {offset, key, _command} -> Map.get(last, key, -1) >= offset end)
  end

  defp check(:command, heard, expected, _states, told) do
    rest =
      Enum.reduce(heard, expected, fn
        %Missed{from: from, to: to, count: count}, expected ->
          {missed, rest} = Enum.split(expected, count)

          assert {count, from, to} == {length(missed), missed |> hd() |> elem(0), missed |> List.last() |> elem(0)},
                 told

          rest

        %Update{offset: offset, key: key, command: command, db: 0}, expected ->
          assert [{^offset, ^key, ^command} | rest] = expected, told
          rest
      end)

    assert rest == [], told
  end

  defp check(notify, heard, expected, states, told) do
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

    if notify == :value, do: check_values(heard, states, told)
  end

  # The new value is that of the event's offset. The old one is that of the last event before which
  # stands for the key: between the two, the key was not written.
  defp check_values(heard, states, told) do
    heard
    |> Enum.chunk_by(& &1.offset)
    |> Enum.reduce(%{nil: 0}, fn published, seen ->
      for %Value{key: key, old: old, new: new, offset: offset} <- published do
        before = max(Map.get(seen, key, 0), seen[nil])
        values = if key, do: {value(states, before, key), value(states, offset, key)}, else: {nil, nil}
        assert {key, {old, new}} == {key, values}, told
      end

      Enum.reduce(published, seen, &Map.put(&2, &1.key, &1.offset))
    end)
  end

  defp value(states, offset, key) do
    case state(states, offset) do
      %{^key => value} -> {:string, value}
      _none -> nil
    end
  end

  # Of what was visible when the watch stood, or stands behind an Init, nothing need come. All else
  # does, except first writes after which everything watched is as it was.
  defp check_late(%{pid: pid, since: since} = watcher, expected, states, told) do
    expected_and_heard = fn ->
      {heard, floor} = since_init(pid, since)
      {floor, Enum.filter(expected, &(elem(&1, 0) > floor)), behind(heard, floor)}
    end

    Mirror.eventually("all events of #{told}", fn ->
      {floor, expected, heard} = expected_and_heard.()
      expected |> Enum.drop(-length(heard)) |> nothing_changed?(floor, watcher.watched, states)
    end)

    {_floor, expected, heard} = expected_and_heard.()
    assert heard == Enum.take(expected, -length(heard)), told
  end

  defp nothing_changed?([], _since, _watched, _states), do: true

  defp nothing_changed?(unheard, since, watched, states) do
    {last, _key, _command} = List.last(unheard)
    of_watch = fn {key, _value} -> covers?(watched, key) end
    Enum.filter(state(states, since), of_watch) == Enum.filter(state(states, last), of_watch)
  end

  defp since_init(pid, since) do
    heard = Watcher.heard(pid, :ref)
    {reversed, inits} = heard |> Enum.reverse() |> Enum.split_while(&is_struct(&1, Update))
    assert Enum.all?(heard, &(is_struct(&1, Update) or is_struct(&1, Init)))
    {Enum.reverse(reversed), Enum.max([since | for(%Init{offset: offset} <- inits, do: offset)])}
  end

  defp behind(heard, floor),
    do: for(%Update{offset: offset, key: key, command: command} <- heard, offset > floor, do: {offset, key, command})
end
