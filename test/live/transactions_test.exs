defmodule Vdr.Live.TransactionsTest do
  # The examples of the documents on transactions, unchanged except for the port; then the guides'
  # own examples.
  use Vdr.Test.LiveCase, async: true

  alias Vdr.Test.Guide

  live_test "writes between setting and removing the guard key become visible together", %{redis: rdx, id: id} do
    ref = make_ref()
    :ok = Veidrodelis.watch(id, 0, "tx:from", ref)

    Redix.pipeline!(rdx, [
      ["MULTI"],
      ["SETEX", "__vdr_tx", "5", "in_progress"],
      ["SET", "tx:from", "100"],
      ["SET", "tx:to", "200"],
      ["DEL", "__vdr_tx"],
      ["EXEC"]
    ])

    assert_receive {^ref, %Vdr.WatchEvent.Update{}}, 5_000
    assert {:ok, [{:ok, "100"}, {:ok, "200"}]} = Veidrodelis.read_tx(id, 0, [{:get, "tx:from"}, {:get, "tx:to"}])
  end

  live_test "a script walks a leaderboard", %{redis: rdx, id: id} do
    for n <- 1..37, do: Redix.command!(rdx, ["ZADD", "leaderboard", n / 2, "player:#{n}"])
    Mirror.settle(id, rdx)

    script = File.read!("test/fixtures/leaderboard.lua")

    {:ok, history} = Veidrodelis.read_tx(id, 0, script)
    assert history == for(n <- 1..37, do: ["player:#{n}", if(rem(n, 2) == 0, do: div(n, 2), else: n / 2)])

    {:ok, loaded} = Veidrodelis.lua_load(id, script)
    assert {:ok, ^history} = Veidrodelis.read_tx(id, 0, loaded)
  end

  live_test "a script follows a reference that it has read", %{redis: rdx, id: id} do
    Redix.pipeline!(rdx, [["SET", "item:456:owner_id", "77"], ["HSET", "user:77", "name", "Ona"]])
    Mirror.settle(id, rdx)

    script = """
    local owner_id = ts.get('item:456:owner_id')
    return ts.hget('user:' .. owner_id, 'name')
    """

    assert Veidrodelis.read_tx(id, 0, script) == {:ok, "Ona"}
  end

  for guide <- ~w(transactions lua watches writes getting-started coming-from) do
    live_test "the examples of docs/#{guide}.md run", %{port: port, redis: redis}, mirror: false do
      Guide.run!(unquote("docs/#{guide}.md"), port, redis)
    end
  end
end
