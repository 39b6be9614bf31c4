defmodule Vdr.InstancesTest do
  # What all instances share is killed here, so nothing else may run meanwhile.
  use ExUnit.Case

  @moduletag capture_log: true

  test "a crash of the registry costs no instance, and it still cleans up after them" do
    {:ok, pid} = Veidrodelis.start_link(id: :survivor, host: "127.0.0.1", port: 1)
    registry = Process.whereis(Vdr.Instances)
    monitor = Process.monitor(registry)
    Process.exit(registry, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^registry, :killed}

    assert Veidrodelis.get(:survivor, 0, "a") == {:error, :not_ready}
    wait_for(fn -> Process.whereis(Vdr.Instances) not in [nil, registry] end)
    assert {:error, {:already_started, ^pid}} = Veidrodelis.start_link(id: :survivor, port: 1)
    assert %{ready: false} = Veidrodelis.info(:survivor)
    assert Veidrodelis.stop(pid) == :ok
    assert Veidrodelis.get(:survivor, 0, "a") == {:error, :no_instance}
  end

  test "nobody's odd message ends it" do
    registry = Process.whereis(Vdr.Instances)

    for odd <- [:odd, nil, {:claim, 1}, {make_ref(), :late}, {:DOWN, 1, 2}] do
      assert GenServer.call(registry, odd) == {:error, :unknown_call}
      GenServer.cast(registry, odd)
      send(registry, odd)
    end

    assert Veidrodelis.await_ready(:nobody, 0) == {:error, :no_instance}
    assert Process.whereis(Vdr.Instances) == registry
  end

  test "nothing is kept of who waited for an instance that is gone" do
    {:ok, pid} = Veidrodelis.start_link(id: :waited_for, host: "127.0.0.1", port: 1)
    waiting = Task.async(fn -> Veidrodelis.await_ready(:waited_for, 100) end)
    wait_for(fn -> :sys.get_state(Vdr.Instances).waiting != %{} end)
    assert Veidrodelis.stop(pid) == :ok
    assert Task.await(waiting) == {:error, :no_instance}
    Process.sleep(200)
    assert :sys.get_state(Vdr.Instances).waiting == %{}
  end

  test "nothing is kept of who was killed while it waited" do
    {:ok, pid} = Veidrodelis.start_link(id: :waited_for, host: "127.0.0.1", port: 1)
    waiting = spawn(fn -> Veidrodelis.await_ready(:waited_for, :infinity) end)
    wait_for(fn -> :sys.get_state(Vdr.Instances).waiting != %{} end)
    Process.exit(waiting, :kill)
    wait_for(fn -> :sys.get_state(Vdr.Instances).waiting == %{} end)
    assert Veidrodelis.stop(pid) == :ok
  end

  test "an instance that was killed while the application was stopped leaves its id to the next" do
    Process.flag(:trap_exit, true)
    {:ok, pid} = Veidrodelis.start_link(id: :left_over, host: "127.0.0.1", port: 1)
    :ok = Application.stop(:veidrodelis)
    Process.exit(pid, :kill)
    assert_receive {:EXIT, ^pid, :killed}
    :ok = Application.start(:veidrodelis)
    registry = Process.whereis(Vdr.Instances)
    assert {:ok, next} = Veidrodelis.start_link(id: :left_over, host: "127.0.0.1", port: 1)
    assert %{ready: false, primary: {"127.0.0.1", 1}} = Veidrodelis.info(:left_over)
    assert Process.whereis(Vdr.Instances) == registry
    assert Veidrodelis.stop(next) == :ok
  end

  defp wait_for(check), do: check.() || (Process.sleep(5) && wait_for(check))
end
