defmodule Vdr.Live.ExamplesTest do
  # The examples of the documents, unchanged except for the port.
  use Vdr.Test.LiveCase, async: true

  alias Vdr.Test.Guide

  live_test "a write is read from memory", %{port: port}, mirror: false do
    {:ok, vdr} = Veidrodelis.start_link(id: {:myid, port}, host: "localhost", port: port)
    {:ok, rdx} = Redix.start_link(host: "localhost", port: port)
    # A reader of the documents gives the first full sync some seconds; the test does not.
    :ok = Veidrodelis.await_ready({:myid, port})
    Redix.command!(rdx, ["SET", "user:123:name", "Alice"])

    # Where the document sleeps for a moment.
    Mirror.settle({:myid, port}, rdx)
    {:ok, "Alice"} = Veidrodelis.get({:myid, port}, 0, "user:123:name")

    Veidrodelis.stop(vdr)
    Redix.stop(rdx)
    assert {:error, :no_instance} = Veidrodelis.get({:myid, port}, 0, "user:123:name")
  end

  live_test "the first example of README.md runs", %{port: port}, mirror: false do
    [{line, code} | _] = Guide.blocks(File.read!("README.md"))
    code = code |> String.replace(":mirror", "{:readme, #{port}}") |> String.replace("6379", "#{port}")
    run = fn -> Code.eval_string(code, [], file: "README.md", line: line) end
    assert ExUnit.CaptureIO.capture_io(run) == "no write arrived\n"
    assert {:ok, nil} = Veidrodelis.get({:readme, port}, 0, "user:123:name")
    :ok = Veidrodelis.stop({:readme, port})
  end

  # Cell after cell, as Livebook's "evaluate all" runs them: without a pause between write and read.
  live_test "every cell of the tour runs, but the one that installs packages", %{port: port}, mirror: false do
    path = "docs/tour.livemd"
    [{_line, install} | cells] = Guide.blocks(File.read!(path))
    assert install =~ "Mix.install("

    {_value, binding} =
      Enum.reduce(cells, {nil, []}, fn {line, code}, {_value, binding} ->
        code = code |> String.replace(":mirror", "{:tour, #{port}}") |> String.replace("6379", "#{port}")
        Code.eval_string(code, binding, file: path, line: line)
      end)

    assert length(cells) > 10
    assert {:error, :no_instance} = Veidrodelis.get({:tour, port}, 0, "tour:name")
    assert [{:changed, _}, {:added, _}, {:removed, _}] = binding[:changes]
  end

  live_test "a list of reads sees one snapshot while writers race", %{server: server, redis: redis, id: id} do
    Redix.command!(redis, ["SET", "status", "ok"])
    Redix.command!(redis, ["RPUSH", "events", "0"])
    Mirror.settle(id, redis)
    writer = race(server)

    read = fn ->
      {:ok, results} = Veidrodelis.read_tx(id, 0, [{:lrange, "events", 0, -1}, {:llen, "events"}, {:get, "status"}])
      [{:ok, events}, {:ok, length}, {:ok, "ok"}] = results
      assert length == length(events)
      length
    end

    for _ <- 1..2_000, do: read.()
    # On a busy machine these reads may end before the writer's first write arrives.
    Mirror.eventually("the writer writes while we read", fn -> read.() > 1 end)
    for _ <- 1..2_000, do: read.()
    Task.shutdown(writer, :brutal_kill)
  end

  # Pushes and trims, so that the list stays short enough for thousands of reads.
  defp race(server) do
    test = self()

    task =
      Task.async(fn ->
        redis = Server.connect!(server)
        Redix.command!(redis, ["RPUSH", "events", "first"])
        send(test, :racing)

        for n <- Stream.iterate(1, &(&1 + 1)) do
          Redix.pipeline!(redis, [["RPUSH", "events", n], ["LTRIM", "events", -(rem(n, 50) + 1), -1]])
        end
        |> Stream.run()
      end)

    assert_receive :racing, 5_000
    task
  end

  live_test "a watch reports a write", %{redis: rdx, id: id} do
    Redix.command!(rdx, ["SET", "user:123:name", "Alice"])
    Mirror.settle(id, rdx)

    ref = make_ref()
    :ok = Veidrodelis.watch(id, 0, "user:123:name", ref)
    Mirror.settle_watches(id, rdx)
    assert {:error, :already_registered} = Veidrodelis.watch(id, 0, "user:123:name", ref)

    Redix.command!(rdx, ["SET", "user:123:name", "Bob"])

    assert_receive {^ref, %Vdr.WatchEvent.Update{command: {:set, "user:123:name", _}}}
    assert {:ok, "Bob"} = Veidrodelis.get(id, 0, "user:123:name")

    :ok = Veidrodelis.unwatch(id, 0, "user:123:name")
    assert {:error, :not_found} = Veidrodelis.unwatch(id, 0, "user:123:name")

    Redix.command!(rdx, ["SET", "user:123:name", "Carol"])
    Mirror.settle(id, rdx)
    refute_received {^ref, _event}
  end

  live_test "a watch makes a write synchronous", %{redis: redis, id: id} do
    ref = make_ref()
    :ok = Veidrodelis.watch(id, 0, "events_version", ref)

    for expected <- 1..200 do
      ["OK", "QUEUED", "QUEUED", [_, version]] =
        Redix.pipeline!(redis, [["MULTI"], ["LPUSH", "events", "myevent"], ["INCR", "events_version"], ["EXEC"]])

      assert version == expected
      assert :ok = wait_min_version(id, ref, "events_version", version)
      assert {:ok, length} = Veidrodelis.llen(id, 0, "events")
      assert length >= version
    end
  end

  defp wait_min_version(vdr_id, ref, key, min_version) do
    receive do
      {^ref, _command} ->
        {:ok, version} = Veidrodelis.get(vdr_id, 0, key)

        if String.to_integer(version) >= min_version do
          :ok
        else
          wait_min_version(vdr_id, ref, key, min_version)
        end
    after
      20_000 -> {:error, :timeout}
    end
  end
end
