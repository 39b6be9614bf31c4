defmodule Vdr.Live.WatchNodeTest do
  # Watchers on another node. This node has a name meanwhile, so nothing else may run.
  use Vdr.Test.LiveCase

  alias Vdr.WatchEvent.{Missed, Update}

  setup_all do
    {_text, 0} = System.cmd("epmd", ["-daemon"])
    Application.put_env(:kernel, :inet_dist_use_interface, {127, 0, 0, 1})
    {:ok, _pid} = :net_kernel.start([:"vdr_watch_#{System.unique_integer([:positive])}@127.0.0.1", :longnames])
    on_exit(fn -> :net_kernel.stop() end)
  end

  # A node that knows nothing of this library.
  setup do
    name = :peer.random_name()
    {:ok, peer, node} = :peer.start_link(%{name: name, host: ~c"127.0.0.1", longnames: true, wait_boot: 60_000})
    %{peer: peer, node: node}
  end

  # A process there that reads nothing, and one that passes what it gets on to this test.
  defp sleeper(node), do: :erpc.call(node, :erlang, :spawn, [:timer, :sleep, [:infinity]])

  defp waiting(pid) do
    {:message_queue_len, waiting} = :erpc.call(node(pid), :erlang, :process_info, [pid, :message_queue_len])
    waiting
  end

  defp messages(pid) do
    {:messages, messages} = :erpc.call(node(pid), :erlang, :process_info, [pid, :messages])
    messages
  end

  live_test "a process of another node is bounded, and what it misses is counted", %{redis: redis, id: id, node: node} do
    there = sleeper(node)
    assert Veidrodelis.watch(id, 0, "k", :ref, to: there, max_pending: 50) == :ok
    assert Veidrodelis.watch(id, 0, "k", :ref, to: there) == {:error, :already_registered}

    Redix.command!(redis, ["SET", "k", "first"])
    Mirror.eventually("it hears", fn -> match?([{:ref, %Update{command: {:set, "k", "first"}}}], messages(there)) end)
    Redix.pipeline!(redis, for(n <- 1..1000, do: ["SET", "k", "#{n}"]))
    Mirror.settle(id, redis)
    Mirror.eventually("it is sent what it has room for", fn -> waiting(there) == 50 end)
    Process.sleep(300)
    assert waiting(there) == 50

    # Nothing is lost but what is counted: a reader there gets all of the rest.
    there_reading = reader(node)
    assert Veidrodelis.watch_prefix(id, 0, "k", :all, to: there_reading, max_pending: 50) == :ok
    Redix.pipeline!(redis, for(n <- 1..3000, do: ["SET", "k", "#{n}"]))
    Mirror.settle(id, redis)
    assert collect(0) == 3000

    assert Veidrodelis.unwatch(id, 0, "k", to: there) == :ok
    assert Veidrodelis.unwatch(id, 0, "k", to: there) == {:error, :not_found}
    assert Veidrodelis.unwatch_prefix(id, 0, "k", to: there_reading) == :ok
    assert Veidrodelis.info(id).watches == 0
  end

  live_test "a process of another node acknowledges, and is bounded by that", %{redis: redis, id: id, node: node} do
    there = reader(node)
    # On the other node: it asks the node of the instance.
    ack = fn count, pid ->
      :erpc.call(node, :erpc, :call, [node(), Veidrodelis, :ack, [id, count, [to: pid]]])
    end

    assert ack.(1, there) == {:error, :not_found}
    assert Veidrodelis.watch(id, 0, "k", :all, to: there, ack: true, max_pending: 10) == :ok
    Redix.pipeline!(redis, for(n <- 1..30, do: ["SET", "k", "#{n}"]))
    Mirror.settle(id, redis)
    for n <- 1..10, do: passed_on!("#{n}")
    # Half of them have to be acknowledged first.
    assert ack.(4, there) == :ok
    refute_receive {:passed_on, _event}, 100
    assert ack.(1, there) == :ok
    assert_receive {:passed_on, {:all, %Missed{count: 20}}}, 5000
    Redix.command!(redis, ["SET", "k", "more"])
    passed_on!("more")

    # Whoever acknowledges in time misses nothing, however much it is.
    assert ack.(7, there) == :ok

    for n <- 1..50 do
      Redix.pipeline!(redis, for(m <- 1..10, do: ["SET", "k", "#{n}:#{m}"]))
      for m <- 1..10, do: passed_on!("#{n}:#{m}")
      assert ack.(10, there) == :ok
    end

    assert ack.(1, sleeper(node)) == {:error, :not_found}
    assert Veidrodelis.unwatch(id, 0, "k", to: there) == :ok
    assert ack.(1, there) == {:error, :not_found}
  end

  live_test "its watches end with it and with its node", %{redis: redis, id: id, node: node, peer: peer} do
    [one, other] = [sleeper(node), sleeper(node)]
    for pid <- [one, other], key <- ["a", "b"], do: :ok = Veidrodelis.watch(id, 0, key, :ref, to: pid)
    assert Veidrodelis.info(id).watches == 4
    Process.exit(one, :kill)
    Mirror.eventually("its watches are gone", fn -> Veidrodelis.info(id).watches == 2 end)
    :peer.stop(peer)
    Mirror.eventually("all watches are gone", fn -> Veidrodelis.info(id).watches == 0 end)
    Redix.command!(redis, ["SET", "a", "1"])
    Mirror.settle(id, redis)
  end

  # A process there that passes on what it gets.
  defp reader(node) do
    :erpc.call(node, :code, :load_binary, load_reader())
    :erpc.call(node, :erlang, :spawn, [Vdr.Test.RemoteReader, :loop, [self()]])
  end

  defp load_reader do
    {module, binary, file} = :code.get_object_code(Vdr.Test.RemoteReader)
    [module, file, binary]
  end

  # The next event is that of this write.
  defp passed_on!(value) do
    assert_receive {:passed_on, {:all, event}}, 5000
    assert %Update{command: {:set, "k", ^value}} = event
  end

  defp collect(count) when count >= 3000, do: count

  defp collect(count) do
    receive do
      {:passed_on, {:all, %Update{}}} -> collect(count + 1)
      {:passed_on, {:all, %Missed{count: missed}}} -> collect(count + missed)
    after
      10_000 -> count
    end
  end
end
