defmodule Vdr.TelemetryTest do
  # The events of telemetry, the numbers of instances, and the levels of log lines. Every event of
  # the whole run is compared with the page, see Vdr.Test.Telemetry.
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias Vdr.RedisStream.Replica
  alias Vdr.Test.{FakeServer, Mirror, Recorder, Server}

  doctest Veidrodelis.Telemetry

  @moduletag capture_log: true

  setup do
    Vdr.Test.Telemetry.attach(self())
    %{id: {:telemetry, System.unique_integer([:positive])}}
  end

  @file_bytes "test/fixtures/small.rdb" |> File.read!() |> byte_size()

  # A primary with a small snapshot that answers each PSYNC as it is told, and then sends `stream`.
  defp primary!(answers, stream \\ "") do
    answers = start_supervised!({Agent, fn -> answers end}, id: make_ref())

    FakeServer.primary!(fn line ->
      case String.split(line) do
        ["PSYNC" | _] -> psync(Agent.get_and_update(answers, fn [next | rest] -> {next, rest ++ [next]} end), stream)
        ["PING"] -> "+PONG\r\n"
        ["REPLCONF", "ACK" | _] -> ""
        _other -> "+OK\r\n"
      end
    end)
  end

  @replication_id String.duplicate("a", 40)

  defp psync(:full, stream) do
    file = File.read!("test/fixtures/small.rdb")
    "+FULLRESYNC #{@replication_id} 0\r\n$#{byte_size(file)}\r\n" <> file <> stream
  end

  # It hangs up at once, so the link attaches again.
  defp psync(:full_and_leave, stream), do: {:last, psync(:full, stream)}
  defp psync(:continue, stream), do: "+CONTINUE #{@replication_id}\r\n" <> stream

  defp psync(:half, _stream) do
    file = File.read!("test/fixtures/small.rdb")
    {:last, "+FULLRESYNC #{@replication_id} 0\r\n$#{byte_size(file)}\r\n" <> binary_part(file, 0, 20)}
  end

  defp start!(id, options) do
    defaults = [id: id, host: "127.0.0.1", reconnect_delay_ms: 5, max_reconnect_delay_ms: 20]
    start_supervised!({Veidrodelis, Keyword.merge(defaults, options)}, id: id)
  end

  # The next event of an id, as {name without :veidrodelis, measurements, metadata}.
  defp next!(id, event) do
    assert_receive {:telemetry, [:veidrodelis | ^event], measurements, %{id: ^id} = metadata}, 10_000
    assert Vdr.Test.Telemetry.on_page([:veidrodelis | event], measurements, metadata) == :ok
    {measurements, metadata}
  end

  defp names(id, names \\ []) do
    receive do
      {:telemetry, [:veidrodelis | event], _measurements, %{id: ^id}} when hd(event) != :link ->
        names(id, [event | names])
    after
      0 -> Enum.reverse(names)
    end
  end

  test "a full sync and a connection are measured, and end with the instance", %{id: id} do
    port = primary!([:full])
    start!(id, port: port)
    {%{system_time: _, monotonic_time: start}, %{primary: {_, ^port}}} = next!(id, [:full_sync, :start])
    {%{duration: duration, bytes: bytes, keys: keys, monotonic_time: stop}, _} = next!(id, [:full_sync, :stop])
    assert duration == stop - start and duration > 0
    assert bytes == @file_bytes and keys > 1
    {%{duration: connecting}, %{sync: :full}} = next!(id, [:connection])
    assert connecting >= duration
    :ok = stop_supervised(id)
    {%{duration: streamed}, %{reason: :stopped, retry_in_ms: nil, refused: false}} = next!(id, [:disconnection])
    assert streamed > 0
    assert names(id) == []
  end

  test "an attempt that fails is no disconnection", %{id: id} do
    port = Server.free_port()
    start!(id, port: port)
    {%{duration: duration}, metadata} = next!(id, [:failed_connection])
    assert %{primary: {"127.0.0.1", ^port}, reason: :connection_refused, refused: false} = metadata
    assert duration > 0
    :ok = stop_supervised(id)
    assert Enum.uniq(names(id)) in [[], [[:failed_connection]]]
  end

  test "a full sync that breaks off is an exception, and the attempt has failed", %{id: id} do
    start!(id, port: primary!([:half, :full]))
    next!(id, [:full_sync, :start])
    {%{duration: _, bytes: bytes}, %{kind: :error, reason: reason}} = next!(id, [:full_sync, :exception])
    assert bytes <= 20 and is_atom(reason)
    {_duration, %{reason: ^reason}} = next!(id, [:failed_connection])
    next!(id, [:full_sync, :start])
    next!(id, [:full_sync, :stop])
    next!(id, [:connection])
  end

  test "a resumed stream is a partial sync", %{id: id} do
    start!(id, port: primary!([:full_and_leave, :continue]))
    next!(id, [:connection])
    next!(id, [:disconnection])
    next!(id, [:partial_sync])
    assert {_duration, %{sync: :partial}} = next!(id, [:connection])
  end

  test "what the process that was killed had begun is ended by its successor", %{id: id} do
    start!(id, port: primary!([:full]))
    next!(id, [:connection])
    # The event comes a moment before the report.
    report = fn -> Vdr.Reports.read({:mirror, id}) end
    Mirror.eventually("the report has the stream", report, fn -> match?(%{spans: %{streaming: _}}, report.()) end)
    Process.exit(report.().pid, :kill)
    {%{duration: duration}, %{reason: :link_crashed}} = next!(id, [:disconnection])
    assert duration > 0
    next!(id, [:connection])
  end

  test "an unknown command is told once, and a guard window that was given up", %{id: id} do
    command = "*2\r\n$6\r\nNOSUCH\r\n$1\r\nk\r\n"
    start!(id, port: primary!([:full], command <> command))
    assert {%{count: 1}, %{name: "nosuch"}} = next!(id, [:unknown_command])
    %{pid: link} = Vdr.Reports.read({:mirror, id})
    {_state, %{tag: tag}} = :sys.get_state(link)
    # As the native library says it after a minute.
    send(link, {tag, :guard_given_up})
    assert {%{count: 1}, %{guard_key: "__vdr_tx"}} = next!(id, [:guard_window, :given_up])
    refute [:unknown_command] in names(id)
  end

  test "a guard window that held writes back is measured once it is closed", %{id: id} do
    Veidrodelis.Testing.start_supervised!(id: id)
    :ok = Veidrodelis.Testing.put(id, [["SET", "__vdr_tx", "1"], ["SET", "k", "v"]])
    Process.sleep(20)
    :ok = Veidrodelis.Testing.put(id, ["DEL", "__vdr_tx"])
    assert {measurements, %{guard_key: "__vdr_tx"}} = next!(id, [:guard_window, :closed])
    assert %{count: 1, duration: longest, total_duration: longest} = measurements
    assert System.convert_time_unit(longest, :native, :millisecond) in 20..20_000

    # A window of one packet holds nothing back.
    :ok = Veidrodelis.Testing.put(id, [["SET", "__vdr_tx", "1"], ["SET", "k", "w"], ["DEL", "__vdr_tx"]])
    :ok = Veidrodelis.Testing.disconnect(id)
    refute [:guard_window, :closed] in names(id)
  end

  test "events of watches that a process missed are counted, and the handler that sleeps gets a sum", %{id: id} do
    Veidrodelis.Testing.start_supervised!(id: id)
    test = self()

    Vdr.Test.Telemetry.attach(fn
      [:veidrodelis, :watch, :missed], %{id: ^id} -> Process.sleep(200)
      _event, _metadata -> :ok
    end)

    sleeper =
      spawn_link(fn ->
        for key <- ~w(a b c d), do: :ok = Veidrodelis.watch(id, 0, key, key, max_pending: 1)
        send(test, :watching)
        drain(test)
      end)

    assert_receive :watching
    for n <- 1..100, key <- ~w(a b c d), do: :ok = Veidrodelis.Testing.put(id, ["SET", key, n])
    send(sleeper, :drain)
    missed = for _key <- 1..4, do: assert_receive({:missed, _count}, 10_000)
    sum = missed |> Enum.map(&elem(&1, 1)) |> Enum.sum()
    {sent, watches, events} = count_missed(id, sum)
    assert sent == sum and sum > 300
    # The handler slept while the others came.
    assert watches >= 4 and events <= watches
  end

  defp drain(test) do
    receive do
      :drain -> forward(test)
    end
  end

  defp forward(test) do
    receive do
      {_key, %Vdr.WatchEvent.Missed{count: count}} -> send(test, {:missed, count})
      _update -> :ok
    end

    forward(test)
  end

  defp count_missed(id, expected, {sent, watches, events} \\ {0, 0, 0}) do
    {%{count: count, watches: more}, _metadata} = next!(id, [:watch, :missed])
    counts = {sent + count, watches + more, events + 1}
    if sent + count < expected, do: count_missed(id, expected, counts), else: counts
  end

  test "a call of commands is a span in the caller's process, and shows no value", %{id: id} do
    Veidrodelis.Testing.start_supervised!(
      id: id,
      reply: fn words -> if hd(words) == "RAISE", do: raise("x"), else: :default end
    )

    {:ok, "OK"} = Veidrodelis.command(id, ["SET", "k", "secret"], db: 2)
    assert {%{commands: 1, system_time: _}, %{call: :command, db: 2}} = next!(id, [:command, :start])
    assert {%{commands: 1, duration: _}, %{result: :ok, reason: nil}} = next!(id, [:command, :stop])
    {:error, _wrong_type} = Veidrodelis.command(id, ["LPUSH", "k", "secret"], db: 2)
    assert {_measurements, %{result: :error, reason: "WRONGTYPE"}} = next!(id, [:command, :stop])
    {:error, reason} = Veidrodelis.transaction(id, [["GET", "k"], ["EVAL", "secret"]])
    assert {%{commands: 2}, %{call: :transaction, reason: ^reason} = metadata} = next!(id, [:command, :stop])
    refute inspect(metadata) =~ "secret"
    assert_raise RuntimeError, fn -> Veidrodelis.pipeline(id, [["RAISE"]]) end
    assert {%{commands: 1}, %{call: :pipeline, kind: :error}} = next!(id, [:command, :exception])
    {:error, :no_instance} = Veidrodelis.command(:nobody, ["GET", "k"])
    refute_received {:telemetry, [:veidrodelis, :command | _], _measurements, %{id: :nobody}}
  end

  test "a failover is a switch", %{id: id} do
    {old, new} = {primary!([:full]), primary!([:full])}
    named = start_supervised!({Agent, fn -> Integer.to_string(old) end})

    sentinel = FakeServer.switching_sentinel!(fn -> Agent.get(named, & &1) end)

    start!(id, host: nil, sentinel: [sentinels: [[host: "127.0.0.1", port: sentinel]], group: "g"])
    next!(id, [:link, :connecting])
    Agent.update(named, fn _old -> Integer.to_string(new) end)
    assert {_time, %{primary: {_, ^new}, from: {_, ^old}}} = next!(id, [:link, :switched])
    next!(id, [:connection])
  end

  test "the batches of a handler are spans, and so is the batch by which it ends" do
    Process.flag(:trap_exit, true)
    name = :"telemetry_of_batches_#{System.unique_integer([:positive])}"
    id = {Replica, name}
    options = [name: name, host: "127.0.0.1", callback_module: Recorder]
    {:ok, pid} = Replica.start_link([port: primary!([:full]), callback_opts: %{to: self()}] ++ options)
    assert {%{commands: commands, system_time: _}, %{pid: ^pid}} = next!(id, [:handler_batch, :start])
    assert {%{commands: ^commands, duration: _}, %{result: :ok}} = next!(id, [:handler_batch, :stop])
    assert {%{bytes: 0, keys: 0}, _metadata} = next!(id, [:full_sync, :stop])
    Replica.stop(pid)

    stop = fn _commands -> {:error, :enough} end

    {:ok, pid} =
      Replica.start_link([port: primary!([:full]), callback_opts: %{to: self(), handle_commands: stop}] ++ options)

    assert {_measurements, %{result: :stop}} = next!(id, [:handler_batch, :stop])
    assert_receive {:EXIT, ^pid, :enough}, 5000

    fall = fn _commands -> raise "secret value" end

    {:ok, pid} =
      Replica.start_link([port: primary!([:full]), callback_opts: %{to: self(), handle_commands: fall}] ++ options)

    assert {%{commands: ^commands}, %{kind: :error} = metadata} = next!(id, [:handler_batch, :exception])
    refute inspect(metadata) =~ "secret"
    assert_receive {:EXIT, ^pid, {%RuntimeError{}, _stack}}, 5000
  end

  test "a script that reaches a limit is told in the caller's process", %{id: id} do
    caller = self()

    # Scripts of other tests reach limits meanwhile, in other processes.
    told = fn _event, measurements, metadata, _config ->
      if self() == caller, do: send(caller, {:limit, measurements, metadata})
    end

    :ok = Vdr.Test.Telemetry.attach_many(id, [[:veidrodelis, :script, :limit]], told, nil)
    on_exit(fn -> Vdr.Test.Telemetry.detach(id) end)

    {:ok, snapshot} = Vdr.Snapshot.from_commands([["SET", "k", "v"]])
    {:error, {:lua, :timeout, _}} = Veidrodelis.read_tx(snapshot, 0, "while true do end", timeout: 20)
    assert_received {:limit, measurements, metadata}
    assert {measurements, metadata} == {%{count: 1, limit: 20}, %{kind: :timeout, source: :snapshot}}

    hungry = "local t = {} for i = 1, 1e7 do t[i] = {i} end return #t"
    {:error, {:lua, :memory, _}} = Veidrodelis.read_tx(snapshot, 0, hungry, memory: 1_000_000)
    assert_received {:limit, measurements, metadata}
    assert {measurements, metadata} == {%{count: 1, limit: 1_000_000}, %{kind: :memory, source: :snapshot}}

    {:error, {:lua, :runtime, _}} = Veidrodelis.read_tx(snapshot, 0, "error('x')")
    refute_received {:limit, _measurements, _metadata}
  end

  test "measurements are those of the page, for each instance or the ones that are named", %{id: id} do
    port = primary!([:full])
    start!(id, port: port)
    :ok = Veidrodelis.await_ready(id, 10_000)
    next!(id, [:connection])
    :ok = Veidrodelis.Telemetry.measurements([])

    assert {%{ready: 1, connected: 1, stale: 0, keys: keys, memory_bytes: memory}, %{primary: {_, ^port}}} =
             next!(id, [:instance])

    assert keys > 1 and memory > 0
    :ok = Veidrodelis.Telemetry.measurements(ids: [id, :nobody], memory: false)
    assert {%{memory_bytes: 0, keys: ^keys}, %{state: :streaming}} = next!(id, [:instance])
    assert_raise ArgumentError, ~r/unknown option :id of/, fn -> Veidrodelis.Telemetry.measurements(id: id) end
  end

  test "Prometheus gets every number once for each instance, under escaped labels" do
    ids = [{:prometheus, "a\"b\\c\n"}, String.duplicate("x", 300) <> "1", String.duplicate("x", 300) <> "2"]
    for id <- ids, do: start!(id, port: Server.free_port())
    text = Veidrodelis.Telemetry.prometheus(ids: ids ++ [:nobody], memory: false)

    for {name, gauge} <- Vdr.Telemetry.Gauges.all() do
      suffix = if gauge.type == :counter, do: "_total", else: ""
      assert [_] = Regex.scan(~r/^# TYPE veidrodelis_#{name}#{suffix} #{gauge.type}$/m, text)
      assert [_] = Regex.scan(~r/^# HELP veidrodelis_#{name}#{suffix} .+$/m, text)
      lines = Regex.scan(~r/^veidrodelis_#{name}#{suffix}\{id="((?:[^"\\\n]|\\["\\n])*)"\} \d+$/m, text)
      assert length(lines) == 3 and length(Enum.uniq(lines)) == 3
    end

    assert length(String.split(text, "\n", trim: true)) == 5 * length(Vdr.Telemetry.Gauges.all())
    assert byte_size(text) < 50_000
    assert Veidrodelis.Telemetry.prometheus() =~ "veidrodelis_ready"
  end

  test "metrics name events and measurements of the page" do
    for %{name: name, type: type, tags: tags} <- Veidrodelis.Telemetry.metrics() do
      {event, [measurement]} = name |> String.split(".") |> Enum.map(&String.to_existing_atom/1) |> Enum.split(-1)
      assert {_event, measurements, metadata} = List.keyfind(Veidrodelis.Telemetry.events(), event, 0)
      assert measurement in measurements and tags -- metadata == []
      assert type in [:counter, :sum, :last_value, :summary]
    end
  end

  test "the page lists each event with its keys" do
    {:docs_v1, _, _, _, %{"en" => page}, _, _} = Code.fetch_docs(Veidrodelis.Telemetry)

    for {name, measurements, metadata} <- Veidrodelis.Telemetry.events() do
      assert page =~ "### `#{inspect(name)}`"
      for key <- measurements ++ metadata, do: assert(page =~ "`#{key}`")
    end
  end

  test "the default logger logs syncs and limits, once attached", %{id: id} do
    assert :ok = Veidrodelis.Telemetry.attach_default_logger(:info)
    assert {:error, :already_exists} = Veidrodelis.Telemetry.attach_default_logger()

    log =
      capture_log(fn ->
        start!(id, port: primary!([:half, :full_and_leave, :continue]))
        for event <- [[:full_sync, :exception], [:full_sync, :stop], [:partial_sync]], do: next!(id, event)
        {:error, _} = Veidrodelis.read_tx(id, 0, "while true do end", timeout: 10)
        :ok = stop_supervised(id)
      end)

    assert log =~ ~r/Veidrodelis #{Regex.escape(inspect(id))}: full sync failed after \d+ bytes/
    assert log =~ ~r/Veidrodelis #{Regex.escape(inspect(id))}: full sync of \d+ keys and #{@file_bytes} bytes in \d+ ms/
    assert log =~ "Veidrodelis #{inspect(id)}: partial sync in"
    assert log =~ "Veidrodelis #{inspect(id)}: a script ran for longer than 10 ms"
    assert :ok = Veidrodelis.Telemetry.detach_default_logger()
    assert {:error, :not_found} = Veidrodelis.Telemetry.detach_default_logger()
    assert_raise ArgumentError, ~r/level of Logger/, fn -> Veidrodelis.Telemetry.attach_default_logger(:loud) end
  end

  test "the option log: sets the least level of log lines, or turns them off", %{id: id} do
    quiet = {id, :quiet}

    log =
      capture_log(fn ->
        start!(id, port: Server.free_port(), log: :warning)
        start!(quiet, port: Server.free_port(), log: false)
        for id <- [id, quiet], do: next!(id, [:failed_connection])
        for id <- [id, quiet], do: :ok = stop_supervised(id)
      end)

    assert log =~ "Veidrodelis #{inspect(id)}: the link to"
    refute log =~ "Veidrodelis #{inspect(id)}: connecting"
    refute log =~ "Veidrodelis #{inspect(id)}: stopped"
    refute log =~ inspect(quiet)

    assert_raise ArgumentError, ~r/:log of Veidrodelis takes :trace or :debug or/, fn ->
      Veidrodelis.child_spec(log: :loud)
    end
  end

  test "a handler that waits delays no other instance and no caller", %{id: id} do
    slow = {id, :slow}
    test = self()

    Vdr.Test.Telemetry.attach(fn
      [:veidrodelis, :failed_connection], %{id: ^slow} ->
        send(test, {:waits, self()})
        receive(do: (:go_on -> :ok), after: (60_000 -> :ok))

      _event, _metadata ->
        :ok
    end)

    start!(slow, port: Server.free_port())
    assert_receive {:waits, handler}
    start!(id, port: primary!([:full]))
    next!(id, [:connection])
    assert %{ready: false} = Veidrodelis.info(slow)
    assert Veidrodelis.get(id, 0, "user:1:name") == {:ok, "Alice"}
    # All of this happened while the handler waited.
    assert Veidrodelis.info(slow, :attempts) == 1
    send(handler, :go_on)
    Mirror.eventually("the slow one goes on", fn -> Veidrodelis.info(slow, :attempts) > 1 end)
  end
end
