defmodule Vdr.Info do
  @moduledoc false
  # What an operator can ask: the store's own counters and what `Vdr.Link` left word of, put together. Calls no process.

  alias Vdr.{Instances, Native}

  @spec of(term) :: map | {:error, :not_found}
  def of(pid_or_id) do
    with {:ok, id, store} <- found(pid_or_id), do: Map.put(brief(id, store), :memory_bytes, Native.memory_bytes(store))
  end

  defp found(pid_or_id) do
    with {:ok, id} <- Instances.id(pid_or_id), {store, _pid} <- Instances.find(id) do
      {:ok, id, store}
    else
      _gone -> {:error, :not_found}
    end
  end

  defp brief(id, store), do: together(Native.status(store), Instances.report(id))
  defp brief(pid_or_id), do: with({:ok, id, store} <- found(pid_or_id), do: brief(id, store))

  @spec state(term) :: Veidrodelis.replication_state() | {:error, :not_found}
  def state(pid_or_id), do: with(%{state: state} <- brief(pid_or_id), do: state)

  @spec connected_to(term) :: {:ok, {String.t(), non_neg_integer}} | {:error, :not_connected | :not_found}
  def connected_to(pid_or_id) do
    case brief(pid_or_id) do
      %{connected: true, primary: primary} -> {:ok, primary}
      %{connected: false} -> {:error, :not_connected}
      error -> error
    end
  end

  defp together(status, report) do
    {links, report} = Map.pop!(report, :links)

    status
    |> Map.merge(report)
    |> Map.merge(%{state: state(status, report), reconnects: max(links - 1, 0)})
    |> Map.put_new(:primary, nil)
  end

  # The store knows how far a link is; that there is none, and why, is known to who keeps it.
  defp state(_status, %{link: link}) when link in [:waiting, :stopped], do: link
  defp state(status, _report), do: status.state
end
