defmodule Vdr.LinkFaultsTest do
  # Faults of the data that come again with each full sync.
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias Vdr.Link.Faults
  alias Vdr.Test.FakeServer

  @file_bytes File.read!("test/fixtures/small.rdb")

  test "the pauses behind contradictions double beyond every delay of the options" do
    {pauses, faults} =
      Enum.map_reduce(1..40, Faults.new(), fn n, faults ->
        assert {:soon, faults} = Faults.note(faults, :diverged, :soon, 10)
        assert Faults.contradictions(faults) == n
        {faults.pause_ms, faults}
      end)

    for {pause_ms, n} <- Enum.with_index(Enum.take(pauses, 20)) do
      assert pause_ms in (750 * 2 ** n)..(1000 * 2 ** n)
    end

    assert Enum.max(pauses) <= 4_294_967_295
    # A timeout of a process takes it.
    assert is_reference(:erlang.start_timer(faults.pause_ms, self(), :never))
  end

  test "a link that has streamed for as long as the last pause makes the next contradiction the first" do
    contradict = fn faults, streamed_ms -> elem(Faults.note(faults, :diverged, :soon, streamed_ms), 1) end
    third = Enum.reduce(1..3, Faults.new(), fn _n, faults -> contradict.(faults, 10) end)
    assert Faults.contradictions(contradict.(third, 59_999)) == 4
    assert Faults.contradictions(contradict.(third, 60_000)) == 1

    tenth = Enum.reduce(1..10, Faults.new(), fn _n, faults -> contradict.(faults, 10) end)
    assert Faults.contradictions(contradict.(tenth, 60_000)) == 11

    {:soon, cut} = Faults.note(tenth, :closed, :soon, 600_000)
    assert Faults.contradictions(cut) == 0
  end

  test "a file that is refused twice in a row for the same reason is a refusal" do
    assert {:soon, faults} = Faults.note(Faults.new(), :rdb_corrupt, :soon, nil)
    assert {:slowly, _faults} = Faults.note(faults, :rdb_corrupt, :soon, nil)
    assert {:soon, _faults} = Faults.note(faults, :rdb_checksum, :soon, nil)
    # An attempt that met no file says nothing about it, and one that streamed had a good file.
    assert {:soon, refused} = Faults.note(faults, :refused_connection, :soon, nil)
    assert {:slowly, _faults} = Faults.note(refused, :rdb_corrupt, :soon, nil)
    assert {:soon, streamed} = Faults.note(faults, :closed, :soon, 10)
    assert {:soon, _faults} = Faults.note(streamed, :rdb_corrupt, :soon, nil)
    # Connections end again and again without any fault of the data.
    assert {:soon, closed} = Faults.note(Faults.new(), :closed, :soon, nil)
    assert {:soon, _faults} = Faults.note(closed, :closed, :soon, nil)
  end

  test "await_ready says which file was refused again and again" do
    damaged = binary_part(@file_bytes, 0, byte_size(@file_bytes) - 1) <> <<:binary.last(@file_bytes) + 1>>
    id = start(primary(damaged, ""))

    capture_log(fn ->
      assert {:error, reason} = Veidrodelis.await_ready(id, 20_000)
      assert reason == :rdb_checksum
    end)
  end

  test "a contradiction that comes again is announced, and waits longer than the options say" do
    id = {:test, System.unique_integer([:positive])}
    Veidrodelis.subscribe(id)
    lpush = "*3\r\n$5\r\nLPUSH\r\n$1\r\na\r\n$1\r\nx\r\n"

    log =
      capture_log(fn ->
        start(primary(@file_bytes, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n" <> lpush), id)
        assert 1 = contradictions(id)
        assert 2 = contradictions(id)
        # A subscriber is told before the line is written. The link ends when it has written it.
        stop_supervised!({Veidrodelis, id})
      end)

    assert log =~ "contradiction 2 in a row"
  end

  defp contradictions(id) do
    assert_receive {:veidrodelis, ^id, :disconnected, %{reason: :diverged} = details}, 10_000
    assert details.retry_in_ms >= 750 * 2 ** (details.contradictions - 1)
    details.contradictions
  end

  defp start(port, id \\ {:test, System.unique_integer([:positive])}) do
    delays = [reconnect_delay_ms: 0, max_reconnect_delay_ms: 10]
    start_supervised!({Veidrodelis, [id: id, host: "127.0.0.1", port: port] ++ delays})
    id
  end

  # A primary that sends a file, and then these commands at once.
  defp primary(file, stream) do
    FakeServer.primary!(fn
      "PING" -> "+PONG\r\n"
      "REPLCONF ACK" <> _ -> ""
      "REPLCONF" <> _ -> "+OK\r\n"
      "PSYNC" <> _ -> "+FULLRESYNC #{String.duplicate("a", 40)} 0\r\n$#{byte_size(file)}\r\n" <> file <> stream
      _other -> "-ERR unknown command\r\n"
    end)
  end
end
