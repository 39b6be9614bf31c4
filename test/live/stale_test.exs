defmodule Vdr.Live.StaleTest do
  # What `:stale_reads` refuses and when, and which events subscribers receive.
  use Vdr.Test.LiveCase, async: true

  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  defp answers(id) do
    [
      Veidrodelis.get(id, 0, "k"),
      Veidrodelis.hget(id, 0, "h", "f"),
      Veidrodelis.strlen(id, 0, "k"),
      Veidrodelis.read_tx(id, 0, [{:get, "k"}]),
      Veidrodelis.read_tx(id, 0, "return ts.get('k')"),
      # Not on the caller's scheduler.
      Veidrodelis.read_tx(id, 0, "return pcall(ts.get, 'k')"),
      Veidrodelis.scan(id, 0, 0),
      Veidrodelis.digest(id),
      Veidrodelis.snapshot(id)
    ]
  end

  defp refused?(id), do: Enum.all?(answers(id), &(&1 == {:error, :stale}))
  defp read?(id), do: Enum.all?(answers(id), &match?({:ok, _value}, &1))

  # Functions that read no instance, or not the one of the test, and so are not refused.
  @reads_none [lua_load: 2, load_rdb: 1, snapshot: 0, snapshot!: 0]

  # Functions without a row in the command table: calls of them, with an id.
  defp calls(:read_tx, 3, id),
    do: [[id, 0, [get: "none"]], [id, 0, "return ts.get('none')"], [id, 0, loaded("ts.get('none')")]]

  defp calls(:read_tx, 4, id),
    do: [[id, 0, "return ts.scan(0)", [keys: ["none"]]], [id, 0, loaded("pcall(ts.scan, 0)"), []]]

  defp calls(:stream_keys, arity, id), do: [Enum.take([id, 0, [chunk: 1]], arity)]
  defp calls(:diff, 3, id), do: [[id, id, 0]]
  defp calls(:digest_value, 3, id), do: [[id, 0, "none"]]
  defp calls(name, 1, id) when name in [:snapshot, :digest, :position], do: [[id]]

  # Functions with a row: a call for a missing key, with arguments by their names.
  defp calls(name, arity, id) do
    if bang?(name), do: calls(read(name), arity, id), else: calls_of_row(name, arity, id)
  end

  defp bang?(name), do: name |> to_string() |> String.ends_with?("!")
  defp read(bang), do: bang |> to_string() |> String.trim_trailing("!") |> String.to_existing_atom()

  defp calls_of_row(name, arity, id) do
    {^name, arguments} = List.keyfind!(Vdr.Native.commands(), name, 0)
    arguments = Enum.map(arguments, &argument(name, String.trim_leading(&1, "?")))
    [[id, 0 | Enum.take(arguments, arity - 2)]]
  end

  defp argument(:xrevrange, bound) when bound in ["start", "stop"], do: if(bound == "start", do: "-", else: "+")
  defp argument(:xrange, bound) when bound in ["start", "stop"], do: if(bound == "start", do: "-", else: "+")

  defp argument(name, bound) when name in [:zlexcount, :zrangebylex],
    do: %{"key" => "none", "min" => "-", "max" => "+"}[bound]

  defp argument(_name, list) when list in ["keys", "members", "fields"], do: ["none"]
  defp argument(_name, flag) when flag in ["with_scores", "with_values"], do: true
  defp argument(_name, "unit"), do: :byte
  defp argument(_name, "options"), do: []
  defp argument(_name, "cursor"), do: 0
  defp argument(_name, "after_id"), do: "0"
  defp argument(_name, text) when text in ["key", "field", "member", "place", "element", "pattern", "group"], do: "none"
  defp argument(_name, _number), do: 1

  defp loaded(expression) do
    {:ok, script} = Vdr.Snapshot.from_commands([]) |> elem(1) |> Veidrodelis.lua_load("return " <> expression)
    script
  end

  # Every function of the library that reads data, by its documentation group.
  defp all_reads do
    {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(Veidrodelis)
    groups = for {{:function, name, _arity}, _, _, _, %{group: group}} <- docs, into: %{}, do: {name, group}
    functions = Veidrodelis.__info__(:functions)
    assert Enum.all?(functions, fn {name, _arity} -> is_map_key(groups, name) end)

    # Writes read nothing; a position is what a read would see.
    Enum.reject(functions -- @reads_none, fn {name, arity} ->
      groups[name] in ["Lifecycle", "Observation", "Watches", "Writes and positions"] and
        {name, arity} != {:position, 1}
    end)
  end

  defp answer(name, arguments) when name in [:stream_keys, :diff] do
    {:ok, Enum.to_list(apply(Veidrodelis, name, arguments))}
  rescue
    error in Veidrodelis.Error -> {:error, error.reason}
  end

  defp answer(name, arguments) do
    answer = apply(Veidrodelis, name, arguments)
    if bang?(name), do: {:ok, answer}, else: answer
  rescue
    error in Veidrodelis.Error -> {:error, error.reason}
  end

  test ":stale_reads refuses every way to read data" do
    server = Server.start!()
    id = Mirror.start!(server, stale_reads: :deny)
    reads = for {name, arity} <- all_reads(), arguments <- calls(name, arity, id), do: {name, arguments}
    assert length(reads) > length(Vdr.Native.commands())
    for {name, arguments} = read <- reads, do: assert({^read, {:ok, _}} = {read, answer(name, arguments)})
    Server.kill(server)
    Mirror.eventually("it is stale", fn -> Veidrodelis.get(id, 0, "none") == {:error, :stale} end)
    for {name, arguments} = read <- reads, do: assert({read, answer(name, arguments)} == {read, {:error, :stale}})
  end

  live_test ":deny refuses reads while no link is streaming, and only then", %{server: server, redis: redis},
    mirror: false do
    Redix.command!(redis, ["SET", "k", "v"])
    id = Mirror.start!(server, stale_reads: :deny, reconnect_delay_ms: 20)
    :ok = Veidrodelis.subscribe(id)
    assert read?(id)
    {:ok, held} = Veidrodelis.snapshot(id)
    Server.kill(server)
    assert_receive {:veidrodelis, ^id, :disconnected, %{refused: false, retry_in_ms: delay}}, 10_000
    assert is_integer(delay)
    assert refused?(id)
    assert Veidrodelis.get(held, 0, "k") == {:ok, "v"}
    assert %{ready: true, stale: true} = Veidrodelis.info(id)
    Server.restart_empty(server)
    assert_receive {:veidrodelis, ^id, :streaming, %{sync: :full}}, 40_000
    Mirror.eventually("it is read again", fn -> read?(id) end)
    :ok = Veidrodelis.unsubscribe(id)
    :ok = Veidrodelis.stop(id)
    refute_received {:veidrodelis, ^id, :stopped, _details}
  end

  live_test ":max_ms refuses reads after the server was silent for that time", %{server: server, redis: redis},
    mirror: false,
    config: [{"repl-ping-replica-period", 1}] do
    Redix.command!(redis, ["SET", "k", "v"])
    id = Mirror.start!(server, stale_reads: {:max_ms, 5000})
    assert read?(id)
    # Longer than the bound: the server's pings keep the data fresh.
    Process.sleep(6000)
    assert read?(id)
    Server.pause(server)
    assert read?(id)
    Mirror.eventually("a server that hangs makes the data stale", fn -> refused?(id) end)
    assert %{state: :streaming, last_message_ms_ago: ms} = Veidrodelis.info(id)
    # It is another clock than the bound's, and both are rounded.
    assert ms >= 4990
    Server.resume(server)
    Mirror.eventually("it is fresh again", fn -> read?(id) end)
  end

  live_test "info reports the lag, and the server's role", %{redis: redis, id: id} do
    Redix.pipeline!(redis, for(n <- 1..1000, do: ["SET", "key:#{n}", String.duplicate("x", 1000)]))
    Mirror.settle(id, redis)
    Mirror.eventually("the stream has begun", fn -> Veidrodelis.replication_state(id) == :streaming end)
    at_rest = fn -> Veidrodelis.info(id) end
    # A ping of the server may be on its way.
    Mirror.eventually("all is applied", at_rest, fn ->
      match?(%{offset: n, primary_offset: n, lag_bytes: 0}, at_rest.())
    end)

    assert %{role: :primary, state: :streaming, stale: false, ready: true} = Veidrodelis.info(id)
    Redix.pipeline!(redis, [["MULTI"], ["SET", "a", 1], ["SET", "b", 1], ["EXEC"]])
    Mirror.settle(id, redis)
    Mirror.eventually("all is applied", at_rest, fn -> at_rest.().lag_bytes == 0 end)
  end

  live_test "a server that does not report its role is followed nevertheless", %{server: server, redis: redis},
    mirror: false do
    Redix.command!(redis, ~w(ACL SETUSER repl on >pw -@all +psync +replconf +ping))
    id = Mirror.start!(server, username: "repl", password: "pw")
    Mirror.eventually("the stream begins", fn -> Veidrodelis.replication_state(id) == :streaming end)
    assert Veidrodelis.info(id).role == nil
  end

  test "events go to telemetry where it is installed, and to processes that subscribed before the start" do
    server = Server.start!()
    Vdr.Test.Telemetry.attach(self())
    id = {:events, System.unique_integer([:positive])}
    :ok = Veidrodelis.subscribe(id)
    :ok = Veidrodelis.subscribe(id)
    port = Server.port(server)
    {:ok, _pid} = Veidrodelis.start_link(id: id, host: "127.0.0.1", port: port)
    primary = {"127.0.0.1", port}
    assert_receive {:veidrodelis, ^id, :connecting, %{primary: ^primary, attempt: 1}}
    assert_receive {:veidrodelis, ^id, :syncing, %{primary: ^primary}}, 10_000
    assert_receive {:veidrodelis, ^id, :ready, %{primary: ^primary}}, 10_000
    assert_receive {:veidrodelis, ^id, :streaming, %{primary: ^primary, sync: :full}}, 10_000
    assert_receive {:telemetry, [:veidrodelis, :link, :streaming], %{system_time: _}, %{id: ^id, sync: :full}}
    :ok = Veidrodelis.stop(id)
    assert_receive {:veidrodelis, ^id, :stopped, %{}}
    refute_received {:veidrodelis, ^id, :stopped, %{}}
  end
end

defmodule Vdr.Live.StaleMemoryTest do
  # The estimate of the memory counts the allocator's gaps, which all mirrors of the VM leave, so
  # this runs alone.
  use Vdr.Test.LiveCase, async: false

  live_test "info reports the size", %{redis: redis, id: id} do
    Redix.pipeline!(redis, for(n <- 1..1000, do: ["SET", "key:#{n}", String.duplicate("x", 1000)]))
    Mirror.settle(id, redis)
    assert Veidrodelis.info(id, :memory_bytes) in 1_000_000..2_000_000
  end
end
