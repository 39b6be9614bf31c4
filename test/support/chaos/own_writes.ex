defmodule Vdr.Test.Chaos.OwnWrites do
  @moduledoc """
  A writer through the mirror itself. It judges each answer:

    * after `:ok` the write is read at once;
    * after `{:written, :not_visible}` a primary has it;
    * a position of an earlier write is `:ok` only where that write can be read. A failover may have
      lost it: then it is `:lost_history`, or not known yet.

  Each write leaves a mark of its own in a set, so that no later write hides a lost one. FLUSHALL
  removes the set. It comes in one unit with a new epoch, so that data of one epoch was not flushed.

  A failover or a full sync may come between an answer and the look at the data. So a verdict counts
  only where the data still has the history of before.
  """
  alias Vdr.Test.Chaos.{Cluster, Load}

  # No other write touches this database, but FLUSHALL.
  @db 9
  @marks "chaos:own:marks"
  @epoch "chaos:own:epoch"
  # The marks of so many writes are kept, and so many positions.
  @kept 300
  @positions 200
  @pause_ms 5
  @timeout_ms 1000
  @answer_ms 300

  @doc "FLUSHALL, with a new epoch."
  def flush_all do
    epoch = Integer.to_string(System.unique_integer())
    [["MULTI"], ["FLUSHALL"], ["SELECT", @db], ["SET", @epoch, epoch], ["EXEC"]]
  end

  @doc "The commands that lose the mark of every write without a trace."
  def lose_marks, do: [["SELECT", @db], ["DEL", @marks], ["SELECT", 0]]

  @doc "Works until the process is told `:enough`."
  def run(chaos) do
    Process.flag(:trap_exit, true)
    work(chaos, %{n: 1, positions: []})
  end

  defp work(chaos, state) do
    receive do
      :enough -> :ok
    after
      @pause_ms ->
        paused? = Load.get(chaos.table, :paused) == 1
        work(chaos, if(paused?, do: state, else: chaos |> write(state) |> then(&look_back(chaos, &1))))
    end
  end

  @doc "The commands that leave the mark of a write."
  def mark(n), do: [["SELECT", @db], ["SADD", @marks, n], ["SELECT", 0]]

  # ---- a write

  defp write(%{id: id, table: table} = chaos, %{n: n} = state) do
    {judged, upset} = {Load.get(table, :judged), Load.get(table, :upset)}
    {before, seen_before} = {history(id), read(id, n)}

    commands = [["GET", @epoch], ["SADD", @marks, n], ["SREM", @marks, n - @kept]]
    answer = Veidrodelis.transaction(id, commands, db: @db, timeout: @timeout_ms)
    seen = read(id, n)
    position = Veidrodelis.position(id)
    counts? = judged == 1 and Load.get(table, :judged) == 1 and before != nil and before == history(id)

    positions =
      case {answer, seen, position, seen_before} do
        {{:ok, [epoch | _counts]}, {epoch, seen?}, {:ok, position}, _before} ->
          :ets.update_counter(table, :own, 1)

          if counts? and not seen?,
            do: Load.found(table, :divergences, "the write #{n} was answered with :ok and is not read")

          if counts? and seen?, do: [{position, n, epoch}], else: []

        {{:error, {:written, :not_visible}}, _seen, _position, {epoch, _seen?}} ->
          :ets.update_counter(table, :own_late, 1)

          done = if counts?, do: done(chaos.cluster.servers, n, elem(before, 0), epoch), else: :unknown
          # A primary that ended meanwhile may have had it.
          done = if upset == Load.get(table, :upset), do: done, else: :unknown
          if done != :unknown, do: :ets.update_counter(table, :own_judged, 1)

          if done == :no,
            do: Load.found(table, :divergences, "the write #{n} was answered as written, and no primary has it")

          []

        _unknown ->
          []
      end

    %{state | n: n + 1, positions: Enum.take(positions ++ state.positions, @positions)}
  end

  @doc """
  Whether a primary has a write that the primary of a history may have run: `:yes`, `:no` or
  `:unknown`.

  After a failover there are two primaries for a while. The commands go to the new one as soon as
  the link connects to it. Until the end of its full sync, the mirror's history is the former
  primary's.
  """
  def done(servers, n, replication_id, epoch) do
    commands = [["INFO", "replication"], ["GET", @epoch], ["SISMEMBER", @marks, n]]
    answers = Enum.map(servers, &Cluster.ask_all(&1, commands, timeout: @answer_ms, database: @db))
    primaries = for {:ok, [info, epoch, seen]} <- answers, info =~ "role:master", do: {info, epoch, seen}

    known? =
      Enum.all?(answers, &match?({:ok, _}, &1)) and Enum.all?(primaries, &match?({_info, ^epoch, _seen}, &1)) and
        Enum.any?(primaries, fn {info, _epoch, _seen} -> info =~ "master_replid:#{replication_id}" end)

    cond do
      not known? -> :unknown
      Enum.any?(primaries, &match?({_info, _epoch, 1}, &1)) -> :yes
      true -> :no
    end
  end

  # ---- a position of before

  defp look_back(_chaos, %{positions: []} = state), do: state

  defp look_back(%{id: id, table: table}, state) do
    {position, n, epoch} = Enum.random(state.positions)
    {judged, before} = {Load.get(table, :judged), history(id)}
    answer = Veidrodelis.await_position(id, position, 0)
    seen = read(id, n)

    case answer do
      :ok ->
        :ets.update_counter(table, :positions, 1)

        if seen == {epoch, false} and state.n - n < @kept and judged == 1 and Load.get(table, :judged) == 1 and
             before != nil and before == history(id),
           do: Load.found(table, :divergences, "the position of the write #{n} is there, and the write is not")

      {:error, :lost_history} ->
        :ets.update_counter(table, :positions_lost, 1)

      {:error, _not_yet} ->
        :ok
    end

    state
  end

  # ---- reads

  # The epoch, and whether a write's mark is there. `nil` where nothing can be read.
  defp read(id, n) do
    case Veidrodelis.read_tx(id, @db, [{:get, @epoch}, {:sismember, @marks, Integer.to_string(n)}]) do
      {:ok, [{:ok, epoch}, {:ok, seen?}]} -> {epoch, seen? in [true, 1]}
      _unreadable -> nil
    end
  end

  # At the end of a full sync the report of it comes before its data. `nil` between them.
  defp history(id) do
    with %{replication_id: replication_id, full_syncs: full_syncs} when is_binary(replication_id) <-
           Veidrodelis.info(id),
         {:ok, {^replication_id, _offset}} <- Veidrodelis.position(id) do
      {replication_id, full_syncs}
    else
      _none -> nil
    end
  end
end
