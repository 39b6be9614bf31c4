defmodule Vdr.TestingTest do
  # Instances without a server: what the test's server does, and what the instance makes of it.
  # docs/testing.md, whose examples run, too, has the plain cases.
  use ExUnit.Case, async: true

  alias Vdr.Testing.{History, Propagation, RdbWriter}
  alias Veidrodelis.Testing

  @moduletag capture_log: true

  defp dump(source, db \\ 0), do: Veidrodelis.digest(source) |> then(&{&1, Veidrodelis.keys!(source, db, "*")})

  test "a client's commands become what a server sends: relative times, conditions, choices" do
    now = 1_000_000

    {:ok, data} =
      Vdr.Snapshot.from_commands([
        ["SET", "k", "1.5"],
        ["SET", "t", "x"],
        ["PEXPIREAT", "t", "2000000"],
        ["SADD", "s", "a", "b"],
        ["HSET", "h", "f", "2"]
      ])

    {:ok, native} = Vdr.Native.snapshot_apply(data.native, 0, [["XADD", "x", "1500000-3", "f", "v"]], now)
    context = %{data: %Vdr.Snapshot{native: native}, db: 0, now_ms: now}

    for {words, propagated} <- [
          {~w(SET k v), [~w(SET k v)]},
          {~w(set k v ex 10), [~w(SET k v PXAT 1010000)]},
          {~w(SET k v PX 10), [~w(SET k v PXAT 1000010)]},
          {~w(SET k v EXAT 1010), [~w(SET k v PXAT 1010000)]},
          {~w(SET k v EXAT 10), [~w(DEL k)]},
          {~w(SET k v NX), []},
          {~w(SET n v NX GET), [~w(SET n v)]},
          {~w(SET n v XX), []},
          {~w(SET k v XX KEEPTTL), [~w(SET k v KEEPTTL)]},
          {~w(SETNX k v), []},
          {~w(SETEX k 10 v), [~w(SET k v PXAT 1010000)]},
          {~w(PSETEX k 10 v), [~w(SET k v PXAT 1000010)]},
          {~w(GETSET k v), [~w(SET k v)]},
          {~w(GETDEL k), [~w(DEL k)]},
          {~w(GETDEL n), []},
          {~w(GETEX k), []},
          {~w(GETEX k PERSIST), []},
          {~w(GETEX t PERSIST), [~w(PERSIST t)]},
          {~w(GETEX k EX 1), [~w(PEXPIREAT k 1001000)]},
          {~w(EXPIRE k 1), [~w(PEXPIREAT k 1001000)]},
          {~w(EXPIRE n 1), []},
          {~w(EXPIRE k -1), [~w(DEL k)]},
          {~w(EXPIRE t 1 NX), []},
          {~w(EXPIRE t 1 LT), [~w(PEXPIREAT t 1001000)]},
          {~w(EXPIRE t 1 GT), []},
          {~w(EXPIRE k 1 GT), []},
          {~w(EXPIRE k 1 XX), []},
          {~w(EXPIRE k 1 LT), [~w(PEXPIREAT k 1001000)]},
          {~w(PEXPIRE k 1), [~w(PEXPIREAT k 1000001)]},
          {~w(EXPIREAT k 2000), [~w(PEXPIREAT k 2000000)]},
          {~w(HEXPIRE h 1 FIELDS 1 f), [~w(HPEXPIREAT h 1001000 FIELDS 1 f)]},
          {~w(INCRBYFLOAT k 1), [~w(SET k 2.5 KEEPTTL)]},
          {~w(INCRBYFLOAT k 1.5), [~w(SET k 3 KEEPTTL)]},
          {~w(HINCRBYFLOAT h f 0.25), [~w(HSET h f 2.25)]},
          {~w(HGETDEL h FIELDS 1 f), [~w(HDEL h f)]},
          {~w(SPOP s 2), [~w(DEL s)]},
          {~w(SPOP n), []},
          {~w(XADD x * f v), [~w(XADD x 1500000-4 f v)]},
          {~w(XADD y MAXLEN ~ 10 * f v), [~w(XADD y MAXLEN ~ 10 1000000-0 f v)]},
          {~w(XADD y 5-5 f v), [~w(XADD y 5-5 f v)]},
          {~w(LPUSH l a), [~w(LPUSH l a)]}
        ] do
      assert Propagation.propagate(words, context) == {:ok, propagated}, Enum.join(words, " ")
    end

    assert {:ok, [["SREM", "s", member]]} = Propagation.propagate(~w(SPOP s), context)
    assert member in ~w(a b)

    for {words, code} <- [
          {~w(SET k v EX), :bad_argument},
          {~w(SET k v EX 0), :out_of_range},
          {~w(SET k v NX XX), :bad_argument},
          {~w(GETDEL s), :wrong_type},
          {~w(SET k v EX x), :not_a_number},
          {~w(SET k v WHAT 1), :bad_argument},
          {~w(EXPIRE k 1 QQ), :bad_argument},
          {~w(INCRBYFLOAT t 1), :not_a_number},
          {~w(INCRBYFLOAT s 1), :wrong_type},
          {~w(SPOP k), :wrong_type},
          {~w(SPOP s -1), :out_of_range},
          {~w(HEXPIRE h 1 NX FIELDS 1 f), :bad_argument},
          {[], :bad_argument}
        ] do
      assert Propagation.propagate(words, context) == {:error, code}, Enum.join(words, " ")
    end
  end

  test "the history of a server answers what is missing, as long as it has it" do
    {history, first} = History.append(History.new(), 0, [["SET", "a", "1"]], false)
    assert first == "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"
    {history, second} = History.append(history, 0, [["DEL", "a"]], true)
    assert second =~ ~r/^\*1\r\n\$5\r\nMULTI\r\n.*EXEC\r\n$/s
    assert History.since(history, {history.id, 0}) == {:ok, first <> second}
    assert History.since(history, {history.id, byte_size(first)}) == {:ok, second}
    assert History.since(history, {history.id, history.offset}) == {:ok, ""}
    assert History.since(history, {history.id, history.offset + 1}) == :full_sync
    assert History.since(history, nil) == :full_sync
    assert History.since(History.promote(history), {history.id, 0}) == {:ok, first <> second}
    assert History.since(History.forget(history), {history.id, 0}) == :full_sync
    {history, _bytes} = History.append_raw(history, String.duplicate("x", 2_000_000))
    assert History.since(history, {history.id, history.offset - 1_048_576}) |> elem(0) == :ok
    assert History.since(history, {history.id, history.offset - 1_048_577}) == :full_sync
  end

  test "every type goes through a file of the server of handlers, and comes back equal" do
    long = String.duplicate("y", 20_000)

    commands = [
      ["SET", "string", long],
      ["SET", "volatile", "v", "PXAT", "99999999999999"],
      ["RPUSH", "list" | Enum.map(1..100, &to_string/1)],
      ["SADD", "set", "a", "b"],
      ["HSET", "hash", "f", "v", "", ""],
      ["ZADD", "zset", "1.5", "a", "inf", "b", "-inf", "c"]
    ]

    {:ok, snapshot} = Vdr.Snapshot.from_commands(commands)
    assert {:ok, file} = RdbWriter.write(snapshot)
    path = Path.join(System.tmp_dir!(), "vdr_testing_#{System.pid()}_#{System.unique_integer([:positive])}.rdb")
    File.write!(path, file)
    assert {:ok, loaded} = Veidrodelis.load_rdb(path)
    File.rm!(path)
    assert dump(loaded) == dump(snapshot)
    {:ok, stream} = Vdr.Snapshot.from_commands([["XADD", "x", "1-1", "f", "v"]])
    assert RdbWriter.write(stream) == {:error, {:not_writable, "x"}}
  end

  test "an instance is one of production: scripts, snapshots, filters, guard windows" do
    id = Testing.start_supervised!(data: [["SET", "kept:1", "1"], ["SET", "left", "2"]], only: [prefixes: ["kept:"]])
    assert Veidrodelis.keys!(id, 0, "*") == ["kept:1"]
    assert Veidrodelis.read_tx(id, 0, "return ts.get('kept:1')") == {:ok, "1"}
    {:ok, snapshot} = Veidrodelis.snapshot(id)

    :ok =
      Testing.put(id, [["SET", "kept:1", "3"], ["SET", "left", "4"], ["SET", "__vdr_tx", "1"], ["SET", "kept:2", "5"]])

    assert Veidrodelis.mget!(id, 0, ["kept:1", "left", "kept:2"]) == ["3", nil, nil]
    :ok = Testing.put(id, ["DEL", "__vdr_tx"])
    assert Veidrodelis.get!(id, 0, "kept:2") == "5"
    assert Veidrodelis.get!(snapshot, 0, "kept:1") == "1"
    # The test's server has everything, so its commands read what the instance leaves out.
    :ok = Testing.put(id, ["INCR", "left"])
    assert %{state: :streaming, full_syncs: 1, divergences: 0, primary: {"primary-1.test", 6379}} = Veidrodelis.info(id)
  end

  test "what a link goes through is told to subscribers, in pairs" do
    id = Testing.id()
    :ok = Veidrodelis.subscribe(id)
    Testing.start_supervised!(id: id)
    :ok = Testing.disconnect(id)
    :ok = Testing.put(id, ["SET", "k", "v"])
    :ok = Testing.connect(id)
    :ok = Testing.full_sync(id)
    {:ok, address} = Testing.failover(id)
    assert address == {"primary-2.test", 6379}
    :ok = Veidrodelis.stop(id)

    assert [
             connecting: %{attempt: 1},
             syncing: _,
             ready: _,
             streaming: %{sync: :full},
             disconnected: %{reason: :closed},
             connecting: _,
             streaming: %{sync: :partial},
             disconnected: %{reason: :closed},
             connecting: _,
             syncing: _,
             streaming: %{sync: :full},
             disconnected: %{reason: :switched},
             switched: %{primary: ^address},
             connecting: %{primary: ^address},
             streaming: %{sync: :partial},
             disconnected: %{reason: :stopped},
             stopped: %{}
           ] = sort_ready(events(id))
  end

  # `ready` and `streaming` of a first full sync may come in either order.
  defp sort_ready([a, b, {:streaming, _} = streaming, {:ready, _} = ready | rest]), do: [a, b, ready, streaming | rest]
  defp sort_ready(events), do: events

  defp events(id, events \\ []) do
    receive do
      {:veidrodelis, ^id, :stopped, details} -> Enum.reverse([{:stopped, details} | events])
      {:veidrodelis, ^id, event, details} -> events(id, [{event, details} | events])
    after
      20_000 -> flunk("no end after #{inspect(Enum.reverse(events))}")
    end
  end

  test "a command that contradicts the data leads to a full sync of the server's data" do
    id = Testing.start_supervised!(data: [["RPUSH", "l", "a"]])
    :ok = Testing.stream(id, ["SADD", "l", "x"])

    Vdr.Test.Mirror.eventually("a full sync", fn ->
      match?(%{full_syncs: 2, state: :streaming}, Veidrodelis.info(id))
    end)

    assert %{divergences: 1} = Veidrodelis.info(id)
    assert Veidrodelis.lrange!(id, 0, "l", 0, -1) == ["a"]
  end

  test "the option on_unknown_command: :stop ends the link for good" do
    id = Testing.start_supervised!(on_unknown_command: :stop)
    :ok = Testing.stream(id, ["NO.SUCH", "k"])
    Vdr.Test.Mirror.eventually("it stops", fn -> Veidrodelis.replication_state(id) == :stopped end)
  end

  test "a link whose process is killed resumes, and misses nothing" do
    id = Testing.start_supervised!(data: [["SET", "n", "0"]])

    for n <- 1..20 do
      if rem(n, 5) == 0, do: Process.exit(Vdr.Reports.read({:mirror, id}).pid, :kill)
      :ok = Testing.put(id, ["INCR", "n"])
    end

    :ok = Testing.connect(id)
    assert Veidrodelis.get!(id, 0, "n") == "20"
    assert %{full_syncs: 1} = Veidrodelis.info(id)
  end

  test "time stands still, goes forward, and is the clock's again" do
    id = Testing.start_supervised!(time: 1_000)

    :ok =
      Testing.put(id, [["SET", "a", "1", "PX", 500], ["HSET", "h", "f", "v"], ["HPEXPIRE", "h", 100, "FIELDS", 1, "f"]])

    assert Veidrodelis.pttl!(id, 0, "a") == 500
    assert Veidrodelis.read_tx!(id, 0, "return ts.pttl('a')") == 500
    :ok = Testing.advance(id, 200)
    assert Veidrodelis.pttl!(id, 0, "a") == 300
    assert Veidrodelis.hget!(id, 0, "h", "f") == nil
    {:ok, snapshot} = Veidrodelis.snapshot(id)
    # A full sync and a new link keep the time.
    :ok = Testing.full_sync(id)
    assert Veidrodelis.pttl!(id, 0, "a") == 300
    :ok = Testing.advance(id, 300)
    assert Veidrodelis.pttl!(id, 0, "a") == 0
    :ok = Testing.advance(id, 1)
    assert Veidrodelis.get!(id, 0, "a") == nil
    assert Veidrodelis.pttl!(snapshot, 0, "a") == 300
    :ok = Testing.put(id, ["SET", "a", "2", "NX"])
    assert Veidrodelis.get!(id, 0, "a") == "2"
    :ok = Testing.put(id, ["SET", "b", "1", "PX", 60_000])
    # 1970 is over.
    :ok = Testing.set_time(id, :real)
    assert Veidrodelis.get!(id, 0, "b") == nil
    assert_raise ArgumentError, ~r/a time of Veidrodelis.Testing/, fn -> Testing.set_time(id, "now") end
  end

  test "a server that is away, or refuses, has its new data when it is back" do
    for options <- [[], [refuse: :wrong_password]] do
      id = Testing.start_supervised!(id: {:away, options}, data: [["SET", "old", 1]])
      :ok = Testing.disconnect(id, options)
      assert Testing.full_sync(id, [["SET", "new", 1]]) == :ok
      :ok = Testing.connect(id)
      Vdr.Test.Mirror.eventually("the new data", fn -> Veidrodelis.get(id, 0, "new") == {:ok, "1"} end)
      assert Veidrodelis.get(id, 0, "old") == {:ok, nil}
    end
  end

  test "a full sync replaces everything, also while the server is away" do
    id = Testing.start_supervised!(data: [["SET", "old", "1"]])
    :ok = Testing.full_sync(id, [["SET", "new", "1"], ["EXPIRE", "new", 100]], db: 2)
    assert Veidrodelis.get!(id, 0, "old") == nil
    assert Veidrodelis.ttl!(id, 2, "new") in 90..100
    assert {:error, {:bad_command, 0, :unknown_command}} = Testing.full_sync(id, [["GET", "x"]])
    :ok = Testing.disconnect(id)
    :ok = Testing.full_sync(id, [["SET", "third", "1"]])
    assert Veidrodelis.exists!(id, 2, "new")
    :ok = Testing.connect(id)
    assert Veidrodelis.keys!(id, 0, "*") == ["third"]
    assert Testing.load_rdb(id, "/no/such") == {:error, :enoent}
  end

  test "many bytes while the server is away cost a full sync" do
    id = Testing.start_supervised!()
    :ok = Testing.disconnect(id)
    for n <- 1..3, do: :ok = Testing.put(id, ["SET", "k#{n}", String.duplicate("x", 500_000)])
    :ok = Testing.connect(id)
    assert %{full_syncs: 2, partial_syncs: 0, keys: %{0 => 3}} = Veidrodelis.info(id)
  end

  test "options are checked, and what is not there is said" do
    assert_raise ArgumentError, ~r/unknown option :host of Veidrodelis.Testing/, fn -> Testing.start_link(host: "h") end
    assert_raise ArgumentError, ~r/option :dv of Veidrodelis.Testing.multi/, fn -> Testing.multi(:none, [], dv: 1) end

    assert_raise ArgumentError, ~r/option :data .*: command 0 of the list.*: it is no write/, fn ->
      Testing.start_link(data: [["GET", "x"]])
    end

    assert_raise ArgumentError, ~r/a command is a list/, fn -> Testing.start_link(data: ["SET"]) end
    assert_raise ArgumentError, ~r/a command is a list/, fn -> Testing.put(:nobody, ["SET", {}]) end
    assert Testing.put(:nobody, ["SET", "a", "b"]) == {:error, :no_instance}
    assert Testing.disconnect(:nobody) == {:error, :no_instance}
    assert Testing.failover(:nobody) == {:error, :no_instance}
    assert Testing.port(:nobody) == {:error, :no_instance}
    id = Testing.start_supervised!()
    {:error, {:already_started, pid}} = Testing.start_link(id: id)
    assert is_pid(pid)
  end

  test "nothing of an instance is left when it has ended" do
    rows = fn -> :ets.info(Vdr.Reports, :size) end
    id = Testing.id()
    before = rows.()
    {:ok, pid} = Testing.start_link(id: id)
    primary = Vdr.Reports.about({:played, id})
    monitor = Process.monitor(primary)
    :ok = Veidrodelis.stop(pid)
    assert_receive {:DOWN, ^monitor, :process, ^primary, :normal}, 5000
    assert Vdr.Reports.about({:played, id}) == nil
    assert Testing.put(id, ["SET", "k", "v"]) == {:error, :no_instance}
    assert rows.() <= before + 50
  end

  test "handlers get what the server of a test has, and an instance can follow it, too" do
    primary = Testing.start_primary_supervised!(data: [["SET", "k", "v"], ["ZADD", "z", "1", "m"]])
    {:ok, port} = Testing.port(primary)
    id = Testing.id()
    start_supervised!({Veidrodelis, id: id, host: "127.0.0.1", port: port, reconnect_delay_ms: 1})
    :ok = Veidrodelis.await_ready(id, 5000)
    assert Veidrodelis.get!(id, 0, "k") == "v"
    ref = make_ref()
    :ok = Veidrodelis.watch(id, 5, "n", ref)
    :ok = Testing.put(primary, ["SET", "n", "1"], db: 5)
    assert_receive {^ref, %Vdr.WatchEvent.Update{command: {:set, "n", "1"}}}, 5000
    :ok = Testing.full_sync(primary, [["SET", "k", "w"]])
    assert_receive {^ref, %Vdr.WatchEvent.Init{}}, 5000
    assert Veidrodelis.keys!(id, 0, "*") == ["k"]
  end
end

defmodule Vdr.TestingManyTest do
  # A thousand instances have so many events that the node forgets those of other tests, and fill
  # the tables that others count. So this runs alone.
  use ExUnit.Case, async: false

  alias Veidrodelis.Testing

  @moduletag capture_log: true

  test "a thousand instances at once, each with data of its own" do
    ids = for n <- 1..1000, do: {Testing.id(), n}
    before = System.monotonic_time(:microsecond)

    pids =
      for {id, n} <- ids do
        {:ok, pid} = Testing.start_link(id: id, data: [["SET", "n", n]])
        pid
      end

    us = System.monotonic_time(:microsecond) - before
    for {id, n} <- ids, do: assert(Veidrodelis.get!(id, 0, "n") == to_string(n))
    for {id, n} <- ids, do: :ok = Testing.put(id, ["INCRBY", "n", n])
    for {id, n} <- ids, do: assert(Veidrodelis.get!(id, 0, "n") == to_string(2 * n))
    # Half a millisecond each on a machine that does nothing else; tests run on machines that do.
    assert us / 1000 < 500_000, "#{us / 1000} us each"
    pids |> Task.async_stream(&Veidrodelis.stop/1, max_concurrency: 50, timeout: 60_000) |> Stream.run()
  end
end
