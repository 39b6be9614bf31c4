defmodule Vdr.Live.NoPrimaryTest do
  # Servers that cannot be mirrored, or only by another name of PSYNC: each is named for what it is.
  use Vdr.Test.LiveCase, async: true

  alias Vdr.RedisStream.Replica
  alias Vdr.Test.{Recorder, Sentinels}

  setup do
    Process.flag(:trap_exit, true)
    :ok
  end

  defp start!(port, options) do
    id = {:no_primary, System.unique_integer([:positive])}

    own = [id: id, host: "127.0.0.1", port: port, reconnect_delay_ms: 20, max_reconnect_delay_ms: 40]
    start_supervised!({Veidrodelis, own ++ options})
    id
  end

  # A primary that agrees to everything, and answers PSYNC with this.
  defp psync_answered(reply) do
    FakeServer.primary!(fn
      "PSYNC" <> _arguments -> reply
      _agreed -> "+OK\r\n"
    end)
  end

  live_test "a renamed PSYNC is found by its name, and by a function of the address",
            %{port: port, redis: redis},
            mirror: false,
            config: [{"rename-command", ["PSYNC", "Xk3"]}] do
    Redix.command!(redis, ["SET", "k", "v"])
    assert Veidrodelis.await_ready(start!(port, []), 20_000) == {:error, :psync_forbidden}
    test = self()

    by_address = fn address ->
      send(test, {:asked, address})
      "Xk3"
    end

    for name <- ["Xk3", by_address] do
      id = start!(port, psync_command: name)
      assert Veidrodelis.await_ready(id, 20_000) == :ok
      assert Veidrodelis.get(id, 0, "k") == {:ok, "v"}
      Redix.command!(redis, ["SET", "n", "1"])
      Mirror.settle(id, redis)
      assert Veidrodelis.get(id, 0, "n") == {:ok, "1"}
    end

    assert_received {:asked, {"127.0.0.1", ^port}}
    # Each link costs a full sync: the server takes the name for SYNC.
    id = start!(port, psync_command: "Xk3")
    assert Veidrodelis.await_ready(id, 20_000) == :ok
    Redix.command!(redis, ["CLIENT", "KILL", "TYPE", "replica"])
    Mirror.eventually("a second full sync", fn -> Veidrodelis.info(id).full_syncs == 2 end)
    assert %{partial_syncs: 0} = Veidrodelis.info(id)
    assert Veidrodelis.await_ready(start!(port, psync_command: "SYNC"), 20_000) == {:error, :not_psync}
  end

  test "a handler follows a renamed PSYNC, too, and knows its position" do
    server = Server.start!(config: [{"rename-command", ["PSYNC", "Xk3"]}])
    redis = Server.connect!(server)
    Redix.command!(redis, ["SET", "k", "v"])

    options = [
      host: "127.0.0.1",
      port: Server.port(server),
      psync_command: "Xk3",
      callback_module: Recorder,
      callback_opts: %{to: self()}
    ]

    handler = start_supervised!({Replica, options})
    assert_receive {:recorded, ^handler, {:commands, [command]}}, 20_000
    assert command.command == {:set, "k", "v"}
    assert_receive {:recorded, ^handler, :streaming_start}, 20_000
    info = Redix.command!(redis, ["INFO", "replication"])
    [_, replication_id] = Regex.run(~r/master_replid:(\w+)/, info)
    assert {^replication_id, offset, 0} = Replica.get_position(handler)
    # What the full sync holds is at the offset that the file names.
    assert command.offset in 0..offset
  end

  test "a function for the name that fails is told, and neither it nor the name is shown" do
    for function <- [fn _address -> :not_a_name end, fn _address -> raise "Xk3" end] do
      id = start!(1, psync_command: function)
      assert Veidrodelis.await_ready(id, 20_000) == {:error, :bad_psync_command}
    end

    options = Vdr.Options.validate!([host: "h", psync_command: "Xk3"], :mirror)
    refute inspect(options) =~ "Xk3"
    refute inspect(Map.from_struct(options)) =~ "Xk3"
    message = Exception.message(catch_error(Vdr.Options.validate!([psync_command: ["Xk3"]], :mirror)))
    refute message =~ "Xk3"
    assert message =~ "option :psync_command of Veidrodelis takes a string"
  end

  test "Kvrocks, Tendis and another command behind the name are told at once" do
    for {reply, code} <- [
          {"-ERR value is not an unsigned long long or out of range\r\n", :other_replication},
          {"-ERR:18,msg:not supported\r\n", :other_replication},
          {"-ERR wrong number of arguments for 'psync' command\r\n", :not_psync},
          {"-ERR wrong number of arguments for 'sync' command\r\n", :not_psync}
        ] do
      id = start!(psync_answered(reply), [])
      assert Veidrodelis.await_ready(id, 20_000) == {:error, code}
    end
  end

  test "an active replica of KeyDB is told, by its answer and by its stream" do
    port =
      FakeServer.primary!(fn
        "REPLCONF capa" <> _name -> "+OK active-replica\r\n"
        _agreed -> "+OK\r\n"
      end)

    assert Veidrodelis.await_ready(start!(port, []), 20_000) == {:error, :active_replication}

    file = <<"REDIS0011", 0xFF, 0::64>>
    wrapped = Redix.pack(["RREPLAY", "f6bd2e5a-0000-4000-8000-000000000001", Redix.pack(["SET", "k", "v"]), "0", "1"])
    begun = ["+FULLRESYNC ", String.duplicate("a", 40), " 0\r\n$", Integer.to_string(byte_size(file)), "\r\n", file]
    id = start!(psync_answered(IO.iodata_to_binary([begun, wrapped])), [])
    :ok = Veidrodelis.subscribe(id)
    assert_receive {:veidrodelis, ^id, :disconnected, %{reason: :active_replication, refused: true}}, 20_000
    assert Veidrodelis.info(id, :unknown_commands) == %{}
  end

  test "a server that closes at a command is told with the command, from the third time on as a refusal" do
    port =
      FakeServer.primary!(fn
        "REPLCONF capa psync2" -> {:last, ""}
        _agreed -> "+OK\r\n"
      end)

    id = start!(port, [])
    assert Veidrodelis.await_ready(id, 20_000) == {:error, :closed_in_handshake}

    assert %{attempts: attempts, last_error: {:closed_in_handshake, "after REPLCONF capa psync2"}} =
             Veidrodelis.info(id)

    assert attempts >= 3
  end

  test "a proxy without a server behind it is no refusal, however often it closes" do
    port = FakeServer.primary!(fn _anything -> {:last, ""} end)
    id = start!(port, [])
    assert Veidrodelis.await_ready(id, 1_000) == {:error, :timeout}
    last_error = fn -> Veidrodelis.info(id, :last_error) end
    Mirror.eventually("why", last_error, fn -> last_error.() == {:closed_in_handshake, "after PING"} end)
  end

  for binary <- Server.available() do
    @tag binary: binary
    test "#{binary.name}: a Sentinel's port is told from a server's", %{binary: binary} do
      server = Server.start!(binary: binary)
      sentinel = Sentinels.sentinel!(binary, Server.port(server))
      id = start!(Server.port(sentinel), [])
      assert Veidrodelis.await_ready(id, 20_000) == {:error, :sentinel_port}
    end
  end
end
