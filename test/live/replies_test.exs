defmodule Vdr.Live.RepliesTest do
  # The replies of a played server (Veidrodelis.Testing) are those of real ones: the same random
  # commands go to both, and afterwards both have the same data.
  use Vdr.Test.LiveCase, async: true

  alias Veidrodelis.{ServerError, Testing}

  @commands 1500
  # No reply but an error may be unknown for these, whose arguments the generator makes well.
  @always ~w(SET APPEND INCR DEL LPUSH RPUSH LPOP RPOP LREM LTRIM SADD SREM HSET HDEL ZREM EXPIRE PEXPIRE PERSIST)

  live_test "random commands have the replies of a server, and its data", %{id: id} do
    Writes.seed!("replies")
    Writes.ttls_ms!([100_000, 1_000_000])
    played = Testing.start_supervised!()

    unknown =
      for _n <- 1..@commands, command = command(), reduce: %{} do
        unknown -> compare(command, played, id, unknown)
      end

    for {name, count} <- unknown, do: IO.puts("  no reply to #{name}: #{count} times")
    assert Enum.filter(Map.keys(unknown), &(&1 in @always)) == []
    assert Enum.sum(Map.values(unknown)) < @commands / 2
    :ok = Veidrodelis.sync(id)

    {:ok, keys} = Veidrodelis.keys(id, 0, "*")
    assert Veidrodelis.keys(played, 0, "*") == {:ok, keys}

    for key <- keys do
      assert content(played, key) == content(id, key), inspect(key)
      assert_in_delta expiry(played, key), expiry(id, key), 5000
    end
  end

  # The sign of a score of zero depends on the version of the server.
  defp content(source, key) do
    case Veidrodelis.type!(source, 0, key) do
      :zset -> source |> Veidrodelis.zrange!(0, key, 0, -1) |> Enum.map(fn {member, score} -> {member, zero(score)} end)
      _other -> Veidrodelis.digest_value(source, 0, key)
    end
  end

  defp zero(score) when score == 0, do: 0
  defp zero(score), do: score

  defp expiry(source, key) do
    case Veidrodelis.pttl!(source, 0, key) do
      :infinity -> 0
      ms -> ms
    end
  end

  # SPOP takes any member.
  defp command do
    case Writes.command() do
      ["SPOP" | _] -> command()
      words -> words
    end
  end

  defp compare([name | _] = words, played, id, unknown) do
    case Veidrodelis.command(played, words) do
      {:error, {:no_reply, ^name}} ->
        # What the played server does not do, the real one must not do either.
        Map.update(unknown, name, 1, &(&1 + 1))

      answer ->
        real = Veidrodelis.command(id, words)
        assert answer == real, "#{inspect(words)}: #{inspect(answer)} instead of #{inspect(real)}"
        unknown
    end
  end

  live_test "single commands, one by one", %{id: id} do
    played = Testing.start_supervised!()

    for words <- [
          ~w(SET a 1),
          ~w(SET a 2 NX),
          ~w(SET a 2 XX GET),
          ~w(SET l 2 GET EX 100),
          ~w(TTL l),
          ~w(DEL l none l),
          ~w(RPUSH l a b c b),
          ~w(SET l 1 GET),
          ~w(GETSET l 1),
          ~w(GETDEL l),
          ~w(GETDEL a),
          ~w(GETDEL a),
          ~w(INCR l),
          ~w(SET n 9223372036854775807),
          ~w(INCR n),
          ~w(INCRBY n -5),
          ~w(DECRBY n 5),
          ~w(SET n x),
          ~w(INCR n),
          ~w(INCRBYFLOAT n 1),
          ~w(SET n 10.5),
          ~w(INCRBYFLOAT n 0.1),
          ~w(INCRBYFLOAT n -0.1),
          ~w(SET n 0.1),
          ~w(INCRBYFLOAT n 0.2),
          ~w(GET n),
          ~w(APPEND n xx),
          ~w(SETRANGE n 10 yy),
          ~w(GET n),
          ~w(SETBIT bits 7 1),
          ~w(SETBIT bits 7 0),
          ~w(MSETNX n 1 m 1),
          ~w(EXISTS m n n),
          ~w(MSETNX m 1 o 1),
          ~w(MGET m o l none),
          ~w(RENAME none x),
          ~w(RENAMENX m o),
          ~w(RENAMENX m p),
          ~w(COPY p o),
          ~w(COPY p o REPLACE),
          ~w(COPY none o),
          ~w(EXPIRE p 100),
          ~w(EXPIRE p 100 NX),
          ~w(EXPIRE p 50 LT),
          ~w(EXPIRE none 5),
          ~w(PERSIST p),
          ~w(PERSIST p),
          ~w(EXPIRE p -1),
          ~w(TYPE p),
          ~w(TYPE l),
          ~w(LPUSHX none a),
          ~w(LPUSHX l z),
          ~w(LINSERT l BEFORE b new),
          ~w(LINSERT l AFTER nopivot new),
          ~w(LINSERT none AFTER nopivot new),
          ~w(LREM l 0 b),
          ~w(LSET l 0 first),
          ~w(LSET l 99 first),
          ~w(LSET none 0 first),
          ~w(LRANGE l 0 -1),
          ~w(LPOP l),
          ~w(RPOP l 2),
          ~w(LPOP none),
          ~w(LPOP none 2),
          ~w(RPUSH l 1 2 3),
          ~w(LMOVE l k LEFT RIGHT),
          ~w(LMOVE none k LEFT RIGHT),
          ~w(RPOPLPUSH l l),
          ~w(LTRIM l 1 1),
          ~w(LTRIM none 1 1),
          ~w(SADD s a b c a),
          ~w(SREM s a x),
          ~w(SREM none a),
          ~w(SMOVE s t b),
          ~w(SMOVE s t b),
          ~w(SMOVE none t b),
          ~w(SISMEMBER t b),
          ~w(SUNIONSTORE u s t),
          ~w(SINTERSTORE u s t),
          ~w(SDIFFSTORE u s t),
          ~w(SADD l x),
          ~w(HSET h f 1 g 2),
          ~w(HSET h f 3 i 2),
          ~w(HSETNX h f 9),
          ~w(HSETNX h j 9),
          ~w(HMSET h k x),
          ~w(HINCRBY h f 5),
          ~w(HINCRBY h k 5),
          ~w(HINCRBYFLOAT h f 0.25),
          ~w(HINCRBYFLOAT h k 1),
          ~w(HDEL h f none),
          ~w(HDEL none f),
          ~w(HMGET h f g),
          ~w(HGET h g),
          ~w(ZADD z 1 a 2 b),
          ~w(ZADD z CH 1 a 3 b 4 c),
          ~w(ZADD z NX 9 a 9 d),
          ~w(ZADD z XX CH 5 a 5 none),
          ~w(ZADD z GT CH 1 a 6 b),
          ~w(ZINCRBY z 1.5 a),
          ~w(ZINCRBY z 1 new),
          ~w(ZREM z a none),
          ~w(ZREM none a),
          ~w(ZPOPMIN z),
          ~w(ZPOPMAX z 2),
          ~w(ZPOPMAX none),
          ~w(ZADD z 1 a 2 b 3 c),
          ~w(ZREMRANGEBYSCORE z (1 2),
          ~w(ZREMRANGEBYRANK z 0 0),
          ~w(ZUNIONSTORE zz 1 z),
          ~w(ZINCRBY l 1 a),
          ~w(XADD x 5-5 f v),
          ~w(XADD x 5-6 f v g w),
          ~w(XADD x 5-5 f v),
          ~w(XDEL x 5-5 9-9),
          ~w(XLEN x),
          ~w(XADD l 1-1 f v),
          ~w(BITOP AND dest n n),
          ~w(STRLEN dest),
          ~w(PING),
          ~w(FLUSHDB),
          ~w(EXISTS n)
        ] do
      real = Veidrodelis.command(id, words)

      case Veidrodelis.command(played, words) do
        # Only where the server refuses: what exactly it says depends on its version.
        {:error, {:no_reply, _name}} ->
          assert {:error, %ServerError{code: "ERR"}} = real, Enum.join(words, " ")

        answer ->
          assert same?(words, answer, real), "#{Enum.join(words, " ")}: #{inspect(answer)} instead of #{inspect(real)}"
      end
    end
  end

  # The two are asked one after the other.
  defp same?(["TTL" | _], {:ok, one}, {:ok, other}) when one > 0, do: abs(one - other) <= 10
  defp same?(_words, one, other), do: one == other

  @setup [
    ~w(SET s v),
    ~w(SET n 5),
    ~w(RPUSH l a b c),
    ~w(SADD set x y),
    ~w(HSET h f 1 g x),
    ~w(ZADD z 1 a 2 b),
    ~w(XADD st 5-1 a b),
    ~w(XGROUP CREATE st group $)
  ]

  live_test "put/3 refuses what a server refuses, and changes what it changes", %{id: id} do
    played = Testing.start_supervised!()

    commands = [
      # Options that exclude each other, and times that no server takes.
      ~w(SET k v NX XX),
      ~w(SET k v KEEPTTL EX 5),
      ~w(SET k v EX 5 PX 6),
      ~w(SET k v FOO 5),
      ~w(SET s v2 EX 0),
      ~w(SET s v2 PX -1),
      ~w(SET s v2 EX abc),
      ~w(SETEX s 0 v2),
      ~w(PSETEX s -1 v2),
      ~w(GETEX s EX 0),
      ~w(GETEX s EX 5 PERSIST),
      ~w(EXPIRE s 5 NX XX),
      ~w(EXPIRE s 5 GT LT),
      ~w(EXPIRE s 5 NX GT),
      ~w(EXPIRE s 5 XX GT),
      ~w(EXPIRE s 5 XX LT),
      ~w(EXPIRE s 5 LT LT),
      ~w(EXPIRE s 500 GT),
      ~w(EXPIRE s 500 LT),
      ~w(EXPIRE s -5),
      # The type of a value that the command returns.
      ~w(SET l v GET),
      ~w(GETSET l v),
      ~w(GETDEL l),
      ~w(GETEX l),
      ~w(GETEX l EX 500),
      ~w(GETEX l PERSIST),
      ~w(GETEX s PERSIST),
      ~w(SET l v EX 500),
      # One key twice, and too few words.
      ~w(COPY s s),
      ~w(COPY s s REPLACE),
      ~w(COPY s s DB 1),
      ~w(MOVE s 0),
      ~w(MOVE s x),
      ~w(MOVE s 1),
      ~w(DEL),
      ~w(UNLINK),
      # Nothing to do is no error.
      ~w(LPOP none),
      ~w(RPOP none 2),
      ~w(LREM none 0 a),
      ~w(LREM l 0 zz),
      ~w(LTRIM none 0 1),
      ~w(LINSERT l BEFORE zz b),
      ~w(LINSERT none BEFORE zz b),
      ~w(LMOVE none s LEFT LEFT),
      ~w(LMOVE l s LEFT LEFT),
      ~w(RPOPLPUSH none l),
      ~w(LMPOP 1 none LEFT),
      ~w(SREM none a),
      ~w(SMOVE none l a),
      ~w(SPOP none),
      ~w(HDEL none a),
      ~w(ZREM z zz),
      ~w(ZPOPMIN none),
      ~w(ZMPOP 1 none MIN),
      ~w(ZREMRANGEBYSCORE z 50 60),
      ~w(ZUNIONSTORE d 1 none),
      ~w(ZUNIONSTORE z 1 none),
      ~w(ZDIFFSTORE z 1 none),
      ~w(ZRANGESTORE z none 0 -1),
      ~w(SINTERSTORE set none set),
      ~w(GEOSEARCHSTORE z none FROMLONLAT 1 1 BYRADIUS 1 m),
      ~w(PERSIST none),
      ~w(PERSIST s),
      ~w(COPY none n REPLACE),
      ~w(MOVE none 1),
      ~w(XDEL none 1-1),
      ~w(XTRIM none MAXLEN 1),
      ~w(XACK st group 1-1),
      ~w(XACK none group 1-1),
      ~w(XGROUP DESTROY st none),
      ~w(XGROUP DESTROY none none),
      ~w(XGROUP CREATE none group 0),
      # What must be there is not.
      ~w(RENAME none x),
      ~w(RENAMENX none x),
      ~w(LSET none 0 x),
      ~w(LSET l 9 x),
      # An entry's id of which the server chooses the second number.
      ~w(XADD st 5-* a b),
      ~w(XADD st 7-* a b),
      ~w(XADD st 1-* a b),
      ~w(XADD st x-* a b),
      ~w(XADD new 0-* a b)
    ]

    assert Enum.flat_map(commands, &differences(&1, played, id)) == []
  end

  defp differences(words, played, id) do
    Enum.each([played, id], &fill!/1)
    real = Veidrodelis.command(id, words)
    put = Testing.put(played, words)
    refused = match?({:error, {:bad_command, 0, _code}}, put)

    if refused == match?({:error, _}, real) and contents(played) == contents(id),
      do: [],
      else: [{Enum.join(words, " "), put, real}]
  end

  defp fill!(source) do
    for command <- [["FLUSHALL"] | @setup] do
      if match?({Testing, _}, source),
        do: :ok = Testing.put(source, command),
        else: Veidrodelis.command!(source, command)
    end
  end

  defp contents(source) do
    for db <- [0, 1],
        key <- Veidrodelis.keys!(source, db, "*"),
        do: {db, key, Veidrodelis.digest_value(source, db, key)}
  end
end
