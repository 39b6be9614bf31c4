# Shows what the library does, on a throw-away server, in well under a minute. With
# URL=redis://host:port it mirrors that server instead, and only reads.

Code.require_file("support/paint.exs", __DIR__)

defmodule Vdr.Demo do
  alias Vdr.{Paint, WatchEvent}
  alias Vdr.Test.Server

  @keys 300_000
  @id :demo

  def run do
    Logger.configure(level: :error)

    case System.get_env("URL") do
      url when url in [nil, ""] -> throw_away()
      url -> users_own(url)
    end

    IO.puts("\ndemo: ok")
  end

  # ---- our own server

  defp throw_away do
    Paint.title("A server")
    {:ok, server} = Server.start_link()
    %{binary: binary, port: port} = Server.info(server)
    redis = Server.connect!(server)
    Paint.line("started", "#{binary.name} on 127.0.0.1:#{port}")
    fill(redis)

    mirror([host: "127.0.0.1", port: port], Redix.command!(redis, ["DBSIZE"]))
    reads()
    transaction()
    watch(redis)
    lag(server)
    compare(redis, for(n <- 1..200_000//97, do: "user:#{n}:name"))
    stop()
    GenServer.stop(server)
    Paint.note("the server and its files are gone")
  end

  defp fill(redis) do
    {us, :ok} = :timer.tc(fn -> fill_all(redis) end)
    Paint.end_bar()

    Paint.line(
      "filled",
      "#{Paint.number(Redix.command!(redis, ["DBSIZE"]))} keys of five types in #{Paint.time(us * 1_000)}"
    )
  end

  defp fill_all(redis), do: 0..(@keys - 1) |> Stream.chunk_every(1_000) |> Enum.each(&fill(redis, &1))

  defp fill(redis, [first | _] = chunk) do
    replies = Redix.pipeline!(redis, Enum.map(chunk, &write/1))
    if error = Enum.find(replies, &match?(%Redix.Error{}, &1)), do: raise(error)
    Paint.bar("filling", first, @keys, "#{Paint.number(first)} writes")
  end

  # Two thirds are strings; the other types share the rest.
  defp write(n) when n < 200_000, do: ["SET", "user:#{n}:name", "name of user #{n}"]
  defp write(n) when rem(n, 4) == 0, do: ["HSET", "profile:#{n}", "name", "user #{n}", "visits", n, "city", "Vilnius"]
  defp write(n) when rem(n, 4) == 1, do: ["RPUSH", "events:#{n}", "login", "view:#{n}", "logout"]
  defp write(n) when rem(n, 4) == 2, do: ["SADD", "tags:#{n}", "t#{rem(n, 7)}", "t#{rem(n, 11)}", n]
  defp write(n), do: ["ZADD", "board:#{rem(n, 50)}", rem(n * 7919, 10_007), "player:#{n}", n, "p#{n}"]

  # ---- the mirror

  defp mirror(options, expected) do
    Paint.title("A mirror of the server, in this VM")
    memory = resident_bytes()
    started = now()
    {:ok, _pid} = Veidrodelis.start_link([id: @id, timeout: 5_000] ++ options)
    progress(started, expected, nil)
    took = now() - started
    %{keys: keys, server: server} = Veidrodelis.info(@id)
    total = keys |> Map.values() |> Enum.sum()
    Paint.line("attached to", "#{server.name} #{server.version}")

    Paint.line(
      "full sync",
      "#{Paint.number(total)} keys in #{Paint.time(took)}, #{Paint.number(round(total / took * 1.0e9))} keys per second"
    )

    Paint.line("this VM grew by", Paint.bytes(max(0, resident_bytes() - memory)))
  end

  # Shows each state when it is reached, and how much of the file has arrived. A full sync of a
  # user's large server may take minutes; a refusal is immediate.
  defp progress(started, expected, shown) do
    info = Veidrodelis.info(@id)
    if info.state != shown, do: state(started, info.state)
    if info.state == :rdb_transfer, do: loaded(info, expected)

    case Veidrodelis.await_ready(@id, 50) do
      :ok -> Paint.end_bar()
      {:error, :timeout} when info.state == :waiting and info.last_error != nil -> give_up(info.last_error)
      {:error, :timeout} -> progress(started, expected, info.state)
      {:error, reason} -> give_up(reason)
    end
  end

  defp state(started, state) do
    Paint.end_bar()
    Paint.note("#{String.pad_leading(Paint.time(now() - started), 10)}  #{state}")
  end

  # Only for our own server do we know how many keys the file has.
  defp loaded(%{loading_keys: keys, loading_bytes: bytes}, expected) do
    Paint.bar("loading", keys, expected || keys, "#{Paint.number(keys)} keys, #{Paint.bytes(bytes)}")
  end

  defp give_up(reason) do
    Paint.end_bar()
    IO.puts(:stderr, "demo: the server cannot be mirrored: #{inspect(reason)}")
    System.halt(1)
  end

  # ---- what a mirror offers

  defp reads do
    Paint.title("Reads: no network, no process, no copy of the keyspace")
    show("get user:42:name", Veidrodelis.get(@id, 0, "user:42:name"))
    show("hgetall profile:200000", Veidrodelis.hgetall(@id, 0, "profile:200000"))
    show("lrange events:200001", Veidrodelis.lrange(@id, 0, "events:200001", 0, -1))
    show("smembers tags:200002", Veidrodelis.smembers(@id, 0, "tags:200002"))
    show("zrevrange board:3, 0, 2", Veidrodelis.zrevrange(@id, 0, "board:3", 0, 2))
    show("next user:1:, 3", Veidrodelis.next(@id, 0, "user:1:", 3))
  end

  defp transaction do
    Paint.title("Several keys, read from one snapshot")
    operations = [{:zcard, "board:3"}, {:zfirst, "board:3", 1}, {:hget, "profile:200000", "visits"}, {:dbsize}]
    {:ok, answers} = Veidrodelis.read_tx(@id, 0, operations)
    for {operation, answer} <- Enum.zip(operations, answers), do: show(inspect(operation), answer)
  end

  defp watch(redis) do
    Paint.title("A watch")
    key = "user:42:name"
    ref = make_ref()
    :ok = Veidrodelis.watch(@id, 0, key, ref)
    started = now()
    Redix.command!(redis, ["SET", key, "Grace"])

    receive do
      {^ref, %WatchEvent.Update{command: command, offset: offset}} ->
        Paint.line("after #{Paint.time(now() - started)}", "#{inspect(command)} at offset #{Paint.number(offset)}")
        show("and it is visible", Veidrodelis.get(@id, 0, key))
    after
      5_000 -> raise "the watch sent no message"
    end

    :ok = Veidrodelis.unwatch(@id, 0, key)
  end

  # ---- the lag under a writer that does not pause

  defp lag(server) do
    Paint.title("The lag under a running writer")
    test = self()
    writer = spawn_link(fn -> write_on(Server.connect!(server), test, 0) end)
    redis = Server.connect!(server)
    ref = make_ref()
    :ok = Veidrodelis.watch(@id, 0, "demo:probe", ref)
    started = now()
    lags = for n <- 1..200, do: probe(redis, ref, Integer.to_string(n))
    send(writer, :enough)
    written = receive(do: ({:written, count} -> count))
    rate = round(written / ((now() - started) / 1.0e9))
    :ok = Veidrodelis.unwatch(@id, 0, "demo:probe")

    [median, worst] = Enum.map([0.5, 0.99], &quantile(lags, &1))
    Paint.line("writer", "#{Paint.number(rate)} writes per second")

    Paint.line(
      "from sending a write",
      "to seeing it here: median #{Paint.time(median)}, 99th percentile #{Paint.time(worst)}"
    )

    Redix.stop(redis)
  end

  defp probe(redis, ref, value) do
    started = now()
    Redix.command!(redis, ["SET", "demo:probe", value])
    seen(ref, value)
    now() - started
  end

  defp seen(ref, value) do
    receive do
      {^ref, _event} -> if Veidrodelis.get(@id, 0, "demo:probe") == {:ok, value}, do: :ok, else: seen(ref, value)
    after
      5_000 -> raise "the write did not become visible"
    end
  end

  defp write_on(redis, test, written) do
    receive do
      :enough -> send(test, {:written, written})
    after
      0 ->
        Redix.pipeline!(
          redis,
          for(n <- 1..100, do: ["SET", "user:#{rem(written * 31 + n, 200_000)}:name", "written #{n}"])
        )

        write_on(redis, test, written + 100)
    end
  end

  # ---- the same read, here and over the network

  defp compare(redis, keys) do
    Paint.title("The same read, here and over the network")
    here = per_call(keys, 20, &Veidrodelis.get(@id, 0, &1))
    there = per_call(keys, 1, &Redix.command!(redis, ["GET", &1]))
    faster(here, there)
  end

  defp faster(here, there) do
    Paint.line("Veidrodelis.get", Paint.time(here))
    Paint.line("GET over loopback", Paint.time(there))
    Paint.line("that is", "#{round(there / here)} times faster")
  end

  defp per_call(keys, rounds, read) do
    Enum.each(keys, read)
    {us, _} = :timer.tc(fn -> for _ <- 1..rounds, do: Enum.each(keys, read) end)
    us * 1_000 / (length(keys) * rounds)
  end

  # ---- the user's own server: nothing is written

  defp users_own(url) do
    mirror([url: url], nil)
    %{keys: counts} = Veidrodelis.info(@id)

    Paint.title("What the server holds")
    for {db, count} <- Enum.sort(counts), count > 0, do: Paint.line("db #{db}", "#{Paint.number(count)} keys")
    {db, _count} = Enum.max_by(counts, &elem(&1, 1), fn -> {0, 0} end)
    sample(db)

    Paint.title("What the server does, for ten seconds")
    for _ <- 1..5, do: follow()
    stop()
  end

  defp sample(db) do
    {:ok, keys} = Veidrodelis.first(@id, db, 10)

    for key <- keys do
      {:ok, type} = Veidrodelis.type(@id, db, key)
      Paint.line(shorten(inspect(key), 40), "  #{type}")
    end

    if keys != [] do
      strings = Enum.filter(keys, &(Veidrodelis.type(@id, db, &1) == {:ok, :string}))

      if strings != [],
        do: Paint.line("one get takes", Paint.time(per_call(strings, 10_000, &Veidrodelis.get(@id, db, &1))))
    end
  end

  defp follow do
    before = Veidrodelis.info(@id)
    Process.sleep(2_000)
    info = Veidrodelis.info(@id)
    applied = info.commands_applied - before.commands_applied

    Paint.line(
      "offset #{Paint.number(info.offset)}",
      "#{info.state}, #{Paint.number(div(applied, 2))} writes per second"
    )
  end

  # ---- helpers

  defp stop do
    :ok = Veidrodelis.stop(@id)
    {:error, :no_instance} = Veidrodelis.get(@id, 0, "user:42:name")
  end

  defp show(what, {:ok, value}), do: Paint.line(what, shorten(inspect(value, limit: 6), 76))
  defp shorten(text, max), do: if(String.length(text) > max, do: String.slice(text, 0, max - 1) <> "…", else: text)
  defp now, do: System.monotonic_time(:nanosecond)
  defp quantile(values, q), do: values |> Enum.sort() |> Enum.at(trunc(length(values) * q))

  # The memory that the operating system has given this VM, or 0 where it does not say.
  defp resident_bytes do
    with {:ok, text} <- File.read("/proc/self/status"), [_, kb] <- Regex.run(~r/VmRSS:\s+(\d+) kB/, text) do
      String.to_integer(kb) * 1_000
    else
      _ -> 0
    end
  end
end

Vdr.Demo.run()
