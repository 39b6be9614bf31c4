defmodule Vdr.LinkTest do
  # Links of the native library whose processes die at the worst moments.
  use ExUnit.Case, async: true

  alias Vdr.Native
  alias Vdr.Test.{FakeServer, Mirror}

  defp config(port) do
    %{
      label: "test",
      host: "127.0.0.1",
      port: port,
      socket: nil,
      tls: nil,
      username: nil,
      password: nil,
      role: :ask,
      sync_by: :auto,
      psync_command: nil,
      ack: :truthful,
      announce_port: 70_000,
      connect_timeout_ms: 5_000,
      read_timeout_ms: 60_000,
      ack_interval_ms: 1_000,
      stop_on_unknown_command: false,
      max_string_bytes: nil,
      keep_below: 0.0
    }
  end

  # Busy, since a timer is too coarse.
  defp spin(microseconds) do
    until = System.monotonic_time(:microsecond) + microseconds
    Stream.repeatedly(fn -> System.monotonic_time(:microsecond) end) |> Enum.find(&(&1 >= until))
  end

  test "a link whose process dies while the link starts does not live on" do
    test = self()

    port =
      FakeServer.start!(fn socket ->
        send(test, {:accepted, self()})
        # Until the link hangs up.
        {:error, :closed} = wait_for_end(socket)
      end)

    store = Native.store_new(nil, nil, nil)

    for round <- 1..400 do
      keeper = spawn(fn -> Process.sleep(:infinity) end)
      monitor = Process.monitor(keeper)

      spawn(fn ->
        spin(rem(round, 40) * 10)
        Process.exit(keeper, :kill)
      end)

      assert Native.link_start(store, config(port), keeper, make_ref()) in [:ok, {:error, :process_gone}]
      assert_receive {:DOWN, ^monitor, :process, ^keeper, _killed_or_gone}, 5_000
      # Not by the next link, which ends each that is before it. A link that lives on is connected
      # within a millisecond.
      status = fn -> Native.status(store) end
      Mirror.eventually("the link has ended", status, fn -> Enum.all?(1..3, fn _turn -> idle?(status) end) end)
    end

    :ok = Native.store_close(store)
  end

  defp idle?(status) do
    Process.sleep(1)
    not status.().connected
  end

  defp wait_for_end(socket) do
    case :gen_tcp.recv(socket, 0) do
      {:ok, _bytes} -> wait_for_end(socket)
      error -> error
    end
  end
end
