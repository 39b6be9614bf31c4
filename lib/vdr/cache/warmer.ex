defmodule Vdr.Cache.Warmer do
  @moduledoc false
  # Stores the entries that the function `warm:` returns when the cache starts. The function runs in
  # a task of the cache. If it fails or takes too long, the cache starts with fewer entries.

  alias Vdr.Cache, as: C

  @spec child_spec(C.Handle.t()) :: Supervisor.child_spec()
  def child_spec(h), do: %{id: __MODULE__, start: {__MODULE__, :start, [h]}, restart: :temporary}

  @doc false
  def start(%{options: %{warm: nil}}), do: :ignore

  def start(h) do
    {:ok, pid} = Task.Supervisor.start_child(h.tasks, fn -> Enum.each(h.options.warm.(), &store(h.name, &1)) end)
    ref = Process.monitor(pid)

    receive do
      {:DOWN, ^ref, :process, _pid, _reason} -> :ignore
    after
      h.options.warm_timeout ->
        Process.demonitor(ref, [:flush])
        :ignore
    end
  end

  # An existing entry, from a file or from a put that came meanwhile, is newer, so it stays.
  defp store(cache, {key, value}), do: C.put_new(cache, key, value)
  defp store(cache, {key, value, opts}), do: C.put_new(cache, key, value, opts)

  defp store(cache, other) do
    raise ArgumentError,
          "the function :warm of #{inspect(cache)} returns pairs of key and value, or triples with the options of put, " <>
            "got: #{inspect(other, limit: 5, printable_limit: 100)}"
  end
end
