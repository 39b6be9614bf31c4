defmodule Vdr.Cache.TransportTest do
  # Caches on servers that are reached by TLS, and found by Sentinel.
  use ExUnit.Case, async: true

  alias Vdr.Cache, as: C
  alias Vdr.Cache.Backend.{Mirror, Redis}
  alias Vdr.Test.CacheContract.Cache
  alias Vdr.Test.{Sentinels, Server, Tls}

  @moduletag capture_log: true
  @moduletag timeout: 180_000

  defp start!(backend, backend_opts) do
    name = :"transport_#{System.unique_integer([:positive])}"
    start_supervised!({Cache, name: name, backend: backend, backend_opts: backend_opts}, id: name)
    name
  end

  for binary <- Server.available() do
    @tag binary: binary
    test "#{binary.name}: by TLS, with a client certificate", %{binary: binary} do
      files = Tls.certificates!()
      {server, port} = Tls.server!(binary, files, "yes")
      redis = Server.connect!(server)
      tls = [cacertfile: files.client.ca, certfile: files.client.cert, keyfile: files.client.key]

      for backend <- [Redis, Mirror] do
        prefix = "#{inspect(backend)}:"
        opts = [url: "rediss://localhost:#{port}", ssl_opts: tls, key_prefix: prefix]
        c = start!(backend, opts)
        assert C.put(c, "k", 41, tags: [:t]) == :ok
        assert C.get(c, "k") == {:ok, 41}
        assert C.incr(c, "k") == {:ok, 42}
        assert C.get_or_fetch(c, "f", fn -> {:ok, :fetched} end) == {:ok, :fetched}
        assert C.get(c, "f") == {:ok, :fetched}
        assert Redix.command!(redis, ["EXISTS", prefix <> "e:k", prefix <> "e:f"]) == 2
        assert C.invalidate_tag(c, :t) == {:ok, 1}
        assert C.get(c, "k") == {:error, :not_found}
      end

      # Nobody who cannot verify the server gets an answer from it, and nobody waits for ever.
      c = start!(Redis, url: "rediss://localhost:#{port}", ssl_opts: Keyword.delete(tls, :cacertfile), timeout: 1_000)
      assert {:error, _reason} = C.put(c, "k", 1)
      assert {:error, _reason} = C.get(c, "k")
      assert C.get_or_fetch(c, "k", fn -> {:ok, :alone} end) == {:ok, :alone}
    end
  end

  # Writes until the time is over: what came of each, and how long the slowest took.
  defp write_for(c, ms) do
    until = now() + ms

    Stream.repeatedly(fn ->
      started = now()
      answer = C.put(c, :n, started)
      read = C.get(c, :n)
      Process.sleep(5)
      {answer, read, started, now() - started}
    end)
    |> Enum.take_while(fn {_answer, _read, started, _took} -> started < until end)
  end

  defp now, do: System.monotonic_time(:millisecond)

  for {how, title} <- [planned: "a planned failover", killed: "the death of the primary"] do
    @tag how: how
    test "by Sentinel: #{title} costs errors for some moments, and no call takes longer than its time", %{how: how} do
      cluster = Sentinels.start!()
      opts = [sentinel: Sentinels.option(cluster), timeout: 1_000]

      caches =
        for backend <- [Redis, Mirror], do: {backend, start!(backend, [key_prefix: "#{inspect(backend)}:"] ++ opts)}

      for {_backend, c} <- caches do
        assert C.put(c, :k, 1, tags: [:t]) == :ok
        assert C.get(c, :k) == {:ok, 1}
      end

      writers = for {backend, c} <- caches, do: {backend, Task.async(fn -> write_for(c, 8_000) end)}
      Process.sleep(500)
      first = Sentinels.primary_port(cluster)

      case how do
        :planned -> Sentinels.failover!(cluster)
        :killed -> cluster.servers |> Enum.find(&(Server.port(&1) == first)) |> Server.kill()
      end

      for {backend, writer} <- writers do
        done = Task.await(writer, 60_000)
        {good, bad} = Enum.split_with(done, fn {answer, _read, _started, _took} -> answer == :ok end)
        assert length(good) > 50
        for {answer, _read, _started, _took} <- bad, do: assert({:error, _reason} = answer)
        # Two calls, each within its second, and a busy machine.
        assert Enum.all?(done, fn {_answer, _read, _started, took} -> took < 4_000 end)
        # A read after a write has that value, or says why not; a mirror keeps answering. Without a
        # mirror one read is at the new primary while its write went to the former, which the
        # Sentinels leave writable for about a second, and whose last writes are lost.
        older = for {:ok, {:ok, value}, started, _took} <- done, value != started, do: started - value
        assert Enum.all?(older, &(&1 > 0))
        assert length(older) <= if(backend == Redis, do: 1, else: 0), "#{inspect(backend)}: #{inspect(older)} ms older"
        if backend == Mirror, do: assert(Enum.count(done, &match?({_answer, {:ok, _value}, _started, _took}, &1)) > 50)
      end

      # If the Sentinels do not agree at once, they vote again seconds later.
      Vdr.Test.Mirror.eventually("another primary", fn -> Sentinels.primary_port(cluster) != first end)

      for {_backend, c} <- caches do
        Vdr.Test.Mirror.eventually("writes succeed again", fn -> C.put(c, :after, 1) == :ok end)
        assert C.get(c, :after) == {:ok, 1}
        assert C.get_or_fetch(c, :f, fn -> {:ok, 2} end) == {:ok, 2}
        assert C.invalidate_tag(c, :t) == {:ok, 1}
        assert C.get(c, :k) == {:error, :not_found}
      end
    end
  end
end
