defmodule Vdr.StoresTest do
  # These tests kill processes that all instances share, so nothing else may run meanwhile.
  use ExUnit.Case

  alias Vdr.RedisStream.Replica
  alias Vdr.Test.{FakeServer, Mirror, Recorder}

  @moduletag capture_log: true

  # Every process that all instances share.
  @shared [Vdr.Mirror.Stores, Vdr.Cleaner, Vdr.Watch.Sampler]

  defp crash(name) do
    pid = Process.whereis(name)
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
    Mirror.eventually("#{inspect(name)} is back", fn -> Process.whereis(name) not in [nil, pid] end)
  end

  defp link(id), do: Vdr.Reports.read({:mirror, id}).pid

  # A supervisor has the instances that Gleam starts, and no others.
  test "no other process is shared" do
    assert Enum.sort([Vdr.Unlinked | @shared]) ==
             Enum.sort(for {name, _, _, _} <- Supervisor.which_children(Vdr.Supervisor), do: name)
  end

  test "a crash of the process that owns the stores costs no instance, and it still cleans up after them" do
    {:ok, pid} = Veidrodelis.start_link(id: :survivor, host: "127.0.0.1", port: 1)
    crash(Vdr.Mirror.Stores)
    assert Veidrodelis.get(:survivor, 0, "a") == {:error, :not_ready}
    assert {:error, {:already_started, ^pid}} = Veidrodelis.start_link(id: :survivor, port: 1)
    assert %{ready: false} = Veidrodelis.info(:survivor)
    assert Veidrodelis.stop(pid) == :ok
    assert Veidrodelis.get(:survivor, 0, "a") == {:error, :no_instance}
  end

  test "an unexpected message does not end a shared process" do
    for name <- @shared, pid = Process.whereis(name) do
      for odd <- [:odd, nil, {:claim, 1}, {:watch, 1}, {make_ref(), :late}, {:DOWN, 1, 2}] do
        assert GenServer.call(pid, odd) == {:error, :unknown_call}
        GenServer.cast(pid, odd)
        send(pid, odd)
      end

      assert GenServer.call(pid, :still_there) == {:error, :unknown_call}
      assert Process.whereis(name) == pid
    end
  end

  test "a subscriber that does not trap exits outlives every shared process, and still gets events" do
    test = self()

    subscriber =
      spawn_link(fn ->
        :ok = Veidrodelis.subscribe(:followed)
        :ok = Veidrodelis.subscribe(:followed)
        send(test, :subscribed)
        forward(test)
      end)

    assert_receive :subscribed, 5000
    Enum.each(@shared, &crash/1)
    # No second attempt comes meanwhile.
    delays = [reconnect_delay_ms: 60_000, max_reconnect_delay_ms: 60_000]
    {:ok, _pid} = Veidrodelis.start_link([id: :followed, host: "127.0.0.1", port: 1] ++ delays)
    assert_receive {^subscriber, {:veidrodelis, :followed, :connecting, _details}}, 5000
    refute_received {^subscriber, {:veidrodelis, :followed, :connecting, _details}}
    :ok = Veidrodelis.stop(:followed)

    # The subscription ends with its process, also when the cleaner that monitored the process is
    # gone.
    Process.unlink(subscriber)
    Process.exit(subscriber, :kill)
    Mirror.eventually("the subscription is deleted", fn -> subscriber not in Vdr.Subscriptions.subscribers() end)
  end

  defp forward(test) do
    receive do
      message -> send(test, {self(), message})
    end

    forward(test)
  end

  test "a handler outlives every process but its own, and its report goes with it" do
    port = FakeServer.primary!(fn line -> if line == "PING", do: "+PONG\r\n", else: Process.sleep(:infinity) end)

    handler =
      start_supervised!(
        {Replica, host: "127.0.0.1", port: port, callback_module: Recorder, callback_opts: %{to: self()}}
      )

    assert_receive {:connected, ^port}, 5000
    Enum.each(@shared, &crash/1)
    link = Vdr.Reports.read({:handler, handler}).pid
    Process.exit(link, :kill)
    # Another process starts the next link.
    assert_receive {:connected, ^port}, 5000
    assert Vdr.Reports.read({:handler, handler}).pid not in [nil, link]
    assert Process.alive?(handler)
    refute_received {:recorded, ^handler, :destroy}
    :ok = stop_supervised(Vdr.RedisStream.Replica |> then(&{&1, Recorder}))
    Mirror.eventually("the report is deleted", fn -> not Vdr.Reports.exists?({:handler, handler}) end)
  end

  test "no trace remains of a process that waited for an instance" do
    {:ok, pid} = Veidrodelis.start_link(id: :waited_for, host: "127.0.0.1", port: 1)
    waiters = fn -> :waited_for |> link() |> :sys.get_state() |> elem(1) |> Map.fetch!(:waiters) end
    assert Veidrodelis.await_ready(:waited_for, 20) == {:error, :timeout}
    Mirror.eventually("who gave up is forgotten", fn -> waiters.() == %{} end)
    waiting = spawn(fn -> Veidrodelis.await_ready(:waited_for, :infinity) end)
    Mirror.eventually("it waits", fn -> waiters.() != %{} end)
    Process.exit(waiting, :kill)
    Mirror.eventually("who was killed is forgotten", fn -> waiters.() == %{} end)
    assert Veidrodelis.stop(pid) == :ok
  end

  test "the time of await_ready counts once, whatever is killed meanwhile" do
    {:ok, pid} = Veidrodelis.start_link(id: :waited_for, host: "127.0.0.1", port: 1)
    now = fn -> System.monotonic_time(:millisecond) end
    began = now.()
    waiting = Task.async(fn -> {Veidrodelis.await_ready(:waited_for, 2_000), now.()} end)

    kills =
      for _ <- 1..4 do
        Process.sleep(400)
        killed = now.()
        Enum.each(@shared, &crash/1)
        Process.exit(link(:waited_for), :kill)
        killed
      end

    {answer, ended} = Task.await(waiting, 30_000)
    assert answer == {:error, :timeout}
    assert ended - began >= 1_990
    # With a time that begins anew, it would have lasted for two seconds from the last kill on.
    assert ended - List.last(kills) < 2_000
    assert Veidrodelis.stop(pid) == :ok
  end

  describe "a stopped application" do
    setup do
      on_exit(fn -> {:ok, _} = Application.ensure_all_started(:veidrodelis) end)
    end

    test "answers that there is no instance, and no process of a user ends" do
      {:ok, pid} = Veidrodelis.start_link(id: :left_over, host: "127.0.0.1", port: 1, reconnect_delay_ms: 10)
      {:ok, watch} = Task.start_link(fn -> Veidrodelis.subscribe(:left_over) && Process.sleep(:infinity) end)

      {:ok, handler} =
        Replica.start_link(host: "127.0.0.1", port: 1, callback_module: Recorder, callback_opts: %{to: self()})

      Mirror.eventually("it is subscribed", fn -> watch in Vdr.Subscriptions.subscribers() end)
      {store, ^pid} = Vdr.Mirror.Stores.find(:left_over)
      :ok = Application.stop(:veidrodelis)

      for instance <- [:left_over, pid] do
        assert Veidrodelis.get(instance, 0, "a") == {:error, :no_instance}
        assert Veidrodelis.info(instance) == {:error, :no_instance}
        assert Veidrodelis.await_ready(instance, 10) == {:error, :no_instance}
        assert Veidrodelis.replication_state(instance) == {:error, :no_instance}
      end

      # The store is closed.
      assert Vdr.Native.watch(store, 0, {:key, "a"}, :ref, self(), {:command, 1, false, false}) == {:error, :not_found}
      assert_raise ArgumentError, ~r/does not run/, fn -> Veidrodelis.subscribe(:left_over) end
      assert Veidrodelis.unsubscribe(:left_over) == :ok
      Process.sleep(100)
      assert Enum.all?([pid, watch, handler], &Process.alive?/1)
      assert Replica.get_replication_state(handler) in [:init, :waiting]

      # The next start does not know the instance: its supervisor ends, and the handler continues.
      Process.flag(:trap_exit, true)
      :ok = Application.start(:veidrodelis)
      assert_receive {:EXIT, ^pid, {:link_ended, :application_restarted}}, 5000
      assert Veidrodelis.get(:left_over, 0, "a") == {:error, :no_instance}
      Mirror.eventually("the handler reports again", fn -> Vdr.Reports.exists?({:handler, handler}) end)
      :ok = Replica.stop(handler)
    end

    test "leaves the id of an instance to the next" do
      Process.flag(:trap_exit, true)
      {:ok, pid} = Veidrodelis.start_link(id: :left_over, host: "127.0.0.1", port: 1)
      :ok = Application.stop(:veidrodelis)
      :ok = Application.start(:veidrodelis)
      assert {:ok, next} = Veidrodelis.start_link(id: :left_over, host: "127.0.0.1", port: 1)
      assert_receive {:EXIT, ^pid, {:link_ended, :application_restarted}}, 5000
      assert %{ready: false, primary: {"127.0.0.1", 1}} = Veidrodelis.info(:left_over)
      assert Veidrodelis.stop(next) == :ok
    end
  end
end
