defmodule Vdr.Cache.ServerContractTest do
  # The behaviour of all caches, on every server at hand, by reads of the server and of a mirror.
  alias Vdr.Test.Server

  for binary <- Server.available(),
      {kind, backend} <- [server: Vdr.Cache.Backend.Redis, mirror: Vdr.Cache.Backend.Mirror] do
    defmodule Module.concat(__MODULE__, Macro.camelize(String.replace("#{binary.name}_#{kind}", ~r/[^A-Za-z0-9]/, "_"))) do
      use ExUnit.Case, async: true
      use Vdr.Test.CacheContract, except: if(kind == :mirror, do: [:terms], else: [:terms, :at_once])

      @moduletag capture_log: true
      @backend backend
      @mirror kind == :mirror

      setup_all do
        {:ok, server} = Server.start_link(binary: unquote(Macro.escape(binary)))
        port = Server.port(server)
        id = {__MODULE__, port}
        {:ok, pid} = Veidrodelis.start_link(id: id, host: "127.0.0.1", port: port)
        :ok = Veidrodelis.await_ready(id)
        Process.unlink(pid)
        on_exit(fn -> Veidrodelis.stop(pid) end)
        {:ok, id: id, redis: Server.connect!(server)}
      end

      # Every test has a cache of its own, and all of them one instance.
      setup context do
        name = :"#{inspect(__MODULE__)}_#{:erlang.phash2(context.test)}"

        start_supervised!(
          {Vdr.Test.CacheContract.Cache, name: name, backend: @backend, backend_opts: [mirror: context.id]}
        )

        {:ok, cache: name, pass: &Process.sleep/1}
      end

      test "nothing is left behind when the last entry has ended", %{cache: c, redis: redis} do
        prefix = "vdr:#{inspect(c)}:"
        # The number of invalidations stays for a day.
        left = fn -> Redix.command!(redis, ["KEYS", prefix <> "*"]) -- [prefix <> "c"] end

        in_time(c, 3_000, fn ->
          for n <- 1..20, do: :ok = C.put(c, n, n, ttl: 3_000, tags: [:a, {:b, rem(n, 3)}])
          assert C.invalidate_tag(c, {:b, 1}) == {:ok, 7}
          {:ok, :x} = C.get_or_fetch(c, :f, fn -> {:ok, :x} end, ttl: 300, tags: [:a])
          assert left.() != []
        end)

        Vdr.Test.Mirror.eventually("nothing is left", left, fn -> left.() == [] end)
      end

      test "the cache misses, and is never stale, when the server has evicted its bookkeeping", %{
        cache: c,
        redis: redis
      } do
        C.put(c, :k, 1, tags: [:t])
        prefix = "vdr:#{inspect(c)}:"
        for key <- Redix.command!(redis, ["KEYS", prefix <> "g:*"]), do: Redix.command!(redis, ["DEL", key])
        if @mirror, do: :ok = Veidrodelis.sync(elem(context_id(c), 0))
        assert C.get(c, :k) == {:error, :not_found}
        C.put(c, :k, 2, tags: [:t])
        assert C.get(c, :k) == {:ok, 2}
        for key <- Redix.command!(redis, ["KEYS", prefix <> "t:*"]), do: Redix.command!(redis, ["DEL", key])
        assert {:ok, _too_few} = C.invalidate_tag(c, :t)
        assert C.get(c, :k) == {:error, :not_found}
      end

      defp context_id(c), do: {C.info(c).instance, c}

      test "an invalidation that a node has begun and not finished is finished by the others", %{cache: c, redis: redis} do
        prefix = "vdr:#{inspect(c)}:"
        for n <- 1..3, do: C.put(c, n, n, tags: [:t])
        [generation] = Redix.command!(redis, ["KEYS", prefix <> "g:*"])
        [set] = Redix.command!(redis, ["KEYS", prefix <> "t:*"])
        # What the first script does, some minutes ago.
        Redix.pipeline!(redis, [
          ["DEL", generation],
          ["RENAME", set, prefix <> "d:x"],
          ["HSET", prefix <> "d", "x", "1"]
        ])

        assert C.sweep(c) == {:ok, 0}
        assert Redix.command!(redis, ["KEYS", prefix <> "*"]) == []
      end

      test "other languages read keys and integers, and INCRBY works", %{cache: c, redis: redis} do
        prefix = "vdr:#{inspect(c)}:e:"
        C.put(c, "user:1", 41)
        assert Redix.command!(redis, ["GET", prefix <> "user:1"]) == "41"
        assert Redix.command!(redis, ["INCRBY", prefix <> "user:1", "1"]) == 42
        if @mirror, do: :ok = Veidrodelis.sync(C.info(c).instance)
        assert C.get(c, "user:1") == {:ok, 42}
      end

      test "bytes of others are an error, not a crash, and are counted", %{cache: c, redis: redis} do
        prefix = "vdr:#{inspect(c)}:e:"
        # Text, a term with an atom that nobody knows, a compressed term, a damaged envelope, a
        # bomb.
        unknown = <<131, 119, 20, "no_such_atom_anywhere">> |> binary_part(0, 23)
        bomb = "V1;z;;;0;" <> :zlib.compress(:binary.copy(<<0>>, 100_000_000))
        foreign = ["hello", unknown, <<131, 80, 0xFFFFFFFF::32, 1, 2>>, "V1;v;;;1;9:x", "V1;", bomb, <<131>>, ""]

        for {bytes, n} <- Enum.with_index(foreign) do
          Redix.command!(redis, ["SET", prefix <> "f#{n}", bytes])
          if @mirror, do: :ok = Veidrodelis.sync(C.info(c).instance)
          assert {n, C.get(c, "f#{n}")} == {n, {:error, {:undecodable, "f#{n}"}}}
          assert C.get_or_fetch(c, "f#{n}", fn -> {:ok, :fetched} end) == {:ok, :fetched}
        end

        Redix.command!(redis, ["LPUSH", prefix <> "list", "x"])
        if @mirror, do: :ok = Veidrodelis.sync(C.info(c).instance)
        assert C.get(c, "list") == {:error, {:undecodable, "list"}}
        assert C.stats(c).decode_errors >= length(foreign)
        assert C.get_many(c, ["f0", "list", "none"]) == {:ok, %{}}
      end
    end
  end
end
