defmodule Vdr.Live.ReplicaTest do
  # The replication client against real servers: what a handler receives, in which order, and where
  # it resumes.
  use Vdr.Test.LiveCase, async: true

  alias Vdr.RedisStream.{Replica, ReplicaCommand}
  alias Vdr.Test.Recorder

  @moduletag timeout: 120_000

  defmodule Skip do
    @behaviour Vdr.RedisStream.CommandFilter
    @impl true
    def pre_handle(%{affected_keys: ["skip" <> _]}), do: :skip
    def pre_handle(command), do: command
  end

  defmodule Mark do
    @behaviour Vdr.RedisStream.CommandFilter
    @impl true
    def pre_handle(command), do: %{command | affected_keys: [:changed]}
    @impl true
    def post_handle(command), do: send(Filtered, {:handled, command.command})
  end

  # The smallest possible handler.
  defmodule Least do
    @behaviour Vdr.RedisStream.Callback
    @impl true
    def init(count), do: {:ok, count}
    @impl true
    def handle_commands(count, commands), do: {:ok, count + length(commands)}
  end

  defp start!(port, opts \\ [], callback_opts \\ %{}) do
    defaults = [
      host: "127.0.0.1",
      port: port,
      reconnect_delay_ms: 20,
      callback_module: Recorder,
      callback_opts: Map.put(callback_opts, :to, self())
    ]

    start_supervised!(%{
      id: make_ref(),
      start: {Replica, :start_link, [Keyword.merge(defaults, opts)]},
      restart: :temporary
    })
  end

  defp streaming!(port, opts \\ [], callback_opts \\ %{}) do
    replica = start!(port, opts, callback_opts)
    Recorder.await!(replica, :streaming_start)
    replica
  end

  defp tuples(commands), do: Enum.map(commands, & &1.command)

  live_test "a full sync arrives as commands, then the stream", %{port: port, redis: redis}, mirror: false do
    Redix.pipeline!(redis, [
      ["SET", "s", "v"],
      ["RPUSH", "l", "a", "b"],
      ["SADD", "set", "m"],
      ["ZADD", "z", "1.5", "m"],
      ["HSET", "h", "f", "v"],
      ["PEXPIREAT", "h", 4_000_000_000_000],
      ["SELECT", 3],
      ["SET", "in3", "x"],
      ["SELECT", 0]
    ])

    replica = start!(port)
    assert Recorder.next!(replica) == :init
    assert Recorder.next!(replica) == :replication_start
    # In several batches, if the file arrives in several pieces.
    commands = sync_commands(replica, [])

    assert Enum.sort(tuples(commands)) ==
             Enum.sort([
               {:set, "s", "v"},
               {:rpush, "l", ["a", "b"]},
               {:sadd, "set", ["m"]},
               {:zadd, "z", [{1.5, "m"}], []},
               {:hset, "h", [{"f", "v"}]},
               {:pexpireat, "h", 4_000_000_000_000},
               {:set, "in3", "x"}
             ])

    assert %ReplicaCommand{db: 3, affected_keys: ["in3"], raw_command: {:generic, ["SET", "in3", "x"]}} =
             Enum.find(commands, &(&1.command == {:set, "in3", "x"}))

    assert Enum.all?(commands, &match?(%{phase: :full_sync, unit: nil, replication_id: <<_::320>>}, &1.context))
    tail = Enum.find_index(commands, &(&1.command == {:pexpireat, "h", 4_000_000_000_000}))
    assert Enum.at(commands, tail - 1).command == {:hset, "h", [{"f", "v"}]}

    Redix.pipeline!(redis, [["SET", "a", 1, "EX", 100], ["DEL", "a", "l"], ["PUBLISH", "c", "m"], ["FLUSHALL"]])
    commands = Recorder.commands_until(replica, ["FLUSHALL"])
    assert [{:set, "a", "1"}, {:del, ["a", "l"]} | _] = tuples(commands)
    assert [["a"], ["a", "l"] | rest] = Enum.map(commands, & &1.affected_keys)
    assert List.last(rest) == :all
    assert hd(commands).raw_command |> elem(1) |> Enum.take(3) == ["SET", "a", "1"]
    offsets = Enum.map(commands, & &1.offset)
    assert offsets == Enum.sort(offsets) and hd(offsets) > 0
    assert Enum.all?(commands, &(&1.context.phase == :stream))
  end

  live_test "a large key arrives in bounded chunks", %{port: port, redis: redis}, mirror: false do
    Redix.command!(redis, ["RPUSH", "l" | Enum.to_list(1..5_000)])
    Redix.command!(redis, ["PEXPIRE", "l", 1_000_000])
    Redix.command!(redis, ["SET", "last", "1"])
    replica = start!(port)
    assert [_ | _] = commands = sync_commands(replica, [])
    chunks = for {:rpush, "l", items} <- tuples(commands), do: items
    assert Enum.all?(chunks, &(length(&1) <= 512))
    assert Enum.concat(chunks) == Enum.map(1..5_000, &to_string/1)
    assert Enum.count(tuples(commands), &match?({:pexpireat, "l", _}, &1)) == 1
  end

  defp sync_commands(replica, commands) do
    case Recorder.next!(replica) do
      {:commands, more} -> sync_commands(replica, commands ++ more)
      :streaming_start -> commands
      _before -> sync_commands(replica, commands)
    end
  end

  live_test "a MULTI arrives in one batch under one name", %{port: port, redis: redis}, mirror: false do
    replica = streaming!(port)
    Redix.pipeline!(redis, [["SET", "x", 0], ["MULTI"], ["SET", "a", 1], ["INCR", "b"], ["EXEC"], ["SET", "end", 1]])
    commands = Recorder.commands_until(replica, ["SET", "end", "1"])
    units = for %{command: command, context: %{unit: unit}} <- commands, do: {elem(command, 0), elem(command, 1), unit}
    assert [{:set, "x", nil}, {:set, "a", unit}, {_incr, "b", unit}, {:set, "end", nil}] = units
    assert is_integer(unit)
  end

  live_test "the functions and their answers", %{port: port, redis: redis}, mirror: false do
    replica = streaming!(port, name: :"replica_#{port}")
    assert Replica.get_replication_state(replica) == :streaming
    assert Replica.get_replication_state(:"replica_#{port}") == :streaming
    assert Replica.connected_to(replica) == {:ok, {"127.0.0.1", port}}
    assert Replica.call(replica, :hello) == {:ok, {:heard, :hello}}
    assert %{last: :hello} = Replica.get_callback_state(replica)

    [_, id] = Regex.run(~r/master_replid:(\w+)/, Redix.command!(redis, ["INFO", "replication"]))
    assert Replica.get_replication_id(replica) == id
    Redix.pipeline!(redis, [["SELECT", 5], ["SET", "a", 1]])
    [last] = Recorder.commands_until(replica, ["SET", "a", "1"])
    Mirror.eventually("the batch is handled", fn -> Replica.get_offset(replica) >= last.offset end)
    assert {^id, offset, 5} = Replica.get_position(replica)
    assert offset >= last.offset

    send(replica, :anything)
    assert Recorder.next!(replica) == {:info, :anything}
    assert Replica.stop(replica) == :ok
    assert Recorder.next!(replica) == :destroy

    Mirror.eventually("the server sees us go", fn ->
      Redix.command!(redis, ["INFO", "replication"]) =~ "connected_slaves:0"
    end)
  end

  live_test "after a disconnect it resumes at its position, and nothing arrives twice", %{port: port, redis: redis},
    mirror: false do
    replica = streaming!(port)
    Redix.command!(redis, ["SET", "before", 1])
    Recorder.commands_until(replica, ["SET", "before", "1"])

    for n <- 1..5 do
      Redix.command!(redis, ["CLIENT", "KILL", "TYPE", "REPLICA"])
      Redix.pipeline!(redis, [["MULTI"], ["SET", "n", n], ["SET", "m", n], ["EXEC"]])
    end

    Redix.command!(redis, ["SET", "end", 1])
    commands = Recorder.commands_until(replica, ["SET", "end", "1"])
    assert for({:set, "n", n} <- tuples(commands), do: n) == ~w(1 2 3 4 5)
    assert length(commands) == 11
    refute_received {:recorded, ^replica, :replication_start}
  end

  live_test "a user with the least permissions", %{port: port, redis: redis}, mirror: false do
    Redix.command!(redis, ~w(ACL SETUSER myuser on >mypassword +psync +replconf +ping))
    Redix.command!(redis, ["SET", "a", 1])
    replica = start!(port, username: "myuser", password: "mypassword")
    assert {:set, "a", "1"} in tuples(sync_commands(replica, []))
    refute inspect(:sys.get_state(replica), structs: false, limit: :infinity) =~ "mypassword"

    wrong = start!(port, username: "myuser", password: "wrong", reconnect: false)
    monitor = Process.monitor(wrong)
    assert_receive {:DOWN, ^monitor, :process, ^wrong, {:link_ended, :wrong_password}}, 20_000
  end

  live_test "between two links a call returns :not_connected", %{server: server, port: port}, mirror: false do
    Process.flag(:trap_exit, true)
    replica = streaming!(port, reconnect_delay_ms: 60_000, max_reconnect_delay_ms: 60_000)
    Server.kill(server)
    Mirror.eventually("it waits", fn -> Replica.get_replication_state(replica) == :waiting end)
    assert Replica.connected_to(replica) == {:error, :not_connected}
    assert Replica.call(replica, :hello) == {:error, :not_connected}
    assert Replica.get_callback_state(replica).to == self()
  end

  live_test "a handler resumes after its saved position, in the right database", %{port: port, redis: redis},
    mirror: false do
    first = streaming!(port)
    Redix.pipeline!(redis, [["SELECT", 7], ["SET", "a", 1]])
    [command] = Recorder.commands_until(first, ["SET", "a", "1"])
    position = {command.context.replication_id, command.offset, command.db}
    Replica.stop(first)

    Redix.pipeline!(redis, [["SET", "b", 2], ["SELECT", 0], ["SET", "c", 3]])
    second = start!(port, initial: position)
    commands = Recorder.commands_until(second, ["SET", "c", "3"])
    assert Enum.map(commands, &{&1.db, &1.command}) == [{7, {:set, "b", "2"}}, {0, {:set, "c", "3"}}]
    refute_received {:recorded, ^second, :replication_start}

    # The answer of init/1 wins over the option. A position that the server no longer has leads to a
    # full sync.
    unknown = {String.duplicate("0", 40), 1}
    third = start!(port, [initial: position], %{initial: unknown})
    Recorder.await!(third, :replication_start)
    Recorder.await!(third, :streaming_start)
  end

  live_test "a pair is a position in database 0", %{port: port, redis: redis}, mirror: false do
    first = streaming!(port)
    Redix.command!(redis, ["SET", "a", 1])
    [command] = Recorder.commands_until(first, ["SET", "a", "1"])
    Replica.stop(first)
    Redix.command!(redis, ["SET", "b", 1])
    second = start!(port, initial: {command.context.replication_id, command.offset})
    assert [%{db: 0, command: {:set, "b", "1"}}] = Recorder.commands_until(second, ["SET", "b", "1"])
    refute_received {:recorded, ^second, :replication_start}
  end

  live_test "only handled commands are acknowledged", %{port: port, redis: redis}, mirror: false do
    test = self()

    hold = fn [command | _] ->
      if command.command == {:set, "hold", "1"} do
        send(test, :holding)
        receive(do: (:go_on -> :ok))
      else
        :ok
      end
    end

    replica = streaming!(port, [ack_interval_ms: 20], %{handle_commands: hold})
    Redix.command!(redis, ["SET", "hold", 1])
    assert_receive :holding, 20_000
    [_, before] = Regex.run(~r/slave0:.*offset=(\d+)/, Redix.command!(redis, ["INFO", "replication"]))
    Redix.command!(redis, ["SET", "more", 1])
    # WAIT asks for our offset, and gets it at once.
    assert Redix.command!(redis, ["WAIT", 1, 300]) == 0
    [_, now] = Regex.run(~r/slave0:.*offset=(\d+).*lag=[0-5]\b/, Redix.command!(redis, ["INFO", "replication"]))
    assert String.to_integer(now) <= String.to_integer(before) + 40
    assert Replica.get_replication_state(replica) == :streaming

    send(replica, :go_on)
    Mirror.eventually("all is acknowledged", fn -> Redix.command!(redis, ["WAIT", 1, 100]) == 1 end)
  end

  for {name, misbehave, reason} <- [
        {"an error", quote(do: fn _ -> {:error, :not_today} end), quote(do: :not_today)},
        {"a raise", quote(do: fn _ -> raise "no" end), quote(do: {%RuntimeError{}, _})},
        {"an exit", quote(do: fn _ -> exit(:gone) end), quote(do: :gone)},
        {"a throw", quote(do: fn _ -> throw(:ball) end), quote(do: {{:nocatch, :ball}, _})},
        {"nonsense", quote(do: fn _ -> :nonsense end),
         quote(do: {:bad_return_value, {Recorder, :handle_commands, :nonsense}})}
      ] do
    live_test "#{name} in handle_commands ends the replica", %{port: port, redis: redis}, mirror: false do
      replica = streaming!(port, [ack_interval_ms: 20], %{handle_commands: unquote(misbehave)})
      monitor = Process.monitor(replica)
      [_, before] = Regex.run(~r/slave0:.*offset=(\d+)/, Redix.command!(redis, ["INFO", "replication"]))
      Redix.command!(redis, ["SET", "a", String.duplicate("x", 10_000)])
      assert_receive {:DOWN, ^monitor, :process, ^replica, reason}, 20_000
      assert unquote(reason) = reason
      assert_received {:recorded, ^replica, :destroy}

      case Regex.run(~r/slave0:.*offset=(\d+)/, Redix.command!(redis, ["INFO", "replication"])) do
        [_, offset] -> assert String.to_integer(offset) < String.to_integer(before) + 10_000
        nil -> :ok
      end
    end
  end

  for name <- [:handle_replication_start, :handle_streaming_start, :handle_info, :handle_call] do
    live_test "a raise in #{name} ends the replica, after handle_destroy", %{port: port}, mirror: false do
      replica =
        start!(port, [], %{unquote(name) => fn _ -> raise "no" end, :handle_destroy => fn _ -> raise "never" end})

      monitor = Process.monitor(replica)
      if unquote(name) in [:handle_info, :handle_call], do: Recorder.await!(replica, :streaming_start)
      if unquote(name) == :handle_info, do: send(replica, :anything)
      if unquote(name) == :handle_call, do: catch_exit(Replica.call(replica, :anything))
      assert_receive {:DOWN, ^monitor, :process, ^replica, {%RuntimeError{message: "no"}, _}}, 20_000
      assert_received {:recorded, ^replica, :destroy}
    end
  end

  live_test "handle_info may end the replica, handle_call may refuse", %{port: port}, mirror: false do
    replica =
      streaming!(port, [], %{
        handle_call: fn :slow -> Process.sleep(200) end,
        handle_info: fn _ -> {:error, :enough} end
      })

    assert {:timeout, _} = catch_exit(Replica.call(replica, :slow, 10))
    :sys.replace_state(replica, &put_in(&1.callback.handle_call, fn _ -> {:error, :not_for_you} end))
    assert Replica.call(replica, :hello) == {:error, :not_for_you}
    monitor = Process.monitor(replica)
    send(replica, :anything)
    assert_receive {:DOWN, ^monitor, :process, ^replica, :enough}, 20_000
    assert_received {:recorded, ^replica, :destroy}
  end

  live_test "subscribers and telemetry get the events of the link", %{port: port, redis: redis}, mirror: false do
    # As a handler would do in its init/1.
    name = :"events_#{port}"
    id = {Replica, name}
    :ok = Veidrodelis.subscribe(id)
    Vdr.Test.Telemetry.attach(self())
    replica = start!(port, name: name)
    primary = {"127.0.0.1", port}
    assert_receive {:veidrodelis, ^id, :connecting, %{primary: ^primary, attempt: 1, pid: ^replica}}, 20_000
    assert_receive {:veidrodelis, ^id, :syncing, %{primary: ^primary, pid: ^replica}}, 20_000
    assert_receive {:veidrodelis, ^id, :streaming, %{sync: :full, pid: ^replica}}, 20_000
    Redix.command!(redis, ["CLIENT", "KILL", "TYPE", "REPLICA"])
    assert_receive {:veidrodelis, ^id, :disconnected, %{reason: _, retry_in_ms: _, pid: ^replica}}, 20_000
    assert_receive {:veidrodelis, ^id, :streaming, %{sync: :partial, pid: ^replica}}, 20_000
    :ok = Replica.stop(replica)
    assert_receive {:veidrodelis, ^id, :stopped, %{pid: ^replica}}
    refute_received {:veidrodelis, ^id, :ready, _}

    for event <- [:connecting, :syncing, :streaming, :disconnected, :stopped] do
      assert_receive {:telemetry, [:veidrodelis, :link, ^event], %{system_time: _}, %{id: ^id, pid: ^replica}}
    end
  end

  live_test "all callbacks but two are optional", %{port: port, redis: redis}, mirror: false do
    Redix.command!(redis, ["SET", "a", 1])
    replica = start!(port, callback_module: Least, callback_opts: 0)
    Mirror.eventually("it streams", fn -> Replica.get_replication_state(replica) == :streaming end)
    Redix.command!(redis, ["SET", "b", 1])
    Mirror.eventually("both are counted", fn -> Replica.get_callback_state(replica) == 2 end)
    send(replica, :anything)
    assert Replica.call(replica, :hello) == {:error, :not_implemented}

    # Without handle_info/2 a linked process takes the replica down with it, like any process.
    monitor = Process.monitor(replica)
    Process.exit(replica, :shutdown)
    assert_receive {:DOWN, ^monitor, :process, ^replica, :shutdown}, 20_000
  end

  live_test "a supervisor restarts a crashed replica, with a full sync", %{port: port, redis: redis}, mirror: false do
    Redix.command!(redis, ["SET", "kept", 1])

    fail_once = fn commands ->
      if Enum.any?(commands, &(&1.command == {:set, "bad", "1"} and &1.context.phase == :stream)),
        do: raise("bad"),
        else: :ok
    end

    start_supervised!(
      {Replica,
       host: "127.0.0.1",
       port: port,
       callback_module: Recorder,
       callback_opts: %{to: self(), handle_commands: fail_once}}
    )

    assert_receive {:recorded, first, :streaming_start}, 20_000
    Redix.command!(redis, ["SET", "bad", 1])
    assert_receive {:recorded, ^first, :destroy}, 20_000
    assert_receive {:recorded, second, :replication_start} when second != first, 20_000
    assert {:set, "kept", "1"} in tuples(Recorder.commands_until(second, ["SET", "kept", "1"]))
  end

  live_test "a filter skips and changes commands, and sees handled ones", %{port: port, redis: redis}, mirror: false do
    Process.register(self(), Filtered)
    replica = streaming!(port, command_filter: Vdr.RedisStream.CommandFilter.combine(Skip, Mark))
    Redix.pipeline!(redis, [["SET", "skip1", 1], ["SET", "a", 1], ["SET", "end", 1]])
    commands = Recorder.commands_until(replica, ["SET", "end", "1"])

    assert Enum.map(commands, &{&1.command, &1.affected_keys}) == [
             {{:set, "a", "1"}, [:changed]},
             {{:set, "end", "1"}, [:changed]}
           ]

    assert_receive {:handled, {:set, "a", "1"}}
    refute_received {:handled, {:set, "skip1", "1"}}
    Redix.command!(redis, ["SET", "skip2", 1])
    Mirror.eventually("what is skipped is handled", fn -> Redix.command!(redis, ["WAIT", 1, 100]) == 1 end)
    Process.unregister(Filtered)
  end

  live_test ":only selects a part of the data, in full sync and stream", %{port: port, redis: redis}, mirror: false do
    Redix.pipeline!(redis, [["HSET", "u:1", "f", "v"], ["SET", "u:2", 1], ["HSET", "x", "f", "v"]])
    replica = start!(port, only: [prefixes: ["u:"], types: [:hash]])
    assert tuples(sync_commands(replica, [])) == [{:hset, "u:1", [{"f", "v"}]}]

    Redix.pipeline!(redis, [
      ["HSET", "x", "f", 1],
      ["LPUSH", "u:l", 1],
      ["SET", "u:1", 1],
      ["DEL", "u:1"],
      ["HSET", "u:9", "f", "v"]
    ])

    commands = Recorder.commands_until(replica, ["HSET", "u:9", "f", "v"])
    assert tuples(commands) == [{:set, "u:1", "1"}, {:del, ["u:1"]}, {:hset, "u:9", [{"f", "v"}]}]
  end

  live_test "a slow handler slows the socket, not the node", %{port: port, redis: redis},
    mirror: false,
    config: [{"client-output-buffer-limit", "replica 0 0 0"}] do
    counter = :counters.new(1, [])

    slow = fn commands ->
      :counters.add(counter, 1, length(commands))
      Process.sleep(2)
      :ok
    end

    # A recorder would pass all commands on to this process.
    sink = spawn_link(fn -> Process.sleep(:infinity) end)
    replica = start!(port, [], %{handle_commands: slow})
    :sys.replace_state(replica, fn state -> put_in(state.callback.to, sink) end)
    Mirror.eventually("it streams", fn -> Replica.get_replication_state(replica) == :streaming end)

    command = IO.iodata_to_binary(Redix.pack(["SET", "key", String.duplicate("v", 100)]))
    batch = String.duplicate(command, 1_000)
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false])
    drain = Task.async(fn -> Server.drain(socket, 200_000 * 5) end)
    for _ <- 1..200, do: :ok = :gen_tcp.send(socket, batch)
    Task.await(drain, 60_000)
    most = most_memory(replica, counter, 200_000, 0)
    # Two batches of 4096 commands of about 2 kB as terms, and the bytes that the link holds.
    assert most < 60_000_000, "the handler's process held #{most} bytes"
    assert Replica.get_replication_state(replica) == :streaming
    Mirror.eventually("all is acknowledged", fn -> Redix.command!(redis, ["WAIT", 1, 100]) == 1 end)
  end

  live_test "a slow handler slows the full sync, too", %{port: port, redis: redis},
    mirror: false,
    config: [{"client-output-buffer-limit", "replica 0 0 0"}] do
    for n <- 1..50,
        do: Redix.pipeline!(redis, for(m <- 1..1_000, do: ["SET", "key:#{n}:#{m}", String.duplicate("v", 100)]))

    Redix.command!(redis, ["RPUSH", "list" | Enum.to_list(1..50_000)])
    counter = :counters.new(1, [])

    # The chunks of a list depend on how the file's bytes arrive, so the elements are counted.
    size = fn
      {:rpush, "list", elements} -> length(elements)
      {:set, _key, _value} -> 1
    end

    slow = fn commands ->
      :counters.add(counter, 1, commands |> tuples() |> Enum.map(size) |> Enum.sum())
      Process.sleep(20)
      :ok
    end

    sink = spawn_link(fn -> Process.sleep(:infinity) end)

    replica =
      start_supervised!(
        {Replica,
         host: "127.0.0.1", port: port, callback_module: Recorder, callback_opts: %{to: sink, handle_commands: slow}}
      )

    assert most_memory(replica, counter, 100_000, 0) < 60_000_000
    Mirror.eventually("it streams", fn -> Replica.get_replication_state(replica) == :streaming end)
    assert :counters.get(counter, 1) == 100_000
    Mirror.eventually("all is acknowledged", fn -> Redix.command!(redis, ["WAIT", 1, 100]) == 1 end)
  end

  defp most_memory(replica, counter, count, most) do
    {:memory, memory} = Process.info(replica, :memory)
    {:message_queue_len, queued} = Process.info(replica, :message_queue_len)
    assert queued <= 4

    if :counters.get(counter, 1) >= count do
      max(most, memory)
    else
      Process.sleep(1)
      most_memory(replica, counter, count, max(most, memory))
    end
  end
end
