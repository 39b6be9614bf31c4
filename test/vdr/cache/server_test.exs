defmodule Vdr.Cache.ServerTest do
  # Caches on a server, and what happens when the server, a node or a process goes away.
  use Vdr.Test.LiveCase, async: true

  alias Vdr.Cache, as: C
  alias Vdr.Cache.Backend.Server.{Bytes, Sha1}
  alias Vdr.Test.CacheContract.Cache
  alias Vdr.Test.{Peers, PeerWork}

  @moduletag timeout: 180_000

  defmodule Reverse do
    @moduledoc false
    @behaviour Vdr.Cache.Serializer
    @impl true
    def encode(value, _opts) when is_binary(value), do: {:ok, "r" <> String.reverse(value)}
    def encode(_value, _opts), do: {:error, :no_text}
    @impl true
    def decode("r" <> value, _opts), do: {:ok, String.reverse(value)}
    def decode(_bytes, _opts), do: {:error, :no_text}
  end

  defp start(backend, port, opts) do
    {backend_opts, opts} = Keyword.pop(opts, :backend_opts, [])
    name = Keyword.get(opts, :name, :"server_cache_#{System.unique_integer([:positive])}")
    opts = [name: name, backend: backend, backend_opts: backend_opts ++ [url: "redis://127.0.0.1:#{port}"]] ++ opts
    start_supervised!({Cache, opts}, id: name)
    name
  end

  defp mirror(port, opts \\ []), do: start(Vdr.Cache.Backend.Mirror, port, opts)
  defp server_only(port, opts), do: start(Vdr.Cache.Backend.Redis, port, opts)

  test "digests of scripts are those of SHA-1" do
    for n <- [0, 1, 55, 56, 63, 64, 65, 1_000] do
      bytes = :rand.bytes(n)
      assert Sha1.hex(bytes) == :sha |> :crypto.hash(bytes) |> Base.encode16(case: :lower)
    end
  end

  test "envelopes come apart as they were put together, and damaged ones never raise" do
    :rand.seed(:exsss, {1, 2, 3})

    for _ <- 1..5_000 do
      assert Bytes.open("V1;" <> :rand.bytes(:rand.uniform(40))) |> then(&(&1 == :error or match?({:ok, _}, &1)))
    end

    codec = %{serializer: nil, compress: 10, max_value: 1_000}
    {:ok, payload, :compressed} = Bytes.encode(String.duplicate("x", 500), codec)
    bytes = Bytes.header(:compressed, 5, nil, 1) <> "3:tag0123456789abcdef" <> payload
    assert {:ok, opened} = Bytes.open(bytes)
    assert %{soft: 5, fresh: nil, flag: :compressed, stamps: [{"tag", "0123456789abcdef"}]} = opened
    assert Bytes.decode(opened, codec) == {:ok, String.duplicate("x", 500)}
    assert Bytes.decode(opened, %{codec | max_value: 100}) == :error
  end

  test "options that make no sense are refused with a sentence" do
    opts = fn opts -> [name: :server_refused, backend: Vdr.Cache.Backend.Mirror] ++ opts end
    start = &Cache.start_link(opts.(&1))
    assert_raise ArgumentError, ~r/maxmemory/, fn -> start.(max_size: 10) end
    assert_raise ArgumentError, ~r/Topology.Local/, fn -> start.(topology: Vdr.Cache.Topology.Partitioned) end

    assert_raise ArgumentError, ~r/Vdr.Cache.Backend.Mirror with/, fn ->
      start.(topology: Vdr.Cache.Topology.Replicated)
    end

    assert_raise ArgumentError, ~r/exclude each other/, fn -> start.(backend_opts: [mirror: :a, url: "redis://x"]) end
    message = assert_raise(ArgumentError, fn -> start.(backend_opts: [url: "redis://:secret@x#y"]) end).message
    refute message =~ "secret"
    assert_raise ArgumentError, ~r/unknown option :pool/, fn -> start.(backend_opts: [pool: 1]) end
  end

  live_test "near_cache in front of a server is the mirror", %{port: port}, mirror: false do
    c = server_only(port, near_cache: true, near_cache_l1_ttl: 30_000)
    assert C.put(c, :k, 1) == :ok
    assert C.get(c, :k) == {:ok, 1}
    assert %{mirror: %{ready: true}} = C.info(c)
  end

  live_test "a password in the URL works, and no state shows it", %{port: port}, mirror: false do
    {:ok, redis} = Redix.start_link(host: "127.0.0.1", port: port)
    Redix.command!(redis, ["CONFIG", "SET", "requirepass", "geheim"])
    c = start(Vdr.Cache.Backend.Mirror, port, backend_opts: [url: "redis://:geheim@127.0.0.1:#{port}"])
    assert C.put(c, :k, 1) == :ok
    assert C.get(c, :k) == {:ok, 1}
    children = Supervisor.which_children(Process.whereis(c))
    states = for {_id, pid, _type, _modules} when is_pid(pid) <- children, do: :sys.get_state(pid)
    refute inspect(states, limit: :infinity, printable_limit: :infinity) =~ "geheim"
    refute "~p" |> :io_lib.format([states]) |> to_string() =~ "geheim"
    refute inspect(C.info(c)) =~ "geheim"
  end

  live_test "one node writes, the others read; other writers are seen", %{port: port, redis: redis}, mirror: false do
    prefix = [backend_opts: [key_prefix: "shared:"]]
    {a, b} = {mirror(port, prefix), mirror(port, prefix)}
    d = server_only(port, prefix)
    assert C.put(a, :k, %{name: "Ona"}, tags: [:t]) == :ok
    assert C.get(a, :k) == {:ok, %{name: "Ona"}}
    assert C.get(d, :k) == {:ok, %{name: "Ona"}}
    {:ok, position} = C.position(a)
    assert C.await(b, position, 5_000) == :ok
    assert C.get(b, :k) == {:ok, %{name: "Ona"}}
    assert C.position(d) == {:error, :not_supported}
    ref = make_ref()
    assert C.watch(b, :k, ref) == :ok
    assert C.watch_tag(b, :t, {:tag, ref}) == :ok
    assert C.invalidate_tag(d, :t) == {:ok, 1}
    assert_receive {{:tag, ^ref}, _event}, 5_000
    assert C.get(b, :k) == {:error, :not_found}
    assert_receive {^ref, _event}, 5_000
    Redix.command!(redis, ["SET", "shared:e:n", "7"])
    Mirror.eventually("it arrives", fn -> C.get(b, "n") == {:ok, 7} end)
    assert C.unwatch(b, :k) == :ok
    assert C.unwatch_tag(b, :t) == :ok
  end

  live_test "no read after a put is older than the put, beside other writers", %{port: port, redis: redis},
    mirror: false do
    c = mirror(port)

    key = "vdr:#{inspect(c)}:e:noise"

    noise =
      Task.async(fn -> for n <- 1..200, do: Redix.pipeline!(redis, for(m <- 1..100, do: ["SET", key, "#{n}#{m}"])) end)

    1..4
    |> Enum.map(fn w ->
      Task.async(fn ->
        for n <- 1..300 do
          :ok = C.put(c, {w, rem(n, 3)}, n, if(rem(n, 2) == 0, do: [tags: [w]], else: []))
          assert C.get(c, {w, rem(n, 3)}) == {:ok, n}

          if rem(n, 100) == 0 do
            {:ok, _count} = C.invalidate_tag(c, w)
            if rem(n, 2) == 0, do: assert(C.get(c, {w, rem(n, 3)}) == {:error, :not_found})
          end
        end
      end)
    end)
    |> Task.await_many(120_000)

    Task.await(noise, 120_000)
  end

  live_test "reads go on while the server is away, and writes say so; fetching goes on", %{server: server, port: port},
    mirror: false do
    c = mirror(port, backend_opts: [timeout: 500])
    s = server_only(port, backend_opts: [timeout: 500])
    # On a loaded machine half a second may not be enough.
    Mirror.eventually("it is stored", fn -> C.put(c, :k, 1, tags: [:t]) == :ok end)
    Server.stop(server)
    assert C.get(c, :k) == {:ok, 1}
    assert C.get_many(c, [:k]) == {:ok, %{k: 1}}
    assert {:error, reason} = C.put(c, :k, 2)
    assert is_binary(Exception.message(Vdr.Cache.Error.exception(reason)))
    assert C.get_or_fetch(c, :new, fn -> {:ok, :fetched} end) == {:ok, :fetched}
    assert {:error, _reason} = C.get(s, :k)
    assert C.get_or_fetch(s, :k, fn -> {:ok, :fetched} end) == {:ok, :fetched}
    assert C.stats(c).degraded >= 1
    assert C.stats(s).degraded >= 1
    Server.restart(server)
    Mirror.eventually("it goes on", fn -> C.put(c, :k, 3) == :ok end)
    assert C.get(c, :k) == {:ok, 3}
    Mirror.eventually("it goes on", fn -> C.get(s, :k) in [{:ok, 3}, {:error, :not_found}] end)
  end

  live_test "a full server and a replica are errors as data", %{port: port, redis: redis}, mirror: false do
    c = mirror(port)
    C.put(c, :k, 1)
    Redix.command!(redis, ["CONFIG", "SET", "maxmemory", "1"])
    assert C.put(c, :k, String.duplicate("x", 1_000)) == {:error, :server_full}
    assert C.put(c, :k, 1, tags: [:t]) == {:error, :server_full}
    assert C.get_or_fetch(c, :f, fn -> {:ok, :fetched} end) == {:ok, :fetched}
    assert C.get(c, :k) == {:ok, 1}
    Redix.command!(redis, ["CONFIG", "SET", "maxmemory", "0"])
    assert C.put(c, :k, 2) == :ok
    Redix.command!(redis, ["SCRIPT", "FLUSH"])
    assert C.put(c, :k, 3, tags: [:t]) == :ok
    assert C.put_many(c, %{a: 1, b: 2}, tags: [:t]) == :ok
    assert C.invalidate_tag(c, :t) == {:ok, 3}
  end

  live_test "one fetch for two caches of one prefix; a process that dies hands over", %{port: port}, mirror: false do
    prefix = [backend_opts: [key_prefix: "shared:", lease: 2_000]]

    for {a, b} <- [{mirror(port, prefix), mirror(port, prefix)}, {server_only(port, prefix), server_only(port, prefix)}] do
      calls = :counters.new(1, [])

      fetch = fn ->
        :counters.add(calls, 1, 1)
        Process.sleep(100)
        {:ok, :value}
      end

      key = {:k, a}
      tasks = for n <- 1..40, do: Task.async(fn -> C.get_or_fetch(if(rem(n, 2) == 0, do: a, else: b), key, fetch) end)
      assert Enum.uniq(Task.await_many(tasks, 30_000)) == [{:ok, :value}]
      assert :counters.get(calls, 1) == 1

      # A process that is killed gives the lease back at once.
      test = self()

      {pid, ref} =
        spawn_monitor(fn ->
          C.get_or_fetch(a, {:dead, a}, fn ->
            send(test, :fetching)
            Process.sleep(:infinity)
          end)
        end)

      assert_receive :fetching, 5_000
      waiter = Task.async(fn -> C.get_or_fetch(b, {:dead, a}, fn -> {:ok, :of_the_waiter} end) end)
      Process.sleep(50)
      Process.exit(pid, :kill)
      assert_receive {:DOWN, ^ref, _, _, _}, 5_000
      assert Task.await(waiter, 10_000) == {:ok, :of_the_waiter}

      # A fetch that takes longer than the lease keeps it.
      assert C.get_or_fetch(a, {:long, a}, fn -> Process.sleep(2_500) && {:ok, :long} end) == {:ok, :long}
      assert C.get(b, {:long, a}) in [{:ok, :long}, {:error, :not_found}]
      Mirror.eventually("it is stored", fn -> C.get(b, {:long, a}) == {:ok, :long} end)
      assert C.stats(a).lease_lost == 0
    end
  end

  live_test "a write by anybody voids a fetch", %{port: port, redis: redis}, mirror: false do
    c = mirror(port, backend_opts: [key_prefix: "shared:"])
    write = fn command -> C.get_or_fetch(c, "k", fn -> Redix.command!(redis, command) && {:ok, :old} end) end
    assert write.(["SET", "shared:e:k", "5"]) == {:ok, :old}
    Mirror.eventually("the other's value is there", fn -> C.get(c, "k") == {:ok, 5} end)
    assert C.stats(c).lease_lost == 1
  end

  live_test "a serializer, and values that are compressed", %{port: port, redis: redis}, mirror: false do
    c = mirror(port, backend_opts: [serializer: Reverse, compress: 100, key_prefix: "text:"])
    assert C.put(c, "k", "abc") == :ok
    assert Redix.command!(redis, ["GET", "text:e:k"]) == "rcba"
    assert C.get(c, "k") == {:ok, "abc"}
    assert C.put(c, "k", :atom) == {:error, {:encode, :no_text}}
    long = String.duplicate("abc", 1_000)
    assert C.put(c, "long", long, tags: [:t]) == :ok
    assert byte_size(Redix.command!(redis, ["GET", "text:e:long"])) < 500
    assert C.get(c, "long") == {:ok, long}
    assert C.incr(c, "n") == {:ok, 1}
    Redix.command!(redis, ["SET", "text:e:x", "foreign"])
    :ok = Veidrodelis.sync({Vdr.Cache, c})
    assert C.get(c, "x") == {:error, {:undecodable, "x"}}
  end

  live_test "consistency: on the server, and at once", %{port: port}, mirror: false do
    c = mirror(port)
    assert C.put(c, :k, 1, consistency: :server) == :ok
    Mirror.eventually("it arrives", fn -> C.get(c, :k) == {:ok, 1} end)
    assert C.put(c, :k, 2, consistency: :async) == :ok
    Mirror.eventually("it arrives", fn -> C.get(c, :k) == {:ok, 2} end)
    assert C.put(c, :k, self(), consistency: :async) == {:error, {:not_storable, self()}}
  end

  live_test "a server that pauses costs the time of the call, and reads go on", %{port: port, server: server},
    mirror: false do
    c = mirror(port, backend_opts: [timeout: 400])
    Mirror.eventually("it is stored", fn -> C.put(c, :k, 1, tags: [:t]) == :ok end)
    Server.pause(server)
    started = System.monotonic_time(:millisecond)
    assert {:error, _reason} = C.put(c, :k, 2)
    assert {:error, _reason} = C.put(c, :k, 3, tags: [:t])
    assert C.get(c, :k) == {:ok, 1}
    assert C.get_or_fetch(c, :missing, fn -> {:ok, :alone} end) == {:ok, :alone}
    # Four waits at most, since the last call asks for a lease and gives it back; a busy machine.
    # The default of the option would make it 20 seconds.
    assert System.monotonic_time(:millisecond) - started < 4 * 400 + 8_000
    Server.resume(server)
    Mirror.eventually("writes succeed again", fn -> C.put(c, :k, 4) == :ok end)
    assert C.get(c, :k) == {:ok, 4}
  end

  live_test "a user without a right gets the server's own words", %{port: port, redis: redis}, mirror: false do
    Redix.command!(redis, ~w(ACL SETUSER app on >pw ~* &* +@all -eval -evalsha))
    Redix.command!(redis, ~w(ACL SETUSER few on >pw ~* &* +@all -role -info))

    for backend <- [Vdr.Cache.Backend.Mirror, Vdr.Cache.Backend.Redis] do
      c = start(backend, port, backend_opts: [username: "app", password: "pw"])
      assert C.put(c, :k, 1) == :ok
      assert C.get(c, :k) == {:ok, 1}
      assert {:error, {:refused, "NOPERM" <> _text}} = C.put(c, :k, 2, tags: [:t])
      assert {:error, {:refused, "NOPERM" <> _text}} = C.invalidate_tag(c, :t)
      assert C.get_or_fetch(c, :f, fn -> {:ok, :alone} end) == {:ok, :alone}
      assert C.get(c, :k) == {:ok, 1}
      assert C.stats(c).degraded == 1

      c = start(backend, port, backend_opts: [username: "few", password: "pw", timeout: 1_000])
      assert {C.put(c, :k, 1), C.get(c, :k)} |> then(&(match?({:ok, {:ok, 1}}, &1) or match?({{:error, _}, _}, &1)))
    end
  end

  live_test "values of 100 MB, written and read by both", %{port: port}, mirror: false do
    large = :binary.copy("0123456789", 10_000_000)
    prefix = [backend_opts: [key_prefix: "shared:", timeout: 60_000]]
    {a, b} = {mirror(port, prefix), server_only(port, prefix)}
    assert C.put(a, :large, large) == :ok
    for c <- [a, b], do: assert(C.get(c, :large) == {:ok, large})
    assert C.put(b, :large, [large, :b], tags: [:t]) == :ok
    Mirror.eventually("it arrives", fn -> C.get(a, :large) == {:ok, [large, :b]} end)
    assert C.take(b, :large) == {:ok, [large, :b]}
    Mirror.eventually("it is gone", fn -> C.get(a, :large) == {:error, :not_found} end)
  end

  live_test "values of 10 MB, integers at the ends of 64 bits, keys that are empty", %{port: port}, mirror: false do
    c = mirror(port)
    large = :binary.copy("0123456789", 1_000_000)
    assert C.put(c, :large, large) == :ok
    assert C.get(c, :large) == {:ok, large}
    for n <- [2 ** 63 - 1, -(2 ** 63), 2 ** 63, 2 ** 100], do: assert(C.put(c, n, n) == :ok and C.get(c, n) == {:ok, n})
    assert C.incr(c, 2 ** 63 - 1) == {:error, :not_an_integer}
    assert C.get(c, 2 ** 63 - 1) == {:ok, 2 ** 63 - 1}
    assert C.incr(c, 2 ** 63) == {:error, :not_an_integer}
    assert C.put(c, "", 1) == :ok
    assert C.get(c, "") == {:ok, 1}
    assert C.put(c, :far, 1, ttl: 2 ** 53 - 1) |> then(&(&1 == :ok or match?({:error, {:refused, _}}, &1)))
  end

  @tag :peers
  test "nodes: one fetch of each key on all of them; a node that is killed or frozen hands over, and stores nothing later" do
    server = Server.start!()
    peers = [a, b, c] = Peers.start!(3)
    opts = [url: "redis://127.0.0.1:#{Server.port(server)}", lease: 1_500]

    caches =
      for {name, backend} <- [nodes_mirror: Vdr.Cache.Backend.Mirror, nodes_server: Vdr.Cache.Backend.Redis] do
        backend_opts = [key_prefix: "#{name}:"] ++ opts
        for peer <- peers, do: Peers.start_cache(peer, name: name, backend: backend, backend_opts: backend_opts)
        name
      end

    for name <- caches do
      keys = Enum.to_list(1..20)
      tasks = for peer <- peers, do: Peers.async(peer, PeerWork, :fetch_all, [name, keys, 30, 10])
      answers = Task.await_many(tasks, 120_000)
      assert answers |> Enum.map(&elem(&1, 1)) |> Enum.sum() == 20
      assert answers |> Enum.flat_map(&elem(&1, 0)) |> Enum.uniq() |> length() == 20

      # Frozen for longer than its lease. All who wait on the other nodes get one fetch.
      key = {:frozen, name}
      frozen = Peers.async(a, PeerWork, :fetch, [name, key, "of the frozen", 3_000])
      Mirror.eventually("it fetches", fn -> Peers.call(a, PeerWork, :fetching?, [key]) end)
      pid = Peers.freeze(a)
      tasks = for peer <- [b, c], do: Peers.async(peer, PeerWork, :fetch_all, [name, [key], 20, 50])
      answers = Task.await_many(tasks, 120_000)
      assert [{^key, {:ok, value}}] = answers |> Enum.flat_map(&elem(&1, 0)) |> Enum.uniq()
      assert answers |> Enum.map(&elem(&1, 1)) |> Enum.sum() == 1
      Peers.signal(pid, "CONT")
      assert Task.await(frozen, 20_000) == {:ok, "of the frozen"}
      seen = fn -> for peer <- peers, do: Peers.call(peer, C, :get, [name, key]) end
      all = List.duplicate({:ok, value}, length(peers))
      # The mirror of the frozen node is behind.
      Mirror.eventually("all have the value", seen, fn -> seen.() == all end)
      Process.sleep(200)
      assert seen.() == all
    end

    # Killed: the leases end by their time.
    for name <- caches do
      spawn(fn -> Peers.call(c, PeerWork, :fetch, [name, {:dead, name}, "of the dead", 60_000]) end)
      Mirror.eventually("it fetches", fn -> Peers.call(c, PeerWork, :fetching?, [{:dead, name}]) end)
    end

    Peers.kill(c)

    for name <- caches do
      started = System.monotonic_time(:millisecond)
      fetched = Peers.call(b, PeerWork, :fetch, [name, {:dead, name}, "of the living", 10])
      assert fetched == {:ok, "of the living"}
      # The one that was killed would have fetched for a minute.
      assert System.monotonic_time(:millisecond) - started < 10_000
    end
  end
end
