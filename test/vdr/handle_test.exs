defmodule Vdr.HandleTest do
  # The three handles of an instance: its id, its pid, its registered name. Nothing listens at the
  # port.
  use ExUnit.Case, async: true

  @moduletag capture_log: true

  defp start!(options), do: start_supervised!({Veidrodelis, [host: "127.0.0.1", port: 1] ++ options})

  # Every function that takes an instance, and its result while there is nothing to read.
  @calls [
    {:get, [0, "a"], {:error, :not_ready}},
    {:read_tx, [0, []], {:error, :not_ready}},
    {:read_tx, [0, "return 1"], {:error, :not_ready}},
    {:digest, [], {:error, :not_ready}},
    {:digest_value, [0, "a"], {:error, :not_ready}}
  ]
  @of_instances [
    {:await_ready, [0], {:error, :timeout}},
    {:ready?, [], false},
    {:replication_state, [], nil},
    {:connected_to, [], {:error, :not_connected}},
    {:info, [], nil},
    {:info, [:ready], false},
    {:log_level, [], :info},
    {:log_level, [:info], :ok},
    {:snapshot, [], {:error, :not_ready}},
    {:watch, [0, "a", :ref], :ok},
    {:unwatch, [0, "a"], :ok},
    {:unwatch, [0, "a"], {:error, :not_found}},
    {:watch_prefix, [0, "a", :ref], :ok},
    {:unwatch_prefix, [0, "a"], :ok},
    {:unwatch_prefix, [0, "a"], {:error, :not_found}}
  ]

  defp answers!(handle, {name, args, expected}) do
    answer = apply(Veidrodelis, name, [handle | args])
    if expected != nil, do: assert({name, answer} == {name, expected})
    refute answer == {:error, :no_instance}
  end

  test "an id, a pid and each kind of registered name stand for an instance" do
    registry = start_supervised!({Registry, keys: :unique, name: :"registry of handles"})
    assert is_pid(registry)

    for name <- [:"a registered name", {:global, {:of, self()}}, {:via, Registry, {:"registry of handles", "n"}}] do
      id = make_ref()
      spec = Supervisor.child_spec({Veidrodelis, id: id, name: name, host: "127.0.0.1", port: 1}, restart: :temporary)
      pid = start_supervised!(spec)
      for handle <- [id, pid, name], call <- @calls ++ @of_instances, do: answers!(handle, call)
      assert id in Veidrodelis.list()
      assert Veidrodelis.stop(Enum.random([id, pid, name])) == :ok
      for handle <- [id, pid, name], do: assert(Veidrodelis.get(handle, 0, "a") == {:error, :no_instance})
      refute id in Veidrodelis.list()
    end
  end

  test "a handle without an instance returns :no_instance in every function, never a missing key" do
    nobody = [:nobody, nil, self(), spawn(fn -> :ok end), "text", 1, {:global, :nobody}, {:via, Registry, {:none, 1}}]
    odd = [{:via, :no_module, 1}, {:via, 1, 2}, {:nobody, node()}, %{}, []]

    for handle <- nobody ++ odd do
      for {name, args, _} <- @calls ++ @of_instances, name != :ready? do
        assert {name, apply(Veidrodelis, name, [handle | args])} == {name, {:error, :no_instance}}
      end

      refute Veidrodelis.ready?(handle)
      assert Veidrodelis.stop(handle) == :ok
      assert Veidrodelis.lua_load(handle, "return 1") == {:error, :no_instance}
      assert_raise Veidrodelis.Error, ~r/no such instance/, fn -> Veidrodelis.get!(handle, 0, "a") end
      assert_raise Veidrodelis.Error, ~r/no such instance/, fn -> Veidrodelis.snapshot!(handle) end
      assert_raise Veidrodelis.Error, ~r/no such instance/, fn -> Enum.to_list(Veidrodelis.stream_keys(handle, 0)) end
    end
  end

  test "a snapshot is refused by the functions that take an instance" do
    {:ok, snapshot} = Vdr.Snapshot.from_commands([])

    for {name, args, _} <- @of_instances ++ [{:stop, [], nil}, {:subscribe, [], nil}, {:unsubscribe, [], nil}] do
      assert_raise ArgumentError,
                   ~r/Veidrodelis\.#{Regex.escape(to_string(name))} takes an instance.*not a snapshot/,
                   fn ->
                     apply(Veidrodelis, name, [snapshot | args])
                   end
    end
  end

  test "an id comes before the name of another instance" do
    id = :"both an id and a name"
    start!(id: id)
    other = start!(id: {id, :other}, name: id)
    Veidrodelis.watch(other, 0, "a", :ref)
    assert Veidrodelis.info(id, :watches) == 0
    assert Veidrodelis.info(other, :watches) == 1
  end

  test "the pid of a killed supervisor stands for nothing when its successor has taken the store over" do
    id = make_ref()
    first = start!(id: id)
    monitor = Process.monitor(first)
    Process.exit(first, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^first, :killed}

    second =
      wait_for(fn -> Enum.find_value(Supervisor.which_children(test_supervisor()), &restarted(&1, id, first)) end)

    wait_for(fn -> Veidrodelis.info(second) != {:error, :no_instance} end)
    assert Veidrodelis.info(first) == {:error, :no_instance}
  end

  test "a subscription by pid or name subscribes to the id" do
    id = make_ref()
    name = :"name of a subscribed instance"
    pid = start!(id: id, name: name, reconnect_delay_ms: 10, max_reconnect_delay_ms: 10)
    for handle <- [pid, name, id], do: :ok = Veidrodelis.subscribe(handle)
    assert_receive {:veidrodelis, ^id, :connecting, %{}}, 5_000
    :ok = Veidrodelis.unsubscribe(name)
  end

  defp restarted({{Veidrodelis, id}, pid, _, _}, id, first) when is_pid(pid) and pid != first, do: pid
  defp restarted(_other, _id, _first), do: nil

  defp test_supervisor, do: ExUnit.fetch_test_supervisor() |> elem(1)

  defp wait_for(check), do: check.() || (Process.sleep(5) && wait_for(check))
end
