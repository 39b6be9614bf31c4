defmodule Vdr.Bench.Seen do
  @moduledoc false
  # What it costs to look: `mix vdr.top` and the page with ten million keys, a read with and without
  # telemetry, and a mirror of a test from its start to its first read.
  alias Vdr.Bench.{CpuTime, Measure}
  alias Vdr.{Paint, Top}
  alias Vdr.Test.Http
  alias Veidrodelis.{Testing, Web}

  @keys 10_000_000
  @prefix "user:name"
  @bytes 32
  @window_s 20
  @large_bytes 100_000_000
  @reads 200_000
  @mirrors 1000
  @aim_percent 1.0
  @aim_ms 1.0

  def run do
    Paint.title("What it costs to look")
    looks() ++ reads() ++ mirrors()
  end

  # ---- views

  defp looks do
    {server, redis} = Measure.empty_server()
    Redix.command!(redis, ["DEBUG", "POPULATE", @keys, @prefix, @bytes])
    Redix.command!(redis, ["SETRANGE", "large", @large_bytes - 1, "x"])
    Measure.mirror(server, :bench)
    true = Veidrodelis.dbsize!(:bench, 0) == @keys + 1
    {:ok, page} = Web.start_link(port: 0, ids: [:bench])
    port = Web.port(page)
    number = Regex.run(~r/"id":"(\w+)"/, get(port, "/api/instances")) |> List.last()
    overview = "/api/overview?id=#{number}"
    top = %Top.Source{node: node(), ids: [:bench]}

    # The first looks load code and take the larger sample.
    for _ <- 1..3, do: get(port, overview)
    {_lines, top} = draw(top, [])
    idle = percent(fn -> :ok end)

    figures =
      for {name, look} <- [
            {"the page, 10M keys", fn -> get(port, overview) end},
            {"mix vdr.top, 10M keys", drawn(top)}
          ] do
        ours = max(percent(look) - idle, 0.0)
        text = "#{Float.round(ours, 2)} % of a core, looking once a second (an idle VM: #{Float.round(idle, 2)} %)"
        Measure.figure("CPU of #{name}", ours, @aim_percent, "%", ours / @aim_percent, 1.0, text)
      end

    figures = figures ++ answers(port, number)
    GenServer.stop(page)
    Veidrodelis.stop(:bench)
    GenServer.stop(server)
    figures
  end

  # The screen of 80 columns and 24 rows, with its history.
  defp drawn(top) do
    Process.put(:drawn, {top, []})

    fn ->
      {top, history} = Process.get(:drawn)
      {history, top} = draw(top, history)
      Process.put(:drawn, {top, history})
    end
  end

  defp draw(top, history) do
    {:ok, overview, top} = Top.Source.take(top)
    history = Enum.take([overview | history], 500)
    lines = Top.Screen.lines(%{history: history, sort: :keys, paused: false, plain: false, rows: 24, columns: 80})
    24 = length(lines)
    {history, top}
  end

  # The CPU time of the whole VM, in percent of a core.
  defp percent(look) do
    before = CpuTime.process("self")
    started = System.monotonic_time(:nanosecond)

    for second <- 1..@window_s do
      look.()
      wait(started + second * 1_000_000_000)
    end

    CpuTime.process("self", before) / (System.monotonic_time(:nanosecond) - started) * 100
  end

  defp wait(until) do
    Process.sleep(max(div(until - System.monotonic_time(:nanosecond), 1_000_000), 0))
  end

  # What the page answers about a value that is long, and about keys that are not there.
  defp answers(port, number) do
    key = Base.url_encode64("large", padding: false)

    for {name, path} <- [
          {"a value of 100 MB on the page", "/api/value?id=#{number}&db=0&key=#{key}"},
          {"keys with a prefix that none has, on the page, 10M keys", "/api/keys?id=#{number}&db=0&prefix=none"}
        ] do
      {ms, bytes} = Enum.min(for _ <- 1..5, do: timed(fn -> byte_size(get(port, path)) end))
      Measure.figure(name, ms, ms, "ms", 1.0, nil, "#{Float.round(ms, 2)} ms, #{bytes} bytes")
    end
  end

  defp timed(fun) do
    {us, value} = :timer.tc(fun)
    {us / 1000, value}
  end

  defp get(port, path) do
    request = "GET #{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    "HTTP/1.1 200" <> _ = Http.raw(port, request)
  end

  # ---- telemetry

  # In turns: with the module of telemetry loaded and a handler attached, and without.
  defp reads do
    {:ok, _pid} = Testing.start_link(id: :bench, data: for(n <- 1..1000, do: ["SET", Measure.key(n), Measure.value(n)]))
    :rand.seed(:exsss, 42)
    keys = for _ <- 1..@reads, do: Measure.key(:rand.uniform(1000))
    read = &Veidrodelis.get(:bench, 0, &1)
    Measure.per_call(keys, read)

    {with_it, without} =
      Measure.in_turns(
        9,
        fn -> attached(fn -> Measure.per_call(keys, read) end) end,
        fn -> Measure.per_call(keys, read) end
      )

    Veidrodelis.stop(:bench)
    text = "#{Float.round(with_it, 1)} ns, without #{Float.round(without, 1)} ns"
    [Measure.figure("get with telemetry attached", with_it, without, "ns", with_it / without, 1.05, text)]
  end

  defp attached(measure) do
    {:module, _telemetry} = Code.ensure_loaded(:telemetry)
    :ok = Veidrodelis.Telemetry.attach_default_logger()
    result = measure.()
    :ok = Veidrodelis.Telemetry.detach_default_logger()
    :code.purge(:telemetry)
    :code.delete(:telemetry)
    :code.purge(:telemetry)
    false = Vdr.Telemetry.loaded?()
    result
  end

  # ---- mirrors of tests

  defp mirrors do
    for _ <- 1..20, do: start_and_read()
    {times, pids} = Enum.unzip(for _ <- 1..@mirrors, do: start_and_read())
    for pid <- pids, do: Veidrodelis.stop(pid)
    sorted = times |> Enum.sort() |> List.to_tuple()

    for {name, percent} <- [{"median", 50}, {"p99", 99}] do
      ms = Measure.percentile(sorted, percent)
      aim = if percent == 50, do: 1.0
      text = "#{Float.round(ms, 3)} ms, #{@mirrors} of them live at once"
      Measure.figure("a test's mirror, from start to first read, #{name}", ms, @aim_ms, "ms", ms / @aim_ms, aim, text)
    end
  end

  defp start_and_read do
    timed(fn ->
      id = Testing.id()
      {:ok, pid} = Testing.start_link(id: id, data: [["SET", "k", "v"]], log: false)
      {:ok, "v"} = Veidrodelis.get(id, 0, "k")
      pid
    end)
  end
end
