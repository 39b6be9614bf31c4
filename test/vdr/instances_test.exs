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
    assert Veidrodelis.get(:survivor, 0, "a") == {:error, :not_found}
  end

  defp wait_for(check), do: check.() || (Process.sleep(5) && wait_for(check))
end
