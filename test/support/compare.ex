defmodule Vdr.Test.Compare do
  @moduledoc """
  Reads every key of a server and of its mirror, and reports the first difference with both values.

  Keys expire during the comparison, so a difference counts only if it is still there after both
  sides were read again.
  """
  alias Vdr.Test.Mirror

  @chunk 500
  @rereads 4

  @doc """
  Raises ExUnit's assertion error at the first difference. Returns how many keys were compared.
  """
  def assert_equal(redis, id, databases) do
    :ok = Mirror.settle(id, redis)
    Enum.reduce(databases, 0, fn db, total -> total + database(redis, id, db) end)
  end

  @doc "The first key that differs now, as `{key, server, mirror}`, or `nil`. Does not wait."
  def first_difference(redis, id, db) do
    redis
    |> keys(id, db)
    |> Enum.sort()
    |> Enum.chunk_every(@chunk)
    |> Enum.find_value(&List.first(differences(redis, id, db, &1)))
  end

  defp database(redis, id, db) do
    Redix.command!(redis, ["SELECT", db])
    keys = keys(redis, id, db)
    keys |> Enum.sort() |> Enum.chunk_every(@chunk) |> Enum.each(&compare(redis, id, db, &1, @rereads))
    MapSet.size(keys)
  after
    Redix.command!(redis, ["SELECT", 0])
  end

  # The keys of both sides: a key too many is a difference, too.
  defp keys(redis, id, db), do: MapSet.union(MapSet.new(ok!(Veidrodelis.keys(id, db, "*"))), MapSet.new(scan(redis)))

  defp compare(redis, id, db, keys, rereads) do
    case differences(redis, id, db, keys) do
      [] ->
        :ok

      different when rereads > 0 ->
        Mirror.settle(id, redis, db)
        compare(redis, id, db, Enum.map(different, &elem(&1, 0)), rereads - 1)

      [{key, a, b} | _] = different ->
        raise ExUnit.AssertionError, message: report(id, db, key, a, b, length(different))
    end
  end

  defp differences(redis, id, db, keys) do
    there = server_values(redis, keys)
    here = Enum.map(keys, &mirror_value(id, db, &1))
    for {key, a, b} <- Enum.zip([keys, there, here]), a != b, do: {key, a, b}
  end

  defp report(id, db, key, {type, expires, value}, {type_here, expires_here, value_here}, count) do
    """
    the mirror #{inspect(id)} differs from its server in #{count} of the keys compared; the first is #{inspect(key)} in db #{db}

      server  type #{inspect(type)}, expires at #{inspect(expires)}
      mirror  type #{inspect(type_here)}, expires at #{inspect(expires_here)}
    #{difference(value, value_here)}
    """
  end

  defp difference(same, same), do: "  values are equal"

  defp difference(a, b) when is_list(a) and is_list(b) do
    at = Enum.find_index(Enum.zip(a, b), fn {x, y} -> x != y end) || min(length(a), length(b))

    """
      values differ from element #{at} on (#{length(a)} elements there, #{length(b)} here)
      server  #{inspect(Enum.at(a, at), limit: 20)}
      mirror  #{inspect(Enum.at(b, at), limit: 20)}
    """
  end

  defp difference(a, b), do: "  server  #{inspect(a, limit: 200)}\n  mirror  #{inspect(b, limit: 200)}"

  # ---- the server's side, as {type, expiry, value} in the mirror's terms

  @doc "Every key of the selected database."
  def scan(redis, cursor \\ "0", keys \\ []) do
    [next, found] = Redix.command!(redis, ["SCAN", cursor, "COUNT", 1000])
    keys = found ++ keys
    if next == "0", do: keys, else: scan(redis, next, keys)
  end

  defp server_values(redis, keys) do
    facts = Redix.pipeline!(redis, Enum.flat_map(keys, &[["TYPE", &1], ["PEXPIRETIME", &1]]))
    facts = Enum.chunk_every(facts, 2)
    values = Redix.pipeline!(redis, Enum.zip_with(keys, facts, fn key, [type, _] -> read(type, key) end))

    Enum.zip_with(facts, values, fn [type, expires], value ->
      {type(type), expiry(expires), value(type, value)}
    end)
  end

  defp read("string", key), do: ["GET", key]
  defp read("list", key), do: ["LRANGE", key, 0, -1]
  defp read("set", key), do: ["SMEMBERS", key]
  defp read("hash", key), do: ["HGETALL", key]
  defp read("zset", key), do: ["ZRANGE", key, 0, -1, "WITHSCORES"]
  defp read(_none_or_other, key), do: ["EXISTS", key]

  defp type("none"), do: nil
  defp type(type) when type in ~w(string list set hash zset stream), do: String.to_atom(type)
  defp type(_module), do: :other

  defp expiry(-1), do: :infinity
  defp expiry(-2), do: nil
  defp expiry(ms), do: ms

  defp value("set", members) when is_list(members), do: Enum.sort(members)
  defp value("hash", pairs) when is_list(pairs), do: pairs |> pairs() |> Enum.sort()
  defp value("zset", pairs) when is_list(pairs), do: for({member, score} <- pairs(pairs), do: {member, score(score)})
  defp value(type, value) when type in ~w(string list), do: value
  defp value(_type, _value), do: nil

  @doc "A flat list as pairs."
  def pairs(flat), do: flat |> Enum.chunk_every(2) |> Enum.map(&List.to_tuple/1)

  @doc "The mirror's term for a score's text."
  def score(text) when text in ["inf", "+inf"], do: :pos_inf
  def score("-inf"), do: :neg_inf

  def score(text) do
    {float, ""} = Float.parse(text)
    # -0.0 and 0.0 are one score for the server, and two terms in newer Erlang versions.
    float + 0.0
  end

  # ---- the mirror's side

  defp mirror_value(id, db, key) do
    type = ok!(Veidrodelis.type(id, db, key))
    {type, ok!(Veidrodelis.pexpiretime(id, db, key)), mirror_read(type, id, db, key)}
  end

  defp mirror_read(:string, id, db, key), do: answer(Veidrodelis.get(id, db, key))
  defp mirror_read(:list, id, db, key), do: answer(Veidrodelis.lrange(id, db, key, 0, -1))
  defp mirror_read(:set, id, db, key), do: sorted(Veidrodelis.smembers(id, db, key))
  defp mirror_read(:hash, id, db, key), do: sorted(Veidrodelis.hgetall(id, db, key))
  defp mirror_read(:zset, id, db, key), do: answer(Veidrodelis.zrange(id, db, key, 0, -1))
  defp mirror_read(_none_or_other, _id, _db, _key), do: nil

  # A key can expire between the questions for its type and its value. Then the next round compares
  # again.
  defp answer({:ok, value}), do: value
  defp answer({:error, reason}), do: {:error, reason}

  defp sorted({:ok, list}), do: Enum.sort(list)
  defp sorted({:error, reason}), do: {:error, reason}

  defp ok!({:ok, value}), do: value
end
