defmodule Vdr.Live.SlotsTest do
  # What a mirror's acknowledgements do to slot moves, on a real cluster of two primaries, one of
  # which has a replica. Valkey sends CLUSTER SETSLOT to its replicas, and waits for the
  # acknowledgements of all that announced a version.
  use ExUnit.Case, async: true

  alias Vdr.Test.{Mirror, Server}

  @moduletag capture_log: true
  @moduletag timeout: 180_000

  # A primary that receives a slot. It has a replica, because without one Valkey does not wait at
  # all.
  defp cluster!(binary) do
    config = [{"cluster-enabled", "yes"}, {"cluster-node-timeout", "10000"}]
    servers = for _ <- 1..3, do: Server.start!(binary: binary, config: config)
    [giver, taker, replica] = connections = Enum.map(servers, &Server.connect!/1)
    Redix.command!(giver, ["CLUSTER", "ADDSLOTSRANGE", 0, 8191])
    Redix.command!(taker, ["CLUSTER", "ADDSLOTSRANGE", 8192, 16_383])
    for server <- tl(servers), do: Redix.command!(giver, ["CLUSTER", "MEET", "127.0.0.1", Server.port(server)])
    Mirror.eventually("all know all", fn -> Enum.all?(connections, &knows_all?/1) end)
    Redix.command!(replica, ["CLUSTER", "REPLICATE", id(taker)])

    Mirror.eventually("the replica is in line", fn ->
      Redix.command!(taker, ["INFO", "replication"]) =~ ~r/slave0:.*state=online/
    end)

    %{giver: giver, taker: taker, giving: hd(servers), server: Enum.at(servers, 1)}
  end

  defp knows_all?(redis) do
    nodes = redis |> Redix.command!(["CLUSTER", "NODES"]) |> String.split("\n", trim: true)
    length(nodes) == 3 and Redix.command!(redis, ["CLUSTER", "INFO"]) =~ "cluster_state:ok"
  end

  defp id(redis), do: Redix.command!(redis, ["CLUSTER", "MYID"])

  defp mirror!(cluster, ack) do
    id = Mirror.start!(cluster.server, ack: ack)
    # A replica whose first acknowledgement is missing does not count yet.
    Mirror.eventually("the mirror is in line", fn ->
      Redix.command!(cluster.taker, ["INFO", "replication"]) =~ ~r/port=70000,state=online/
    end)

    id
  end

  # Starts to import a slot, then makes the slot stable again; each answer with its time in ms.
  defp setslot(cluster) do
    for words <- [["IMPORTING", id(cluster.giver)], ["STABLE"]] do
      {us, answer} = :timer.tc(fn -> Redix.command(cluster.taker, ["CLUSTER", "SETSLOT", 0 | words]) end)
      {answer, div(us, 1000)}
    end
  end

  # Public, because without a server that can do it nothing here calls it.
  def migrate(from, to) do
    "OK" = Redix.command!(from, ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", 0, 0, "NODE", id(to)])

    Mirror.eventually("the slot is there", fn -> Redix.command!(from, ["CLUSTER", "GETSLOTMIGRATIONS"]) end, fn ->
      "success" in hd(Redix.command!(from, ["CLUSTER", "GETSLOTMIGRATIONS"]))
    end)
  end

  for binary <- Server.available() do
    @tag binary: binary
    test "#{binary.name}: a truthful mirror does not delay slot moves", %{binary: binary} do
      cluster = cluster!(binary)
      id = mirror!(cluster, :truthful)
      assert [{{:ok, "OK"}, ms}, {{:ok, "OK"}, again_ms}] = setslot(cluster)
      # After two seconds without an acknowledgement Valkey refuses it.
      assert max(ms, again_ms) < 5_000
      assert %{state: :streaming, full_syncs: 1, unknown_commands: none} = Veidrodelis.info(id)
      assert none == %{}
    end

    @tag binary: binary
    test "#{binary.name}: a lagging mirror makes only Valkey refuse a slot move", %{binary: binary} do
      cluster = cluster!(binary)
      mirror!(cluster, :lagging)

      if binary.name =~ "valkey" do
        assert [{{:error, %{message: "NOREPLICAS" <> _}}, ms} | _] = setslot(cluster)
        assert ms > 1_900
      else
        assert [{{:ok, "OK"}, _ms}, {{:ok, "OK"}, _again_ms}] = setslot(cluster)
      end
    end
  end

  # The source sends DEL, the target RESTORE-ASKING.
  for binary <- Server.available() do
    @tag binary: binary
    test "#{binary.name}: a key that moves with its slot leaves one mirror and appears in the other", %{binary: binary} do
      cluster = cluster!(binary)
      [left, right] = ids = [Mirror.start!(cluster.giving), mirror!(cluster, :truthful)]
      Redix.command!(cluster.giver, ["SET", "{06S}", "moved", "PXAT", 4_102_444_800_000])
      Mirror.eventually("the key is there", fn -> Veidrodelis.get(left, 0, "{06S}") == {:ok, "moved"} end)
      digest = Veidrodelis.digest(left)

      assert "OK" = Redix.command!(cluster.taker, ["CLUSTER", "SETSLOT", 0, "IMPORTING", id(cluster.giver)])
      assert "OK" = Redix.command!(cluster.giver, ["CLUSTER", "SETSLOT", 0, "MIGRATING", id(cluster.taker)])

      assert "OK" =
               Redix.command!(cluster.giver, ["MIGRATE", "127.0.0.1", Server.port(cluster.server), "{06S}", 0, 5_000])

      Mirror.eventually("the key has come", fn -> Veidrodelis.digest(right) == digest end)
      Mirror.eventually("the key has gone", fn -> Veidrodelis.dbsize(left, 0) == {:ok, 0} end)

      for id <- ids do
        assert %{state: :streaming, full_syncs: 1, unknown_commands: none} = Veidrodelis.info(id)
        assert none == %{}
      end
    end
  end

  for binary <- Server.available(), binary.name =~ ~r/valkey-(9|\d\d)/ do
    for ack <- [:truthful, :lagging] do
      @tag binary: binary, ack: ack
      test "#{binary.name}: slots that move as a whole do not wait for a #{ack} mirror", %{binary: binary, ack: ack} do
        cluster = cluster!(binary)
        Redix.command!(cluster.giver, ["SET", "{06S}", "moved"])
        assert Redix.command!(cluster.giver, ["CLUSTER", "KEYSLOT", "{06S}"]) == 0
        id = mirror!(cluster, ack)
        migrate(cluster.giver, cluster.taker)
        Mirror.eventually("the key has come along", fn -> Veidrodelis.get(id, 0, "{06S}") == {:ok, "moved"} end)
        migrate(cluster.taker, cluster.giver)
        Mirror.eventually("the key has gone", fn -> Veidrodelis.get(id, 0, "{06S}") == {:ok, nil} end)
        assert %{state: :streaming, full_syncs: 1, unknown_commands: none} = Veidrodelis.info(id)
        assert none == %{}
      end
    end
  end
end
