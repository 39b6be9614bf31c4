defmodule Vdr.Mirror.Info do
  @moduledoc false
  # The data of `Veidrodelis.info/1`: the store's counters, merged with the report of `Vdr.Link`.
  # Calls no process.

  alias Vdr.{Handle, Mirror, Native}

  @doc """
  Returns everything but the estimate of memory. `function` is the function of the facade, for error
  messages; see `Vdr.Handle.fetch/2`.
  """
  @spec of(term, atom) :: Veidrodelis.info() | {:error, :no_instance}
  def of(instance, function) do
    with {:ok, {id, store, _pid}} <- Handle.fetch(instance, function),
         do: merge(Native.status(store), Mirror.Stores.report(id))
  end

  @doc "Returns the value of one key, or a map of several keys."
  @spec take(term, atom | [atom]) :: term
  def take(instance, key) when is_atom(key) do
    with %{} = taken <- take(instance, [key]), do: Map.fetch!(taken, key)
  end

  def take(instance, keys) when is_list(keys) do
    if List.improper?(keys), do: refuse(keys)
    with %{} = info <- of(instance, :info), do: Map.new(keys, &{&1, value!(&1, info, instance)})
  end

  def take(_instance, keys), do: refuse(keys)

  defp value!(:memory_bytes, _info, instance) do
    case Handle.fetch(instance, :info) do
      {:ok, {_id, store, _pid}} -> Native.memory_bytes(store)
      # The instance has ended meanwhile.
      {:error, :no_instance} -> 0
    end
  end

  defp value!(key, info, _instance) when is_map_key(info, key), do: Map.fetch!(info, key)
  defp value!(key, _info, _instance), do: refuse(key)

  @spec refuse(term) :: no_return
  defp refuse(key),
    do: raise(ArgumentError, "Veidrodelis.info takes the keys of info/1 and :memory_bytes, got: #{inspect(key)}")

  defp merge(status, report) do
    {links, report} = Map.pop!(report, :links)

    status
    |> Map.merge(report)
    |> Map.merge(%{state: state(status, report), reconnects: max(links - 1, 0)})
    |> Map.put_new(:primary, nil)
  end

  # The store knows the state of a running link. Only the report of `Vdr.Link` knows whether there
  # is no link at the moment, or none any more.
  defp state(_status, %{link: link}) when link in [:waiting, :stopped], do: link
  defp state(status, _report), do: status.state
end
