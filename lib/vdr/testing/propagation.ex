defmodule Vdr.Testing.Propagation do
  @moduledoc false
  # Translates the command of a client to the commands that a primary sends to its replicas.
  # Relative times become absolute, conditions are decided, and random choices are made. Most
  # commands stay as they are. This module does not check them: the code that applies the stream
  # refuses every command that is not a write. It checks what the translation would hide: options
  # that exclude each other, times that no server accepts, and the type of a value that a command
  # returns.

  alias Vdr.Snapshot
  alias Vdr.Testing.Decimal

  @typedoc "The data before the command, the number of the database, and the time in Unix ms."
  @type context :: %{data: Snapshot.t(), db: non_neg_integer, now_ms: integer}

  @doc "The commands of the stream. The list is empty if the client's command changes nothing."
  @spec propagate([binary], context) :: {:ok, [[binary]]} | {:error, atom}
  def propagate([name | args] = words, context) do
    {:ok, translate(String.upcase(name), args, words, context)}
  catch
    {:refused, code} -> {:error, code}
  end

  def propagate(_no_words, _context), do: {:error, :bad_argument}

  # ---- strings

  defp translate("SET", [key, value | options], _words, context), do: set(key, value, options, context)
  defp translate("SETEX", [key, s, value], _words, context), do: set(key, value, ["EX", s], context)
  defp translate("PSETEX", [key, ms, value], _words, context), do: set(key, value, ["PX", ms], context)
  defp translate("SETNX", [key, value], _words, context), do: set(key, value, ["NX"], context)

  defp translate("MSETNX", pairs, _words, context) do
    if pairs |> Enum.take_every(2) |> Enum.any?(&exists?(&1, context)), do: [], else: [["MSET" | pairs]]
  end

  defp translate("GETSET", [key, value], _words, context), do: set(key, value, ["GET"], context)
  defp translate("GETDEL", [key], _words, context), do: if(string(key, context), do: [["DEL", key]], else: [])

  defp translate("GETEX", [key], _words, context) do
    string(key, context)
    []
  end

  defp translate("GETEX", [key, persist], _words, context) do
    if String.upcase(persist) != "PERSIST", do: refuse(:bad_argument)
    if string(key, context) && read!(:pexpiretime, [key], context) != :infinity, do: [["PERSIST", key]], else: []
  end

  defp translate("GETEX", [key, unit, time], _words, context) do
    at_ms = future(unit, time, context)
    if string(key, context), do: expire(key, at_ms, [], context), else: []
  end

  defp translate("INCRBYFLOAT", [key, by], _words, context) do
    sum = add_float(read!(:get, [key], context) || "0", by)
    [["SET", key, sum, "KEEPTTL"]]
  end

  # ---- keys

  defp translate(name, [], _words, _context) when name in ["DEL", "UNLINK"], do: refuse(:bad_argument)
  defp translate("COPY", [key, key | _options], words, _context) when length(words) < 5, do: refuse(:bad_argument)

  defp translate("MOVE", [_key, db], words, context),
    do: if(integer!(db) == context.db, do: refuse(:bad_argument), else: [words])

  # If the new key exists, these commands have no effect.
  defp translate("RENAMENX", [_from, to], words, context), do: if(exists?(to, context), do: [], else: [words])
  defp translate("COPY", [_from, to], words, context), do: if(exists?(to, context), do: [], else: [words])

  defp translate("EXPIRE", [key, s | conditions], _words, context),
    do: expire(key, at("EX", s, context), conditions, context)

  defp translate("PEXPIRE", [key, ms | conditions], _words, context),
    do: expire(key, at("PX", ms, context), conditions, context)

  defp translate("EXPIREAT", [key, s | conditions], _words, context),
    do: expire(key, at("EXAT", s, context), conditions, context)

  defp translate("PEXPIREAT", [key, ms | conditions], _words, context),
    do: expire(key, at("PXAT", ms, context), conditions, context)

  defp translate("HEXPIRE", [key, s | fields], _words, context), do: expire_fields(key, "EX", s, fields, context)
  defp translate("HPEXPIRE", [key, ms | fields], _words, context), do: expire_fields(key, "PX", ms, fields, context)
  defp translate("HEXPIREAT", [key, s | fields], _words, context), do: expire_fields(key, "EXAT", s, fields, context)

  # ---- hashes, sets, streams

  defp translate("HSETNX", [key, field, value], _words, context) do
    if read!(:hexists, [key, field], context), do: [], else: [["HSET", key, field, value]]
  end

  defp translate(name, [key | _values], words, context) when name in ["LPUSHX", "RPUSHX"],
    do: if(read!(:llen, [key], context) == 0, do: [], else: [words])

  defp translate("HINCRBYFLOAT", [key, field, by], _words, context) do
    [["HSET", key, field, add_float(read!(:hget, [key, field], context) || "0", by)]]
  end

  defp translate("HGETDEL", [key, fields, _count | names], _words, _context) do
    if String.upcase(fields) != "FIELDS", do: refuse(:bad_argument)
    [["HDEL", key | names]]
  end

  defp translate("SPOP", [key], _words, context), do: pop(key, 1, context)
  defp translate("SPOP", [key, count], _words, context), do: pop(key, integer!(count), context)

  defp translate("XADD", [key | args], _words, context) do
    if not exists?(key, context) and "NOMKSTREAM" in Enum.map(Enum.take(args, 1), &String.upcase/1),
      do: [],
      else: [["XADD", key | entry_id(args, key, context)]]
  end

  defp translate(_name, _args, words, _context), do: [words]

  defp set(key, value, options, context) do
    options = options(options, %{}, context)
    if options[:get], do: string(key, context)

    cond do
      options[:nx] && exists?(key, context) -> []
      options[:xx] && not exists?(key, context) -> []
      options[:at] && options.at <= context.now_ms -> [["DEL", key]]
      options[:at] -> [["SET", key, value, "PXAT", to_string(options.at)]]
      options[:keep] -> [["SET", key, value, "KEEPTTL"]]
      true -> [["SET", key, value]]
    end
  end

  defp options([], parsed, _context), do: parsed

  defp options([word | rest], parsed, context) do
    case {String.upcase(word), rest} do
      {"NX", _} -> options(rest, one_of(parsed, [:xx], :nx, true), context)
      {"XX", _} -> options(rest, one_of(parsed, [:nx], :xx, true), context)
      {"GET", _} -> options(rest, Map.put(parsed, :get, true), context)
      {"KEEPTTL", _} -> options(rest, one_of(parsed, [:at], :keep, true), context)
      {unit, [time | rest]} -> options(rest, one_of(parsed, [:at, :keep], :at, future(unit, time, context)), context)
      _incomplete -> refuse(:bad_argument)
    end
  end

  defp one_of(parsed, others, option, value) do
    if Enum.any?(others, &is_map_key(parsed, &1)), do: refuse(:bad_argument), else: Map.put(parsed, option, value)
  end

  defp expire(key, at_ms, conditions, context) do
    conditions = conditions |> Enum.map(&String.upcase/1) |> Enum.uniq()
    if conflict?(conditions), do: refuse(:bad_argument)
    before = read!(:pexpiretime, [key], context)

    cond do
      before == nil -> []
      not Enum.all?(conditions, &holds?(&1, before, at_ms)) -> []
      at_ms <= context.now_ms -> [["DEL", key]]
      true -> [["PEXPIREAT", key, to_string(at_ms)]]
    end
  end

  # A server takes XX together with GT or LT, and no other two.
  defp conflict?(conditions),
    do: ("NX" in conditions and length(conditions) > 1) or ("GT" in conditions and "LT" in conditions)

  # The time of a key without an expiry is an atom. An atom is greater than every number.
  defp holds?("NX", before, _at), do: before == :infinity
  defp holds?("XX", before, _at), do: before != :infinity
  defp holds?("GT", before, at), do: before != :infinity and at > before
  defp holds?("LT", before, at), do: at < before
  defp holds?(_other, _before, _at), do: refuse(:bad_argument)

  defp expire_fields(key, unit, time, fields, context) do
    unless match?([<<_, _, _, _, _, _>>, _count, _field | _], fields) and String.upcase(hd(fields)) == "FIELDS",
      do: refuse(:bad_argument)

    [["HPEXPIREAT", key, to_string(at(unit, time, context)) | fields]]
  end

  defp at(unit, time, context) do
    case String.upcase(unit) do
      "EX" -> context.now_ms + integer!(time) * 1000
      "PX" -> context.now_ms + integer!(time)
      "EXAT" -> integer!(time) * 1000
      "PXAT" -> integer!(time)
      _other -> refuse(:bad_argument)
    end
  end

  # A time that a command sets together with a value.
  defp future(unit, time, context) do
    at_ms = at(unit, time, context)
    if integer!(time) > 0, do: at_ms, else: refuse(:out_of_range)
  end

  defp pop(key, count, context) do
    all = read!(:scard, [key], context)

    cond do
      all == 0 or count == 0 -> []
      count >= all -> [["DEL", key]]
      count < 0 -> refuse(:out_of_range)
      true -> [["SREM", key | read!(:srandmember, [key, count], context)]]
    end
  end

  # The server chooses the id. The id comes after the options of XADD.
  defp entry_id([option | rest], key, context) do
    case {String.upcase(option), rest} do
      {"NOMKSTREAM", _} ->
        [option | entry_id(rest, key, context)]

      {trim, [mark, limit | rest]} when trim in ["MAXLEN", "MINID"] and mark in ["=", "~"] ->
        [option, mark, limit | entry_id(rest, key, context)]

      {trim, [limit | rest]} when trim in ["MAXLEN", "MINID"] ->
        [option, limit | entry_id(rest, key, context)]

      {"LIMIT", [count | rest]} ->
        [option, count | entry_id(rest, key, context)]

      {"*", _} ->
        [next_id(key, context) | rest]

      {id, _} ->
        [id(String.split(id, "-", parts: 2), id, key, context) | rest]
    end
  end

  defp entry_id([], _key, _context), do: []

  # `ms-*`: the server chooses the second number only.
  defp id([ms, "*"], _id, key, context) do
    ms = integer!(ms)

    case last_id(key, context) do
      {^ms, _seq} = last -> next(last)
      _other_ms -> "#{ms}-0"
    end
  end

  defp id(_numbers, id, _key, _context), do: id

  defp next_id(key, %{now_ms: now_ms} = context) do
    {ms, _seq} = last = last_id(key, context)
    if ms >= now_ms, do: next(last), else: "#{now_ms}-0"
  end

  defp next({ms, seq}), do: "#{ms}-#{seq + 1}"

  defp last_id(key, context) do
    case read!(:xrevrange, [key, "+", "-", 1], context) do
      [{last, _fields}] -> last |> String.split("-") |> Enum.map(&String.to_integer/1) |> List.to_tuple()
      [] -> {0, 0}
    end
  end

  defp add_float(stored, by) do
    case Decimal.add(stored, by) do
      {_how, sum} -> sum
      :error -> refuse(:not_a_number)
    end
  end

  defp integer!(text) do
    case Integer.parse(text) do
      {integer, ""} -> integer
      _other -> refuse(:not_a_number)
    end
  end

  defp exists?(key, context), do: read!(:exists, [key], context)
  # The value of a string. Refuses another type.
  defp string(key, context), do: read!(:get, [key], context)

  defp read!(name, args, %{data: data, db: db}) do
    case Vdr.Read.call(data, db, name, args) do
      {:ok, value} -> value
      {:error, code} -> refuse(code)
    end
  end

  defp refuse(code), do: throw({:refused, code})
end
