defmodule Vdr.Test.Writes do
  @moduledoc """
  Random writes on all five types, on keys, expiry and databases, from a printed seed: the same seed
  gives the same commands.

  The generator does not know what the server holds. Keys come from a small pool, so that commands
  meet existing values of every type and size. A command that the server refuses (wrong type, no
  such command in this version) is not replicated, and the caller ignores it. The generator uses the
  process's own random state: call `seed!/1` first.
  """

  @databases 4
  @types ~w(s l t z h)

  @doc "Seeds this process' generator, from `SEED` if that is set, and prints how to repeat the run."
  def seed!(what) do
    seed =
      case System.get_env("SEED") do
        nil -> :erlang.phash2({System.os_time(), self()}, 1_000_000_000)
        text -> String.to_integer(text)
      end

    :rand.seed(:exsss, seed)
    IO.puts("  #{what}: SEED=#{seed}")
    seed
  end

  @doc "From now on this process's programs use only these expiry times, besides past ones."
  def ttls_ms!(ttls_ms), do: Process.put({__MODULE__, :ttls_ms}, ttls_ms)

  @doc """
  A list of `count` steps for `Redix.pipeline/2`: mostly single commands, some MULTI/EXEC blocks,
  some scripts with several effects, SELECTs between the databases. It ends in database 0.
  """
  def program(count) do
    Enum.flat_map(1..count//1, fn _ -> step() end) ++ [["SELECT", 0]]
  end

  def databases, do: 0..(@databases - 1)

  defp step do
    case :rand.uniform(100) do
      n when n <= 84 -> [command()]
      n when n <= 90 -> [["MULTI"]] ++ many(5, &command/0) ++ [["EXEC"]]
      n when n <= 95 -> [script()]
      n when n <= 98 -> [["SELECT", uniform(@databases) - 1]]
      _rare -> [whole_database()]
    end
  end

  defp whole_database do
    case uniform(12) do
      1 -> ["FLUSHALL"]
      n when n <= 4 -> ["FLUSHDB"]
      _ -> ["SWAPDB", uniform(@databases) - 1, uniform(@databases) - 1]
    end
  end

  # A script's effects are one atomic unit; pcall ignores those that fail.
  defp script do
    body = "for i = 1, #ARGV do local c = cjson.decode(ARGV[i]) redis.pcall(unpack(c)) end"
    ["EVAL", body, 0] ++ many(4, fn -> json(plain_command()) end)
  end

  # Values that cjson returns unchanged: no random bytes.
  defp plain_command do
    pick([
      fn -> ["SET", key("s"), "plain #{uniform(1000)}"] end,
      fn -> ["RPUSH", key("l") | many(4, &small/0)] end,
      fn -> ["SADD", key("t") | many(4, &small/0)] end,
      fn -> ["HSET", key("h"), small(), small(), small(), small()] end,
      fn -> ["ZADD", key("z"), "#{uniform(100)}", small(), "-#{uniform(9)}.5", small()] end,
      fn -> ["DEL", key("s"), key("l")] end,
      fn -> ["LPOP", key("l")] end,
      fn -> ["PEXPIRE", key(), "#{ttl_ms()}"] end
    ])
  end

  defp json(words), do: ["[", Enum.map_intersperse(words, ",", &[?", &1, ?"]), "]"] |> IO.iodata_to_binary()

  @doc "One random command."
  def command do
    case uniform(100) do
      n when n <= 20 -> string()
      n when n <= 38 -> list()
      n when n <= 54 -> set()
      n when n <= 70 -> hash()
      n when n <= 88 -> sorted_set()
      _keys -> keyspace()
    end
  end

  # ---- by data type

  defp string do
    pick([
      fn -> ["SET", key("s"), value()] end,
      fn -> ["SET", key("s"), value(), pick(["EX", "PX"]), ttl_ms()] end,
      fn -> ["SET", key("s"), value(), pick(["NX", "XX", "KEEPTTL", "GET"])] end,
      fn -> ["SETEX", key("s"), ttl(), value()] end,
      fn -> ["PSETEX", key("s"), ttl_ms(), value()] end,
      fn -> ["SETNX", key("s"), value()] end,
      fn -> ["MSET" | many(4, fn -> [key("s"), value()] end) |> Enum.concat()] end,
      fn -> ["MSETNX", key("s"), value(), key("s"), value()] end,
      fn -> ["APPEND", key("s"), value()] end,
      fn -> ["SETRANGE", key("s"), uniform(50), value()] end,
      fn -> ["INCR", key("n")] end,
      fn -> ["DECRBY", key("n"), integer()] end,
      fn -> ["INCRBYFLOAT", key("n"), score_text(:finite)] end,
      fn -> ["GETSET", key("s"), value()] end,
      fn -> ["GETDEL", key("s")] end,
      fn -> ["GETEX", key("s"), "PX", ttl_ms()] end,
      fn -> ["GETEX", key("s"), "PERSIST"] end,
      fn -> ["SETBIT", key("s"), uniform(300), uniform(2) - 1] end,
      fn -> ["BITOP", pick(["AND", "OR", "XOR"]), key("s"), key("s"), key("s")] end,
      fn -> ["BITFIELD", key("s"), "SET", "u8", "##{uniform(5)}", uniform(255), "INCRBY", "i5", uniform(60), 3] end
    ])
  end

  defp list do
    pick([
      fn -> [pick(["LPUSH", "RPUSH"]), key("l") | values()] end,
      fn -> [pick(["LPUSH", "RPUSH"]), key("l") | values()] end,
      fn -> [pick(["LPUSHX", "RPUSHX"]), key("l") | values()] end,
      fn -> [pick(["LPOP", "RPOP"]), key("l")] end,
      fn -> [pick(["LPOP", "RPOP"]), key("l"), uniform(4)] end,
      fn -> ["LSET", key("l"), index(), value()] end,
      fn -> ["LINSERT", key("l"), pick(["BEFORE", "AFTER"]), small(), value()] end,
      fn -> ["LREM", key("l"), uniform(5) - 3, small()] end,
      fn -> ["LTRIM", key("l"), index(), index()] end,
      fn -> ["LMOVE", key("l"), key("l"), pick(["LEFT", "RIGHT"]), pick(["LEFT", "RIGHT"])] end,
      fn -> ["RPOPLPUSH", key("l"), key("l")] end,
      fn -> ["LMPOP", 2, key("l"), key("l"), pick(["LEFT", "RIGHT"]), "COUNT", uniform(4)] end,
      fn -> ["SORT", key("l"), "ALPHA", "STORE", key("l")] end
    ])
  end

  defp set do
    pick([
      fn -> ["SADD", key("t") | values()] end,
      fn -> ["SADD", key("t") | values()] end,
      fn -> ["SADD", key("t") | many(6, &integer/0)] end,
      fn -> ["SREM", key("t") | many(5, &small/0)] end,
      fn -> ["SPOP", key("t")] end,
      fn -> ["SPOP", key("t"), uniform(6)] end,
      fn -> ["SMOVE", key("t"), key("t"), small()] end,
      fn -> [pick(["SUNIONSTORE", "SINTERSTORE", "SDIFFSTORE"]), key("t"), key("t"), key("t")] end
    ])
  end

  defp hash do
    pick([
      fn -> ["HSET", key("h") | pairs()] end,
      fn -> ["HSET", key("h") | pairs()] end,
      fn -> ["HMSET", key("h") | pairs()] end,
      fn -> ["HSETNX", key("h"), small(), value()] end,
      fn -> ["HDEL", key("h") | many(5, &small/0)] end,
      fn -> ["HINCRBY", key("h"), "count", integer()] end,
      fn -> ["HINCRBYFLOAT", key("h"), "sum", score_text(:finite)] end
    ])
  end

  defp sorted_set do
    pick([
      fn -> ["ZADD", key("z") | scored()] end,
      fn -> ["ZADD", key("z") | scored()] end,
      fn -> ["ZADD", key("z"), pick(["NX", "XX", "GT", "LT", "CH"]) | scored()] end,
      fn -> ["ZADD", key("z"), pick(["XX", "CH"]), "INCR", score_text(:finite), small()] end,
      fn -> ["ZINCRBY", key("z"), score_text(:finite), small()] end,
      fn -> ["ZREM", key("z") | many(5, &small/0)] end,
      fn -> [pick(["ZPOPMIN", "ZPOPMAX"]), key("z"), uniform(4)] end,
      fn -> ["ZMPOP", 2, key("z"), key("z"), pick(["MIN", "MAX"]), "COUNT", uniform(4)] end,
      fn -> ["ZREMRANGEBYRANK", key("z"), index(), index()] end,
      fn -> ["ZREMRANGEBYSCORE", key("z"), bound(), bound()] end,
      fn -> ["ZADD", equal() | many(5, fn -> ["0", small()] end) |> Enum.concat()] end,
      fn -> ["ZREMRANGEBYLEX", equal(), "[" <> small(), "(" <> small()] end,
      fn -> ["ZRANGESTORE", equal(), equal(), "(" <> small(), "+", "BYLEX"] end,
      fn -> ["ZRANGESTORE", key("z"), key("z"), index(), index()] end,
      fn ->
        [
          "ZUNIONSTORE",
          key("z"),
          2,
          key("z"),
          key("t"),
          "WEIGHTS",
          uniform(3),
          "0.5",
          "AGGREGATE",
          pick(["SUM", "MIN", "MAX"])
        ]
      end,
      fn -> ["ZINTERSTORE", key("z"), 2, key("z"), key("z"), "AGGREGATE", pick(["SUM", "MIN", "MAX"])] end,
      fn -> ["ZDIFFSTORE", key("z"), 2, key("z"), key("z")] end
    ])
  end

  defp keyspace do
    pick([
      fn -> [pick(["DEL", "UNLINK"]), key(), key()] end,
      fn -> ["RENAME", key(), key()] end,
      fn -> ["RENAMENX", key(), key()] end,
      fn -> ["COPY", key(), key(), "REPLACE"] end,
      fn -> ["COPY", key(), key(), "DB", uniform(@databases) - 1] end,
      fn -> ["MOVE", key(), uniform(@databases) - 1] end,
      fn -> ["PEXPIRE", key(), ttl_ms()] end,
      fn -> ["PEXPIRE", key(), 3_600_000] end,
      fn -> ["EXPIRE", key(), ttl()] end,
      fn -> ["EXPIREAT", key(), System.os_time(:second) + 100] end,
      fn -> ["PEXPIREAT", key(), System.os_time(:millisecond) - 10] end,
      fn -> ["PERSIST", key()] end
    ])
  end

  @doc """
  One random command on streams and their groups, or on the expiry of hash fields: for those who do
  not read all types back. What a server does not know it refuses.
  """
  def newer_command do
    pick([
      fn -> xadd([]) end,
      fn -> xadd([]) end,
      fn -> xadd(["MAXLEN", pick(["=", "~"]), uniform(20)]) end,
      fn -> ["XADD", key("x"), "*", small(), value()] end,
      fn -> ["XDEL", key("x"), stream_id(), stream_id()] end,
      fn -> ["XTRIM", key("x"), "MINID", stream_id()] end,
      fn -> ["XTRIM", key("x"), "MAXLEN", uniform(8) - 1] end,
      fn -> ["XSETID", key("x"), stream_id(), "ENTRIESADDED", uniform(200), "MAXDELETEDID", stream_id()] end,
      fn -> ["XGROUP", "CREATE", key("x"), group(), pick(["$", "0", stream_id()]), "MKSTREAM"] end,
      fn -> ["XGROUP", "CREATE", key("x"), group(), "0", "ENTRIESREAD", uniform(9)] end,
      fn -> ["XGROUP", "SETID", key("x"), group(), stream_id()] end,
      fn -> ["XGROUP", "DESTROY", key("x"), group()] end,
      fn -> ["XGROUP", "CREATECONSUMER", key("x"), group(), consumer()] end,
      fn -> ["XGROUP", "DELCONSUMER", key("x"), group(), consumer()] end,
      fn -> ["XREADGROUP", "GROUP", group(), consumer(), "COUNT", uniform(5), "STREAMS", key("x"), ">"] end,
      fn -> ["XREADGROUP", "GROUP", group(), consumer(), "NOACK", "STREAMS", key("x"), ">"] end,
      fn -> ["XACK", key("x"), group(), stream_id(), stream_id()] end,
      fn -> ["XCLAIM", key("x"), group(), consumer(), 0, stream_id(), "FORCE"] end,
      fn -> ["XCLAIM", key("x"), group(), consumer(), 0, stream_id(), "RETRYCOUNT", uniform(9), "JUSTID"] end,
      fn -> ["XAUTOCLAIM", key("x"), group(), consumer(), 0, "0"] end,
      fn -> ["HPEXPIRE", key("h"), ttl_ms(), "FIELDS", 2, small(), small()] end,
      fn -> ["HPEXPIREAT", key("h"), 1_000, "FIELDS", 1, small()] end,
      fn -> ["HPERSIST", key("h"), "FIELDS", 2, small(), small()] end,
      fn -> ["HSETEX", key("h"), "PX", ttl_ms(), "FIELDS", 1, small(), value()] end,
      fn -> ["HGETEX", key("h"), "PX", ttl_ms(), "FIELDS", 1, small()] end,
      fn -> ["HGETDEL", key("h"), "FIELDS", 1, small()] end
    ])
  end

  defp xadd(options), do: ["XADD", key("x") | options] ++ [stream_id() | pairs()]
  defp stream_id, do: "#{uniform(60)}-#{pick(["1", "2", "*"])}"
  defp group, do: "g#{uniform(2)}"
  defp consumer, do: pick(["alice", "bob"])

  # ---- words

  @doc "A key of this type; sometimes of any type, so that commands also meet the wrong one."
  def key(type), do: if(uniform(25) == 1, do: key(), else: "#{type}:#{uniform(12)}")

  def key, do: "#{pick(@types ++ ["n"])}:#{uniform(12)}"

  # Sorted sets whose scores are all equal, and which no other command can mix. With different
  # scores the commands by lexical order depend on the shape of the server's skiplist, so that not
  # even two servers agree.
  defp equal, do: "e:#{uniform(3)}"

  @doc "A value: numbers, short words, bytes of all kinds, a few long ones."
  def value do
    case uniform(20) do
      n when n <= 6 -> small()
      n when n <= 9 -> integer()
      10 -> ""
      11 -> bytes(60 + uniform(10))
      12 -> bytes(1_000 + uniform(1_000))
      13 -> String.duplicate("abcd", 20 + uniform(100))
      14 -> score_text(:finite)
      _ -> bytes(uniform(30))
    end
  end

  @doc "A word from a pool so small that words repeat."
  def small, do: pick([fn -> "m#{uniform(30)}" end, fn -> Integer.to_string(uniform(40)) end])

  @doc "An integer near the limits of the widths that encodings use."
  def integer do
    edge =
      pick([
        0,
        100,
        12,
        63,
        127,
        4095,
        8191,
        32_767,
        65_535,
        8_388_607,
        2_147_483_647,
        1_099_511_627_776,
        9_007_199_254_740_993
      ])

    Integer.to_string(pick([1, -1]) * (edge + uniform(3) - 2))
  end

  @doc "A score as text."
  def score_text(:finite),
    do: pick(["0", "1", "-1", "1.5", "-2.25", "3.14159", "0.1", "1e-7", "100000", "-0.001", "17179869184"])

  def score_text(:any) do
    case uniform(30) do
      1 -> "inf"
      2 -> "-inf"
      3 -> "1e300"
      4 -> "5e-324"
      5 -> Float.to_string(:rand.normal() * 1_000)
      _ -> score_text(:finite)
    end
  end

  defp bound,
    do: pick([fn -> "-inf" end, fn -> "+inf" end, fn -> score_text(:finite) end, fn -> "(" <> score_text(:finite) end])

  defp index, do: uniform(20) - 8
  defp ttl_ms, do: pick(Process.get({__MODULE__, :ttls_ms}, [1, 5, 30, 200, 1_000]))
  defp ttl, do: max(1, div(ttl_ms(), 1_000))

  # Sometimes so many values that the small encodings change to the large ones.
  defp values, do: if(uniform(30) == 1, do: for(_ <- 1..200, do: value()), else: many(6, &value/0))
  defp pairs, do: Enum.flat_map(1..length(values()), fn _ -> [small_or_value(), value()] end)
  defp scored, do: Enum.flat_map(1..length(values()), fn _ -> [score_text(:any), small_or_value()] end)
  defp small_or_value, do: if(uniform(3) == 1, do: value(), else: small())

  defp many(max, fun), do: for(_ <- 1..uniform(max), do: fun.())
  defp bytes(length), do: :rand.bytes(length)
  defp uniform(n), do: :rand.uniform(n)

  defp pick(choices) do
    case Enum.at(choices, uniform(length(choices)) - 1) do
      fun when is_function(fun) -> fun.()
      word -> word
    end
  end
end
