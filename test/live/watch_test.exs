defmodule Vdr.Live.WatchTest do
  # What watches send, how they are bounded, and what they survive, on real servers.
  use Vdr.Test.LiveCase, async: true

  alias Vdr.Test.Watcher
  alias Vdr.WatchEvent.{Init, Key, Link, Missed, Update, Value}

  defp sets(redis, key, numbers), do: Redix.pipeline!(redis, for(n <- numbers, do: ["SET", key, "#{n}"]))

  # Every event that a write caused was sent, or is counted in a Missed.
  defp accounted(events) do
    events
    |> Enum.map(fn
      %Missed{count: count} -> count
      _sent -> 1
    end)
    |> Enum.sum()
  end

  live_test "a watcher that sleeps is sent no more than its bound, then hears what it missed, then goes on", %{
    redis: redis,
    id: id
  } do
    sleeper = Watcher.start(fn _pid -> Veidrodelis.watch(id, 0, "k", :ref, max_pending: 100) end)
    other = Watcher.start(fn _pid -> Veidrodelis.watch(id, 0, "k", :ref) end)
    Watcher.hold(sleeper)
    sets(redis, "k", 1..5000)
    Mirror.settle(id, redis)
    assert {:message_queue_len, waiting} = Process.info(sleeper, :message_queue_len)
    # A look may count an event twice that was sent meanwhile, but never overlook one.
    assert waiting in 50..100
    Watcher.go_on(sleeper)
    Mirror.eventually("all is accounted for", fn -> accounted(Watcher.heard(sleeper, :ref)) == 5000 end)
    {sent, [missed]} = Enum.split_while(Watcher.heard(sleeper, :ref), &is_struct(&1, Update))
    assert %Missed{from: from, to: to, count: count} = missed
    assert length(sent) == waiting and count == 5000 - waiting
    # The other one heard of everything, so it knows the offsets.
    Mirror.eventually("the other watcher has read all", fn -> length(Watcher.heard(other, :ref)) == 5000 end)
    offsets = for %Update{offset: offset} <- Watcher.heard(other, :ref), do: offset

    assert {Enum.map(sent, & &1.offset), from, to} ==
             {Enum.take(offsets, waiting), Enum.at(offsets, waiting), List.last(offsets)}

    sets(redis, "k", [:more])

    Mirror.eventually("it goes on", fn ->
      match?(%Update{command: {:set, "k", "more"}}, List.last(Watcher.heard(sleeper, :ref)))
    end)

    assert Watcher.heard(sleeper, :ref) |> Enum.filter(&is_struct(&1, Missed)) == [missed]
  end

  live_test "a watcher that keeps up misses nothing, although far more is written than may wait", %{
    redis: redis,
    id: id
  } do
    test = self()

    watcher =
      spawn_link(fn ->
        send(test, {:watching, Veidrodelis.watch(id, 0, "k", :ref, max_pending: 400)})
        for _ <- 1..100, do: send(test, {:read, count_updates(50)})
      end)

    assert_receive {:watching, :ok}, 20_000

    # A step is an eighth of what may wait, and a look is due when a quarter was sent. Before the
    # next step the look that was due has been taken: nothing depends on how soon that is.
    for _ <- 1..100 do
      sets(redis, "k", 1..50)
      assert_receive {:read, :all}, 20_000
      # When a later write is visible, the publisher has asked for every look of this step.
      Mirror.settle(id, redis)
      await_looks()
    end

    Mirror.eventually("it has ended", fn -> not Process.alive?(watcher) end)
  end

  # Every look at a mailbox that was asked for is over, or pauses because its process lags.
  defp await_looks do
    sampler = Process.whereis(Vdr.Watch.Sampler)
    # It has begun them.
    :sys.get_state(sampler)
    [links: links, dictionary: dictionary] = Process.info(sampler, [:links, :dictionary])
    supervisors = for name <- dictionary[:"$ancestors"], do: if(is_pid(name), do: name, else: Process.whereis(name))
    Enum.each(links -- supervisors, &await_look/1)
  end

  defp await_look(pid) do
    unless Process.info(pid, :current_function) in [nil, {:current_function, {Process, :sleep, 1}}] do
      Process.sleep(1)
      await_look(pid)
    end
  end

  defp count_updates(0), do: :all

  defp count_updates(left) do
    receive do
      {:ref, %Update{}} -> count_updates(left - 1)
      {:ref, other} -> {other, left}
    end
  end

  live_test "a long value arrives whole", %{redis: redis, id: id} do
    watcher = Watcher.start(fn _pid -> Veidrodelis.watch(id, 0, "k", :ref) end)
    values = for n <- [1, 10_000, 20_000, 1_000_000, 2], do: String.duplicate("v", n)
    for value <- values, do: Redix.command!(redis, ["SET", "k", value])
    Mirror.eventually("all were heard", fn -> length(Watcher.heard(watcher, :ref)) == length(values) end)
    commands = for %Update{command: command} <- Watcher.heard(watcher, :ref), do: command
    assert commands == for(value <- values, do: {:set, "k", value})
  end

  live_test "each watch of a process that lags hears its own Missed", %{redis: redis, id: id} do
    watcher =
      Watcher.start(fn _pid ->
        for n <- 1..300, do: :ok = Veidrodelis.watch(id, 0, "k#{n}", n, max_pending: 50)
        Veidrodelis.watch_prefix(id, 0, "k", :all, max_pending: 50)
      end)

    Watcher.hold(watcher)
    for _ <- 1..3, do: Redix.pipeline!(redis, for(n <- 1..300, do: ["SET", "k#{n}", "v"]))
    Mirror.settle(id, redis)
    Watcher.go_on(watcher)

    Mirror.eventually("all is accounted for", fn ->
      accounted(Watcher.heard(watcher, :all)) == 900 and
        Enum.all?(1..300, &(accounted(Watcher.heard(watcher, &1)) == 3))
    end)
  end

  live_test "a watcher that dies, lagging or not, leaves nothing and disturbs nobody", %{redis: redis, id: id} do
    living = Watcher.start(fn _pid -> Veidrodelis.watch_prefix(id, 0, "k", :ref) end)

    dying =
      for _ <- 1..20,
          do: Watcher.start(fn _pid -> Veidrodelis.watch(id, 0, "k", :ref, max_pending: 10, events: [:link]) end)

    assert Veidrodelis.info(id).watches == 21
    for pid <- dying, do: Watcher.hold(pid)
    sets(redis, "k", 1..500)

    for pid <- dying do
      Process.unlink(pid)
      Process.exit(pid, :kill)
    end

    sets(redis, "k", 1..500)
    Mirror.settle(id, redis)
    Mirror.eventually("their watches are gone", fn -> Veidrodelis.info(id).watches == 1 end)
    Mirror.eventually("the living one has heard", fn -> length(Watcher.heard(living, :ref)) == 1000 end)
  end

  live_test "a watcher that acknowledges is bounded by what it has acknowledged", %{redis: redis, id: id} do
    watcher = Watcher.start(fn _pid -> Veidrodelis.watch(id, 0, "k", :ref, max_pending: 10, ack: true) end)
    ack = fn count -> Watcher.run(watcher, fn -> Veidrodelis.ack(id, count) end) end
    sets(redis, "k", 1..30)
    Mirror.settle(id, redis)
    assert length(Watcher.heard(watcher, :ref)) == 10
    # What is acknowledged is little: nothing changes.
    assert ack.(1) == :ok
    Process.sleep(50)
    assert length(Watcher.heard(watcher, :ref)) == 10
    assert ack.(4) == :ok

    Mirror.eventually("the rest is heard of", fn ->
      match?(%Missed{count: 20}, List.last(Watcher.heard(watcher, :ref)))
    end)

    assert Veidrodelis.ack(id, 1) == {:error, :not_found}
    assert Veidrodelis.ack({:no, :such}) == {:error, :no_instance}
    assert_raise ArgumentError, ~r/count an integer from 0; got -1/, fn -> Veidrodelis.ack(id, -1) end
  end

  live_test "a pattern is watched as a prefix is", %{redis: redis, id: id} do
    assert Veidrodelis.watch_pattern(id, 0, "user:*:name", :ref) == :ok
    assert Veidrodelis.watch_pattern(id, 0, "user:*:name", :ref) == {:error, :already_registered}
    assert Veidrodelis.watch_pattern(id, 0, "*[0-9]", :digit) == :ok
    Mirror.settle_watches(id, redis)
    Redix.pipeline!(redis, [["SET", "user:1:age", "7"], ["SET", "user:1:name", "Alice"], ["SET", "a7", "1"]])
    assert_receive {:ref, %Update{command: {:set, "user:1:name", "Alice"}, key: "user:1:name"}}
    assert_receive {:digit, %Update{key: "a7"}}
    Redix.command!(redis, ["MSET", "user:1:name", "a", "user:2:name", "b"])
    assert_receive {:ref, %Update{key: nil}}
    assert Veidrodelis.unwatch_pattern(id, 0, "user:*:name") == :ok
    assert Veidrodelis.unwatch_pattern(id, 0, "user:*:name") == {:error, :not_found}
    Redix.command!(redis, ["SET", "user:1:name", "c"])
    Mirror.settle(id, redis)
    refute_received {:ref, _event}

    assert_raise ArgumentError, ~r/pattern a binary of at most 1024 bytes; got db 0 and pattern "xxx/, fn ->
      Veidrodelis.watch_pattern(id, 0, String.duplicate("x", 1025), :ref)
    end
  end

  live_test "values are those before and after, and keys come once for each publication", %{redis: redis, id: id} do
    :ok = Veidrodelis.watch_prefix(id, 0, "", :value, notify: :value)
    :ok = Veidrodelis.watch(id, 0, "k", :key, notify: :key)
    write = fn commands -> Redix.pipeline!(redis, [["MULTI"] | commands] ++ [["EXEC"]]) end

    write.([["SET", "k", "1"], ["SET", "k", "2"], ["RPUSH", "l", "a", "b"]])
    assert_receive {:value, %Value{db: 0, key: "k", old: nil, new: {:string, "2"}, offset: offset}}
    assert_receive {:value, %Value{key: "l", old: nil, new: {:list, ["a", "b"]}, offset: ^offset}}
    assert_receive {:key, %Key{db: 0, key: "k", offset: ^offset}}

    write.([["SET", "k", "3"], ["DEL", "l"], ["HSET", "h", "f", "v"], ["ZADD", "z", "1.5", "m", "inf", "n"]])
    assert_receive {:value, %Value{key: "k", old: {:string, "2"}, new: {:string, "3"}}}
    assert_receive {:value, %Value{key: "l", old: {:list, ["a", "b"]}, new: nil}}
    assert_receive {:value, %Value{key: "h", old: nil, new: {:hash, [{"f", "v"}]}}}
    assert_receive {:value, %Value{key: "z", old: nil, new: {:zset, [{"m", 1.5}, {"n", :pos_inf}]}}}

    long = String.duplicate("x", 100_000)
    write.([["SADD", "s" | Enum.map(1..1001, &"#{&1}")], ["XADD", "x", "1-1", "f", "v"], ["SET", "k", long]])
    assert_receive {:value, %Value{key: "s", new: {:set, :large}}}
    assert_receive {:value, %Value{key: "x", new: {:stream, [{"1-1", [{"f", "v"}]}]}}}
    assert_receive {:value, %Value{key: "k", new: {:string, ^long}}}

    write.([["FLUSHDB"]])
    assert_receive {:value, %Value{key: nil, old: nil, new: nil}}
    assert_receive {:key, %Key{key: "k"}}
  end

  live_test "a watcher that asks for it hears of the link", %{server: server, redis: redis}, mirror: false do
    id = Mirror.start!(server, reconnect_delay_ms: 20, max_reconnect_delay_ms: 100)
    :ok = Veidrodelis.watch(id, 0, "k", :ref, events: [:link])
    :ok = Veidrodelis.watch(id, 0, "other", :other)
    assert_receive {:ref, %Link{state: :up}}
    Redix.command!(redis, ["CONFIG", "SET", "appendonly", "no"])
    Server.kill(server)
    assert_receive {:ref, %Link{state: :down}}
    :ok = Veidrodelis.watch(id, 0, "late", :late, events: [:link])
    assert_receive {:late, %Link{state: :down}}
    Server.restart_empty(server)
    # The server came back empty, so the data is new as well.
    assert_receive {:ref, %Link{state: :up}}
    assert_receive {:ref, %Init{}}
    assert_receive {:other, %Init{}}
    refute_received {:other, %Link{}}
  end

  live_test "wrong options are refused by name", %{id: id} do
    for {options, message} <- [
          {[max_pending: 0], ~r/option :max_pending of Veidrodelis.watch takes an integer from 1 to 1000000, got: 0/},
          {[notify: :all], ~r/option :notify of Veidrodelis.watch takes :command or :value or :key, got: :all/},
          {[maxpending: 1], ~r/unknown option :maxpending of Veidrodelis.watch, did you mean :max_pending\?/},
          {[to: :me], ~r/option :to of Veidrodelis.watch takes a pid/}
        ] do
      assert_raise ArgumentError, message, fn -> Veidrodelis.watch(id, 0, "k", :ref, options) end
    end

    assert_raise ArgumentError, ~r/unknown option :notify of Veidrodelis.unwatch/, fn ->
      Veidrodelis.unwatch(id, 0, "k", notify: :key)
    end
  end

  live_test "one process sets a watch for another", %{redis: redis, id: id} do
    watcher = Watcher.start(fn pid -> Veidrodelis.watch(id, 0, "k", {:any, "tag"}, to: pid) end)
    sets(redis, "k", [1])
    Mirror.eventually("it hears", fn -> match?([%Update{}], Watcher.heard(watcher, {:any, "tag"})) end)
    assert Veidrodelis.unwatch(id, 0, "k") == {:error, :not_found}
    assert Veidrodelis.unwatch(id, 0, "k", to: watcher) == :ok

    gone = spawn(fn -> :ok end)
    Mirror.eventually("it is gone", fn -> not Process.alive?(gone) end)
    assert Veidrodelis.watch(id, 0, "k", :ref, to: gone) == {:error, :not_found}
  end

  live_test "a watch since a position answers whether a write was missed", %{redis: redis, id: id} do
    position = fn ->
      {:ok, position} = Veidrodelis.position(id)
      position
    end

    # From the first position on it is known what was written.
    first = position.()
    Redix.pipeline!(redis, [["SET", "a:1", "1"], ["SELECT", "1"], ["SET", "other", "1"], ["SELECT", "0"]])
    Mirror.settle(id, redis)

    since = fn key, position ->
      answer = Veidrodelis.watch(id, 0, key, :ref, since: position)
      :ok = Veidrodelis.unwatch(id, 0, key)
      answer
    end

    assert since.("a:1", first) == {:ok, :missed}
    assert since.("other", first) == {:ok, :unchanged}
    assert since.("a:1", position.()) == {:ok, :unchanged}
    assert Veidrodelis.watch_prefix(id, 0, "a:", :ref, since: first) == {:ok, :missed}
    assert Veidrodelis.watch_prefix(id, 0, "b:", :ref, since: first) == {:ok, :unchanged}
    assert Veidrodelis.watch_pattern(id, 0, "*:1", :ref, since: first) == {:ok, :missed}
    assert Veidrodelis.watch_pattern(id, 0, "*:2", :ref, since: first) == {:ok, :unchanged}
    Redix.command!(redis, ["FLUSHALL"])
    Mirror.settle(id, redis)
    assert since.("other", first) == {:ok, :missed}

    # Of another history nothing is known.
    {_id, offset} = first
    assert since.("other", {String.duplicate("a", 40), offset}) == {:ok, :missed}

    for wrong <- [17, {"a", 0x10000000000000000}, {<<255>>, 1}] do
      assert_raise ArgumentError, ~r/option :since of Veidrodelis.watch takes a position/, fn ->
        Veidrodelis.watch(id, 0, "a", :ref, since: wrong)
      end

      # A call that raises leaves no watch.
      assert Veidrodelis.unwatch(id, 0, "a") == {:error, :not_found}
    end
  end
end
