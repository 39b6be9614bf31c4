defmodule Vdr.Live.LogTest do
  # What the native library says, in the Logger: at the level of each instance, bounded, and without
  # secrets.
  use Vdr.Test.LiveCase, async: false

  alias Vdr.RedisStream.Replica
  alias Vdr.Test.LogLines

  @secret "s3cret-of-the-server"
  @value "TOPSECRETVALUE"

  defmodule Ignoring do
    @behaviour Vdr.RedisStream.Callback
    @impl true
    def init(_options), do: {:ok, nil}
    @impl true
    def handle_commands(state, _commands), do: {:ok, state}
    @impl true
    def handle_info(state, message), do: {:error, {:unexpected, message, state}}
  end

  defp id(name), do: {name, System.unique_integer([:positive])}

  defp start!(server, id, options), do: Mirror.start!(server, [id: id, reconnect_delay_ms: 5] ++ options)

  # Waits for a line about an id that matches, and returns it. Lines before it are taken, too.
  defp line!(id, pattern) do
    assert_receive {:line, ^id, level, text, time_us}, 10_000
    if text =~ pattern, do: {level, text, time_us}, else: line!(id, pattern)
  end

  # The same for several lines, in any order: the events of a link come from another process.
  # Returns the texts of all lines up to then.
  defp lines!(id, patterns, texts \\ [])
  defp lines!(_id, [], texts), do: texts

  defp lines!(id, patterns, texts) do
    {_level, text, _time_us} = line!(id, ~r//)
    lines!(id, Enum.reject(patterns, &(text =~ &1)), [text | texts])
  end

  # Each write is a batch of its own, since the next one waits until it is visible.
  defp write!(id, redis, count) do
    for n <- 1..count, do: {:ok, "OK"} = Veidrodelis.command(id, ["SET", "k#{rem(n, 10)}", @value])
    Mirror.settle(id, redis)
  end

  # The server cuts all replicas off, and these mirrors follow it again.
  defp cut!(redis, ids) do
    links = fn -> for id <- ids, do: Veidrodelis.info(id, :reconnects) end
    before = links.()
    Redix.command!(redis, ["CLIENT", "KILL", "TYPE", "replica"])

    Mirror.eventually("all follow again", links, fn ->
      Enum.all?(Enum.zip(before, links.()), fn {before, now} -> now > before end) and
        Enum.all?(ids, &(Veidrodelis.replication_state(&1) == :streaming))
    end)

    # The link reports first, and then writes its line.
    for id <- ids, do: :sys.get_state(Vdr.Reports.read({:mirror, id}).pid)
  end

  # Passes on what was said so far. Each answer comes after another portion of the queue.
  defp flush!(id) do
    pid = native_log(id)
    send(pid, {:sys.get_state(pid).tag, :lines})
    for _portion <- 1..20, do: :sys.get_state(pid)
  end

  defp native_log(id) do
    {_store, supervisor} = Vdr.Mirror.Stores.find(id)
    {_, pid, _, _} = supervisor |> Supervisor.which_children() |> List.keyfind(Vdr.NativeLog, 0)
    pid
  end

  live_test "spans and steps are logged at the level that the option sets", %{server: server, redis: redis},
    mirror: false do
    [debug, trace, warning, off] = ids = Enum.map([:debug, :trace, :warning, false], &id/1)
    LogLines.listen(ids)
    since_us = System.system_time(:microsecond)
    for {level, _} = id <- ids, do: start!(server, id, log: level)
    for {level, _} = id <- ids, do: assert(Veidrodelis.log_level(id) == level)
    for id <- ids, do: write!(id, redis, 3)

    for id <- [debug, trace] do
      assert {:debug, _, _} = line!(id, ~r/: connecting to 127.0.0.1:/)
      assert {:debug, _, time_us} = line!(id, ~r/: handshake took [\d.]+ ms: server=127.0.0.1:\d+ outcome=full sync$/)
      assert time_us in since_us..System.system_time(:microsecond)

      assert {:debug, _, _} =
               line!(id, ~r/: full sync took [\d.]+ ms: replication_id=\w{40} .*file_bytes=\d+ outcome=loaded$/)
    end

    line!(trace, ~r/: batch took [\d.]+ ms: bytes=\d+ applied=\d+$/)
    cut!(redis, ids)
    line!(debug, ~r/: link to 127.0.0.1:\d+ ended code=\w+/)
    for id <- [debug, trace], do: line!(id, ~r/: partial sync took [\d.]+ ms: replication_id=\w{40} offset=\d+/)
    Enum.each(ids, &flush!/1)
    refute Enum.any?(LogLines.texts(debug), &(&1 =~ "batch took"))
    for {level, text, _} <- LogLines.lines(warning), do: assert({level, text =~ " ended: "} == {:warning, true})
    assert LogLines.lines(off) == []
  end

  live_test "a level is raised at run time for one of two instances, and set back", %{server: server, redis: redis},
    mirror: false do
    [raised, other] = ids = [id(:raised), id(:other)]
    LogLines.listen(ids)
    for id <- ids, do: start!(server, id, log: :error)
    write!(raised, redis, 2)
    cut!(redis, ids)
    assert Veidrodelis.log_level(raised, :trace) == :ok
    assert {Veidrodelis.log_level(raised), Veidrodelis.log_level(other)} == {:trace, :error}
    write!(raised, redis, 2)
    line!(raised, ~r/: batch took /)
    # The level belongs to the instance, not to the process of its link.
    Process.exit(Vdr.Reports.read({:mirror, raised}).pid, :kill)
    lines!(raised, [~r/: partial sync took /, ~r/: following 127.0.0.1:\d+ after a partial sync$/])
    cut!(redis, ids)
    line!(raised, ~r/: partial sync took /)
    assert Veidrodelis.log_level(raised, :error) == :ok
    flush!(raised)
    LogLines.lines(raised)
    write!(raised, redis, 2)
    cut!(redis, ids)
    Enum.each(ids, &flush!/1)
    assert {LogLines.lines(raised), LogLines.lines(other)} == {[], []}
  end

  live_test "a Logger that does not go on costs lines, which are counted, and delays nobody",
            %{server: server, redis: redis},
            mirror: false do
    id = id(:slow)
    handler = LogLines.listen([id])
    start!(server, id, log: :error)
    LogLines.hold(handler, native_log(id))
    :ok = Veidrodelis.log_level(id, :trace)
    # The first line is held back, and all further ones wait.
    write!(id, redis, 2500)
    assert_receive :held, 10_000
    pid = native_log(id)
    assert {:message_queue_len, length} = Process.info(pid, :message_queue_len)
    assert length <= 1
    # The link goes on: it can even be cut.
    cut!(redis, [id])
    :ok = Veidrodelis.log_level(id, :error)
    LogLines.release(handler, pid)
    {:warning, text, _} = line!(id, "dropped")

    [dropped] =
      Regex.run(~r/: (\d+) log lines were dropped, since the Logger is slower than they came$/, text,
        capture: :all_but_first
      )

    assert String.to_integer(dropped) in 1000..5000
    flush!(id)
    assert LogLines.texts(id) == []
    # And then lines come again.
    :ok = Veidrodelis.log_level(id, :trace)
    write!(id, redis, 2)
    line!(id, ~r/: batch took /)
  end

  live_test "no password and no value is in a line", %{server: server, redis: redis},
    mirror: false,
    config: [{"requirepass", @secret}] do
    Redix.command!(redis, ["AUTH", @secret])
    [right, wrong, echoing] = ids = [id(:right), id(:wrong), id(:echoing)]
    LogLines.listen(ids)
    start!(server, right, log: :trace, password: @secret)
    write!(right, redis, 3)
    cut!(redis, [right])
    write!(right, redis, 3)
    connect = [host: "127.0.0.1", port: Server.port(server), log: :trace, reconnect_delay_ms: 5]
    start_supervised!({Veidrodelis, [id: wrong, password: "not-" <> @secret] ++ connect}, id: wrong)
    assert {:error, :wrong_password} = Veidrodelis.await_ready(wrong, 10_000)
    # What is no server sends back what it was sent.
    port =
      FakeServer.primary!(fn
        "PING" -> "+PONG\r\n"
        words -> words <> "\r\n"
      end)

    start_supervised!({Veidrodelis, [id: echoing, password: @secret] ++ Keyword.put(connect, :port, port)}, id: echoing)
    assert {:error, _reason} = Veidrodelis.command(echoing, ["SET", "k", @value], timeout: 500)
    seen = for id <- [right, wrong], do: lines!(id, [~r/: link to .* ended code=/])
    seen = [lines!(echoing, [~r/: link to .* ended code=/, ~r/: no connection for commands/]) | seen]
    Enum.each(ids, &flush!/1)
    texts = Enum.concat(seen) ++ Enum.flat_map(ids, &LogLines.texts/1)
    assert Enum.any?(texts, &(&1 =~ "batch took"))
    for text <- texts, secret <- [@secret, @value], do: refute(text =~ secret)
  end

  live_test "a database that the server does not have is named", %{server: server}, mirror: false do
    id = id(:no_database)
    LogLines.listen([id])
    start!(server, id, log: :warning)
    assert {:error, %{code: "ERR"}} = Veidrodelis.command(id, ["SET", "k", @value], db: 99)
    {:warning, text, _time_us} = line!(id, ~r/no connection for commands/)
    assert text =~ ~r/: no connection for commands: the server refuses database 99 code=refused$/
    refute text =~ @value
  end

  live_test "a handler has a level, and its log comes again after a crash", %{server: server, redis: redis},
    mirror: false do
    name = :"a handler #{System.unique_integer([:positive])}"
    id = {Replica, name}
    LogLines.listen([id])
    options = [name: name, host: "127.0.0.1", port: Server.port(server), callback_module: Ignoring, callback_opts: []]
    start_supervised!({Replica, [log: :debug] ++ options})
    line!(id, ~r/: full sync took .* outcome=loaded$/)
    assert Replica.log_level(name) == :debug
    assert Replica.log_level(name, :trace) == :ok
    Redix.command!(redis, ["SET", "k", "v"])
    line!(id, ~r/: batch took /)
    %{log: log} = :sys.get_state(name)
    Process.exit(log, :kill)
    Mirror.eventually("another process logs", fn -> :sys.get_state(name).log not in [nil, log] end)
    Redix.command!(redis, ["SET", "k", "v"])
    line!(id, ~r/: batch took /)
    assert Replica.log_level(name, false) == :ok
    assert_raise ArgumentError, ~r/Replica.log_level takes a level, :trace/, fn -> Replica.log_level(name, :loud) end
  end

  test "the level of this module lets lines through where the Logger's own level is higher" do
    id = id(:module_level)
    LogLines.listen([id])
    before = Logger.level()

    on_exit(fn ->
      Logger.configure(level: before)
      Logger.delete_module_level(Vdr.Log)
    end)

    Logger.configure(level: :error)
    start_supervised!({Veidrodelis, id: id, host: "127.0.0.1", port: Server.free_port(), log: :debug})
    refute_receive {:line, ^id, _level, _text, _time_us}, 300
    Logger.put_module_level(Vdr.Log, :debug)
    line!(id, ~r/: connecting to /)
  end

  test "what is no level, and what is no instance, is refused" do
    assert_raise ArgumentError, ~r/log_level takes a level, :trace, .*false; got: :loud/, fn ->
      Veidrodelis.log_level(:nobody, :loud)
    end

    assert Veidrodelis.log_level(:nobody, :debug) == {:error, :no_instance}
    assert Veidrodelis.log_level(:nobody) == {:error, :no_instance}
  end
end
