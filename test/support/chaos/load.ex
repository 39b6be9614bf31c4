defmodule Vdr.Test.Chaos.Load do
  @moduledoc """
  The processes that work while faults happen. Writers write random commands and, by MULTI, values
  that must be visible together. A reader checks that they are. A listener reads what its watch
  reports. Another process writes through the instance (`OwnWrites`). A bookkeeper counts syncs.

  Their findings are in the table: `divergences`, `last_watched` (the value that was read at the
  last message of the watch), `full`, `partial`.
  """
  alias Vdr.Test.Chaos.OwnWrites
  alias Vdr.Test.{Server, Writes}

  @watched "chaos:watched"
  @log_max 200
  @answer_ms 1000
  @flush_every 5000
  @marks_db 3

  def watched, do: @watched

  @doc "The table for `start/1`, which every helper reads and writes."
  def table do
    table = :ets.new(:chaos, [:public, :set])

    :ets.insert(table,
      full: 0,
      partial: 0,
      divergences: 0,
      lost: 0,
      paused: 0,
      judged: 1,
      upset: 0,
      last_watched: nil,
      reads: 0,
      writes: 0,
      own: 0,
      own_late: 0,
      own_judged: 0,
      positions: 0,
      positions_lost: 0
    )

    table
  end

  def get(table, name), do: :ets.lookup_element(table, name, 2)
  def set(table, name, value), do: :ets.insert(table, {name, value})

  @doc "Prints and counts a violation."
  def found(table, what, message) do
    IO.puts("chaos: #{message}")
    :ets.update_counter(table, what, 1)
  end

  @doc "Starts the helpers and returns their pids."
  def start(chaos) do
    ports = Enum.map(chaos.cluster.servers, &Server.port/1)

    work = [
      &writer(&1, ports, :random),
      &writer(&1, ports, :random),
      &writer(&1, ports, :marks),
      &reader/1,
      &OwnWrites.run/1,
      &bookkeeper/1,
      &listener/1
    ]

    for {work, number} <- Enum.with_index(work) do
      spawn_link(fn ->
        :rand.seed(:exsss, {chaos.seed, number, 0})
        work.(chaos)
      end)
    end
  end

  @doc "Stops the helpers. A helper that crashed counts as lost."
  def stop(pids, table) do
    for pid <- pids do
      monitor = Process.monitor(pid)
      send(pid, :enough)

      receive do
        {:EXIT, ^pid, reason} when reason != :normal -> found(table, :lost, "a helper crashed: #{inspect(reason)}")
        {:EXIT, ^pid, :normal} -> :ok
      after
        10_000 ->
          Process.exit(pid, :kill)
          found(table, :lost, "a helper hangs")
      end

      Process.demonitor(monitor, [:flush])
    end
  end

  # ---- writers

  defp writer(chaos, ports, kind) do
    Process.flag(:trap_exit, true)
    write(%{table: chaos.table, ports: ports, kind: kind}, nil, 0)
  end

  # Writes to the server that accepts writes; a replica refuses them.
  defp write(%{table: table, ports: ports} = writer, redis, turn) do
    cond do
      told?() ->
        if redis, do: Redix.stop(redis)

      get(table, :paused) == 1 ->
        Process.sleep(20)
        write(writer, redis, turn)

      true ->
        # A short pause: sometimes the writes between two links should fit into the backlog.
        Process.sleep(2)
        redis = redis || connect(Enum.at(ports, rem(turn, length(ports))))
        write(writer, written(writer, redis), turn + 1)
    end
  end

  defp connect(port) do
    case Redix.start_link(host: "127.0.0.1", port: port, timeout: @answer_ms, database: @marks_db) do
      {:ok, redis} -> redis
      {:error, _down} -> Process.sleep(20) && nil
    end
  end

  defp written(_writer, nil), do: nil

  defp written(%{table: table, kind: kind}, redis) do
    case Redix.pipeline(redis, commands(kind)) do
      {:ok, replies} ->
        :ets.update_counter(table, :writes, length(replies))
        if Enum.any?(replies, &readonly?/1), do: Redix.stop(redis) && nil, else: redis

      {:error, _down} ->
        nil
    end
  catch
    :exit, _down -> nil
  end

  # The writer of marks never leaves its database: if a link ends between two marks, the next link
  # must still know the database.
  defp commands(:marks), do: marks()

  defp commands(:random) do
    together() ++
      [["SELECT", :rand.uniform(3)]] ++ marks() ++ Enum.reject(Writes.program(20), &flush?/1) ++ flush()
  end

  defp readonly?(reply), do: match?(%Redix.Error{message: "READONLY" <> _}, reply)

  # Invariants that hold in every state of a primary. The random commands touch all of these keys or
  # none.
  defp together do
    value = Integer.to_string(System.unique_integer())
    amount = :rand.uniform(1000)

    [["SELECT", 0], ["MULTI"], ["SET", "chaos:a", value], ["SET", "chaos:b", value]] ++
      [["HINCRBY", "chaos:sum", "in", amount], ["HINCRBY", "chaos:sum", "out", -amount]] ++
      counted() ++ [["SET", @watched, value], ["EXEC"]]
  end

  # Keys on which each write leaves its mark and which no other write removes: a command that was
  # lost or applied twice stays visible until the next full sync. (The random writes overwrite each
  # other within moments.)
  defp marks do
    n = :rand.uniform(100)

    marks = [
      ["INCR", "chaos:n:#{n}"],
      ["APPEND", "chaos:s:#{n}", "#{rem(n, 10)}"],
      ["HINCRBY", "chaos:h:#{rem(n, 7)}", "f#{n}", n],
      ["ZINCRBY", "chaos:z:#{rem(n, 7)}", 1, "m#{n}"],
      ["LMOVE", "chaos:l:#{rem(n, 7)}", "chaos:l:#{rem(n, 5)}", "LEFT", "RIGHT"]
    ]

    new = if :rand.uniform(20) == 1, do: [["RPUSH", "chaos:l:#{rem(n, 7)}", "#{n}"]], else: []
    new ++ Enum.take_random(marks, 3)
  end

  # For the same reason databases are flushed only rarely.
  defp flush?([name | _words]), do: name in ["FLUSHALL", "FLUSHDB"]

  defp flush do
    if :rand.uniform(@flush_every) == 1, do: Enum.random([OwnWrites.flush_all(), [["FLUSHDB"]]]), else: []
  end

  defp counted do
    if :rand.uniform(@log_max) == 1,
      do: [["DEL", "chaos:count", "chaos:log"]],
      else: [["INCR", "chaos:count"], ["RPUSH", "chaos:log", "entry"]]
  end

  # ---- the reader

  @reads [
    get: ["chaos:a"],
    get: ["chaos:b"],
    hget: ["chaos:sum", "in"],
    hget: ["chaos:sum", "out"],
    get: ["chaos:count"],
    llen: ["chaos:log"]
  ]

  defp reader(chaos), do: read(chaos, Enum.map(@reads, fn {name, arguments} -> List.to_tuple([name | arguments]) end))

  defp read(%{table: table} = chaos, operations) do
    unless told?() do
      # Data that is known to be damaged is not judged, nor is a read from the time when that became
      # known.
      judged = get(table, :judged)

      case Veidrodelis.read_tx(chaos.id, 0, operations) do
        {:ok, values} -> if judged == 1 and torn?(values) and get(table, :judged) == 1, do: torn(table, values)
        {:error, reason} -> found(table, :divergences, "a read failed: #{inspect(reason)}")
      end

      :ets.update_counter(table, :reads, 1)
      Process.sleep(1)
      read(chaos, operations)
    end
  end

  defp torn(table, values), do: found(table, :divergences, "half a MULTI was seen: #{inspect(values)}")

  @doc "Whether the writes of a MULTI are visible only in part."
  def torn?([{:ok, same}, {:ok, same}, {:ok, paid_in}, {:ok, paid_out}, {:ok, count}, {:ok, length}]),
    do: number(paid_in) + number(paid_out) != 0 or number(count) != length

  def torn?(_values), do: true

  defp number(nil), do: 0

  # Damaged data may not be a number: then no sum is right.
  defp number(text) do
    case Integer.parse(text) do
      {number, ""} -> number
      _damaged -> 0.5
    end
  end

  # ---- the bookkeeper and the listener

  defp bookkeeper(chaos) do
    :ok = Veidrodelis.subscribe(chaos.id)
    count_syncs(chaos.table)
  end

  defp count_syncs(table) do
    receive do
      :enough ->
        :ok

      {:veidrodelis, _id, :streaming, %{sync: sync}} ->
        :ets.update_counter(table, sync, 1)
        count_syncs(table)

      _other ->
        count_syncs(table)
    end
  end

  defp listener(chaos) do
    :ok = Veidrodelis.watch(chaos.id, 0, @watched, :watched)
    listen(chaos)
  end

  defp listen(%{id: id, table: table} = chaos) do
    receive do
      :enough ->
        :ok

      {:watched, _event} ->
        {:ok, value} = Veidrodelis.get(id, 0, @watched)
        set(table, :last_watched, value)
        listen(chaos)
    end
  end

  defp told? do
    receive do
      :enough -> true
    after
      0 -> false
    end
  end
end
