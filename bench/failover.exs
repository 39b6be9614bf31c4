defmodule Vdr.Bench.Failover do
  @moduledoc false
  # After the primary is killed, how long does it take until the mirror streams from the promoted
  # one? And how long does Sentinel itself take, from the kill until the first of the three
  # announces `+switch-master`? Two servers, three Sentinels, several failovers in a row.
  alias Vdr.Bench.Measure
  alias Vdr.{Paint, Test.Sentinels, Test.Server}

  @turns 7
  # A setting of the Sentinels; both times include it.
  @down_after_ms 500
  @settle_ms 2_000
  @end_ms 60_000

  def run do
    Paint.title("Failover: the primary is killed")
    Process.flag(:trap_exit, true)
    cluster = Sentinels.start!(start: &Sentinels.linked/1, down_after_ms: @down_after_ms)
    {:ok, _pid} = Veidrodelis.start_link(id: :bench, sentinel: Sentinels.option(cluster))
    :ok = Veidrodelis.await_ready(:bench, @end_ms)
    listeners = [follow_mirror() | Enum.map(cluster.sentinels, &listen/1)]
    turns = for _ <- 1..@turns, do: turn(cluster)
    for pid <- listeners, do: Process.exit(pid, :kill)
    Veidrodelis.stop(:bench)
    Enum.each(cluster.sentinels ++ cluster.servers, &GenServer.stop/1)
    told(turns)
  end

  # The median counts. A repeated vote is Sentinel's doing, and both times include it.
  defp told(turns) do
    [ours, first, last] = for at <- 0..2, do: turns |> Enum.map(&elem(&1, at)) |> Enum.sort() |> Enum.at(div(@turns, 2))
    partial = Enum.count(turns, &(elem(&1, 3) == :partial))
    Paint.note("the last Sentinel announces it after #{last} ms; #{partial} of #{@turns} by partial resync")
    text = "#{ours} ms, Sentinel #{first} ms: #{Float.round(ours / first, 2)} of it"
    Measure.figure("killed primary to streaming", ours, first, "ms", ours / first, nil, text)
  end

  defp turn(cluster) do
    Process.sleep(@settle_ms)
    killed = Enum.find(cluster.servers, &(Server.port(&1) == Sentinels.primary_port(cluster)))
    flush()
    at = System.monotonic_time(:millisecond)
    Server.kill(killed)
    announced = for _ <- cluster.sentinels, do: announced(at)
    {ours, sync} = streaming(at)
    :ok = Server.restart(killed)
    follow(killed, cluster)
    {ours, Enum.min(announced), Enum.max(announced), sync}
  end

  defp announced(at) do
    receive do
      {:switch_master, now} -> now - at
    after
      @end_ms -> raise "no Sentinel announces another primary"
    end
  end

  defp streaming(at) do
    receive do
      {:streamed, now, sync} -> {now - at, sync}
    after
      @end_ms -> raise "the mirror does not stream: #{inspect(Veidrodelis.info(:bench))}"
    end
  end

  defp flush do
    receive do
      {:switch_master, _now} -> flush()
      {:streamed, _now, _sync} -> flush()
    after
      0 -> :ok
    end
  end

  # Sentinel would do this, too, eight seconds later.
  defp follow(killed, cluster) do
    port = Sentinels.primary_port(cluster)
    Sentinels.command!(Server.port(killed), ["REPLICAOF", "127.0.0.1", port])

    Measure.until(fn ->
      Sentinels.command!(Server.port(killed), ["INFO", "replication"]) =~ "master_link_status:up"
    end)
  end

  # Each listener is a process of its own, so that the time is the message's arrival.
  defp follow_mirror do
    owner = self()

    spawn_link(fn ->
      :ok = Veidrodelis.subscribe(:bench)
      stream(owner)
    end)
  end

  defp stream(owner) do
    receive do
      {:veidrodelis, :bench, :streaming, %{sync: sync}} ->
        send(owner, {:streamed, System.monotonic_time(:millisecond), sync})
        stream(owner)

      _other ->
        stream(owner)
    end
  end

  defp listen(sentinel) do
    owner = self()

    spawn_link(fn ->
      {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, Server.port(sentinel), [:binary, active: true])
      :ok = :gen_tcp.send(socket, Redix.pack(["SUBSCRIBE", "+switch-master"]))
      hear(owner)
    end)
  end

  defp hear(owner) do
    receive do
      {:tcp, _socket, data} ->
        if data =~ "$7\r\nmessage", do: send(owner, {:switch_master, System.monotonic_time(:millisecond)})
        hear(owner)

      {:tcp_closed, _socket} ->
        :ok
    end
  end
end
