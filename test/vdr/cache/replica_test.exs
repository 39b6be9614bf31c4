defmodule Vdr.Cache.ReplicaTest do
  # Replicated caches on a network of the test, which loses, delays and splits. `REPLICA_SEED`
  # repeats a run; `REPLICA_RUNS` says how many there are.
  use ExUnit.Case, async: true

  alias Vdr.Test.ReplicaNet, as: Net

  @runs String.to_integer(System.get_env("REPLICA_RUNS") || "150")
  @steps 400
  # A node that has gone is asked for a portion some times before another one is asked.
  @heartbeats 30

  defp seed, do: String.to_integer(System.get_env("REPLICA_SEED") || "#{System.unique_integer([:positive])}")

  defp run(seed, run, how) do
    :rand.seed(:exsss, {seed, run, 0})
    net = Net.new(2 + rem(run, 3))
    Enum.reduce(1..@steps, net, fn _step, net -> Net.step(net, how) end)
  end

  defp assert_equal(net, seed, run) do
    dumps = Net.dumps(net)
    expected = if net.crashed, do: dumps |> Map.values() |> hd(), else: Net.expected(net)

    for {name, dump} <- dumps, dump != expected do
      flunk(
        "REPLICA_SEED=#{seed}, run #{run}: node #{name} has #{inspect(dump -- expected)} too much and lacks " <>
          "#{inspect(expected -- dump)}; #{inspect(dumps, limit: :infinity)}"
      )
    end
  end

  test "writers on all nodes, messages in any order: two heartbeats later all have what the versions say" do
    seed = seed()

    for run <- 1..@runs do
      net = seed |> run(run, :calm) |> Net.quiet(2)
      net |> Net.pass(1_000) |> assert_equal(seed, run)
      assert Net.ready?(net)
    end
  end

  for {how, title} <- [
        rough: "lost messages, splits, long silence, crashes: in the end all are equal, and no delete is undone",
        deadly: "nodes that die while messages get lost: in the end all are equal"
      ] do
    test title do
      seed = seed()

      for run <- 1..@runs do
        net = seed |> run(run, unquote(how)) |> Net.quiet(@heartbeats)
        assert_equal(net, seed, run)
        assert Net.ready?(net), "REPLICA_SEED=#{seed}, run #{run}: not ready"
        assert_forgets(net, seed, run)
      end
    end
  end

  # Once everything is old, nothing of it is remembered.
  defp assert_forgets(net, seed, run) do
    net = Enum.reduce(1..2, net, fn _time, net -> net |> Net.pass(5_000) |> Net.quiet(@heartbeats) end)

    for {graves, floors, heard, gone} <- Net.remembered(net) do
      assert {graves, floors <= 1, heard <= map_size(net.nodes), gone} == {0, true, true, 0},
             "REPLICA_SEED=#{seed}, run #{run}: #{inspect(Net.remembered(net))}"
    end
  end
end
