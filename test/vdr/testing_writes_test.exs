defmodule Vdr.TestingWritesTest do
  # Commands of the code under test to the server that a test plays. test/live/replies_test.exs
  # compares the replies with those of real servers.
  use ExUnit.Case, async: true

  alias Vdr.Testing.{Decimal, Replies}
  alias Veidrodelis.{ServerError, Testing}

  @moduletag capture_log: true

  test "a write of one's own is read at once, and its reply is the server's" do
    id = Testing.start_supervised!(data: [["SET", "n", 1]])
    assert Veidrodelis.command(id, ["INCR", "n"]) == {:ok, 2}
    assert Veidrodelis.get(id, 0, "n") == {:ok, "2"}
    assert Veidrodelis.command(id, [:hset, "h", "f", 1, "g", 2], db: 3) == {:ok, 2}
    assert Veidrodelis.hget(id, 3, "h", "g") == {:ok, "2"}
    assert Veidrodelis.command!(id, ["SET", "n", 5, "NX"]) == nil
    assert Veidrodelis.command!(id, ["SET", "n", 5, "GET"]) == "2"
    assert Veidrodelis.command(id, ["LPUSH", "n", "x"]) |> elem(1) |> Map.get(:code) == "WRONGTYPE"
    assert_raise ServerError, ~r/WRONGTYPE/, fn -> Veidrodelis.command!(id, ["SET", "h", 1, "GET"], db: 3) end
    assert Veidrodelis.hlen(id, 3, "h") == {:ok, 2}
  end

  test "a pipeline has an error among its replies, and a transaction is visible as a whole" do
    id = Testing.start_supervised!()

    assert {:ok, ["OK", %ServerError{code: "WRONGTYPE"}, 2]} =
             Veidrodelis.pipeline(id, [["SET", "a", 1], ["LPUSH", "a", 1], ["INCR", "a"]])

    ref = make_ref()
    :ok = Veidrodelis.watch(id, 0, "left", ref)
    assert Veidrodelis.transaction(id, [["INCR", "left"], ["INCR", "right"]]) == {:ok, [1, 1]}
    assert_receive {^ref, %Vdr.WatchEvent.Update{}}
    assert Veidrodelis.mget(id, 0, ["left", "right"]) == {:ok, ["1", "1"]}
    assert Veidrodelis.pipeline(id, []) == {:ok, []}
  end

  test "what has no known reply is refused by name, and nothing of the call is done" do
    id = Testing.start_supervised!(data: [["SET", "a", 1]])

    for {name, words} <- [
          {"EVAL", ["EVAL", "return 1", 0]},
          {"NO.SUCH", ["NO.SUCH"]},
          {"SET", ["SET", "a"]},
          {"SET", ["SET", "a", 1, "EX", 0]},
          {"SET", ["SET", "a", 1, "EX", 5, "KEEPTTL"]},
          {"SET", ["SET", "a", 1, "NX", "XX"]},
          {"INCRBYFLOAT", ["INCRBYFLOAT", "a", "1000.1"]},
          {"XAUTOCLAIM", ["XAUTOCLAIM", "s", "g", "c", 0, 0]},
          {"ZADD", ["ZADD", "z", "INCR", 1, "m"]}
        ] do
      assert Veidrodelis.pipeline(id, [["SET", "a", 2], words]) == {:error, {:no_reply, name}}
      assert Veidrodelis.transaction(id, [["SET", "a", 2], words]) == {:error, {:no_reply, name}}
      assert Veidrodelis.get(id, 0, "a") == {:ok, "1"}
    end

    assert_raise Veidrodelis.Error, ~r/knows no reply to "EVAL"/, fn ->
      Veidrodelis.command!(id, ["EVAL", "return 1", 0])
    end

    # As in production.
    assert Veidrodelis.command(id, ["BLPOP", "l", 0]) == {:error, {:not_allowed, "BLPOP"}}
    assert Veidrodelis.command(:nobody, ["GET", "a"]) == {:error, :no_instance}
    assert_raise ArgumentError, ~r/takes a command/, fn -> Veidrodelis.command(id, []) end
  end

  test "the test's own function answers first, and may write" do
    reply = fn
      ["EVAL", _script, "1", key] -> {:reply, [1, nil, "x"], [["SET", key, "by script"]]}
      ["GET", "denied"] -> {:reply, %ServerError{code: "NOPERM", message: "NOPERM this user has no permissions"}}
      ["WAIT" | _] -> {:reply, 1}
      ["SPOP" | _] -> {:reply, :member}
      ["HGET" | _] -> :what
      ["SINTERCARD" | _] -> {:reply, 0, [["LPUSH", "by"]]}
      _other -> :default
    end

    id = Testing.start_supervised!(reply: reply)
    assert Veidrodelis.command(id, ["EVAL", "...", 1, "k"]) == {:ok, [1, nil, "x"]}
    assert Veidrodelis.get(id, 0, "k") == {:ok, "by script"}
    assert {:error, %ServerError{code: "NOPERM"}} = Veidrodelis.command(id, ["GET", "denied"])
    assert Veidrodelis.pipeline(id, [["SET", "a", 1], ["WAIT", 1, 100]]) == {:ok, ["OK", 1]}

    for words <- [["SPOP", "s"], ["HGET", "h", "f"]],
        do:
          assert_raise(ArgumentError, ~r/option :reply of Veidrodelis.Testing/, fn -> Veidrodelis.command(id, words) end)

    assert Veidrodelis.command(id, ["SINTERCARD", 1, "s"]) == {:error, {:bad_command, 0, :bad_argument}}
    assert_raise ArgumentError, ~r/:reply .*takes a function of a command/, fn -> Testing.start_link(reply: 1) end

    raising = Testing.start_supervised!(reply: fn _words -> raise "of the test" end)
    assert_raise RuntimeError, "of the test", fn -> Veidrodelis.command(raising, ["GET", "k"]) end
    :ok = Testing.put(raising, ["SET", "k", "v"])
    assert Veidrodelis.get(raising, 0, "k") == {:ok, "v"}
  end

  test "while the server is away, a call waits as long as it has time" do
    id = Testing.start_supervised!(data: [["SET", "n", 1]])
    :ok = Testing.disconnect(id)
    assert Veidrodelis.command(id, ["INCR", "n"], timeout: 20) == {:error, :connection_refused}
    assert Veidrodelis.sync(id, 20) == {:error, :connection_refused}
    later = Task.async(fn -> Veidrodelis.command(id, ["INCR", "n"]) end)
    Process.sleep(20)
    :ok = Testing.connect(id)
    assert Task.await(later, 20_000) == {:ok, 2}
    assert Veidrodelis.get(id, 0, "n") == {:ok, "2"}
    :ok = Testing.disconnect(id, refuse: :wrong_password)
    assert Veidrodelis.command(id, ["INCR", "n"], timeout: 0) == {:error, :wrong_password}
  end

  test "a write that a guard window holds back is written and not visible" do
    id = Testing.start_supervised!()
    :ok = Testing.put(id, ["SET", "__vdr_tx", 1])
    assert Veidrodelis.command(id, ["SET", "k", 1], timeout: 30) == {:error, {:written, :not_visible}}
    assert Veidrodelis.command(id, ["SET", "k", 2], sync: false) == {:ok, "OK"}
    assert Veidrodelis.get(id, 0, "k") == {:ok, nil}
    assert Veidrodelis.command(id, ["DEL", "__vdr_tx"]) == {:ok, 1}
    assert Veidrodelis.get(id, 0, "k") == {:ok, "2"}
  end

  test "positions and sync work as in production, also after a failover" do
    id = Testing.start_supervised!()
    {:ok, "OK"} = Veidrodelis.command(id, ["SET", "k", 1])
    {:ok, {_id, offset} = position} = Veidrodelis.position(id)
    assert offset > 0
    assert Veidrodelis.await_position(id, position, 0) == :ok
    :ok = Testing.put(id, ["SET", "k", 2])
    assert Veidrodelis.sync(id) == :ok
    assert Veidrodelis.get(id, 0, "k") == {:ok, "2"}
    {:ok, _address} = Testing.failover(id)
    assert Veidrodelis.await_position(id, position, 20_000) == :ok
    assert Veidrodelis.command(id, ["APPEND", "k", "x"]) == {:ok, 2}
    :ok = Testing.full_sync(id, [["SET", "k", 9]])
    assert Veidrodelis.await_position(id, position, 20_000) == {:error, :lost_history}
    assert Veidrodelis.command(id, ["GET", "k"]) == {:ok, "9"}
    assert Veidrodelis.info(id, :writes) == :unused
    assert Veidrodelis.info(id, :role) == :primary
  end

  test "an expired key is gone for a command, too, and its time is the test's" do
    id = Testing.start_supervised!(time: ~U[2030-01-01 00:00:00Z])
    assert Veidrodelis.command(id, ["SET", "k", 1, "EX", 10]) == {:ok, "OK"}
    assert Veidrodelis.command(id, ["TTL", "k"]) == {:ok, 10}
    :ok = Testing.advance(id, 10_001)
    assert Veidrodelis.pipeline(id, [["EXISTS", "k"], ["SET", "k", 2, "NX"]]) == {:ok, [0, "OK"]}
  end

  test "many callers at once each get their own reply" do
    id = Testing.start_supervised!()

    replies =
      1..200
      |> Task.async_stream(fn _n -> Veidrodelis.command!(id, ["INCR", "n"]) end, max_concurrency: 50)
      |> Enum.map(fn {:ok, n} -> n end)

    assert Enum.sort(replies) == Enum.to_list(1..200)
  end

  test "sums are exact where a server's are, and near elsewhere" do
    assert Decimal.add("0.1", "0.2") == {:exact, "0.3"}
    assert Decimal.add("10.5", "0.1") == {:exact, "10.6"}
    assert Decimal.add("-1", "0.75") == {:exact, "-0.25"}
    assert Decimal.add("-0.5", "0.5") == {:exact, "0"}
    assert Decimal.add("3", "4611686018427387900") == {:exact, "4611686018427387903"}
    assert {:near, "1000.1"} = Decimal.add("1000.1", "0")
    assert {:near, "5000"} = Decimal.add("5e3", "0")
    assert Decimal.add("x", "1") == :error
    assert Decimal.plain(2.5) == {:ok, "2.5"}
    assert Decimal.plain(-3.0) == {:ok, "-3"}
    for float <- [0.1, 1.0e17, -0.0, 123_456_789.5], do: assert(Decimal.plain(float) == :error)
  end

  test "words of any kind have a plan or none, and never raise" do
    seed = :rand.uniform(1_000_000_000)
    :rand.seed(:exsss, seed)

    words = [
      "",
      "5\n",
      "0",
      "-1",
      "x",
      "9999999999999999999999",
      "NX",
      "EX",
      "INCR",
      "1-1",
      "*",
      <<255, 0>>,
      "(1",
      "+inf"
    ]

    names =
      ~w(SET SETEX GETEX INCRBY MSET SETRANGE SETBIT BITOP EXPIRE COPY LPOP LMOVE LINSERT SPOP HSET HINCRBY ZADD) ++
        ~w(ZINCRBY ZPOPMIN ZREMRANGEBYLEX ZUNIONSTORE XADD XDEL LRANGE GET TTL)

    id = Testing.start_supervised!(data: [["SET", "x", "v"]])

    for _n <- 1..3000 do
      command = [Enum.random(names) | for(_word <- 1..:rand.uniform(5), do: Enum.random(words))]
      assert Replies.plan(command) == :unknown or match?({:ok, {_kind, _fun}}, Replies.plan(command))

      case Veidrodelis.command(id, command) do
        {:ok, _reply} -> :ok
        {:error, %ServerError{}} -> :ok
        {:error, {:no_reply, name}} -> assert name == hd(command)
        other -> flunk("seed #{seed}: #{inspect(command)} answered #{inspect(other)}")
      end
    end

    assert %{divergences: 0, full_syncs: 1} = Veidrodelis.info(id), "seed #{seed}"
  end
end
