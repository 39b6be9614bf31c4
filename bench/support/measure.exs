defmodule Vdr.Bench.Measure do
  @moduledoc false
  # How the benches measure: the two sides take turns, so that other work on the machine affects
  # both; the median of each side counts.
  alias Vdr.Test.{Server, Vm}

  @turns 7

  @doc "Nanoseconds per call of two functions of a key, over the same keys in the same order."
  def side_by_side(keys, ours, theirs, turns \\ @turns),
    do: in_turns(turns, fn -> per_call(keys, ours) end, fn -> per_call(keys, theirs) end)

  @doc "The medians of two functions that measure in turns."
  def in_turns(turns, ours, theirs), do: medians(for _ <- 1..turns, do: {ours.(), theirs.()})

  @doc "The median of each side of some pairs."
  def medians(pairs), do: {pairs |> Enum.map(&elem(&1, 0)) |> median(), pairs |> Enum.map(&elem(&1, 1)) |> median()}

  def median(values), do: values |> Enum.sort() |> Enum.at(div(length(values), 2))

  # Both sides include the cost of walking the list and of calling a closure.
  def per_call(keys, read) do
    :erlang.garbage_collect()
    started = System.monotonic_time(:nanosecond)
    walk(keys, read)
    (System.monotonic_time(:nanosecond) - started) / length(keys)
  end

  defp walk([key | keys], read) do
    read.(key)
    walk(keys, read)
  end

  defp walk([], _read), do: :ok

  @doc "The same in `n` processes at once; nanoseconds per call as one process sees it."
  def per_call_in(n, keys, read) do
    1..n
    |> Enum.map(fn _ -> Task.async(fn -> per_call(keys, read) end) end)
    |> Task.await_many(:infinity)
    |> Enum.max()
  end

  @doc "The medians of `native/vdr_bench`'s rounds, by name."
  def native(what) do
    {text, 0} = System.cmd("cargo", ~w(run --release --quiet --locked -p vdr_bench) ++ [what])

    text
    |> String.split("\n", trim: true)
    |> Enum.map(&String.split/1)
    |> Enum.group_by(&hd/1, fn [_name, number] -> number |> Float.parse() |> elem(0) end)
    |> Map.new(fn {name, numbers} -> {name, median(numbers)} end)
  end

  @doc "A percentile of sorted values in a tuple."
  def percentile(sorted, 100), do: elem(sorted, tuple_size(sorted) - 1)
  def percentile(sorted, percent), do: elem(sorted, trunc(tuple_size(sorted) * percent / 100))

  # ---- the data: 1M keys of a common shape with values of 32 bytes, and aggregates

  @keys 1_000_000
  def count, do: @keys
  def key(n), do: "user:" <> String.pad_leading(Integer.to_string(n), 10, "0") <> ":name"
  def value(n), do: String.pad_leading(Integer.to_string(n), 32, "v")

  @doc "Keys in random order, the same in every run."
  def random_keys(count, among \\ @keys) do
    :rand.seed(:exsss, 42)
    for _ <- 1..count, do: key(:rand.uniform(among) - 1)
  end

  @doc """
  A server with the million keys. It is Redis 7.0 where that is at hand, so that runs compare, and
  any other server elsewhere.
  """
  def filled_server(config \\ []) do
    {server, redis} = empty_server(config)
    fill(redis)
    {server, redis}
  end

  @doc "The million keys."
  def fill(redis), do: fill(redis, @keys, &value/1)

  @doc "Writes `count` keys with the given values and names."
  def fill(redis, count, value, key \\ &key/1) do
    0..(count - 1)
    |> Stream.chunk_every(2_000)
    |> Enum.each(fn chunk -> Redix.pipeline!(redis, Enum.map(chunk, &["SET", key.(&1), value.(&1)])) end)
  end

  def member(n), do: "member:" <> String.pad_leading(Integer.to_string(n), 8, "0")

  @doc """
  The data sets for memory and full syncs: a name, the number of keys, and a function that writes
  them.
  """
  def data_sets do
    [
      {"1M strings of 32 B", @keys, &fill/1},
      {"100k hashes of 20 fields", 100_000, &fill_hashes/1},
      {"one sorted set of 1M", @keys, &fill_one(&1, "ZADD", "one", fn n -> [Integer.to_string(n), member(n)] end)},
      {"one list of 1M", @keys, &fill_one(&1, "RPUSH", "one", fn n -> [member(n)] end)}
    ]
  end

  defp fill_hashes(redis) do
    0..99_999
    |> Stream.chunk_every(500)
    |> Enum.each(fn numbers ->
      Redix.pipeline!(
        redis,
        for(n <- numbers, do: ["HSET", "hash:#{n}" | for(f <- 1..20, w <- ["field:#{f}", "value:#{n}"], do: w)])
      )
    end)
  end

  @doc """
  Writes one aggregate of a million elements; `words` returns each element's words in the command.
  """
  def fill_one(redis, command, key, words) do
    0..(@keys - 1)
    |> Stream.chunk_every(1_000)
    |> Enum.each(fn numbers -> Redix.command!(redis, [command, key | Enum.flat_map(numbers, words)]) end)
  end

  @doc "The microseconds that one call takes."
  def us(call) do
    started = System.monotonic_time(:nanosecond)
    call.()
    (System.monotonic_time(:nanosecond) - started) / 1000
  end

  @doc "A server that buffers everything a replica cannot take yet."
  def empty_server(config \\ []) do
    {:ok, server} = Server.start_link(config: [{"client-output-buffer-limit", "replica 0 0 0"} | config])
    {server, Server.connect!(server)}
  end

  @doc """
  Sends packed commands and returns once the server has executed all of them. The server sends no
  replies, so nobody has to read them.
  """
  def send_all(server, batches) do
    socket = silent_socket(Server.port(server))
    for batch <- batches, do: :ok = :gen_tcp.send(socket, batch)
    :ok = :gen_tcp.send(socket, Redix.pack(["CLIENT", "REPLY", "ON"]))
    {:ok, "+OK\r\n"} = :gen_tcp.recv(socket, 5, 120_000)
    :gen_tcp.close(socket)
  end

  @doc "A connection on which the server sends no replies."
  def silent_socket(port) do
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false, nodelay: true])
    :ok = :gen_tcp.send(socket, Redix.pack(["CLIENT", "REPLY", "OFF"]))
    socket
  end

  def mirror(server, id) do
    # By the socket, as the replicas that mirrors are compared with.
    {:ok, pid} = Veidrodelis.start_link(id: id, host: "127.0.0.1", port: Server.port(server), sync_by: :socket)
    :ok = Veidrodelis.await_ready(id, 120_000)
    pid
  end

  @settle_ms 5_000

  @doc """
  How much a mirror of this server adds to the resident memory of a VM, and how much of it `info/1`
  reports. Measured in a VM of its own, where no memory that was freed before hides the growth. For
  little data start many mirrors, so that the growth exceeds what a VM takes and returns by itself.
  """
  def resident_mirror(server, mirrors \\ 1) do
    vm = Vm.start!()
    start = fn server -> for id <- 1..mirrors, do: Vm.start_mirror(vm, id, server) end
    stop = fn -> for id <- 1..mirrors, do: Vm.stop_mirror(vm, id) end

    # The memory of a mirror without data is subtracted, as it is on the server's side. It starts
    # twice, because the first start loads code.
    {empty, _redis} = empty_server()
    start.(empty)
    stop.()
    start.(empty)
    before = settled(vm)
    stop.()
    GenServer.stop(empty)
    start.(server)
    resident = settled(vm) - before
    told = Vm.memory_bytes(vm, 1)
    Vm.stop(vm)
    {resident / mirrors, told}
  end

  # Waits until temporary memory has been returned.
  defp settled(vm) do
    Process.sleep(@settle_ms)
    Vm.resident(vm)
  end

  @doc "A real server that follows this one, and a connection to it."
  def replica_of(server) do
    {:ok, replica} = Server.start_link(config: [{"replicaof", "127.0.0.1 #{Server.port(server)}"}])
    redis = Server.connect!(replica)
    until(fn -> Redix.command!(redis, ["INFO", "replication"]) =~ "master_link_status:up" end)
    {replica, redis}
  end

  @doc """
  Waits until the mirror and the replica have every write that the primary has accepted so far.
  """
  def caught_up(redis, their_redis) do
    offset = offset(redis, "master_repl_offset")

    # Asks rarely: an answer takes some of the CPU time that is measured.
    until(20, fn -> Veidrodelis.info(:bench).offset >= offset and offset(their_redis, "slave_repl_offset") >= offset end)
  end

  def offset(redis, field) do
    [_, offset] = Regex.run(~r/#{field}:(\d+)/, Redix.command!(redis, ["INFO", "replication"]))
    String.to_integer(offset)
  end

  @doc "The bytes that the server reports for its data."
  def used_memory(redis) do
    [_, bytes] = Regex.run(~r/used_memory:(\d+)/, Redix.command!(redis, ["INFO", "memory"]))
    String.to_integer(bytes)
  end

  @doc "Raises unless a replica that says it is up has all of its primary's keys."
  def await_size(redis, at_least) do
    size = Redix.command!(redis, ["DBSIZE"])
    if size < at_least, do: raise("the replica has #{size} keys of #{at_least}")
    :ok
  end

  @doc "Waits until the condition holds, and checks it every `every_ms` milliseconds."
  def until(every_ms \\ 1, condition) do
    unless condition.() do
      receive do
      after
        every_ms -> until(every_ms, condition)
      end
    end
  end

  @doc "Prints a figure and returns its row of the result file."
  def figure(name, ours, theirs, unit, ratio, aim, text) do
    Vdr.Paint.line(name, text)
    row(name, ours, theirs, unit, ratio, aim)
  end

  def row(name, ours, theirs, unit, ratio, aim) do
    %{figure: name, ours: round3(ours), theirs: round3(theirs), unit: unit, ratio: round3(ratio), aim: aim}
  end

  defp round3(number), do: Float.round(number * 1.0, 3)
end
