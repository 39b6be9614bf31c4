defmodule Vdr.Test.PevensieContract do
  @moduledoc """
  What Pevensie asks of a cache driver, and what this one adds, as rows. `use` it in a test case:
  each row is a test on each server. `driver:` is a function of `Vdr.Test.Pevensie` that makes
  drivers.
  """

  import ExUnit.Assertions

  alias Vdr.Test.{FakeServer, Mirror, Proxy, Server}
  alias Vdr.Test.Pevensie, as: P

  @rows [
    connecting: "connect and disconnect, each once, twice, and again",
    values: "any text comes back as it was, under the key that other programs know",
    times_to_live: "a time to live ends a value, replaces an older one, and is cleared by a set without one",
    odd_times_to_live: "a time to live of 0 and less deletes, and one that is too long is refused",
    deleting: "delete of what is there, and of what is not",
    other_types: "a value of another type is told apart, and set replaces it",
    no_text: "a value that is no UTF-8 is told at once",
    exchange: "what Pevensie's own driver writes is read here, and the other way round",
    restarts: "reads go on while the server is away, writes fail within the time, and both come back",
    stale_reads: "reads end with the link if they must not be stale",
    killed_links: "a link that is killed amid sets: what was Ok is there",
    dead_callers: "the process that connected may end; one that is killed while it connects leaves nothing",
    wrong_passwords: "a wrong password is told at once, shown nowhere, and leaves nothing",
    odd_configurations: "what makes no sense as a configuration is an error, and leaves nothing",
    silent_servers: "no call takes longer than its time",
    prefixes_and_databases: "a prefix and a database limit what is written and what is mirrored",
    refusals: "what the server refuses is its error",
    few_permissions: "a user with few permissions is enough",
    running_mirrors: "a driver on a mirror of the application leaves it running"
  ]

  def rows, do: @rows

  defmacro __using__(driver: driver) do
    quote location: :keep do
      for binary <- Vdr.Test.Server.available(), {row, title} <- Vdr.Test.PevensieContract.rows() do
        @tag binary: binary, live: [mirror: false], row: row
        test "#{binary.name}: #{title}", context do
          new = &apply(Vdr.Test.Pevensie, unquote(driver), [&1])
          apply(Vdr.Test.PevensieContract, context.row, [Map.put(context, :new, new)])
        end
      end
    end
  end

  # ---- the rows

  def connecting(context) do
    cache = new(context)
    assert P.get(cache, "t", "k") == {:error, {:get_driver_error, :not_running}}
    assert P.disconnect(cache) == {:error, :not_connected}

    connected = connect!(cache)
    assert P.connect(connected) == {:error, :already_connected}
    assert P.get(connected, "t", "k") == {:error, :got_too_few_records}

    assert {:ok, disconnected} = P.disconnect(connected)
    assert P.disconnect(disconnected) == {:error, :not_connected}
    # Somebody may have kept the connected value.
    assert P.disconnect(connected) == {:error, :not_connected}
    assert P.get(connected, "t", "k") == {:error, {:get_driver_error, :not_running}}
    assert P.set(connected, "t", "k", "v", :none) == {:error, {:set_driver_error, :not_running}}
    assert P.delete(connected, "t", "k") == {:error, {:delete_driver_error, :not_running}}
    nobody_connected(context)

    again = connect!(disconnected)
    assert P.set(again, "t", "k", "v", :none) == {:ok, nil}
    assert P.get(again, "t", "k") == {:ok, "v"}
    # The value of the first time is not connected, so it may connect, too; the two share nothing.
    other = connect!(connected)
    assert {:ok, _} = P.disconnect(again)
    assert P.get(other, "t", "k") == {:ok, "v"}
    assert {:ok, _} = P.disconnect(other)
    nobody_connected(context)
  end

  def values(%{redis: redis} = context) do
    cache = connect!(new(context))
    large = String.duplicate("v", 1_000_000)
    texts = ["", "v", "0", "žuvis 🐟", <<0>>, "a\r\nb", ":", "$-1\r\n", large, String.duplicate("ž", 500_000)]

    for value <- texts do
      assert P.set(cache, "text", "k", value, :none) == {:ok, nil}
      assert P.get(cache, "text", "k") == {:ok, value}
      assert Redix.command!(redis, ["GET", "text:k"]) == value
    end

    for resource_type <- ["", "user", "a:b", ":", "ž"], key <- ["", "7", "a:b", ":", <<0>>, "ž", "*"] do
      value = "#{resource_type}/#{key}"
      assert P.set(cache, resource_type, key, value, :none) == {:ok, nil}
      assert P.get(cache, resource_type, key) == {:ok, value}
      assert Redix.command!(redis, ["GET", "#{resource_type}:#{key}"]) == value
    end

    # As with their driver, the two parts are not kept apart.
    assert P.set(cache, "a:b", "c", "one", :none) == {:ok, nil}
    assert P.get(cache, "a", "b:c") == {:ok, "one"}
  end

  def times_to_live(%{redis: redis} = context) do
    cache = connect!(new(context))
    assert P.set(cache, "t", "short", "v", {:some, 4}) == {:ok, nil}
    assert P.set(cache, "t", "shorter", "v", {:some, 100}) == {:ok, nil}
    assert P.set(cache, "t", "shorter", "v", {:some, 4}) == {:ok, nil}
    assert P.set(cache, "t", "longer", "v", {:some, 1}) == {:ok, nil}
    assert P.set(cache, "t", "longer", "v", {:some, 100}) == {:ok, nil}
    assert P.set(cache, "t", "for ever", "v", {:some, 1}) == {:ok, nil}
    assert P.set(cache, "t", "for ever", "v", :none) == {:ok, nil}
    for key <- ["short", "shorter", "longer", "for ever"], do: assert(P.get(cache, "t", key) == {:ok, "v"})
    assert Redix.command!(redis, ["TTL", "t:for ever"]) == -1
    assert Redix.command!(redis, ["TTL", "t:longer"]) in 90..100
    Process.sleep(4100)
    for key <- ["short", "shorter"], do: assert(P.get(cache, "t", key) == {:error, :got_too_few_records})
    for key <- ["longer", "for ever"], do: assert(P.get(cache, "t", key) == {:ok, "v"})
  end

  def odd_times_to_live(%{redis: redis} = context) do
    cache = connect!(new(context))

    for ttl <- [0, -1, -(2 ** 31), -(2 ** 62), -(2 ** 70)] do
      assert P.set(cache, "t", "k", "v", :none) == {:ok, nil}
      assert P.set(cache, "t", "k", "w", {:some, ttl}) == {:ok, nil}
      assert P.get(cache, "t", "k") == {:error, :got_too_few_records}
      assert Redix.command!(redis, ["EXISTS", "t:k"]) == 0
    end

    assert P.set(cache, "t", "k", "v", {:some, 2 ** 31}) == {:ok, nil}
    assert Redix.command!(redis, ["TTL", "t:k"]) in (2 ** 31 - 10)..(2 ** 31)

    for ttl <- [2 ** 62, 2 ** 63, 2 ** 70] do
      assert {:error, {:set_driver_error, {:server_failed, "ERR " <> _}}} = P.set(cache, "t", "k", "w", {:some, ttl})
      # Nothing was written.
      assert P.get(cache, "t", "k") == {:ok, "v"}
    end
  end

  def deleting(%{redis: redis} = context) do
    cache = connect!(new(context))
    assert P.delete(cache, "t", "k") == {:ok, nil}
    assert P.set(cache, "t", "k", "v", :none) == {:ok, nil}
    assert P.delete(cache, "t", "k") == {:ok, nil}
    assert P.get(cache, "t", "k") == {:error, :got_too_few_records}
    assert Redix.command!(redis, ["EXISTS", "t:k"]) == 0
    assert P.delete(cache, "t", "k") == {:ok, nil}
    Redix.command!(redis, ["RPUSH", "t:list", "a"])
    assert P.delete(cache, "t", "list") == {:ok, nil}
    assert Redix.command!(redis, ["EXISTS", "t:list"]) == 0
  end

  def other_types(%{redis: redis} = context) do
    cache = connect!(new(context))

    for {key, command} <- [list: ["RPUSH", "t:list", "a"], hash: ["HSET", "t:hash", "f", "v"]] do
      key = to_string(key)
      Redix.command!(redis, command)

      Mirror.eventually("it is here", fn -> P.get(cache, "t", key) == {:error, {:get_driver_error, :wrong_type}} end)
      assert P.set(cache, "t", key, "v", {:some, 100}) == {:ok, nil}
      assert P.get(cache, "t", key) == {:ok, "v"}
      assert Redix.command!(redis, ["TYPE", "t:#{key}"]) == "string"
    end
  end

  def no_text(%{redis: redis} = context) do
    cache = connect!(new(context))
    no_text = [<<255>>, "seven b" <> <<200>>, "ž" <> <<0xC5>>, :binary.copy("v", 100_000) <> <<0xED, 0xA0, 0x80>>]

    for value <- no_text do
      Redix.command!(redis, ["SET", "t:bytes", value])
      Mirror.eventually("it is here", fn -> P.get(cache, "t", "bytes") != {:error, :got_too_few_records} end)
      {us, answer} = :timer.tc(fn -> P.get(cache, "t", "bytes") end)
      assert answer == {:error, {:get_driver_error, :not_text}}
      assert us < 4_000_000
      assert P.set(cache, "t", "bytes", "text", :none) == {:ok, nil}
      assert P.get(cache, "t", "bytes") == {:ok, "text"}
      assert P.delete(cache, "t", "bytes") == {:ok, nil}
    end
  end

  # Their driver cannot be installed; it sends these commands.
  def exchange(%{redis: redis} = context) do
    cache = connect!(new(context))
    Redix.command!(redis, ["SET", "user:1", "Ona"])
    Redix.command!(redis, ["EXPIRE", "user:1", 4])
    Redix.command!(redis, ["SET", "user:2", "Jonas"])
    Redix.command!(redis, ["PERSIST", "user:2"])
    Mirror.eventually("theirs is here", fn -> P.get(cache, "user", "2") == {:ok, "Jonas"} end)
    assert P.get(cache, "user", "1") == {:ok, "Ona"}

    assert P.set(cache, "user", "3", "Rasa", {:some, 50}) == {:ok, nil}
    assert P.set(cache, "user", "4", "Petras", :none) == {:ok, nil}
    assert Redix.command!(redis, ["GET", "user:3"]) == "Rasa"
    assert Redix.command!(redis, ["TTL", "user:3"]) in 40..50
    assert Redix.command!(redis, ["GET", "user:4"]) == "Petras"
    assert Redix.command!(redis, ["TTL", "user:4"]) == -1

    Redix.command!(redis, ["DEL", "user:4"])
    Mirror.eventually("it is gone", fn -> P.get(cache, "user", "4") == {:error, :got_too_few_records} end)
    Process.sleep(4100)
    assert P.get(cache, "user", "1") == {:error, :got_too_few_records}
  end

  def restarts(%{server: server} = context) do
    cache = connect!(new(context, timeout: 1500))
    # On a loaded machine the time may not be enough.
    Mirror.eventually("it is set", fn -> P.set(cache, "t", "k", "before", :none) == {:ok, nil} end)
    Server.stop(server)
    assert P.get(cache, "t", "k") == {:ok, "before"}

    {us, answer} = :timer.tc(fn -> P.set(cache, "t", "k", "lost", :none) end)
    assert {:error, {:set_driver_error, {:connection_lost, text}}} = answer
    assert String.valid?(text)
    # The default is five seconds.
    assert us < 4_500_000
    assert {:error, {:delete_driver_error, {:connection_lost, _}}} = P.delete(cache, "t", "k")
    assert P.get(cache, "t", "k") == {:ok, "before"}

    Server.restart_empty(server)
    Mirror.eventually("writes come back", fn -> P.set(cache, "t", "new", "after", :none) == {:ok, nil} end)
    assert P.get(cache, "t", "new") == {:ok, "after"}
    assert P.get(cache, "t", "k") == {:error, :got_too_few_records}
  end

  def stale_reads(%{server: server} = context) do
    cache = connect!(new(context, stale_reads: :deny, timeout: 5000))
    assert P.set(cache, "t", "k", "v", :none) == {:ok, nil}
    assert P.get(cache, "t", "k") == {:ok, "v"}
    Server.stop(server)
    Mirror.eventually("it is told", fn -> P.get(cache, "t", "k") == {:error, {:get_driver_error, :stale}} end)
  end

  @cuts 60

  def killed_links(%{server: server, redis: redis} = context) do
    proxy = ExUnit.Callbacks.start_supervised!(%{id: :proxy, start: {Proxy, :start_link, [Server.port(server)]}})
    # A driver's own mirror waits for a second before it connects again.
    name = "proxied #{context.port}"
    quick = [reconnect_delay_ms: 5, max_reconnect_delay_ms: 20]
    proxied = [id: name, host: "127.0.0.1", port: Proxy.port(proxy)]
    ExUnit.Callbacks.start_supervised!({Veidrodelis, proxied ++ quick})
    cache = connect!(new(context, mirror: name, timeout: 2000))
    test = self()
    writer = spawn_link(fn -> write(cache, redis, test, 1, %{ok: 0, last: 0}) end)

    for n <- 1..@cuts do
      Process.sleep(rem(n * 17, 61))
      Proxy.cut(proxy, :reset)
    end

    send(writer, :enough)
    assert_receive {:written, %{ok: ok, last: last}}, 20_000
    assert ok > 0
    assert String.to_integer(Redix.command!(redis, ["GET", "t:k"])) >= last
  end

  # Nobody else writes the key, so what was Ok is read until the next set.
  defp write(cache, redis, test, n, counts) do
    receive do
      :enough -> send(test, {:written, counts})
    after
      0 ->
        case P.set(cache, "t", "k", "#{n}", :none) do
          {:ok, nil} ->
            assert P.get(cache, "t", "k") == {:ok, "#{n}"}
            assert Redix.command!(redis, ["GET", "t:k"]) == "#{n}"
            write(cache, redis, test, n + 1, %{ok: counts.ok + 1, last: n})

          {:error, {:set_driver_error, failure}} ->
            assert failure in [:timed_out, :not_visible] or match?({:connection_lost, _text}, failure)
            write(cache, redis, test, n + 1, counts)
        end
    end
  end

  def dead_callers(context) do
    assert {:ok, cache} = Task.await(Task.async(fn -> P.connect(new(context)) end))
    ExUnit.Callbacks.on_exit(fn -> P.disconnect(cache) end)
    assert P.set(cache, "t", "k", "v", :none) == {:ok, nil}
    assert P.get(cache, "t", "k") == {:ok, "v"}
    # Any process may use it.
    assert Task.await(Task.async(fn -> P.get(cache, "t", "k") end)) == {:ok, "v"}
    assert {:ok, _} = Task.await(Task.async(fn -> P.disconnect(cache) end))

    test = self()

    port =
      FakeServer.start!(fn socket ->
        drain(socket)
        send(test, :hung_up)
      end)

    caller = spawn(fn -> P.connect(new(context, port: port, timeout: 60_000)) end)
    assert_receive {:connected, ^port}, 5000
    Process.exit(caller, :kill)
    assert_receive :hung_up, 5000
    refute_receive {:connected, ^port}, 1500
  end

  # Takes everything, and says nothing.
  defp drain(socket) do
    with {:ok, _bytes} <- :gen_tcp.recv(socket, 0), do: drain(socket)
  end

  def wrong_passwords(%{redis: redis} = context) do
    Redix.command!(redis, ["CONFIG", "SET", "requirepass", "hunter2"])
    wrong = new(context, password: "hunter3")
    refute inspect(elem(wrong, 1), limit: :infinity) =~ "hunter3"
    {us, answer} = :timer.tc(fn -> P.connect(wrong) end)
    assert {:error, {:connect_driver_error, {:start_failed, text}}} = answer
    refute text =~ "hunter"
    # The default is five seconds.
    assert us < 4_500_000
    assert {:error, {:connect_driver_error, {:start_failed, _}}} = P.connect(new(context))

    assert {:error, {:connect_driver_error, {:start_failed, _}}} =
             P.connect(new(context, username: "nobody", password: "hunter3"))

    nobody_connected(context)
    cache = connect!(new(context, password: "hunter2"))
    assert P.set(cache, "t", "k", "v", :none) == {:ok, nil}
    assert P.get(cache, "t", "k") == {:ok, "v"}
    assert {:ok, _} = P.disconnect(cache)
    nobody_connected(context)
  end

  def odd_configurations(context) do
    odd =
      for(port <- [0, -1, 65_536, 2 ** 70], do: [port: port]) ++
        for(timeout <- [0, -1, 2 ** 40, 2 ** 70], do: [timeout: timeout]) ++
        for(timeout <- [0, -1, 2 ** 40], do: [start_timeout: timeout]) ++
        for(database <- [-1, 2 ** 32, 2 ** 70], do: [database: database]) ++
        [[host: ""], [username: "me"], [stale_reads: {:max_ms, 0}], [stale_reads: {:max_ms, -1}]]

    for options <- odd do
      answer = P.connect(new(context, options))
      assert {^options, {:error, {:connect_driver_error, {:start_failed, text}}}} = {options, answer}
      assert String.valid?(text)
    end

    urls = ["", "nonsense", "http://127.0.0.1:#{context.port}", "redis://", "redis://me:hunter2@:1", "redis://h/x"]

    for url <- urls do
      assert {:error, {:connect_driver_error, {:start_failed, text}}} = P.connect(new(context, url: url))
      refute text =~ "hunter2"
    end

    nobody_connected(context)

    for pool_size <- [0, -1, 10_000] do
      cache = connect!(new(context, pool_size: pool_size))
      assert P.set(cache, "t", "k", "v", :none) == {:ok, nil}
      assert {:ok, _} = P.disconnect(cache)
    end

    nobody_connected(context)
  end

  def silent_servers(%{server: server} = context) do
    nobody = Server.free_port()
    {us, answer} = :timer.tc(fn -> P.connect(new(context, port: nobody, timeout: 1500)) end)
    assert {:error, {:connect_driver_error, {:start_failed, text}}} = answer
    assert text =~ "nothing listens"
    # The default is five seconds.
    assert us < 4_500_000

    port = FakeServer.start!(&drain/1)

    for options <- [[timeout: 300], [timeout: 60_000, start_timeout: 300]] do
      {us, answer} = :timer.tc(fn -> P.connect(new(context, [port: port] ++ options)) end)
      assert {:error, {:connect_driver_error, _timed_out_or_why}} = answer
      # The default is five seconds.
      assert us < 4_500_000
    end

    cache = connect!(new(context, timeout: 1500))
    # On a loaded machine the time may not be enough.
    Mirror.eventually("it is set", fn -> P.set(cache, "t", "k", "v", :none) == {:ok, nil} end)
    Server.pause(server)
    {us, answer} = :timer.tc(fn -> P.set(cache, "t", "k", "w", :none) end)
    Server.resume(server)
    assert answer == {:error, {:set_driver_error, :timed_out}}
    # The default is five seconds.
    assert us < 4_500_000
    Mirror.eventually("writes come back", fn -> P.set(cache, "t", "k", "x", :none) == {:ok, nil} end)
    assert P.get(cache, "t", "k") == {:ok, "x"}
  end

  def prefixes_and_databases(%{redis: redis, port: port} = context) do
    Redix.command!(redis, ["SET", "elsewhere:user:1", "not here"])
    cache = connect!(new(context, prefix: "app:"))
    assert P.set(cache, "user", "1", "Ona", :none) == {:ok, nil}
    assert P.get(cache, "user", "1") == {:ok, "Ona"}
    assert Redix.command!(redis, ["GET", "app:user:1"]) == "Ona"
    assert P.delete(cache, "user", "1") == {:ok, nil}
    assert Redix.command!(redis, ["EXISTS", "app:user:1"]) == 0
    assert keys_here(cache) == 0

    third = connect!(new(context, database: 3))
    assert P.set(third, "user", "1", "Jonas", :none) == {:ok, nil}
    assert P.get(third, "user", "1") == {:ok, "Jonas"}
    assert keys_here(third) == 1
    url = connect!(new(context, url: "redis://127.0.0.1:#{port}/3"))
    assert P.get(url, "user", "1") == {:ok, "Jonas"}
    assert Redix.pipeline!(redis, [["SELECT", 3], ["GET", "user:1"], ["SELECT", 0]]) == ["OK", "Jonas", "OK"]

    # A number that the server does not have.
    beyond = connect!(new(context, database: 99))
    assert P.get(beyond, "user", "1") == {:error, :got_too_few_records}
    assert {:error, {:set_driver_error, {:server_failed, text}}} = P.set(beyond, "user", "1", "v", :none)
    assert text =~ "out of range"
  end

  def refusals(%{redis: redis} = context) do
    cache = connect!(new(context))
    assert P.set(cache, "t", "k", "v", :none) == {:ok, nil}
    Redix.command!(redis, ["CONFIG", "SET", "maxmemory", 1])
    assert {:error, {:set_driver_error, {:server_failed, "OOM " <> _}}} = P.set(cache, "t", "k", "w", :none)
    assert P.get(cache, "t", "k") == {:ok, "v"}
    Redix.command!(redis, ["CONFIG", "SET", "maxmemory", 0])
    Redix.command!(redis, ["CONFIG", "SET", "min-replicas-to-write", 9])
    assert {:error, {:set_driver_error, {:server_failed, "NOREPLICAS " <> _}}} = P.set(cache, "t", "k", "w", :none)
    assert {:error, {:delete_driver_error, {:server_failed, "NOREPLICAS " <> _}}} = P.delete(cache, "t", "k")
    assert P.get(cache, "t", "k") == {:ok, "v"}
  end

  def few_permissions(%{redis: redis} = context) do
    permissions = ~w(+psync +replconf +ping +role +info +set +unlink)
    Redix.command!(redis, ~w(ACL SETUSER cache on >hunter2 resetkeys ~t:* -@all) ++ permissions)
    cache = connect!(new(context, username: "cache", password: "hunter2"))
    assert P.set(cache, "t", "k", "v", {:some, 100}) == {:ok, nil}
    assert P.get(cache, "t", "k") == {:ok, "v"}
    assert {:error, {:set_driver_error, {:server_failed, "NOPERM " <> _}}} = P.set(cache, "other", "k", "v", :none)
    assert P.delete(cache, "t", "k") == {:ok, nil}
    assert P.get(cache, "t", "k") == {:error, :got_too_few_records}

    # Without ROLE nobody knows when a write is here.
    weaker = List.delete(permissions, "+role")
    Redix.command!(redis, ~w(ACL SETUSER weak on >hunter2 resetkeys ~t:* -@all) ++ weaker)
    weak = connect!(new(context, username: "weak", password: "hunter2"))
    refused = fn -> P.set(weak, "t", "k", "v", :none) end
    Mirror.eventually("it is told", refused, fn -> match?({:error, {:set_driver_error, {:refused, _}}}, refused.()) end)
    assert {:error, {:set_driver_error, {:refused, text}}} = refused.()
    assert text =~ "+role"
    assert Redix.command!(redis, ["EXISTS", "t:k"]) == 0
  end

  def running_mirrors(%{server: server} = context) do
    for id <- ["mirror #{context.port}", :"pevensie_mirror_#{context.port}"] do
      Mirror.start!(server, id: id)
      cache = connect!(new(context, mirror: to_string(id)))
      assert P.connect(cache) == {:error, :already_connected}
      assert P.set(cache, "t", "k", "v", :none) == {:ok, nil}
      assert Veidrodelis.get(id, 0, "t:k") == {:ok, "v"}
      assert P.get(cache, "t", "k") == {:ok, "v"}
      assert {:ok, disconnected} = P.disconnect(cache)
      assert P.disconnect(disconnected) == {:error, :not_connected}
      assert Veidrodelis.ready?(id)
      ExUnit.Callbacks.stop_supervised!({Veidrodelis, id})
      Mirror.eventually("it has ended", fn -> Veidrodelis.info(id) == {:error, :no_instance} end)
      assert P.get(cache, "t", "k") == {:error, {:get_driver_error, :not_running}}
      assert P.connect(cache) == {:error, {:connect_driver_error, :not_running}}
    end

    assert P.connect(new(context, mirror: "no such #{context.port}")) ==
             {:error, {:connect_driver_error, :not_running}}
  end

  # ---- helpers

  defp new(context, options \\ []) do
    base = if options[:mirror], do: [], else: [host: "127.0.0.1", port: context.port]
    context.new.(Keyword.merge(base, options))
  end

  defp connect!(cache) do
    answer = P.connect(cache)
    assert {:ok, connected} = answer
    ExUnit.Callbacks.on_exit(fn -> P.disconnect(connected) end)
    connected
  end

  # The test's own connection is the only one. A server forgets a link some moments after it ended.
  defp nobody_connected(%{redis: redis}) do
    Mirror.eventually("nobody is connected", fn -> Redix.command!(redis, ["CLIENT", "LIST"]) end, fn ->
      redis |> Redix.command!(["CLIENT", "LIST"]) |> String.split("\n", trim: true) |> length() == 1
    end)
  end

  # How many keys of any kind the driver's mirror holds. Its id is in the handle, which only this
  # test looks into.
  defp keys_here({:cache_driver, driver, _connect, _disconnect, _set, _get, _delete}) do
    {:some, {:veidrodelis_gleam, id, _db, _timeout}} = elem(driver, tuple_size(driver) - 1)
    id |> Veidrodelis.info(:keys) |> Map.values() |> Enum.sum()
  end
end
