defmodule Vdr.Test.Values do
  @moduledoc "One value of each type and encoding, by name: what must survive whatever way it takes."

  @many for n <- 1..600, do: "element #{n}"
  @far_ms 4_102_444_800_000

  @doc "An expiry that no test reaches."
  def far_ms, do: @far_ms

  @doc "Writes all values into the selected database, which must be empty, and returns their keys."
  def write!(redis) do
    [] = for %Redix.Error{} = error <- Redix.pipeline!(redis, commands()), do: error
    keys = Redix.command!(redis, ["KEYS", "*"])
    keys ++ timed(redis) ++ fields(redis)
  end

  defp commands do
    [
      ["SET", "string", "hello"],
      ["SET", "string:integer", "-12345"],
      ["SET", "string:empty", ""],
      ["SETRANGE", "string:long", 70_000, "x"],
      ["PFADD", "hll" | @many],
      ["RPUSH", "list", "a", "", "7"],
      ["RPUSH", "list:large" | @many],
      ["SADD", "set:integers", 1, -2, 70_000],
      ["SADD", "set", "a", "", "7"],
      ["SADD", "set:large" | @many],
      ["ZADD", "zset", "1e8", "a", "-0.1", "b", "inf", "c", "1152921504606847000", "d", "-inf", ""],
      ["ZADD", "zset:large" | Enum.flat_map(@many, &["#{byte_size(&1)}.25", &1])],
      ["GEOADD", "geo", "13.36", "38.11", "Palermo", "15.08", "37.5", "Catania"],
      ["HSET", "hash", "f", "v", "g", "", "n", "7"],
      ["HSET", "hash:large" | Enum.flat_map(@many, &[&1, String.reverse(&1)])],
      ["XADD", "stream", "1-1", "f", "v"],
      ["XADD", "stream", "2-0", "g", "w", "f", ""],
      ["XADD", "stream", "3-0", "f", "x"],
      ["XDEL", "stream", "2-0"],
      ["XGROUP", "CREATE", "stream", "group", "0"],
      ["XREADGROUP", "GROUP", "group", "alice", "COUNT", 1, "STREAMS", "stream", ">"],
      ["XGROUP", "CREATE", "stream:empty", "group", "0", "MKSTREAM"]
    ] ++ for(n <- 1..300, do: ["XADD", "stream:large", "#{n}-1", "f", "v #{n}"])
  end

  # A copy with an expiry, in the form that the digest and RESTORE use.
  defp timed(redis) do
    for key <- ~w(string list set zset hash stream) do
      Redix.pipeline!(redis, [["COPY", key, key <> ":timed"], ["PEXPIREAT", key <> ":timed", @far_ms]])
      key <> ":timed"
    end
  end

  # A copy in which one field has an expiry, if the server supports that; otherwise a plain copy.
  defp fields(redis) do
    for {key, field} <- [{"hash", "f"}, {"hash:large", "element 7"}] do
      Redix.pipeline!(redis, [
        ["COPY", key, key <> ":fields"],
        ["HPEXPIREAT", key <> ":fields", @far_ms, "FIELDS", 1, field]
      ])

      key <> ":fields"
    end
  end
end
