defmodule Vdr.Telemetry do
  @moduledoc false
  # Executes the library's events of `:telemetry`, where the host has it. Handlers are user code and
  # run in the calling process, which must belong to one instance, one handler or the user.
  #
  # Who attaches a handler loads the module, so without it nobody listens: an event costs a look-up
  # of the VM then. `Vdr.Telemetry.Events` lists the events.

  @doc "Executes `[:veidrodelis | event]`."
  @spec execute([atom], map, map) :: :ok
  def execute(event, measurements, metadata) do
    if loaded?(), do: apply(:telemetry, :execute, [[:veidrodelis | event], measurements, metadata])
    :ok
  end

  @doc """
  Runs a function as a span: the events `:start`, and `:stop` or `:exception`. The function answers
  its result, and what `:stop` adds to the metadata.
  """
  @spec span([atom], map, map, (... -> {result, map})) :: result when result: term
  def span(event, measurements, metadata, fun) do
    if loaded?(), do: observe(event, measurements, metadata, fun), else: elem(fun.(), 0)
  end

  defp observe(event, measurements, metadata, fun) do
    start = System.monotonic_time()
    execute(event ++ [:start], started(measurements, start), metadata)

    try do
      fun.()
    catch
      kind, reason ->
        # An error's reason and stack may hold values: whoever ends by it reports them.
        execute(event ++ [:exception], ended(measurements, start), Map.put(metadata, :kind, kind))
        :erlang.raise(kind, reason, __STACKTRACE__)
    else
      {result, more} ->
        execute(event ++ [:stop], ended(measurements, start), Map.merge(metadata, more))
        result
    end
  end

  @doc "The measurements of the start of a span."
  @spec started(map, integer) :: map
  def started(measurements \\ %{}, monotonic_time),
    do: Map.merge(measurements, %{system_time: System.system_time(), monotonic_time: monotonic_time})

  @doc "The measurements of the end of a span that began at this monotonic time."
  @spec ended(map, integer) :: map
  def ended(measurements \\ %{}, start) do
    now = System.monotonic_time()
    Map.merge(measurements, %{duration: now - start, monotonic_time: now})
  end

  @doc "Whether somebody may listen."
  @spec loaded?() :: boolean
  def loaded?, do: function_exported?(:telemetry, :execute, 3)
end
