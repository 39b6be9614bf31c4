defmodule Vdr.Live.ParityTest do
  # Asks every read of the mirror with random arguments on random data, and compares it with the
  # server's own answer: as a function, and as an operation of read_tx. `reads/0` is the one table;
  # a test compares it with the rows of the native library.
  use Vdr.Test.LiveCase, async: true

  alias Vdr.Test.Compare

  @asked_each 150

  test "the table has every read of the native library, and no other" do
    rows = Enum.map(Vdr.Native.commands(), &elem(&1, 0))
    assert Enum.sort(rows) == Enum.sort(Keyword.keys(reads(%{keys: ["k"]})))
  end

  test "every read is a function of Veidrodelis, with the arguments of its row" do
    Code.ensure_loaded!(Veidrodelis)

    for {name, args} <- Vdr.Native.commands() do
      optional = Enum.count(args, &String.starts_with?(&1, "?"))

      for arity <- [length(args) - optional, length(args)] do
        assert function_exported?(Veidrodelis, name, arity + 2), "Veidrodelis.#{name}/#{arity + 2} is missing"
      end
    end
  end

  live_test "every read answers like the server", %{server: server, redis: redis}, mirror: false do
    Writes.seed!("parity")
    # A full sync brings streams as keys.
    Redix.command!(redis, ["XADD", "stream", "*", "f", "v"])
    id = Mirror.start!(server)
    fill(redis)
    Compare.assert_equal(redis, id, [0])
    context = %{keys: redis |> Compare.scan() |> Enum.uniq() |> Enum.sort()}

    for {name, question} <- reads(context), _ <- 1..@asked_each do
      {args, command, expected} = question.()
      reply = Redix.command(redis, Enum.map(command, &to_string/1))
      answer = apply(Veidrodelis, name, [id, 0 | args])
      assert_same(name, args, command, reply, expected, answer)

      {:ok, [in_transaction]} = Veidrodelis.read_tx(id, 0, [List.to_tuple([name | args])])
      assert_same(:"read_tx #{name}", args, command, reply, expected, in_transaction)
    end
  end

  # `expected` turns the server's reply into the mirror's value. For answers that depend on chance
  # or the clock it is `{:holds, fun}`, and the function judges both.
  defp assert_same(name, args, _command, {:error, %Redix.Error{message: "WRONGTYPE" <> _}}, _expected, answer) do
    assert answer == {:error, :wrong_type},
           "#{name} #{inspect(args)}: the server says WRONGTYPE, the mirror #{inspect(answer)}"
  end

  defp assert_same(name, args, command, {:ok, reply}, {:holds, judge}, answer) do
    assert {:ok, value} = answer

    assert judge.(reply, value),
           "#{name} #{inspect(args)}\n  #{Enum.join(command, " ")}: #{inspect(reply)}\n  mirror: #{inspect(value)}"
  end

  defp assert_same(name, args, command, {:ok, reply}, expected, answer) do
    wanted = {:ok, expected.(reply)}

    assert order(name, answer) == order(name, wanted),
           "#{name} #{inspect(args)}\n  #{inspect(command)}\n  server: #{inspect(wanted)}\n  mirror: #{inspect(answer)}"
  end

  # Answers without an order of their own.
  @unordered ~w(smembers sunion sinter sdiff hgetall hkeys hvals keys)a
  defp order(name, {:ok, list}) when is_list(list) do
    name = name |> Atom.to_string() |> String.replace_prefix("read_tx ", "") |> String.to_existing_atom()
    if name in @unordered, do: {:ok, Enum.sort(list)}, else: {:ok, list}
  end

  defp order(_name, answer), do: answer

  # ---- the table: name => a question as {arguments, the server's command, the meaning of its
  # reply}

  defp reads(context) do
    strings() ++ lists() ++ sets() ++ hashes() ++ sorted_sets() ++ streams() ++ keyspace() ++ key_cursors(context.keys)
  end

  defp strings do
    [
      get: fn -> on(key("s"), &["GET", &1]) end,
      mget: fn -> on_keys(keys("s"), &["MGET" | &1]) end,
      strlen: fn -> on(key("s"), &["STRLEN", &1]) end,
      getrange: fn -> with_args(key("s"), [index(), index()], &["GETRANGE" | &1]) end,
      getbit: fn -> with_args(key("s"), [uniform(400)], &["GETBIT" | &1]) end,
      bitcount: fn -> with_args(key("s"), pick([[], [index(), index(), unit()]]), &["BITCOUNT" | units(&1)]) end,
      bitpos: fn ->
        bit = uniform(2) - 1
        rest = pick([[bit], [bit, index()], [bit, index(), index()], [bit, index(), index(), unit()]])
        with_args(key("s"), rest, &["BITPOS" | units(&1)])
      end
    ]
  end

  defp lists do
    [
      llen: fn -> on(key("l"), &["LLEN", &1]) end,
      lrange: fn -> with_args(key("l"), [index(), index()], &["LRANGE" | &1]) end,
      lindex: fn -> with_args(key("l"), [index()], &["LINDEX" | &1]) end,
      lpos: fn -> with_args(key("l"), [Writes.small()], &["LPOS" | &1]) end
    ]
  end

  defp sets do
    [
      smembers: fn -> on(key("t"), &["SMEMBERS", &1]) end,
      scard: fn -> on(key("t"), &["SCARD", &1]) end,
      sismember: fn -> with_args(key("t"), [Writes.small()], &["SISMEMBER" | &1], fn n -> n == 1 end) end,
      smismember: fn ->
        {k, ms} = {key("t"), words()}
        {[k, ms], ["SMISMEMBER", k | ms], fn found -> Enum.map(found, &(&1 == 1)) end}
      end,
      srandmember: fn ->
        {k, n} = {key("t"), uniform(9) - 4}
        {[k, n], ["SMEMBERS", k], {:holds, &sample?(&1, &2, n)}}
      end,
      sunion: fn -> on_keys(keys("t"), &["SUNION" | &1]) end,
      sinter: fn -> on_keys(keys("t"), &["SINTER" | &1]) end,
      sdiff: fn -> on_keys(keys("t"), &["SDIFF" | &1]) end,
      sintercard: fn ->
        ks = keys("t")
        command = ["SINTERCARD", length(ks) | ks]
        limit = uniform(6) - 1
        pick([fn -> {[ks], command, &same/1} end, fn -> {[ks, limit], command ++ ["LIMIT", limit], &same/1} end])
      end,
      sfirst: fn -> cursor("t", "SMEMBERS", &Enum.sort/1, &first/2) end,
      slast: fn -> cursor("t", "SMEMBERS", &Enum.sort/1, &last/2) end,
      snext: fn -> cursor_from("t", "SMEMBERS", &Enum.sort/1, &above(&1, &2, fn m -> m end)) end,
      sprev: fn -> cursor_from("t", "SMEMBERS", &Enum.sort/1, &below(&1, &2, fn m -> m end)) end
    ]
  end

  defp hashes do
    [
      hget: fn -> with_args(key("h"), [Writes.small()], &["HGET" | &1]) end,
      hmget: fn ->
        {k, fs} = {key("h"), words()}
        {[k, fs], ["HMGET", k | fs], &same/1}
      end,
      hgetall: fn -> on(key("h"), &["HGETALL", &1], fn flat -> Compare.pairs(flat) end) end,
      hkeys: fn -> on(key("h"), &["HKEYS", &1]) end,
      hvals: fn -> on(key("h"), &["HVALS", &1]) end,
      hlen: fn -> on(key("h"), &["HLEN", &1]) end,
      hexists: fn -> with_args(key("h"), [Writes.small()], &["HEXISTS" | &1], fn n -> n == 1 end) end,
      hstrlen: fn -> with_args(key("h"), [Writes.small()], &["HSTRLEN" | &1]) end,
      hrandfield: fn ->
        {k, n} = {key("h"), uniform(9) - 4}
        judge = fn flat, found -> sample?(Compare.pairs(flat), found, n) end
        fields = fn flat, found -> sample?(Enum.map(Compare.pairs(flat), &elem(&1, 0)), found, n) end

        pick([
          fn -> {[k, n], ["HGETALL", k], {:holds, judge}} end,
          fn -> {[k, n, true], ["HGETALL", k], {:holds, judge}} end,
          fn -> {[k, n, false], ["HGETALL", k], {:holds, fields}} end
        ])
      end,
      hfirst: fn -> cursor("h", "HGETALL", &sorted_pairs/1, &first/2) end,
      hlast: fn -> cursor("h", "HGETALL", &sorted_pairs/1, &last/2) end,
      hnext: fn -> cursor_from("h", "HGETALL", &sorted_pairs/1, &above(&1, &2, fn {f, _} -> f end)) end,
      hprev: fn -> cursor_from("h", "HGETALL", &sorted_pairs/1, &below(&1, &2, fn {f, _} -> f end)) end
    ]
  end

  defp sorted_sets do
    [
      zscore: fn -> with_args(key("z"), [Writes.small()], &["ZSCORE" | &1], &score/1) end,
      zmscore: fn ->
        {k, ms} = {key("z"), words()}
        {[k, ms], ["ZMSCORE", k | ms], fn scores -> Enum.map(scores, &score/1) end}
      end,
      zcard: fn -> on(key("z"), &["ZCARD", &1]) end,
      zcount: fn -> by_score("ZCOUNT", &same/1, []) end,
      zlexcount: fn -> by_lex("ZLEXCOUNT") end,
      zrange: fn -> by_rank("ZRANGE") end,
      zrevrange: fn -> by_rank("ZREVRANGE") end,
      zrangebyscore: fn -> scores_or_not(&by_score("ZRANGEBYSCORE", &1, &2)) end,
      zrevrangebyscore: fn -> scores_or_not(&by_score("ZREVRANGEBYSCORE", &1, &2)) end,
      zrangebylex: fn -> by_lex("ZRANGEBYLEX") end,
      zrank: fn -> with_args(key("z"), [Writes.small()], &["ZRANK" | &1]) end,
      zrevrank: fn -> with_args(key("z"), [Writes.small()], &["ZREVRANK" | &1]) end,
      zfirst: fn -> z_cursor(&first/2) end,
      zlast: fn -> z_cursor(&last/2) end,
      znext: fn -> z_cursor_from(fn list, m -> list |> Enum.drop_while(&(elem(&1, 1) != m)) |> Enum.drop(1) end) end,
      zprev: fn ->
        z_cursor_from(fn list, m -> list |> Enum.reverse() |> Enum.drop_while(&(elem(&1, 1) != m)) |> Enum.drop(1) end)
      end
    ]
  end

  defp streams do
    [
      xlen: fn -> on(stream_key(), &["XLEN", &1]) end,
      xrange: fn -> entries("XRANGE", [lower(), upper()]) end,
      xrevrange: fn -> entries("XREVRANGE", [upper(), lower()]) end,
      xread: fn ->
        {k, from, n} = {stream_key(), pick(["0-0", "5", "12-1", "99-0"]), uniform(9)}
        found = fn reply -> for [_key, entries] <- reply || [], entry <- entries, do: entry(entry) end
        {[k, from, n], ["XREAD", "COUNT", n, "STREAMS", k, from], found}
      end,
      xinfo_stream: fn ->
        known = ~w(length last-generated-id max-deleted-entry-id entries-added recorded-first-entry-id groups)
        edge = fn found -> found && entry(found) end

        on(pick(["stream", "x:1", "x:2", "noise"]), &["XINFO", "STREAM", &1], fn flat ->
          info = Map.new(Compare.pairs(flat))
          edges = %{first_entry: edge.(info["first-entry"]), last_entry: edge.(info["last-entry"])}
          Map.merge(edges, info |> Map.take(known) |> underscored())
        end)
      end,
      xinfo_groups: fn ->
        # A primary before 7.4 counts some things otherwise and does not send them to its replicas.
        # Tests beside the code cover them.
        judge = fn there, here ->
          there = for group <- there, do: group |> Compare.pairs() |> Map.new() |> underscored()
          Enum.map(there, &Map.drop(&1, [:entries_read, :lag])) == Enum.map(here, &Map.drop(&1, [:entries_read, :lag]))
        end

        on(pick(["stream", "x:1", "x:2", "noise"]), &["XINFO", "GROUPS", &1], {:holds, judge})
      end,
      xpending: fn ->
        with_args(pick(["x:1", "x:2"]), [pick(["g", "h"])], &["XPENDING" | &1], fn [pending, min, max, consumers] ->
          consumers = for [name, count] <- consumers || [], do: {name, String.to_integer(count)}
          %{pending: pending, min: min, max: max, consumers: consumers}
        end)
      end
    ]
  end

  defp entries(command, bounds) do
    {k, n} = {stream_key(), uniform(12)}
    found = fn entries -> Enum.map(entries, &entry/1) end

    pick([
      fn -> {[k | bounds], [command, k | bounds], found} end,
      fn -> {[k | bounds] ++ [n], [command, k | bounds] ++ ["COUNT", n], found} end
    ])
  end

  defp entry([id, flat]), do: {id, Compare.pairs(flat)}
  defp stream_key, do: pick(["x:1", "x:1", "x:2", "stream", "missing", "noise"])
  defp lower, do: pick(["-", "5", "(5", "5-1", "(12-3", "40", "+", "(0-0"])
  defp upper, do: pick(["+", "30", "(30", "30-0", "(12-3", "8-1", "-", "(18446744073709551615-18446744073709551615"])
  defp underscored(map), do: Map.new(map, fn {k, v} -> {k |> String.replace("-", "_") |> String.to_atom(), v} end)

  defp keyspace do
    [
      exists: fn -> on(any_key(), &["EXISTS", &1], fn n -> n == 1 end) end,
      type: fn ->
        on(any_key(), &["TYPE", &1], fn type -> if type == "none", do: nil, else: String.to_atom(type) end)
      end,
      ttl: fn -> on_clock("TTL", 2) end,
      pttl: fn -> on_clock("PTTL", 2_000) end,
      expiretime: fn -> on(Writes.key(), &["EXPIRETIME", &1], &expiry/1) end,
      pexpiretime: fn -> on(Writes.key(), &["PEXPIRETIME", &1], &expiry/1) end,
      dbsize: fn -> {[], ["DBSIZE"], &same/1} end,
      keys: fn ->
        pattern = pick(["*", "s:*", "?:1", "[sl]:*", "[^s]:*", "[a-m]:[1-3]", "*:1*", "nothing", "\\s:1", "*1*"])
        {[pattern], ["KEYS", pattern], &same/1}
      end,
      scan: fn ->
        {match, type} = {pick(["*", "s:*", "*1*"]), pick(["string", "hash", "zset"])}
        # One step over everything returns the whole answer. The walk in small steps has its own
        # test.
        opts = [match: match, type: String.to_atom(type), count: 10_000]
        judge = fn [_cursor, there], {_next, here} -> Enum.sort(there) == Enum.sort(here) end
        {[0, opts], ["SCAN", "0", "MATCH", match, "TYPE", type, "COUNT", 100_000], {:holds, judge}}
      end
    ]
  end

  defp key_cursors(all) do
    [
      first: fn -> edge(all, &first/2) end,
      last: fn -> edge(all, &last/2) end,
      next: fn -> step(all, &above(&1, &2, fn k -> k end)) end,
      prev: fn -> step(all, &below(&1, &2, fn k -> k end)) end
    ]
  end

  live_test "a scan in small steps returns every key", %{redis: redis, id: id} do
    Writes.seed!("scan")
    fill(redis)
    Redix.pipeline!(redis, for(n <- 1..3_000, do: ["SET", "scan:#{n}", n]))
    Mirror.settle(id, redis)
    {here, there} = {MapSet.new(walk(id, 0, [])), MapSet.new(Compare.scan(redis))}
    assert MapSet.to_list(MapSet.difference(there, here)) == []
    assert MapSet.to_list(MapSet.difference(here, there)) == []
  end

  defp walk(id, cursor, found) do
    {:ok, {next, keys}} = Veidrodelis.scan(id, 0, cursor, count: 17)
    if next == 0, do: keys ++ found, else: walk(id, next, keys ++ found)
  end

  # ---- questions

  defp on(key, command, expected \\ &same/1), do: {[key], command.(key), expected}
  defp on_keys(keys, command), do: {[keys], command.(keys), &same/1}
  defp with_args(key, args, command, expected \\ &same/1), do: {[key | args], command.([key | args]), expected}

  # The server has no such command. The sorted list of its keys is the truth, so any question will
  # do.
  defp edge(keys, choose) do
    n = uniform(9)
    {[n], ["PING"], fn _pong -> choose.(keys, n) end}
  end

  defp step(keys, choose) do
    {k, n} = {pick([fn -> Enum.random(keys) end, &Writes.key/0, fn -> "m" end]), uniform(9)}
    {[k, n], ["PING"], fn _pong -> keys |> choose.(k) |> Enum.take(n) end}
  end

  defp by_rank(command) do
    args = [key("z"), index(), index()]

    pick([
      fn -> {args, [command | args] ++ ["WITHSCORES"], &members/1} end,
      fn -> {args ++ [true], [command | args] ++ ["WITHSCORES"], &members/1} end,
      fn -> {args ++ [false], [command | args], &same/1} end
    ])
  end

  defp scores_or_not(question) do
    pick([
      fn -> question.(&members/1, []) end,
      fn -> question.(&members/1, [true]) end,
      fn -> question.(&same/1, [false]) end
    ])
  end

  defp by_score(command, expected, flag) do
    {k, a, b} = {key("z"), score_bound(), score_bound()}
    scores = if command == "ZCOUNT" or flag == [false], do: [], else: ["WITHSCORES"]
    {[k, a, b | flag], [command, k, score_text(a), score_text(b) | scores], expected}
  end

  # Equal scores, as the command requires. Over different scores no server promises anything.
  defp by_lex(command) do
    {k, a, b} = {pick(["lex", "lex", "stream", "none"]), lex_bound(), lex_bound()}
    {[k, a, b], [command, k, lex_text(a), lex_text(b)], &same/1}
  end

  defp cursor(type, command, sort, choose) do
    {k, n} = {key(type), uniform(6)}
    {[k, n], [command, k], fn all -> choose.(sort.(all), n) end}
  end

  defp cursor_from(type, command, sort, choose) do
    {k, m, n} = {key(type), Writes.small(), uniform(6)}
    {[k, m, n], [command, k], fn all -> all |> sort.() |> choose.(m) |> Enum.take(n) end}
  end

  defp z_cursor(choose) do
    {k, n} = {key("z"), uniform(6)}
    {[k, n], ["ZRANGE", k, 0, -1, "WITHSCORES"], fn all -> all |> score_first() |> choose.(n) end}
  end

  defp z_cursor_from(choose) do
    {k, m, n} = {key("z"), Writes.small(), uniform(6)}
    {[k, m, n], ["ZRANGE", k, 0, -1, "WITHSCORES"], fn all -> all |> score_first() |> choose.(m) |> Enum.take(n) end}
  end

  # The clock advances between the two questions.
  defp on_clock(command, tolerance) do
    judge = fn
      -1, here -> here == :infinity
      -2, here -> here == nil
      there, here -> is_integer(here) and abs(there - here) <= tolerance
    end

    on(Writes.key(), &[command, &1], {:holds, judge})
  end

  # ---- the meaning of replies

  defp same(reply), do: reply
  defp score(nil), do: nil
  defp score(text), do: Compare.score(text)
  defp expiry(-1), do: :infinity
  defp expiry(-2), do: nil
  defp expiry(at), do: at
  defp members(flat), do: for({member, text} <- Compare.pairs(flat), do: {member, score(text)})
  defp score_first(flat), do: for({member, score} <- members(flat), do: {score, member})
  defp sorted_pairs(flat), do: flat |> Compare.pairs() |> Enum.sort()
  defp first(list, n), do: Enum.take(list, n)
  defp last(list, n), do: list |> Enum.reverse() |> Enum.take(n)
  defp above(list, word, by), do: Enum.filter(list, &(by.(&1) > word))
  defp below(list, word, by), do: list |> Enum.filter(&(by.(&1) < word)) |> Enum.reverse()

  # A sample of n: distinct elements if n is positive, repeated ones allowed if it is negative.
  defp sample?(all, found, n) when n >= 0 do
    length(found) == min(n, length(all)) and Enum.uniq(found) == found and found -- all == []
  end

  defp sample?([], found, _n), do: found == []
  defp sample?(all, found, n), do: length(found) == -n and Enum.all?(found, &(&1 in all))

  # ---- random arguments

  defp key(type), do: Writes.key(type)
  defp keys(type), do: for(_ <- 1..uniform(3), do: Writes.key(type))
  defp any_key, do: pick([&Writes.key/0, &Writes.key/0, "stream", "lex"])
  defp words, do: for(_ <- 1..uniform(4), do: Writes.small())
  defp index, do: pick([fn -> uniform(30) - 15 end, fn -> uniform(400) - 200 end, fn -> 0 end, fn -> -1 end])
  defp unit, do: pick([:byte, :bit])
  defp units(args), do: Enum.map(args, &if(&1 in [:byte, :bit], do: &1 |> to_string() |> String.upcase(), else: &1))

  defp score_bound do
    number = pick([0, 1, -1, 1.5, -2.25, 3.14159, 100_000, 0.1])
    pick([fn -> number end, fn -> {:exclusive, number} end, fn -> :neg_inf end, fn -> :pos_inf end])
  end

  defp score_text(:neg_inf), do: "-inf"
  defp score_text(:pos_inf), do: "+inf"
  defp score_text({:exclusive, number}), do: "(#{number}"
  defp score_text(number), do: "#{number}"

  # The server's own text, or the words for its ends.
  defp lex_bound do
    pick([fn -> "[" <> Writes.small() end, fn -> "(" <> Writes.small() end, "-", "+", :neg_inf, :pos_inf])
  end

  defp lex_text(:neg_inf), do: "-"
  defp lex_text(:pos_inf), do: "+"
  defp lex_text(text), do: text

  defp uniform(n), do: :rand.uniform(n)

  defp pick(choices) do
    case Enum.random(choices) do
      fun when is_function(fun, 0) -> fun.()
      word -> word
    end
  end

  # ---- data: all types in database 0, and no key that expires during the test

  # Two streams with a deleted entry, two groups, pending entries and acknowledged ones.
  defp fill_streams(redis) do
    adds = for ms <- 1..40, seq <- 1..3, do: ["XADD", "x:1", "#{ms}-#{seq}", "f", Writes.small(), "g", "#{ms}"]

    Redix.pipeline!(redis, adds)

    Redix.pipeline!(redis, [
      ["XDEL", "x:1", "7-1", "12-3", "40-3"],
      ["XTRIM", "x:1", "MAXLEN", 100],
      ["XGROUP", "CREATE", "x:1", "g", "0"],
      ["XGROUP", "CREATE", "x:1", "h", "$"],
      ["XREADGROUP", "GROUP", "g", "alice", "COUNT", 9, "STREAMS", "x:1", ">"],
      ["XREADGROUP", "GROUP", "g", "bob", "COUNT", 4, "STREAMS", "x:1", ">"],
      ["XACK", "x:1", "g", "8-1", "8-2", "9-1"],
      ["XGROUP", "CREATE", "x:2", "g", "$", "MKSTREAM"],
      ["XGROUP", "CREATE", "x:2", "h", "0"]
    ])
  end

  defp fill(redis) do
    fill_streams(redis)

    fixed = [
      ["ZADD", "lex" | Enum.flat_map(1..60, fn _ -> ["0", Writes.small()] end)],
      ["SET", "noise", :rand.bytes(500)]
    ]

    random = for _ <- 1..2_000, do: Writes.command()
    expiry = for k <- Enum.uniq(for(_ <- 1..40, do: Writes.key())), do: ["EXPIRE", k, 1_000 + uniform(100_000)]
    Redix.pipeline!(redis, fixed)
    random |> Enum.chunk_every(100) |> Enum.each(&Redix.pipeline!(redis, &1))
    # Keys that got a short life by chance expire now, or live on.
    Redix.pipeline!(redis, for(k <- Compare.scan(redis), do: ["PERSIST", k]) ++ expiry)
  end
end
