defmodule Vdr.Test.Chaos.Quiet do
  @moduledoc """
  The quiet point: writers pause, every server is brought back, and the mirror must stream from the
  primary. Its digest must equal the server's at the same offset of the same history. The values
  that watches reported must be the current ones.
  """
  alias Vdr.Test.Chaos.{Cluster, Faults, Load}
  alias Vdr.Test.{Compare, Server, Writes}

  # A failover that has just begun, a second one that follows, and a full sync may come before the
  # rest. The limit only guards against hanging.
  @rest_ms 180_000
  @poll_ms 10
  @watch_ms 5_000
  @ballast 10
  # No SWAPDB of the random writes names it: moved ballast would be missed, and written again.
  @ballast_db 10
  @digest_ms 30_000

  @doc "Whether the mirror came to rest. Violations are in the table."
  def point(chaos) do
    Load.set(chaos.table, :paused, 1)
    :ets.update_counter(chaos.table, :upset, 1)
    Cluster.mend(chaos.cluster)
    # A writer may be in the middle of its batch.
    Process.sleep(300)
    full_syncs = if chaos.damaged, do: Veidrodelis.info(chaos.id).full_syncs
    rested = rest(chaos, full_syncs, System.monotonic_time(:millisecond) + @rest_ms)
    ballast(chaos)
    Load.set(chaos.table, :judged, 1)
    Load.set(chaos.table, :paused, 0)
    rested
  end

  # So much data that a snapshot which is never freed shows in the memory. A server that was killed
  # has lost it.
  defp ballast(chaos) do
    ask = &Cluster.ask(Cluster.primary(chaos.cluster), &1, database: @ballast_db)

    if ask.(["EXISTS", "chaos:ballast:#{@ballast}"]) == {:ok, 0},
      do: for(n <- 1..@ballast, do: ask.(["SET", "chaos:ballast:#{n}", :crypto.strong_rand_bytes(1_000_000)]))
  end

  defp rest(chaos, full_syncs, deadline) do
    {full_syncs, verdict} = attempt(chaos, full_syncs)

    case verdict do
      {:equal, primary} ->
        watches(chaos, primary)
        true

      {:different, message} ->
        Load.found(chaos.table, :divergences, "divergence after #{chaos.faults} faults: #{message}")
        true

      {:not_yet, why} ->
        if System.monotonic_time(:millisecond) > deadline do
          Load.found(chaos.table, :lost, "the mirror did not come to rest after #{chaos.faults} faults: #{why}")
          false
        else
          Process.sleep(@poll_ms)
          rest(chaos, full_syncs, deadline)
        end
    end
  end

  # Unnoticed damage is no verdict: first there must be one more full sync.
  defp attempt(chaos, full_syncs) do
    with {:ok, primary} <- Cluster.whole(chaos.cluster),
         :ok <- streams_from(chaos, primary) do
      if full_syncs && Veidrodelis.info(chaos.id).full_syncs <= full_syncs do
        Faults.full_sync(chaos)
        Process.sleep(500)
        {full_syncs, {:not_yet, "the full sync that is to mend it has not come"}}
      else
        {nil, compare(chaos.id, primary)}
      end
    else
      {:error, why} -> {full_syncs, {:not_yet, why}}
    end
  rescue
    error in [Redix.Error, Redix.ConnectionError, MatchError] ->
      {full_syncs, {:not_yet, Exception.message(error)}}
  end

  defp streams_from(chaos, primary) do
    port = Server.port(primary)

    case Veidrodelis.info(chaos.id) do
      %{state: :streaming, primary: {_host, ^port}} -> :ok
      info -> {:error, "the mirror: #{inspect(Map.take(info, [:state, :primary, :last_error]))}, not at #{port}"}
    end
  end

  @doc """
  Compares a mirror with a server once: `{:equal, server}`, `{:different, text}`, or `{:not_yet,
  why}`.
  """
  def compare(id, server) do
    {:ok, [_, _, _, [replication, digest]]} = theirs(server)
    [_, history] = Regex.run(~r/master_replid:(\w+)/, replication)
    [_, offset] = Regex.run(~r/master_repl_offset:(\d+)/, replication)
    offset = String.to_integer(offset)
    before = Veidrodelis.info(id).replication_id
    {:ok, snapshot} = Veidrodelis.snapshot(id)
    {:ok, ours} = Veidrodelis.digest(snapshot)

    cond do
      before != history or Veidrodelis.info(id).replication_id != history -> {:not_yet, "another history"}
      Vdr.Snapshot.offset(snapshot) != offset -> {:not_yet, "at #{Vdr.Snapshot.offset(snapshot)}, not at #{offset}"}
      ours == digest -> {:equal, server}
      true -> {:different, "at offset #{offset} the digest is #{ours}, not #{digest}; #{difference(id, server)}"}
    end
  end

  # One transaction: the digest of exactly that offset.
  defp theirs(server) do
    commands = [["MULTI"], ["INFO", "replication"], ["DEBUG", "DIGEST"], ["EXEC"]]
    Cluster.ask_all(server, commands, timeout: @digest_ms)
  end

  defp difference(id, server) do
    redis = Server.connect!(server)

    found =
      Enum.find_value(Writes.databases(), fn db ->
        Redix.command!(redis, ["SELECT", db])
        with {key, theirs, ours} <- Compare.first_difference(redis, id, db), do: {db, key, theirs, ours}
      end)

    Redix.stop(redis)
    inspect(found, limit: 20, printable_limit: 200)
  end

  @doc "A process that a watch woke has read the current value, or a newer write woke it again."
  def watches(chaos, primary) do
    await_watch(chaos, fn -> Veidrodelis.get(chaos.id, 0, Load.watched()) end)
    value = "quiet #{chaos.faults}"

    case Cluster.ask(primary, ["SET", Load.watched(), value]) do
      {:ok, "OK"} -> await_watch(chaos, fn -> {:ok, value} end)
      _gone_again -> :ok
    end
  end

  defp await_watch(chaos, expected, deadline \\ System.monotonic_time(:millisecond) + @watch_ms) do
    cond do
      {:ok, Load.get(chaos.table, :last_watched)} == expected.() ->
        :ok

      System.monotonic_time(:millisecond) > deadline ->
        last = inspect(Load.get(chaos.table, :last_watched))
        Load.found(chaos.table, :lost, "the last message of a watch read #{last}, not #{inspect(expected.())}")

      true ->
        Process.sleep(@poll_ms)
        await_watch(chaos, expected, deadline)
    end
  end
end
