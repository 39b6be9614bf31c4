defmodule Vdr.Testing.Replies do
  @moduledoc false
  # Finds the reply of a server to a command, from the data before and after the command. Some
  # replies do not follow from the data, or depend on the server's version. For such a command this
  # module returns no reply, because a wrong reply would be worse.
  #
  # `plan/1` looks at the words only, and returns a function. The caller applies the command, and
  # then calls the function with the data. If the function returns an error, the command has no
  # effect.

  alias Vdr.Testing.Decimal
  alias Veidrodelis.ServerError

  @type reply :: binary | integer | nil | [reply]
  @typedoc "The data, the number of the database, and the time in Unix ms."
  @type context :: %{data: Vdr.Snapshot.t(), db: non_neg_integer, now_ms: integer}
  @typedoc "`sent` has the commands that replicas get. It is empty if the command changes nothing."
  @type step :: %{before: context, after: context, sent: [[binary]]}
  @type plan :: {:read | :write, (step -> reply | ServerError.t() | :unknown)}

  @wrong_type "WRONGTYPE Operation against a key holding the wrong kind of value"
  @no_key "ERR no such key"

  @doc "The function that finds the reply to a command, or `:unknown`."
  @spec plan([binary]) :: {:ok, plan} | :unknown
  def plan([name | args]) do
    case find(String.upcase(name), args) do
      :unknown -> :unknown
      {:read, fun} -> {:ok, {:read, guarded(fun)}}
      fun -> {:ok, {:write, guarded(fun)}}
    end
  end

  def plan(_no_words), do: :unknown

  @doc """
  The reply of a server to a command that was refused with a code. The reply is an error, or says
  that the command had nothing to do. A server may check the arguments in another order than the
  code that refused the command.
  """
  @spec error([binary], atom, context) :: {:ok, reply | ServerError.t()} | :unknown
  def error([name | args], code, before) do
    name = String.upcase(name)

    if nothing_there?(name, args, before),
      do: refusal(name, :not_found, args, before),
      else: refusal(name, code, args, before)
  end

  # A server checks this before it checks the type of another key.
  defp nothing_there?(name, [from | _], before) when name in ~w(SMOVE LMOVE RPOPLPUSH), do: not exists?(before, from)
  defp nothing_there?(_name, _args, _before), do: false

  defp refusal(_name, :wrong_type, _args, _before), do: {:ok, error(@wrong_type)}

  # The code that applies the stream refuses an overflow as `:not_a_number`, too.
  defp refusal(name, code, [key | _], before)
       when name in ~w(INCR DECR INCRBY DECRBY) and code in [:not_a_number, :out_of_range],
       do: {:ok, no_integer(get(before, key), "ERR value is not an integer or out of range")}

  defp refusal("HINCRBY", code, [key, field | _], before) when code in [:not_a_number, :out_of_range],
    do: {:ok, no_integer(read(before, :hget, [key, field]), "ERR hash value is not an integer")}

  defp refusal("INCRBYFLOAT", :not_a_number, _args, _before), do: {:ok, error("ERR value is not a valid float")}
  defp refusal("HINCRBYFLOAT", :not_a_number, _args, _before), do: {:ok, error("ERR hash value is not a float")}
  defp refusal("LSET", :out_of_range, _args, _before), do: {:ok, error("ERR index out of range")}
  defp refusal(name, :not_found, _args, _before) when name in ~w(RENAME RENAMENX LSET), do: {:ok, error(@no_key)}
  # On a missing key these commands change nothing. A primary does not send them, so the code that
  # applies the stream refuses them.
  defp refusal(name, :not_found, _args, _before)
       when name in ~w(LPOP RPOP LMPOP LMOVE RPOPLPUSH SPOP ZMPOP),
       do: {:ok, nil}

  defp refusal(name, :not_found, _args, _before) when name in ~w(ZPOPMIN ZPOPMAX), do: {:ok, []}
  # The list or the pivot is missing.
  defp refusal("LINSERT", :not_found, [key | _], before), do: {:ok, if(exists?(before, key), do: -1, else: 0)}

  defp refusal(name, :not_found, _args, _before)
       when name in ~w(LPUSHX RPUSHX LREM SREM SMOVE HDEL ZREM XDEL XTRIM XACK) or
              name in ~w(ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREMRANGEBYLEX COPY MOVE PERSIST) or
              name in ~w(ZRANGESTORE ZUNIONSTORE ZINTERSTORE ZDIFFSTORE GEOSEARCHSTORE),
       do: {:ok, 0}

  # The server requires the key, but not the group.
  defp refusal("XGROUP", :not_found, [sub, key | _], before),
    do: if(String.upcase(sub) == "DESTROY" and exists?(before, key), do: {:ok, 0}, else: :unknown)

  defp refusal("LTRIM", :not_found, _args, _before), do: {:ok, "OK"}
  defp refusal(_name, _code, _args, _before), do: :unknown

  defp no_integer(stored, message) do
    if stored == nil or integer?(stored), do: error("ERR increment or decrement would overflow"), else: error(message)
  end

  # ---- strings

  defp find("SET", [key, value | options]) when is_binary(value) do
    case options |> Enum.map(&String.upcase/1) |> set_options(%{}) do
      %{get: true} -> fn step -> get(step.before, key) end
      %{} -> fn step -> if step.sent != [], do: "OK" end
      :unknown -> :unknown
    end
  end

  defp find("SETNX", [_key, _value]), do: &if(&1.sent == [], do: 0, else: 1)

  defp find(name, [_key, time, _value]) when name in ~w(SETEX PSETEX),
    do: if(time?(time), do: fn _step -> "OK" end, else: :unknown)

  defp find(name, [key, _value]) when name == "GETSET", do: &get(&1.before, key)
  defp find("GETDEL", [key]), do: &get(&1.before, key)
  defp find("GETEX", [key]), do: &get(&1.before, key)

  defp find("GETEX", [key, word]),
    do: if(String.upcase(word) == "PERSIST", do: &get(&1.before, key), else: :unknown)

  defp find("GETEX", [key, unit, time]) do
    if String.upcase(unit) in ~w(EX PX EXAT PXAT) and time?(time), do: &get(&1.before, key), else: :unknown
  end

  defp find("APPEND", [key, _value]), do: &read(&1.after, :strlen, [key])
  defp find(name, [key]) when name in ~w(INCR DECR), do: &integer(get(&1.after, key))

  defp find(name, [key, by]) when name in ~w(INCRBY DECRBY),
    do: if(integer?(by) and by != "-9223372036854775808", do: &integer(get(&1.after, key)), else: :unknown)

  defp find("INCRBYFLOAT", [key, by]), do: &sum(get(&1.before, key), by)

  defp find("MSET", pairs) when pairs != [] and rem(length(pairs), 2) == 0, do: fn _step -> "OK" end

  defp find("MSETNX", pairs) when pairs != [] and rem(length(pairs), 2) == 0,
    do: &if(&1.sent == [], do: 0, else: 1)

  defp find("SETRANGE", [key, at, _value]),
    do: if(place?(at), do: &read(&1.after, :strlen, [key]), else: :unknown)

  defp find("SETBIT", [key, at, bit]) do
    if place?(at) and bit in ~w(0 1),
      do: &read(&1.before, :getbit, [key, String.to_integer(at)]),
      else: :unknown
  end

  defp find("BITOP", [_operation, key, _source | _more]), do: &read(&1.after, :strlen, [key])

  # ---- keys

  defp find(name, [_ | _] = keys) when name in ~w(DEL UNLINK),
    do: fn step -> keys |> Enum.uniq() |> Enum.count(&exists?(step.before, &1)) end

  defp find(name, [_key, time | condition]) when name in ~w(EXPIRE PEXPIRE EXPIREAT PEXPIREAT) do
    if time =~ ~r/\A(0|-?[1-9]\d{0,14})\z/ and
         Enum.map(condition, &String.upcase/1) in [[], ["NX"], ["XX"], ["GT"], ["LT"]],
       do: &if(&1.sent == [], do: 0, else: 1),
       else: :unknown
  end

  defp find("PERSIST", [key]), do: &if(is_integer(read(&1.before, :pexpiretime, [key])), do: 1, else: 0)
  defp find("RENAME", [from, _to]), do: &if(exists?(&1.before, from), do: "OK", else: error(@no_key))

  defp find("RENAMENX", [from, to]) do
    fn step ->
      cond do
        not exists?(step.before, from) -> error(@no_key)
        exists?(step.before, to) -> 0
        true -> 1
      end
    end
  end

  defp find("COPY", [from, to | replace]) when from != to do
    case Enum.map(replace, &String.upcase/1) do
      [] -> &if(exists?(&1.before, from) and not exists?(&1.before, to), do: 1, else: 0)
      ["REPLACE"] -> &if(exists?(&1.before, from), do: 1, else: 0)
      _other -> :unknown
    end
  end

  defp find(name, []) when name in ~w(FLUSHDB FLUSHALL), do: fn _step -> "OK" end

  # ---- lists

  defp find(name, [key, _value | _more]) when name in ~w(LPUSH RPUSH LPUSHX RPUSHX), do: &read(&1.after, :llen, [key])
  defp find("LPOP", [key]), do: &read(&1.before, :lindex, [key, 0])
  defp find("RPOP", [key]), do: &read(&1.before, :lindex, [key, -1])

  defp find(name, [key, count]) when name in ~w(LPOP RPOP) do
    if time?(count), do: &popped(name, &1.before, key, String.to_integer(count)), else: :unknown
  end

  defp find("LSET", [_key, index, _value]), do: if(integer?(index), do: fn _step -> "OK" end, else: :unknown)

  defp find("LINSERT", [key, place, _pivot, _value]) do
    if String.upcase(place) in ~w(BEFORE AFTER), do: &inserted(&1, key), else: :unknown
  end

  defp find("LREM", [key, count, _value]), do: if(integer?(count), do: &fewer(&1, :llen, key), else: :unknown)

  defp find("LTRIM", [_key, start, stop]),
    do: if(integer?(start) and integer?(stop), do: fn _step -> "OK" end, else: :unknown)

  defp find("RPOPLPUSH", [from, _to]), do: &read(&1.before, :lindex, [from, -1])

  defp find("LMOVE", [from, _to, side, other]) do
    case {String.upcase(side), String.upcase(other)} do
      {"LEFT", to} when to in ~w(LEFT RIGHT) -> &read(&1.before, :lindex, [from, 0])
      {"RIGHT", to} when to in ~w(LEFT RIGHT) -> &read(&1.before, :lindex, [from, -1])
      _other -> :unknown
    end
  end

  # ---- sets

  defp find("SADD", [key, _member | _more]), do: &more(&1, :scard, key)
  defp find("SREM", [key, _member | _more]), do: &fewer(&1, :scard, key)
  defp find("SMOVE", [from, _to, member]), do: &if(read(&1.before, :sismember, [from, member]), do: 1, else: 0)
  defp find("SPOP", [key]), do: &List.first(members(&1.before, key) -- members(&1.after, key))

  defp find("SPOP", [key, count]),
    do: if(time?(count), do: &(members(&1.before, key) -- members(&1.after, key)), else: :unknown)

  defp find(name, [key, _source | _more]) when name in ~w(SINTERSTORE SUNIONSTORE SDIFFSTORE),
    do: &read(&1.after, :scard, [key])

  # ---- hashes

  defp find("HSET", [key | pairs]) when pairs != [] and rem(length(pairs), 2) == 0, do: &more(&1, :hlen, key)
  defp find("HMSET", [_key | pairs]) when pairs != [] and rem(length(pairs), 2) == 0, do: fn _step -> "OK" end
  defp find("HSETNX", [key, field, _value]), do: &if(read(&1.before, :hexists, [key, field]), do: 0, else: 1)
  defp find("HDEL", [key, _field | _more]), do: &fewer(&1, :hlen, key)

  defp find("HINCRBY", [key, field, by]),
    do: if(integer?(by), do: &integer(read(&1.after, :hget, [key, field])), else: :unknown)

  defp find("HINCRBYFLOAT", [key, field, by]), do: &sum(read(&1.before, :hget, [key, field]), by)

  # ---- sorted sets

  defp find("ZADD", [key | rest]) do
    {flags, pairs} = Enum.split_while(rest, &(String.upcase(&1) in ~w(NX XX GT LT CH)))
    flags = flags |> Enum.map(&String.upcase/1) |> Enum.uniq()

    cond do
      not scored?(pairs) or Enum.count(flags, &(&1 in ~w(NX GT LT))) > 1 -> :unknown
      "NX" in flags and "XX" in flags -> :unknown
      # A member that the command names twice may count twice.
      "CH" in flags and repeated?(pairs) -> :unknown
      "CH" in flags -> &changed(&1, key, pairs)
      true -> &more(&1, :zcard, key)
    end
  end

  defp find("ZINCRBY", [key, by, member]),
    do: if(score?(by), do: &score(read(&1.after, :zscore, [key, member])), else: :unknown)

  defp find("ZREM", [key, _member | _more]), do: &fewer(&1, :zcard, key)
  defp find(name, [key]) when name in ~w(ZPOPMIN ZPOPMAX), do: &popped(name, &1.before, key, 1)

  defp find(name, [key, count]) when name in ~w(ZPOPMIN ZPOPMAX),
    do: if(time?(count), do: &popped(name, &1.before, key, String.to_integer(count)), else: :unknown)

  defp find(name, [key, _min, _max]) when name in ~w(ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREMRANGEBYLEX),
    do: &fewer(&1, :zcard, key)

  defp find(name, [key, _source, _more | _rest])
       when name in ~w(ZRANGESTORE ZUNIONSTORE ZINTERSTORE ZDIFFSTORE),
       do: &read(&1.after, :zcard, [key])

  # ---- streams

  defp find("XADD", [key, id, _field, _value | more]) when rem(length(more), 2) == 0 do
    if id == "*" or id =~ ~r/\A[1-9]\d{0,17}-(0|[1-9]\d{0,17})\z/, do: &added(&1, key, id), else: :unknown
  end

  defp find("XDEL", [key, _id | _more]), do: &fewer(&1, :xlen, key)

  # ---- reads

  defp find("PING", []), do: {:read, fn _step -> "PONG" end}
  defp find("GET", [key]), do: {:read, &get(&1.before, key)}
  defp find("MGET", [_ | _] = keys), do: {:read, &read(&1.before, :mget, [keys])}
  defp find("EXISTS", [_ | _] = keys), do: {:read, fn step -> Enum.count(keys, &exists?(step.before, &1)) end}
  defp find("TYPE", [key]), do: {:read, &type(read(&1.before, :type, [key]))}
  defp find("TTL", [key]), do: {:read, &ttl(&1.before, key, 1000)}
  defp find("PTTL", [key]), do: {:read, &ttl(&1.before, key, 1)}
  defp find("HGET", [key, field]), do: {:read, &read(&1.before, :hget, [key, field])}
  defp find("HMGET", [key | [_ | _] = fields]), do: {:read, &read(&1.before, :hmget, [key, fields])}
  defp find("SISMEMBER", [key, member]), do: {:read, &if(read(&1.before, :sismember, [key, member]), do: 1, else: 0)}

  defp find("LRANGE", [key, start, stop]) do
    if integer?(start) and integer?(stop),
      do: {:read, &read(&1.before, :lrange, [key, String.to_integer(start), String.to_integer(stop)])},
      else: :unknown
  end

  for {name, read} <- [STRLEN: :strlen, LLEN: :llen, SCARD: :scard, HLEN: :hlen, ZCARD: :zcard, XLEN: :xlen] do
    defp find(unquote(to_string(name)), [key]), do: {:read, &read(&1.before, unquote(read), [key])}
  end

  defp find(_name, _args), do: :unknown

  # ---- words

  # Parses the options of SET, if a server accepts them together.
  defp set_options([], parsed), do: parsed

  defp set_options([word | rest], parsed) do
    case word do
      "GET" ->
        set_options(rest, Map.put(parsed, :get, true))

      word when word in ~w(NX XX) ->
        once(:condition, rest, parsed)

      "KEEPTTL" ->
        once(:expiry, rest, parsed)

      word when word in ~w(EX PX EXAT PXAT) ->
        if time?(List.first(rest)), do: once(:expiry, tl(rest), parsed), else: :unknown

      _other ->
        :unknown
    end
  end

  defp once(option, _rest, parsed) when is_map_key(parsed, option), do: :unknown
  defp once(option, rest, parsed), do: set_options(rest, Map.put(parsed, option, true))

  # A server accepts a minus as the only sign, and no leading zero.
  defp integer?(word), do: word =~ ~r/\A(0|-?[1-9]\d{0,18})\z/
  defp place?(word), do: word =~ ~r/\A(0|[1-9]\d{0,7})\z/
  defp time?(word), do: is_binary(word) and word =~ ~r/\A[1-9]\d{0,11}\z/
  defp score?(word), do: word =~ ~r/\A-?\d{1,15}(\.\d{1,15})?\z/

  defp scored?(pairs),
    do: pairs != [] and rem(length(pairs), 2) == 0 and pairs |> Enum.take_every(2) |> Enum.all?(&score?/1)

  # ---- data

  defp read(%{data: data, db: db}, name, args) do
    case Vdr.Read.call(data, db, name, args) do
      {:ok, value} -> value
      {:error, :wrong_type} -> throw({:reply, error(@wrong_type)})
      {:error, _reason} -> throw(:unknown)
    end
  end

  # `:unknown` means that there is no reply, because servers write the value in different ways.
  defp guarded(fun) do
    fn step ->
      try do
        fun.(step)
      catch
        {:reply, reply} -> reply
        :unknown -> :unknown
      end
    end
  end

  defp get(context, key), do: read(context, :get, [key])
  defp exists?(context, key), do: read(context, :exists, [key])
  defp members(context, key), do: read(context, :smembers, [key])
  defp integer(text), do: String.to_integer(text)
  defp more(step, size, key), do: read(step.after, size, [key]) - read(step.before, size, [key])
  defp fewer(step, size, key), do: read(step.before, size, [key]) - read(step.after, size, [key])

  defp type(nil), do: "none"
  defp type(:other), do: throw(:unknown)
  defp type(type), do: to_string(type)

  defp ttl(%{now_ms: now_ms} = context, key, unit_ms) do
    case read(context, :pexpiretime, [key]) do
      nil -> -2
      :infinity -> -1
      at_ms -> div(at_ms - now_ms + div(unit_ms, 2), unit_ms)
    end
  end

  defp sum(stored, by) do
    case Decimal.add(stored || "0", by) do
      {:exact, sum} -> sum
      _near_or_none -> throw(:unknown)
    end
  end

  defp inserted(step, key) do
    case {read(step.before, :llen, [key]), read(step.after, :llen, [key])} do
      {0, _none} -> 0
      {same, same} -> -1
      {_before, more} -> more
    end
  end

  defp popped(name, context, key, count) when name in ~w(LPOP RPOP) do
    elements =
      if name == "LPOP",
        do: read(context, :lrange, [key, 0, count - 1]),
        else: context |> read(:lrange, [key, -count, -1]) |> Enum.reverse()

    if elements != [], do: elements
  end

  defp popped(name, context, key, count) do
    range = if name == "ZPOPMIN", do: :zrange, else: :zrevrange
    for {member, score} <- read(context, range, [key, 0, count - 1]), part <- [member, score(score)], do: part
  end

  # Servers write different numbers of digits.
  defp score(score) when is_float(score) do
    case Decimal.plain(score) do
      {:ok, text} -> text
      :error -> throw(:unknown)
    end
  end

  defp score(_infinite), do: throw(:unknown)

  defp scored_members(pairs), do: pairs |> Enum.drop(1) |> Enum.take_every(2)
  defp repeated?(pairs), do: pairs |> scored_members() |> then(&(Enum.uniq(&1) != &1))

  defp changed(step, key, pairs) do
    pairs
    |> scored_members()
    |> Enum.count(&(read(step.before, :zscore, [key, &1]) != read(step.after, :zscore, [key, &1])))
  end

  defp added(step, key, id) do
    case read(step.after, :xrevrange, [key, "+", "-", 1]) do
      [{^id, _fields}] -> id
      [{last, _fields}] when id == "*" -> last
      _other -> throw(:unknown)
    end
  end

  defp error(message), do: %ServerError{code: message |> String.split(" ", parts: 2) |> hd(), message: message}
end
