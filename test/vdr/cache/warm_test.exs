defmodule Vdr.Cache.WarmTest do
  # Entries that a cache begins with.
  use ExUnit.Case, async: true

  alias Vdr.Cache, as: C
  alias Vdr.Test.CacheContract.Cache
  alias Vdr.Test.Mirror

  @moduletag capture_log: true

  defp start(context, warm, opts) do
    name = Keyword.get(opts, :name, :"warm_#{:erlang.phash2(context.test)}")
    start_supervised!({Cache, [name: name, warm: warm] ++ Keyword.delete(opts, :name)}, id: name)
    name
  end

  test "they are there when the start returns, with their times and tags", context do
    warm = fn -> Stream.concat([a: 1, b: nil], [{:c, 3, ttl: 60_000, tags: [:t]}]) end
    c = start(context, warm, default_ttl: 90_000)
    assert C.get_many(c, [:a, :b, :c]) == {:ok, %{a: 1, b: nil, c: 3}}
    assert {:ok, ms} = C.ttl(c, :c)
    assert ms in 50_000..60_000
    assert {:ok, ms} = C.ttl(c, :a)
    assert ms in 80_000..90_000
    assert C.invalidate_tag(c, :t) == {:ok, 1}
    assert C.stats(c).writes == 3
  end

  test "what is there already stays", context do
    dir = Path.join(System.tmp_dir!(), "vdr_warm_#{System.pid()}_#{System.unique_integer([:positive])}")
    on_exit(fn -> File.rm_rf!(dir) end)
    opts = [name: :warm_dets, backend: Vdr.Cache.Backend.DETS, backend_opts: [data_dir: dir]]
    start_supervised!({Cache, opts}, id: 1)
    :ok = C.put(:warm_dets, :a, :of_the_file)
    stop_supervised!(1)
    c = start(context, fn -> [a: :warm, b: :warm] end, opts)
    assert C.get_many(c, [:a, :b]) == {:ok, %{a: :of_the_file, b: :warm}}
  end

  test "a function that fails, and one that returns something else, leave a cache that works", context do
    for {warm, n} <- Enum.with_index([fn -> raise "no database" end, fn -> [{:a, 1}, :b, {:c, 3}] end, fn -> 7 end]) do
      c = start(context, warm, name: :"warm_fails_#{n}")
      assert C.put(c, :k, 1) == :ok
      assert C.get(c, :k) == {:ok, 1}
    end
  end

  test "one that takes long goes on in the background", context do
    test = self()

    warm = fn ->
      send(test, {:warms, self()})
      receive(do: (:go -> [a: 1]))
    end

    c = start(context, warm, warm_timeout: 50)
    assert_receive {:warms, pid}
    assert C.get(c, :a) == {:error, :not_found}
    send(pid, :go)
    Mirror.eventually("it is there", fn -> C.get(c, :a) == {:ok, 1} end)
  end

  test "what is no function is refused with a sentence" do
    assert_raise ArgumentError, ~r/:warm/, fn -> Cache.start_link(name: :warm_refused, warm: [a: 1]) end
  end
end
