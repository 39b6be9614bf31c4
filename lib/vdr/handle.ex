defmodule Vdr.Handle do
  @moduledoc false
  # Resolves what a caller names an instance by: its id, the pid of its supervisor, or the name
  # that this pid is registered under. No process is called. An id comes first: the other two are
  # looked for only where there is no such id.

  alias Vdr.{Mirror, Snapshot}

  @type instance :: {id :: term, store :: reference, supervisor :: pid}

  @doc "The instance, for the function of the facade that is named in the refusal of a snapshot."
  @spec fetch(term, atom | String.t()) :: {:ok, instance} | {:error, :no_instance}
  def fetch(handle, function) do
    refuse_snapshot!(handle, function)

    case resolve(handle) do
      {id, {store, pid}} -> {:ok, {id, store, pid}}
      nil -> {:error, :no_instance}
    end
  end

  @doc "The store of an instance."
  @spec store(term) :: reference | nil
  def store(handle), do: with({_id, {store, _pid}} <- resolve(handle), do: store)

  @doc """
  The id behind a pid or a name. What stands for no instance is the id of one that is still to
  come.
  """
  @spec id(term, atom | String.t()) :: term
  def id(handle, function) do
    refuse_snapshot!(handle, function)

    case resolve(handle) do
      {id, _found} -> id
      nil -> handle
    end
  end

  defp resolve(handle) do
    case Mirror.Stores.find(handle) do
      nil -> by_process(handle)
      found -> {handle, found}
    end
  end

  defp by_process(handle) do
    with pid when is_pid(pid) <- whereis(handle),
         {:ok, id} <- Mirror.Stores.id_of(pid),
         {_store, _pid} = found <- Mirror.Stores.find(id) do
      {id, found}
    else
      _gone -> nil
    end
  end

  defp whereis(pid) when is_pid(pid), do: pid
  defp whereis(name) when is_atom(name), do: Process.whereis(name)
  defp whereis({:global, name}), do: :global.whereis_name(name)

  defp whereis({:via, module, name}) when is_atom(module) do
    # Any tuple may be an id, so the module may be none, or its registry may not run.
    if function_exported?(module, :whereis_name, 1), do: module.whereis_name(name)
  rescue
    ArgumentError -> nil
  end

  defp whereis(_other), do: nil

  defp refuse_snapshot!(%Snapshot{}, function) do
    raise ArgumentError,
          "Veidrodelis.#{function} takes an instance (its id, its pid or its registered name), not a snapshot"
  end

  defp refuse_snapshot!(_handle, _function), do: :ok
end
