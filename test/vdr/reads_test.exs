defmodule Vdr.ReadsTest do
  # Compares the rows of the native library with the functions of the facade, both ways, and tests
  # how the border treats arguments and answers. Other tests compare the answers with real servers.
  use ExUnit.Case, async: true

  import Bitwise

  alias Vdr.Snapshot

  doctest Veidrodelis
  doctest Vdr.Snapshot

  # Functions of the facade with a source and a database as first arguments that are not reads.
  @others [digest_value: 3, read_tx: 3, read_tx: 4, read_tx!: 3, read_tx!: 4, stream_keys: 3]

  defp documented do
    {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(Veidrodelis)
    for {{:function, name, arity}, _, signature, %{"en" => doc}, _} <- docs, do: {name, arity, signature, doc}
  end

  defp arities(name), do: for({^name, arity} <- Veidrodelis.__info__(:functions), do: arity - 2)

  test "every row has its function, with every number of arguments from the fewest to the most" do
    for {name, args} <- Vdr.Native.commands() do
      fewest = Enum.count(args, &(not String.starts_with?(&1, "?")))
      arities = arities(name)
      assert fewest in arities, "#{name} lacks the arity #{fewest}"
      assert length(args) in arities, "#{name} lacks the arity #{length(args)}"
      assert Enum.all?(arities, &(&1 in fewest..length(args))), "#{name} has arities #{inspect(arities)}"
      assert arities(:"#{name}!") == arities, "#{name}! has other arities"
    end
  end

  test "the rows of the facade are those of the native library, with their arguments in order" do
    takes = Vdr.Native.commands()
    rows = Vdr.Reads.all()
    assert Enum.sort(Enum.uniq(for row <- rows, do: row.name)) == Enum.sort(Keyword.keys(takes))

    for row <- rows do
      {fewest, most} = Vdr.Reads.Row.arities(row)
      names = for name <- takes[row.name], do: String.trim_leading(name, "?")
      fewest_of_all = Enum.count(takes[row.name], &(not String.starts_with?(&1, "?")))
      assert fewest in fewest_of_all..length(names) and most in fewest..length(names), "#{row.name}: #{fewest}..#{most}"
      assert row.file =~ ~r"^lib/vdr/reads/\w+\.ex$" and row.line > 0 and row.group != ""
    end
  end

  test "a twin that ends in ! returns the value, and raises what its read answers, from the place of its row" do
    {:ok, snapshot} = Snapshot.from_commands([["HSET", "h", "f", "1"]])
    assert Veidrodelis.hget!(snapshot, 0, "h", "f") == "1"
    assert Veidrodelis.get!(snapshot, 0, "nope") == nil
    assert Veidrodelis.scan!(snapshot, 0, 0) == {0, ["h"]}
    assert_raise Veidrodelis.Error, ~r/another type/, fn -> Veidrodelis.get!(snapshot, 0, "h") end
    assert_raise ArgumentError, ~r/Veidrodelis.hget takes/, fn -> Veidrodelis.hget!(snapshot, 0, "h", :f) end
    assert Veidrodelis.read_tx!(snapshot, 0, [{:hlen, "h"}]) == [ok: 1]
    assert Veidrodelis.read_tx!(snapshot, 0, "return ts.hlen(KEYS[1])", keys: ["h"]) == 1
    assert_raise Veidrodelis.Error, ~r/script/, fn -> Veidrodelis.read_tx!(snapshot, 0, "return nil +") end

    {error, stacktrace} =
      try do
        Veidrodelis.hget!(:nobody, 0, "h", "f")
      rescue
        error -> {error, __STACKTRACE__}
      end

    assert error.reason == :no_instance
    assert [{Veidrodelis, :hget!, 4, place} | _] = stacktrace
    row = Enum.find(Vdr.Reads.all(), &(&1.name == :hget))
    assert place[:file] == String.to_charlist(row.file) and place[:line] == row.line
  end

  test "every function that takes a source and a database is a row" do
    rows = Keyword.keys(Vdr.Native.commands())

    for {name, arity, [signature], _doc} <- documented(), signature =~ ~r/\(source, db\b/ do
      read = name |> to_string() |> String.trim_trailing("!") |> String.to_existing_atom()
      assert read in rows or {name, arity} in @others, "#{name}/#{arity} has no row"
    end
  end

  test "every public function has a doc and a spec" do
    {:ok, specs} = Code.Typespec.fetch_specs(Veidrodelis)
    specs = for {signature, _} <- specs, do: signature
    documented = for {name, arity, _, _} <- documented(), do: {name, arity}

    for {name, arity} = function <- Veidrodelis.__info__(:functions) do
      assert function in specs, "no spec: #{name}/#{arity}"
      assert Enum.any?(documented, fn {of, full} -> of == name and full >= arity end), "no doc: #{name}/#{arity}"
    end
  end

  test "every read of the facade documents its cost" do
    for {name, args} <- Vdr.Native.commands(), {^name, arity, _, doc} <- documented() do
      # A variant refers to the function that states the cost.
      assert doc =~ "O(", "#{name}/#{arity} of #{inspect(args)} says nothing of its cost"
    end
  end

  describe "a snapshot of commands" do
    setup do
      {:ok, snapshot} =
        Snapshot.from_commands([
          ["SET", "s", "value"],
          ["SET", "long", String.duplicate("x", 5000)],
          ["SET", "binary", <<0, 255, 10>>],
          ["RPUSH", "l" | Enum.map(1..3000, &to_string/1)],
          ["HSET", "h", "f", "1", "g", "2"],
          ["ZADD", "z", "-inf", "a", "1.5", "b", "inf", "c"],
          ["SADD", "set", "m", "n"]
        ])

      %{snapshot: snapshot}
    end

    test "answers reads of every type", %{snapshot: snapshot} do
      assert Veidrodelis.get(snapshot, 0, "s") == {:ok, "value"}
      assert Veidrodelis.get(snapshot, 0, "nope") == {:ok, nil}
      assert Veidrodelis.get(snapshot, 1, "s") == {:ok, nil}
      assert Veidrodelis.get(snapshot, 0, "binary") == {:ok, <<0, 255, 10>>}
      assert Veidrodelis.hgetall(snapshot, 0, "h") == {:ok, [{"f", "1"}, {"g", "2"}]}
      assert Veidrodelis.zrange(snapshot, 0, "z", 0, -1) == {:ok, [{"a", :neg_inf}, {"b", 1.5}, {"c", :pos_inf}]}
      assert Veidrodelis.zrange(snapshot, 0, "z", 0, 0, false) == {:ok, ["a"]}
      assert Veidrodelis.zrangebyscore(snapshot, 0, "z", {:exclusive, 1}, :pos_inf, false) == {:ok, ["b", "c"]}
      assert Veidrodelis.zfirst(snapshot, 0, "z", 2) == {:ok, [{:neg_inf, "a"}, {1.5, "b"}]}
      assert Veidrodelis.sismember(snapshot, 0, "set", "m") == {:ok, true}
      assert Veidrodelis.smismember(snapshot, 0, "set", ["x", "n"]) == {:ok, [false, true]}
      assert Veidrodelis.type(snapshot, 0, "z") == {:ok, :zset}
      assert Veidrodelis.ttl(snapshot, 0, "s") == {:ok, :infinity}
      assert Veidrodelis.ttl(snapshot, 0, "nope") == {:ok, nil}
      assert Veidrodelis.dbsize(snapshot, 0) == {:ok, 7}
      assert Veidrodelis.bitcount(snapshot, 0, "s", 0, 0, :byte) == {:ok, 5}
      assert {:ok, {0, ["h"]}} = Veidrodelis.scan(snapshot, 0, 0, type: :hash, count: 100)
    end

    test "answers one random member or field without a count", %{snapshot: snapshot} do
      assert Veidrodelis.srandmember!(snapshot, 0, "set") in ["m", "n"]
      assert Veidrodelis.srandmember(snapshot, 0, "nope") == {:ok, nil}
      assert Veidrodelis.srandmember(snapshot, 0, "nope", 1) == {:ok, []}
      assert Veidrodelis.hrandfield!(snapshot, 0, "h") in ["f", "g"]
      assert Veidrodelis.hrandfield(snapshot, 0, "nope") == {:ok, nil}
      assert Veidrodelis.hrandfield(snapshot, 0, "s") == {:error, :wrong_type}
      assert {:ok, [{field, _value}]} = Veidrodelis.hrandfield(snapshot, 0, "h", 1)
      assert Veidrodelis.hrandfield!(snapshot, 0, "h", 9, with_values: false) == ["f", "g"]
      assert field in ["f", "g"]
      assert {:ok, [{:ok, one}]} = Veidrodelis.read_tx(snapshot, 0, [{:srandmember, "set"}])
      assert one in ["m", "n"]
      assert Veidrodelis.read_tx!(snapshot, 0, "return type(ts.hrandfield('h'))") == "string"
    end

    test "takes a flag by its place or by its name, in functions, lists and scripts", %{snapshot: snapshot} do
      members = ["a", "b", "c"]

      for flag <- [false, [with_scores: false], [with_scores: false, with_scores: true]] do
        assert Veidrodelis.zrange(snapshot, 0, "z", 0, -1, flag) == {:ok, members}
        assert Veidrodelis.zrevrange(snapshot, 0, "z", 0, -1, flag) == {:ok, Enum.reverse(members)}
        assert Veidrodelis.zrangebyscore(snapshot, 0, "z", :neg_inf, :infinity, flag) == {:ok, members}
        assert Veidrodelis.zrevrangebyscore(snapshot, 0, "z", :infinity, :neg_inf, flag) == {:ok, Enum.reverse(members)}
        assert Veidrodelis.read_tx(snapshot, 0, [{:zrange, "z", 0, -1, flag}]) == {:ok, [ok: members]}
      end

      script = "return ts.zrange('z', 0, -1, {with_scores = false})"
      assert Veidrodelis.read_tx(snapshot, 0, script) == {:ok, members}
      assert Veidrodelis.zrange(snapshot, 0, "z", 1, 1, []) == {:ok, [{"b", 1.5}]}
      assert Veidrodelis.zrange(snapshot, 0, "z", 1, 1, with_scores: true) == {:ok, [{"b", 1.5}]}

      for odd <- [[with_values: false], [with_scores: 1], [with_scores: nil], [:with_scores], [false], nil, %{}] do
        assert_raise ArgumentError, fn -> Veidrodelis.zrange(snapshot, 0, "z", 0, -1, odd) end
      end

      assert_raise ArgumentError, fn -> Veidrodelis.hrandfield(snapshot, 0, "h", 1, with_scores: false) end
    end

    test "a cursor of a sorted set goes on from a score and a member that are gone", %{snapshot: snapshot} do
      next = &Veidrodelis.znext(snapshot, 0, "z", &1, &2)
      prev = &Veidrodelis.zprev(snapshot, 0, "z", &1, &2)
      assert next.("gone", 9) == {:ok, []}
      assert next.({1.0, "gone"}, 9) == {:ok, [{1.5, "b"}, {:pos_inf, "c"}]}
      assert next.({1.5, "b"}, 9) == next.("b", 9)
      assert next.({1.5, "a"}, 1) == {:ok, [{1.5, "b"}]}
      assert next.({1.5, "c"}, 1) == {:ok, [{:pos_inf, "c"}]}
      assert next.({:neg_inf, ""}, 1) == {:ok, [{:neg_inf, "a"}]}
      assert next.({:infinity, "c"}, 1) == {:ok, []}
      assert next.({2, "gone"}, 0) == {:ok, []}
      assert prev.({2, "gone"}, 9) == {:ok, [{1.5, "b"}, {:neg_inf, "a"}]}
      assert prev.({:pos_inf, "c"}, 1) == prev.("c", 1)
      assert prev.({:neg_inf, "a"}, 1) == {:ok, []}
      assert Veidrodelis.znext(snapshot, 0, "nope", {1, "a"}, 1) == {:ok, []}
      assert Veidrodelis.znext(snapshot, 0, "s", {1, "a"}, 1) == {:error, :wrong_type}
      assert Veidrodelis.read_tx(snapshot, 0, [{:znext, "z", {1.0, "x"}, 1}]) == {:ok, [ok: [{1.5, "b"}]]}
      assert Veidrodelis.read_tx(snapshot, 0, "return ts.znext('z', {1, 'x'}, 1)") == {:ok, [[1.5, "b"]]}

      for odd <- [{1.5}, {1.5, :b}, {"b", 1.5}, {1.5, "b", 1}, {{:exclusive, 1.5}, "b"}, {"(1.5", "b"}, {nil, "b"}, {}] do
        assert_raise ArgumentError, fn -> next.(odd, 1) end
      end
    end

    test "no sets have no members", %{snapshot: snapshot} do
      for name <- [:sunion, :sinter, :sdiff], do: assert(apply(Veidrodelis, name, [snapshot, 0, []]) == {:ok, []})
      assert Veidrodelis.sintercard(snapshot, 0, []) == {:ok, 0}
      assert Veidrodelis.read_tx(snapshot, 0, [{:sinter, []}]) == {:ok, [ok: []]}
    end

    test "infinity is a bound as pos_inf is", %{snapshot: snapshot} do
      assert Veidrodelis.zcount(snapshot, 0, "z", :neg_inf, :infinity) == {:ok, 3}
      assert Veidrodelis.zcount(snapshot, 0, "z", 0, {:exclusive, :infinity}) == {:ok, 1}
    end

    test "returns a long value that outlives the snapshot", %{snapshot: snapshot} do
      {:ok, long} = Veidrodelis.get(snapshot, 0, "long")
      part = binary_part(long, 4000, 1000)
      :erlang.garbage_collect()
      assert part == String.duplicate("x", 1000)
      assert long == String.duplicate("x", 5000)
    end

    test "answers a read that is too large for a normal scheduler", %{snapshot: snapshot} do
      native = Vdr.Read.source(snapshot)
      assert Vdr.Native.read(native, 0, :lrange, ["l", 0, -1]) == :dirty
      assert {:ok, list} = Veidrodelis.lrange(snapshot, 0, "l", 0, -1)
      assert list == Enum.map(1..3000, &to_string/1)
      assert {:ok, ["1", "2"]} = Vdr.Native.read(native, 0, :lrange, ["l", 0, 1])
    end

    test "another type is an error, not an exception", %{snapshot: snapshot} do
      assert Veidrodelis.get(snapshot, 0, "h") == {:error, :wrong_type}
      assert Veidrodelis.hget(snapshot, 0, "s", "f") == {:error, :wrong_type}
    end

    test "a bad argument names the function, what it takes and what it got", %{snapshot: snapshot} do
      error = assert_raise ArgumentError, fn -> Veidrodelis.hget(snapshot, 0, "h", :f) end
      assert error.message =~ "Veidrodelis.hget takes (source, db, key, field)"
      assert error.message =~ ~s(["h", :f])

      for bad <- [
            fn -> Veidrodelis.get(snapshot, -1, "s") end,
            fn -> Veidrodelis.get(snapshot, "0", "s") end,
            fn -> Veidrodelis.get(snapshot, 0, nil) end,
            fn -> Veidrodelis.get(snapshot, 0, <<1::1>>) end,
            fn -> Veidrodelis.mget(snapshot, 0, ["s" | "t"]) end,
            fn -> Veidrodelis.mget(snapshot, 0, "s") end,
            fn -> Veidrodelis.lrange(snapshot, 0, "l", 0, 1.5) end,
            fn -> Veidrodelis.lrange(snapshot, 0, "l", 0, 1 <<< 80) end,
            fn -> Veidrodelis.lrange(snapshot, 0, %{}, 0, self()) end,
            fn -> Veidrodelis.zrange(snapshot, 0, "z", 0, 1, :yes) end,
            fn -> Veidrodelis.zcount(snapshot, 0, "z", {:inclusive, 1}, 2) end,
            fn ->
              Veidrodelis.zcount(snapshot, 0, "z", {:exclusive, {:exclusive, {:exclusive, {:exclusive, 1}}}}, 2)
            end,
            fn -> Veidrodelis.bitcount(snapshot, 0, "s", 0, 0, :word_never_seen) end,
            fn -> Veidrodelis.scan(snapshot, 0, 0, nope: 1) end
          ] do
        assert_raise ArgumentError, bad
      end
    end

    test "a transaction answers each operation in its place", %{snapshot: snapshot} do
      assert Veidrodelis.read_tx(snapshot, 0, [
               {:get, "s"},
               {:hget, "s", "f"},
               {:nope, 1},
               {:get},
               :get,
               {:llen, "l"},
               {}
             ]) ==
               {:ok,
                [
                  ok: "value",
                  error: :wrong_type,
                  error: {:bad_command, {:nope, 1}},
                  error: {:bad_command, {:get}},
                  error: {:bad_command, :get},
                  ok: 3000,
                  error: {:bad_command, {}}
                ]}

      assert Veidrodelis.read_tx(snapshot, 0, []) == {:ok, []}
    end

    test "a transaction too large for a normal scheduler answers the same", %{snapshot: snapshot} do
      large = List.duplicate({:get, "s"}, 2000)
      assert Vdr.Native.read_tx(Vdr.Read.source(snapshot), 0, large) == :dirty
      assert Veidrodelis.read_tx(snapshot, 0, large) == {:ok, List.duplicate({:ok, "value"}, 2000)}

      both = [{:lrange, "l", 0, 600}, {:lrange, "l", 0, 600}]
      assert Vdr.Native.read_tx(Vdr.Read.source(snapshot), 0, both) == :dirty
      assert {:ok, [ok: list, ok: list]} = Veidrodelis.read_tx(snapshot, 0, both)
      assert length(list) == 601
    end

    test "many reads that find nothing count as work", %{snapshot: snapshot} do
      native = Vdr.Read.source(snapshot)
      none = for n <- 1..300, do: "none:#{n}"
      assert Vdr.Native.read_tx(native, 0, List.duplicate({:lrange, "l", 5, 4}, 300)) == :dirty

      for name <- [:sunion, :sinter, :sdiff, :sintercard],
          do: assert(Vdr.Native.read(native, 0, name, [none]) == :dirty)
    end

    test "expired keys that a cursor skips count as work, alone and together" do
      past = for n <- 1..999, do: ["SET", "k#{n}", "", "PXAT", "1"]
      {:ok, %{native: native} = snapshot} = Vdr.Snapshot.from_commands([["SET", "z", ""] | past])
      assert Veidrodelis.last(snapshot, 0, 1) == {:ok, ["z"]}
      assert Vdr.Native.read(native, 0, :last, [1]) == {:ok, ["z"]}

      for {name, args} <- [first: [1], last: [2], next: ["k", 1], prev: ["z", 1]] do
        assert Vdr.Native.read(native, 0, name, args) == :dirty
        assert Vdr.Native.read_tx(native, 0, [List.to_tuple([name | args])]) == :dirty
      end

      assert Veidrodelis.first(snapshot, 0, 1) == {:ok, ["z"]}
      assert Veidrodelis.prev(snapshot, 0, "z", 1) == {:ok, []}
      # Each operation is small, but the list is not.
      assert Vdr.Native.read_tx(native, 0, List.duplicate({:prev, "k16", 1}, 2)) == {:ok, [ok: [], ok: []]}
      assert Vdr.Native.read_tx(native, 0, List.duplicate({:prev, "k2", 1}, 2)) == :dirty
    end

    test "a float is not an index or count, in a function or a list; a whole number from Lua is", %{snapshot: snapshot} do
      for {name, args} <- [
            lindex: ["l", 1.0],
            lrange: ["l", 0.0, 1],
            getbit: ["s", 1.0],
            first: [1.0],
            sfirst: ["set", 1.0]
          ] do
        assert_raise ArgumentError, fn -> apply(Veidrodelis, name, [snapshot, 0 | args]) end
        operation = List.to_tuple([name | args])
        assert Veidrodelis.read_tx(snapshot, 0, [operation]) == {:ok, [error: {:bad_command, operation}]}
      end

      assert Veidrodelis.zcount(snapshot, 0, "none", 0.0, 1.0) == {:ok, 0}
      one = Veidrodelis.lindex(snapshot, 0, "l", 1)
      assert {:ok, "" <> _element} = one

      for number <- ["1", "1.0", "3 / 3", "2 ^ 0", "tonumber('1.0')"] do
        assert Veidrodelis.read_tx(snapshot, 0, "return ts.lindex('l', #{number})") == one
      end

      half = "return ts.lindex('l', 0.5)"
      assert Veidrodelis.read_tx(snapshot, 0, half) == {:error, {:lua, :runtime, "script:1: bad_argument"}}
    end

    test "a transaction that is not a list is refused", %{snapshot: snapshot} do
      assert_raise ArgumentError, fn -> Veidrodelis.read_tx(snapshot, 0, {:get, "s"}) end
      assert_raise ArgumentError, fn -> Veidrodelis.read_tx(snapshot, 0, [{:get, "s"} | :tail]) end
      assert_raise ArgumentError, fn -> Veidrodelis.read_tx(snapshot, -1, []) end
    end
  end

  test "what is no write command makes no snapshot" do
    assert Snapshot.from_commands([["SET", "a", "1"], ["NOPE"]]) == {:error, {:bad_command, 1}}
    assert Snapshot.from_commands([["GET", "a"]]) == {:error, {:bad_command, 0}}
    assert Snapshot.from_commands([["SET", "a", "1"], ["SET", {:a}, "1"]]) == {:error, {:bad_command, 1}}
    assert Snapshot.from_commands([["NOPE"], ["SET", nil, "1"]]) == {:error, {:bad_command, 0}}

    for odd <- [[], :set, ["SET" | "a"], "SET a 1"],
        do: assert(Snapshot.from_commands([odd]) == {:error, {:bad_command, 0}})

    for {commands, db} <- [{:set, 0}, {[["SET", "a", "1"] | :tail], 0}, {[], -1}, {[], :a}],
        do: assert_raise(ArgumentError, ~r/from_commands takes/, fn -> Snapshot.from_commands(commands, db) end)
  end

  test "a read of what is no source raises" do
    for source <- [:none, make_ref(), "s"],
        {name, args} <- [
          read: [0, :get, ["s"]],
          read_dirty: [0, :get, ["s"]],
          read_tx: [0, [{:get, "s"}]],
          get: [0, "s"],
          hget: [0, "s", "f"]
        ],
        do: assert_raise(ArgumentError, fn -> apply(Vdr.Native, name, [source | args]) end)
  end

  test "the native library refuses an improper list of commands" do
    for improper <- [[["SET", "a", "1"] | :tail], [["SET", "a" | "1"]], :set, [:set]],
        do: assert(Vdr.Native.snapshot_from_commands(0, improper) == {:error, {:bad_command, nil}})
  end

  test "words of commands may be numbers and atoms" do
    assert {:ok, snapshot} = Snapshot.from_commands([[:set, "a", 1], ["ZADD", "z", 1.5, :m]])
    assert Veidrodelis.get(snapshot, 0, "a") == {:ok, "1"}
    assert Veidrodelis.zscore(snapshot, 0, "z", "m") == {:ok, 1.5}
  end

  test "a snapshot shows its offset and how many keys it has" do
    {:ok, snapshot} = Snapshot.from_commands([["SET", "a", "1"], ["SET", "b", "2"]], 3)
    assert inspect(snapshot) == "#Vdr.Snapshot<offset: 0, keys: %{3 => 2}>"
  end

  test "an unknown id is not found" do
    assert Veidrodelis.get(:nobody, 0, "a") == {:error, :no_instance}
    assert Veidrodelis.read_tx(:nobody, 0, []) == {:error, :no_instance}
    assert Veidrodelis.snapshot(:nobody) == {:error, :no_instance}
    assert Veidrodelis.info(:nobody) == {:error, :no_instance}
    assert Veidrodelis.replication_state(:nobody) == {:error, :no_instance}
    assert Veidrodelis.connected_to(self()) == {:error, :no_instance}
    assert Veidrodelis.await_ready(:nobody, 10) == {:error, :no_instance}
    assert Veidrodelis.watch(:nobody, 0, "a", make_ref()) == {:error, :no_instance}
    assert Veidrodelis.unwatch(:nobody, 0, "a") == {:error, :no_instance}
    assert Veidrodelis.stop(:nobody) == :ok
  end
end
