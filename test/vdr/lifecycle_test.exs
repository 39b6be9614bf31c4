defmodule Vdr.LifecycleTest do
  # The lifecycle of an instance, as far as it is visible without a server: a port at which nothing
  # listens, or a listener that sends one reply. Real servers have their own tests.
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  @moduletag capture_log: true

  setup do
    %{id: make_ref(), port: Vdr.Test.Server.free_port()}
  end

  defp start!(options) do
    pid = start_supervised!({Veidrodelis, [host: "127.0.0.1"] ++ options})
    pid
  end

  # A server that answers every command with one reply.
  defp server_saying(reply) do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, ip: {127, 0, 0, 1}, active: false, reuseaddr: true])
    {:ok, port} = :inet.port(listener)
    start_supervised!({Task, fn -> serve(listener, reply) end})
    port
  end

  defp serve(listener, reply) do
    {:ok, socket} = :gen_tcp.accept(listener)
    answer(socket, reply)
    serve(listener, reply)
  end

  defp answer(socket, reply) do
    with {:ok, _bytes} <- :gen_tcp.recv(socket, 0), :ok <- :gen_tcp.send(socket, reply), do: answer(socket, reply)
  end

  defp link(pid) do
    {Vdr.Link, link, :worker, _} = pid |> Supervisor.which_children() |> List.keyfind(Vdr.Link, 0)
    link
  end

  defp eventually(check), do: Vdr.Test.Mirror.eventually("it comes", check)

  test "start_link returns at once, and reads return :not_ready", %{id: id, port: port} do
    pid = start!(id: id, port: port)
    assert is_pid(pid)
    assert Veidrodelis.get(id, 0, "a") == {:error, :not_ready}
    assert Veidrodelis.read_tx(id, 0, [{:get, "a"}]) == {:error, :not_ready}
    assert Veidrodelis.snapshot(id) == {:error, :not_ready}
    assert %{ready: false, stale: false, keys: %{}, primary: {"127.0.0.1", ^port}} = Veidrodelis.info(id)
  end

  test "a refused connection is tried again, and info reports the reason", %{id: id, port: port} do
    pid = start!(id: id, port: port, reconnect_delay_ms: 60_000, max_reconnect_delay_ms: 60_000)
    eventually(fn -> Veidrodelis.replication_state(id) == :waiting end)
    assert Veidrodelis.replication_state(pid) == :waiting
    assert Veidrodelis.connected_to(pid) == {:error, :not_connected}
    assert %{attempts: 1, last_error: {:connection_refused, _detail}, connected: false} = Veidrodelis.info(id)
  end

  test "attempts continue", %{id: id, port: port} do
    start!(id: id, port: port, reconnect_delay_ms: 1, max_reconnect_delay_ms: 5)
    eventually(fn -> Veidrodelis.info(id).attempts > 5 end)
  end

  test "without reconnect the first failure is final", %{id: id, port: port} do
    start!(id: id, port: port, reconnect: false)
    assert Veidrodelis.await_ready(id) == {:error, :connection_refused}
    eventually(fn -> Veidrodelis.replication_state(id) == :stopped end)
    assert Veidrodelis.info(id).attempts == 1
  end

  test "await_ready returns when its timeout expires", %{id: id, port: port} do
    start!(id: id, port: port)
    assert Veidrodelis.await_ready(id, 50) == {:error, :timeout}
    assert Veidrodelis.await_ready(id, 0) == {:error, :timeout}
  end

  test "an invalid timeout raises in the caller only", %{id: id, port: port} do
    start!(id: id, port: port)
    shared = Process.whereis(Vdr.Mirror.Stores)
    waiting = Task.async(fn -> Veidrodelis.await_ready(id, 200) end)

    for timeout <- [-1, 5000.0, "5000", nil, 4_294_967_296] do
      assert_raise ArgumentError, ~r/takes a timeout in ms/, fn -> Veidrodelis.await_ready(id, timeout) end
    end

    assert Task.await(waiting) == {:error, :timeout}
    assert Process.whereis(Vdr.Mirror.Stores) == shared
  end

  test "a pid stands for its instance wherever an id does", %{id: id, port: port} do
    pid = start!(id: id, port: port, reconnect: false)
    assert Veidrodelis.await_ready(pid) == {:error, :connection_refused}
    eventually(fn -> Veidrodelis.replication_state(pid) == :stopped end)
    assert %{state: :stopped, attempts: 1} = Veidrodelis.info(pid)
    assert Veidrodelis.connected_to(pid) == {:error, :not_connected}
    :ok = stop_supervised({Veidrodelis, id})

    for gone <- [pid, self(), id] do
      assert Veidrodelis.await_ready(gone) == {:error, :no_instance}
      assert Veidrodelis.info(gone) == {:error, :no_instance}
      assert Veidrodelis.replication_state(gone) == {:error, :no_instance}
      assert Veidrodelis.connected_to(gone) == {:error, :no_instance}
    end
  end

  test "a URL stands for options, alone and before others", %{id: id, port: port} do
    url = "redis://127.0.0.1:#{port}"
    assert %{primary: {"127.0.0.1", ^port}} = start_supervised!({Veidrodelis, {url, id: id}}) |> Veidrodelis.info()
    assert {:ok, pid} = Veidrodelis.start_link(url, id: {id, 2}, reconnect: false)
    assert %{primary: {"127.0.0.1", ^port}} = Veidrodelis.info({id, 2})
    assert Veidrodelis.stop(pid) == :ok

    assert %{id: {Veidrodelis, Veidrodelis}} = Veidrodelis.child_spec(url)
    assert %{id: {Veidrodelis, :a}, type: :supervisor} = Veidrodelis.child_spec({url, id: :a})
    assert_raise ArgumentError, ~r/:url.* and :host .*exclude/, fn -> Veidrodelis.start_link(url, host: "a") end

    for odd <- [:redis, nil, ~c"redis://a"],
        do: assert_raise(ArgumentError, fn -> Veidrodelis.start_link(odd, id: id) end)

    for odd <- [nil, %{}, [:a]], do: assert_raise(ArgumentError, fn -> Veidrodelis.start_link(url, odd) end)
    for odd <- ["http://a", "", :a, {url, :a}], do: assert_raise(ArgumentError, fn -> Veidrodelis.child_spec(odd) end)
  end

  test "a supervisor may restart and shut an instance down in another way", %{id: id, port: port} do
    spec = Supervisor.child_spec({Veidrodelis, id: id, port: port}, restart: :temporary, shutdown: 10_000)
    assert %{restart: :temporary, shutdown: 10_000, id: {Veidrodelis, ^id}} = spec
    pid = start_supervised!(spec)
    assert Veidrodelis.stop(pid) == :ok
    assert Veidrodelis.info(id) == {:error, :no_instance}
  end

  test "the id is Veidrodelis where none is given, and functions without an argument mean it", %{port: port} do
    for name <- [:info, :replication_state, :connected_to, :await_ready, :snapshot] do
      assert apply(Veidrodelis, name, []) == {:error, :no_instance}
    end

    refute Veidrodelis.ready?()
    start!(port: port, reconnect: false)
    assert Veidrodelis in Veidrodelis.list()
    assert %{ready: false} = Veidrodelis.info()
    assert Veidrodelis.await_ready() == {:error, :connection_refused}
    assert Veidrodelis.connected_to() == {:error, :not_connected}
    assert Veidrodelis.snapshot() == {:error, :not_ready}
    assert Veidrodelis.get(Veidrodelis, 0, "a") == {:error, :not_ready}
    refute Veidrodelis.ready?()
    assert Veidrodelis.subscribe() == :ok
    assert Veidrodelis.unsubscribe() == :ok
  end

  test "info by keys: one value, a map of several, and no estimate of memory unless asked", %{id: id, port: port} do
    pid = start!(id: id, port: port)
    {:ok, specs} = Code.Typespec.fetch_types(Veidrodelis)
    {:info, {:type, _, :map, fields}, []} = Enum.find_value(specs, fn {:type, t} -> elem(t, 0) == :info && t end)
    typed = for {:type, _, :map_field_exact, [{:atom, _, key}, _type]} <- fields, do: key
    assert Enum.sort(typed) == Enum.sort(Map.keys(Veidrodelis.info(id)))

    assert Veidrodelis.info(id, :ready) == false
    assert Veidrodelis.info(pid, [:ready, :watches]) == %{ready: false, watches: 0}
    assert Veidrodelis.info(id, []) == %{}
    assert Veidrodelis.info(id, :memory_bytes) >= 0
    assert %{memory_bytes: bytes, ready: false} = Veidrodelis.info(id, [:memory_bytes, :ready])
    assert is_integer(bytes)

    for odd <- [:nope, nil, [:ready, :nope], "ready", 1, [ready: 1], [:ready | :nope]] do
      assert_raise ArgumentError, ~r/Veidrodelis.info takes the keys/, fn -> Veidrodelis.info(id, odd) end
    end
  end

  test "the old names of two functions are deprecated and do the same", %{id: id, port: port} do
    start!(id: id, port: port, reconnect: false)
    assert Veidrodelis.await_ready(id) == {:error, :connection_refused}
    # Called by `apply/3`, since the compiler warns of them.
    assert apply(Veidrodelis, :get_connected_to, [id]) == {:error, :not_connected}
    eventually(fn -> apply(Veidrodelis, :get_replication_state, [id]) == :stopped end)
    deprecated = Keyword.keys(Veidrodelis.__info__(:deprecated) |> Enum.map(fn {{name, _}, text} -> {name, text} end))
    assert Enum.sort(deprecated) == [:get_connected_to, :get_replication_state]
  end

  test "await_ready returns when the instance ends", %{id: id, port: port} do
    start!(id: id, port: port)
    waiting = Task.async(fn -> Veidrodelis.await_ready(id, :infinity) end)
    Process.sleep(20)
    :ok = stop_supervised({Veidrodelis, id})
    assert Task.await(waiting) == {:error, :no_instance}
  end

  test "a wrong password ends the wait, and is tried again rarely", %{id: id} do
    port = server_saying("-WRONGPASS invalid username-password pair or user is disabled.\r\n")
    log = capture_log(fn -> start!(id: id, port: port, password: "secret") && Veidrodelis.await_ready(id) end)
    assert Veidrodelis.await_ready(id) == {:error, :wrong_password}
    assert {:wrong_password, detail} = Veidrodelis.info(id).last_error
    refute detail =~ "secret"
    assert log =~ "wrong_password"
    refute log =~ "secret"
    assert Veidrodelis.info(id).attempts == 1
  end

  test "a server that is not Redis is reported as such", %{id: id} do
    start!(id: id, port: server_saying("HTTP/1.1 400 Bad Request\r\n\r\n"))
    assert Veidrodelis.await_ready(id) == {:error, :not_redis}
  end

  test "an id is taken once", %{id: id, port: port} do
    pid = start!(id: id, port: port)
    assert Veidrodelis.start_link(id: id, port: port) == {:error, {:already_started, pid}}
    assert Veidrodelis.start_link(id: id, port: port, name: :other_name) == {:error, {:already_started, pid}}
  end

  test "a name is registered", %{id: id, port: port} do
    pid = start!(id: id, port: port, name: :"vdr name #{port}")
    assert Process.whereis(:"vdr name #{port}") == pid
  end

  test "two instances fit one supervisor", %{id: id, port: port} do
    children = [{Veidrodelis, id: id, port: port}, {Veidrodelis, id: {id, 2}, port: port}]
    {:ok, supervisor} = Supervisor.start_link(children, strategy: :one_for_one)
    assert Veidrodelis.get({id, 2}, 0, "a") == {:error, :not_ready}
    Supervisor.stop(supervisor)
    eventually(fn -> Veidrodelis.get(id, 0, "a") == {:error, :no_instance} end)
  end

  test "stop takes an id or a pid, more than once, and frees the id at once", %{id: id, port: port} do
    {:ok, pid} = Veidrodelis.start_link(id: id, port: port)
    assert Veidrodelis.stop(id) == :ok
    refute Process.alive?(pid)
    assert Veidrodelis.get(id, 0, "a") == {:error, :no_instance}
    assert Veidrodelis.stop(id) == :ok

    {:ok, pid} = Veidrodelis.start_link(id: id, port: port)
    assert Veidrodelis.stop(pid) == :ok
    assert Veidrodelis.stop(pid) == :ok
    assert {:ok, pid} = Veidrodelis.start_link(id: id, port: port)
    assert Veidrodelis.stop(pid) == :ok
  end

  test "a killed instance leaves nothing behind, and its supervisor starts another", %{id: id, port: port} do
    pid = start!(id: id, port: port)
    Process.exit(pid, :kill)

    eventually(fn ->
      case Vdr.Mirror.Stores.find(id) do
        {_store, new} -> new != pid and Process.alive?(new)
        nil -> false
      end
    end)
  end

  test "a killed link is replaced, with the same store and the same watches", %{id: id, port: port} do
    pid = start!(id: id, port: port)
    :ok = Veidrodelis.watch(id, 0, "a", make_ref())
    {store, ^pid} = Vdr.Mirror.Stores.find(id)
    killed = link(pid)
    Process.exit(killed, :kill)
    eventually(fn -> is_pid(link(pid)) and link(pid) != killed end)
    assert {^store, ^pid} = Vdr.Mirror.Stores.find(id)
    assert Veidrodelis.info(id).watches == 1
  end

  describe "watches" do
    setup %{id: id, port: port} do
      start!(id: id, port: port)
      :ok
    end

    test "are counted, and a key is watched once by a process", %{id: id} do
      assert Veidrodelis.watch(id, 0, "a", :x) == :ok
      assert Veidrodelis.watch(id, 0, "a", :y) == {:error, :already_registered}
      assert Veidrodelis.watch(id, 1, "a", :x) == :ok
      assert Task.await(Task.async(fn -> Veidrodelis.watch(id, 0, "a", :x) end)) == :ok
      assert Veidrodelis.unwatch(id, 0, "a") == :ok
      assert Veidrodelis.unwatch(id, 0, "a") == {:error, :not_found}
      assert Veidrodelis.watch(id, 0, "a", :z) == :ok
      assert Veidrodelis.unwatch(id, 0, "a") == :ok
      assert Veidrodelis.unwatch(id, 1, "a") == :ok
      assert Veidrodelis.unwatch(id, 1, "a") == {:error, :not_found}
    end

    test "end with the process, all of them, and only its own", %{id: id} do
      :ok = Veidrodelis.watch(id, 0, "mine", :x)

      {watcher, monitor} =
        spawn_monitor(fn ->
          for n <- 1..1000, do: :ok = Veidrodelis.watch(id, 0, "key:#{n}", :x)
          receive do: (:end -> :ok)
        end)

      eventually(fn -> Veidrodelis.info(id).watches == 1001 end)
      send(watcher, :end)
      assert_receive {:DOWN, ^monitor, :process, ^watcher, :normal}
      eventually(fn -> Veidrodelis.info(id).watches == 1 end)
      assert Veidrodelis.unwatch(id, 0, "mine") == :ok
    end

    test "of an invalid key are refused", %{id: id} do
      assert_raise ArgumentError, ~r/Veidrodelis.watch takes/, fn -> Veidrodelis.watch(id, 0, :a, :x) end
      assert_raise ArgumentError, ~r/Veidrodelis.watch takes/, fn -> Veidrodelis.watch(id, -1, "a", :x) end
      assert_raise ArgumentError, ~r/Veidrodelis.unwatch takes/, fn -> Veidrodelis.unwatch(id, 0, nil) end
    end
  end
end
