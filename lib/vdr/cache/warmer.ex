defmodule Vdr.Cache.Warmer do
  @moduledoc false
  # Stores what `warm:` returns when the cache begins. The function runs in a task of the cache: one
  # that fails or takes long leaves a cache that begins with less.

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

  # What is there already, of a file or of a request that has come meanwhile, is newer.
  defp store(cache, {key, value}), do: C.put_new(cache, key, value)
  defp store(cache, {key, value, opts}), do: C.put_new(cache, key, value, opts)

  defp store(cache, other) do
    raise ArgumentError,
          "the function :warm of #{inspect(cache)} returns pairs of key and value, or triples with the options of put, " <>
            "got: #{inspect(other, limit: 5, printable_limit: 100)}"
  end
end
