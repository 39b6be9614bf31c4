defmodule Vdr.Live.GuardTest do
  # The rules of the guard key, as real servers replicate the commands. docs/transactions.md has
  # them as a table.
  use Vdr.Test.LiveCase, async: true

  # A mirror without a guard key shows how far the stream has come. Both mirrors get the same
  # stream, so the tests wait for the other's offset.
  setup context do
    case context do
      %{server: server} ->
        plain = Mirror.start!(server, guard_key: false)
        {:ok, plain: plain}

      _no_server ->
        :ok
    end
  end

  defp caught_up(context) do
    Mirror.settle(context.plain, context.redis)
    offset = fn id -> Veidrodelis.info(id).offset end
    Mirror.eventually("both mirrors are as far", fn -> offset.(context.id) >= offset.(context.plain) end)
    context
  end

  defp run(context, commands) do
    for reply <- Redix.pipeline!(context.redis, commands), do: refute(match?(%Redix.Error{}, reply), inspect(reply))
    caught_up(context)
  end

  defp seen(context, db \\ 0), do: Veidrodelis.get(context.id, db, "k")

  live_test "every way to set the guard key opens a window", context do
    sets = [
      ["SET", "__vdr_tx", "1"],
      ["SET", "__vdr_tx", "1", "EX", "100"],
      ["SETEX", "__vdr_tx", "100", "1"],
      ["PSETEX", "__vdr_tx", "100000", "1"],
      ["SETNX", "__vdr_tx", "1"],
      ["MSET", "other", "1", "__vdr_tx", "1"],
      ["RENAME", "source", "__vdr_tx"],
      ["COPY", "source", "__vdr_tx"]
    ]

    for {set, n} <- Enum.with_index(sets) do
      run(context, [["SET", "source", "1"], ["SET", "k", "before #{n}"], set, ["SET", "k", "after #{n}"]])
      assert seen(context) == {:ok, "before #{n}"}, inspect(set)
      assert Veidrodelis.info(context.id).guard_window_ms >= 0
      run(context, [["DEL", "__vdr_tx"]])
      assert seen(context) == {:ok, "after #{n}"}, inspect(set)
      assert Veidrodelis.info(context.id).guard_window_ms == nil
    end
  end

  live_test "every way to remove the guard key closes the window", context do
    removals = [
      [["DEL", "__vdr_tx"]],
      [["UNLINK", "other", "__vdr_tx"]],
      [["RENAME", "__vdr_tx", "elsewhere"]],
      [["GETDEL", "__vdr_tx"]],
      [["MOVE", "__vdr_tx", "9"], ["SELECT", "9"], ["DEL", "__vdr_tx"], ["SELECT", "0"]],
      [["FLUSHDB"]],
      [["FLUSHALL"]]
    ]

    for {removal, n} <- Enum.with_index(removals) do
      run(context, [["SET", "k", "before #{n}"], ["SET", "__vdr_tx", "1"], ["SET", "k", "held #{n}"]])
      assert seen(context) == {:ok, "before #{n}"}, inspect(removal)
      run(context, removal ++ [["SET", "k", "after #{n}"]])
      assert seen(context) == {:ok, "after #{n}"}, inspect(removal)
    end

    run(context, [["SET", "k", "swapped"], ["SET", "__vdr_tx", "1"], ["SET", "k", "held"], ["SWAPDB", "0", "5"]])
    assert seen(context, 5) == {:ok, "held"}
  end

  live_test "the guard key's expiry closes the window", context do
    run(context, [["SET", "k", "before"], ["PSETEX", "__vdr_tx", "100000", "1"], ["SET", "k", "after"]])
    assert seen(context) == {:ok, "before"}
    Redix.command!(context.redis, ["PEXPIRE", "__vdr_tx", "1"])
    Mirror.eventually("the window closed", fn -> seen(context) == {:ok, "after"} end)
  end

  live_test "a second SET extends the window, and a window holds back all databases", context do
    run(context, [["SET", "k", "a"], ["SET", "__vdr_tx", "1"], ["SET", "k", "b"], ["SET", "__vdr_tx", "2"]])
    run(context, [["SELECT", "3"], ["SET", "k", "c"], ["SELECT", "0"]])
    assert {seen(context), seen(context, 3)} == {{:ok, "a"}, {:ok, nil}}
    run(context, [["DEL", "__vdr_tx"]])
    assert {seen(context), seen(context, 3)} == {{:ok, "b"}, {:ok, "c"}}
  end

  live_test "a window set in another database holds back this one", context do
    run(context, [["SET", "k", "a"], ["SELECT", "3"], ["SET", "__vdr_tx", "1"], ["SELECT", "0"], ["SET", "k", "b"]])
    assert seen(context) == {:ok, "a"}
    # Not the key that was set.
    run(context, [["DEL", "__vdr_tx"]])
    assert seen(context) == {:ok, "a"}
    run(context, [["SELECT", "3"], ["DEL", "__vdr_tx"], ["SELECT", "0"]])
    assert seen(context) == {:ok, "b"}
  end

  live_test "a watcher gets the held writes once they are visible", context do
    ref = make_ref()
    run(context, [["SET", "__vdr_tx", "1"]])
    :ok = Veidrodelis.watch(context.id, 0, "k", ref)
    run(context, [["SET", "k", "held"]])
    refute_receive {^ref, _event}, 50
    Redix.command!(context.redis, ["DEL", "__vdr_tx"])
    assert_receive {^ref, %Vdr.WatchEvent.Update{key: "k"}}, 5_000
    assert seen(context) == {:ok, "held"}
  end

  live_test "a full sync inside a window stays hidden until the window closes", context do
    run(context, [["SET", "k", "old"]])
    late = {:test, System.unique_integer([:positive])}
    run(context, [["SET", "__vdr_tx", "1"], ["SET", "k", "new"]])
    start_supervised!({Veidrodelis, id: late, host: "127.0.0.1", port: context.port})
    Mirror.eventually("the late mirror streams", fn -> Veidrodelis.replication_state(late) == :streaming end)
    assert Veidrodelis.get(late, 0, "k") == {:error, :not_ready}
    Redix.command!(context.redis, ["DEL", "__vdr_tx"])
    assert :ok = Veidrodelis.await_ready(late)
    assert Veidrodelis.get(late, 0, "k") == {:ok, "new"}
  end

  live_test "a second full sync inside a window leaves the old data visible until the window closes", context do
    run(context, [["SET", "k", "old"], ["SET", "__vdr_tx", "1"], ["SET", "k", "new"]])
    syncs = Veidrodelis.info(context.id).full_syncs
    # Another replication id and a lost backlog: only a full sync helps.
    Redix.command!(context.redis, ["DEBUG", "CHANGE-REPL-ID"])
    Redix.command!(context.redis, ["CLIENT", "KILL", "TYPE", "replica"])
    again = fn -> Veidrodelis.info(context.id).full_syncs > syncs end

    Mirror.eventually("another full sync", fn ->
      again.() and Veidrodelis.replication_state(context.id) == :streaming
    end)

    assert seen(context) == {:ok, "old"}
    Redix.command!(context.redis, ["DEL", "__vdr_tx"])
    Mirror.eventually("the window closed", fn -> seen(context) == {:ok, "new"} end)
  end

  live_test "the option sets the guard key's name", context do
    named = Mirror.start!(context.server, guard_key: "my:tx")
    run(context, [["SET", "k", "a"], ["SET", "my:tx", "1"], ["SET", "k", "b"]])
    Mirror.eventually("the default key guards nothing here", fn -> seen(context) == {:ok, "b"} end)
    offset = fn id -> Veidrodelis.info(id).offset end
    Mirror.eventually("the named one is as far", fn -> offset.(named) >= offset.(context.plain) end)
    assert Veidrodelis.get(named, 0, "k") == {:ok, "a"}
    assert Veidrodelis.get(context.plain, 0, "k") == {:ok, "b"}
    Redix.command!(context.redis, ["UNLINK", "my:tx"])
    Mirror.eventually("the window closed", fn -> Veidrodelis.get(named, 0, "k") == {:ok, "b"} end)
  end
end
