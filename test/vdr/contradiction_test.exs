defmodule Vdr.ContradictionTest do
  # A stream that contradicts the data, or contains an unknown command.
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias Vdr.Test.{FakeServer, Mirror}

  @file_bytes File.read!("test/fixtures/small.rdb")

  test "a contradiction is counted, keeps the served data, and leads to a full sync after a delay" do
    port = primary([~w(SET before 1), ~w(LPUSH before x), ~w(SET after 1)])

    log =
      capture_log(fn ->
        id = start(port, reconnect_delay_ms: 0, max_reconnect_delay_ms: 0)
        Mirror.eventually("a second full sync", fn -> Veidrodelis.info(id).full_syncs >= 2 end)
        assert %{divergences: divergences, full_syncs: full_syncs} = Veidrodelis.info(id)
        assert divergences in 1..full_syncs
        assert Veidrodelis.get(id, 0, "user:1:name") == {:ok, "Alice"}
        assert Veidrodelis.get(id, 0, "after") == {:ok, nil}
      end)

    assert log =~ "diverged, a command does not fit the data"
    connected = flush(port, 0)
    Process.sleep(1_500)
    assert flush(port, 0) <= 3, "after #{connected} links at first"
  end

  test "an unknown command is counted, and its name logged once" do
    port = primary([~w(FROB a), ~w(frob b), ~w(SET after 1)])

    log =
      capture_log(fn ->
        id = start(port)
        Mirror.eventually("the stream is applied", fn -> Veidrodelis.get(id, 0, "after") == {:ok, "1"} end)
        assert %{unknown_commands: %{"frob" => 2}, divergences: 0} = Veidrodelis.info(id)
        assert %{complete: false, unknown_values: 2} = Veidrodelis.info(id)
        assert Veidrodelis.get(id, 0, "a") == {:error, :unknown_value}
        assert_raise Veidrodelis.Error, fn -> Veidrodelis.get!(id, 0, "a") end
        Mirror.eventually("the message arrived", fn -> :sys.get_state(link(id)) |> inspect() =~ "frob" end)
      end)

    assert [_before, rest] = String.split(log, "unsupported command frob")
    assert rest =~ "reads of the keys that it names return :unknown_value"
  end

  test "an unknown command ends the link for good if the option says so" do
    port = primary([~w(SET after 1), ~w(FROB a)])

    capture_log(fn ->
      id = {:test, System.unique_integer([:positive])}
      start_supervised!({Veidrodelis, id: id, host: "127.0.0.1", port: port, on_unknown_command: :stop})
      Mirror.eventually("the link stops", fn -> Veidrodelis.replication_state(id) == :stopped end)
      assert %{last_error: {:unknown_command, "frob"}} = Veidrodelis.info(id)
      assert Veidrodelis.get(id, 0, "user:1:name") == {:ok, "Alice"}
    end)

    error = %Veidrodelis.Error{reason: {:unknown_command, "frob"}}
    assert Exception.message(error) =~ "frob"

    assert_raise ArgumentError, ~r/:on_unknown_command of Veidrodelis takes :continue or :stop/, fn ->
      Veidrodelis.start_link(id: :a, on_unknown_command: :explode)
    end
  end

  # A primary that sends a file, and then these commands at once.
  defp primary(commands) do
    stream =
      Enum.map_join(commands, fn words -> "*#{length(words)}\r\n" <> Enum.map_join(words, &FakeServer.bulk/1) end)

    file = "$#{byte_size(@file_bytes)}\r\n" <> @file_bytes

    FakeServer.primary!(fn
      "PING" -> "+PONG\r\n"
      "REPLCONF ACK" <> _ -> ""
      "REPLCONF" <> _ -> "+OK\r\n"
      "PSYNC" <> _ -> "+FULLRESYNC #{String.duplicate("a", 40)} 0\r\n" <> file <> stream
      _other -> "-ERR unknown command\r\n"
    end)
  end

  defp start(port, opts \\ []) do
    id = {:test, System.unique_integer([:positive])}
    start_supervised!({Veidrodelis, [id: id, host: "127.0.0.1", port: port] ++ opts})
    assert :ok = Veidrodelis.await_ready(id, 20_000)
    id
  end

  defp link(id) do
    {_store, supervisor} = Vdr.Mirror.Stores.find(id)
    {Vdr.Link, pid, _type, _modules} = List.keyfind(Supervisor.which_children(supervisor), Vdr.Link, 0)
    pid
  end

  defp flush(port, count) do
    receive do
      {:connected, ^port} -> flush(port, count + 1)
    after
      0 -> count
    end
  end
end
