defmodule Vdr.Bench.Load do
  @moduledoc false
  # SETs at a steady rate, in this VM or in another one.
  alias Vdr.Bench.Measure

  @tick_ms 1
  # Bounds how much a late sender sends at once, so that it still receives `:enough`.
  @ticks_at_once 100

  @doc "Writes until the process receives `:enough`, and returns the writes per second."
  def run(port, rate, key) do
    socket = Measure.silent_socket(port)
    per_tick = max(1, div(rate * @tick_ms, 1000))
    # Packed before the clock starts.
    batches = List.to_tuple(for _ <- 1..64, do: IO.iodata_to_binary(for _ <- 1..per_tick, do: write(key.())))
    started = System.monotonic_time(:millisecond)
    sent = tick(socket, batches, started, 0)
    took = System.monotonic_time(:millisecond) - started
    :gen_tcp.close(socket)
    sent * per_tick / took * 1000
  end

  defp write(key), do: Redix.pack(["SET", key, Measure.value(:rand.uniform(9_999))])

  # A late sender sends everything that is due at once.
  defp tick(socket, batches, started, sent) do
    due = min(div(System.monotonic_time(:millisecond) - started, @tick_ms), sent + @ticks_at_once)
    for n <- sent..(due - 1)//1, do: :ok = :gen_tcp.send(socket, elem(batches, rem(n, tuple_size(batches))))

    receive do
      :enough -> due
    after
      @tick_ms -> tick(socket, batches, started, max(due, sent))
    end
  end

  @doc """
  The same on the million keys, in another process of the operating system, until the returned port
  is closed.
  """
  def spawn(port, rate) do
    code = "Vdr.Bench.Load.until_eof(#{port}, #{rate})"
    files = for name <- ~w(paint measure load), argument <- ["-r", Path.join(__DIR__, "#{name}.exs")], do: argument
    arguments = ["-pa", Path.dirname(:code.which(Redix)) | files] ++ ["-e", code]
    Port.open({:spawn_executable, System.find_executable("elixir")}, [:binary, args: arguments])
  end

  @doc false
  def until_eof(port, rate) do
    spawn_link(fn ->
      :eof = IO.read(:line)
      System.halt(0)
    end)

    run(port, rate, fn -> Measure.key(:rand.uniform(Measure.count()) - 1) end)
  end
end
