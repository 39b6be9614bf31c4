# `:telemetry` is optional, and the tests need no Hex package. This module stands in for it, and
# sends the events to the processes that asked for them.
defmodule :telemetry do
  @moduledoc false
  def execute(event, measurements, metadata), do: Vdr.Test.Telemetry.record(event, measurements, metadata)

  def attach_many(id, events, fun, config), do: Vdr.Test.Telemetry.attach_many(id, events, fun, config)
  def detach(id), do: Vdr.Test.Telemetry.detach(id)
end

defmodule Vdr.Test.Telemetry do
  @moduledoc """
  Handlers of telemetry's events: processes that receive them, and functions that are called with
  them. Every event of the whole run is compared with the page of `Veidrodelis.Telemetry`.
  """

  @doc "A process receives `{:telemetry, event, measurements, metadata}`, a function gets event and metadata."
  def attach(handler) do
    # As the real one: who attaches loads it.
    {:module, _telemetry} = Code.ensure_loaded(:telemetry)
    alone(fn -> :persistent_term.put(__MODULE__, [handler | :persistent_term.get(__MODULE__, [])]) end)
  end

  def attach_many(id, events, fun, config) do
    update_named(fn
      %{^id => _handler} -> {:error, :already_exists}
      handlers -> {:ok, Map.put(handlers, id, {events, fun, config})}
    end)
  end

  def detach(id) do
    update_named(fn
      %{^id => _handler} = handlers -> {:ok, Map.delete(handlers, id)}
      _none -> {:error, :not_found}
    end)
  end

  defp update_named(update) do
    alone(fn ->
      with {:ok, handlers} <- update.(:persistent_term.get({__MODULE__, :named}, %{})),
           do: :persistent_term.put({__MODULE__, :named}, handlers)
    end)
  end

  # Tests that run at once attach at once.
  defp alone(update), do: :global.trans({__MODULE__, self()}, update, [node()])

  def record(event, measurements, metadata) do
    for handler <- :persistent_term.get(__MODULE__, []),
        do: handle(handler, {:telemetry, event, measurements, metadata})

    for {_id, {events, fun, config}} <- :persistent_term.get({__MODULE__, :named}, %{}),
        event in events,
        do: fun.(event, measurements, metadata, config)

    compare(event, measurements, metadata)
  end

  defp handle(pid, message) when is_pid(pid), do: send(pid, message)
  defp handle(fun, {:telemetry, event, _measurements, metadata}), do: fun.(event, metadata)

  defp compare(event, measurements, metadata) do
    with {:error, difference} <- on_page(event, measurements, metadata),
         do: :persistent_term.put({__MODULE__, :difference, event}, difference)

    :ok
  end

  @doc "Whether the page has the event with these keys. Links of handlers alone have a `:pid`."
  def on_page(event, measurements, metadata) do
    case List.keyfind(Veidrodelis.Telemetry.events(), event, 0) do
      {_event, listed, listed_metadata} ->
        got = Enum.sort(Map.keys(metadata) ++ if(match?([_, :link, _], event), do: [:pid], else: []))

        if Enum.sort(Map.keys(measurements)) == Enum.sort(listed) and Enum.uniq(got) == Enum.sort(listed_metadata),
          do: :ok,
          else: {:error, {measurements, metadata}}

      nil ->
        on_page_of_caches(event, measurements, metadata)
    end
  end

  # The events of a cache begin with a prefix of its own, and may leave the key out.
  defp on_page_of_caches(event, measurements, metadata) do
    {_prefix, name} = Enum.split(event, -2)

    with {_name, listed, listed_metadata, _doc} <- List.keyfind(Vdr.Cache.Telemetry.page(), name, 0),
         true <- listed == :counters or Enum.sort(Map.keys(measurements)) == Enum.sort(listed),
         true <- Enum.sort([:cache | listed_metadata] -- Map.keys(metadata)) in [[], [:key]],
         [] <- Map.keys(metadata) -- [:cache | listed_metadata] do
      :ok
    else
      nil -> {:error, :not_listed}
      _different -> {:error, {measurements, metadata}}
    end
  end

  @doc "What was executed otherwise than the page says."
  def differences,
    do: for({{__MODULE__, :difference, event}, difference} <- :persistent_term.get(), do: {event, difference})
end
