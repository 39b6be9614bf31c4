defmodule Vdr.KeysTest do
  use ExUnit.Case, async: true

  alias Vdr.Snapshot

  defp snapshot(commands) do
    {:ok, snapshot} = Snapshot.from_commands(commands)
    snapshot
  end

  defp strings(range), do: for(n <- range, do: ["SET", "key:#{n}", "1"])

  test "a stream has the selected keys in byte order" do
    snapshot =
      snapshot(strings(1..2500) ++ [["SADD", "key:s", "1"], ["SET", "other", "1"], ["SET", "gone", "1", "PXAT", "1"]])

    keys = fn opts -> snapshot |> Veidrodelis.stream_keys(0, opts) |> Enum.to_list() end
    all = Enum.sort(["other", "key:s"] ++ for(n <- 1..2500, do: "key:#{n}"))

    assert snapshot |> Veidrodelis.stream_keys(0) |> Enum.to_list() == all
    for chunk <- [1, 7, 2500, 100_000], do: assert(keys.(chunk: chunk) == all)
    assert keys.(prefix: "key:12") == Enum.filter(all, &String.starts_with?(&1, "key:12"))
    assert keys.(match: "*r") == ["other"]
    assert keys.(match: "key:*", type: :set) == ["key:s"]
    assert keys.(prefix: "x") == []
    assert snapshot |> Veidrodelis.stream_keys(3) |> Enum.to_list() == []
    assert snapshot |> Veidrodelis.stream_keys(0, chunk: 2) |> Enum.take(3) == Enum.take(all, 3)
  end

  test "wrong options are refused at once, a missing instance when the stream runs" do
    for opts <- [[prefix: 1], [match: :a], [type: :strings], [chunk: 0], [prefixes: "a"], :a] do
      assert_raise ArgumentError, fn -> Veidrodelis.stream_keys(:nobody, 0, opts) end
    end

    assert_raise ArgumentError, fn -> Veidrodelis.stream_keys(:nobody, -1) end
    assert_raise ArgumentError, fn -> Veidrodelis.diff(:nobody, :nobody, :a) end
    assert_raise Veidrodelis.Error, ~r/no such instance/, fn -> Enum.count(Veidrodelis.stream_keys(:nobody, 0)) end
    assert_raise Veidrodelis.Error, ~r/no such instance/, fn -> Enum.count(Veidrodelis.diff(:nobody, :nobody, 0)) end
  end

  test "a difference reports added, changed and removed keys" do
    old = snapshot(strings(1..3000) ++ [["RPUSH", "l", "1"], ["HSET", "h", "f", "1"]])
    new = snapshot(strings(2..3001) ++ [["RPUSH", "l", "1"], ["HSET", "h", "f", "2"], ["SET", "key:7", "2"]])

    assert Enum.to_list(Veidrodelis.diff(old, new, 0)) ==
             [changed: "h", removed: "key:1", added: "key:3001", changed: "key:7"]

    assert Enum.to_list(Veidrodelis.diff(old, old, 0)) == []
    assert old |> Veidrodelis.diff(snapshot([]), 0) |> Enum.count(&match?({:removed, _}, &1)) == 3002
    assert Enum.take(Veidrodelis.diff(snapshot([]), new, 0), 1) == [added: "h"]
    # The stream can be enumerated again.
    stream = Veidrodelis.diff(old, new, 0)
    assert Enum.count(stream) == 4 and Enum.count(stream) == 4
  end
end
