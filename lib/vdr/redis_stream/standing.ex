defmodule Vdr.RedisStream.Standing do
  @moduledoc false
  # How the replicas' links stand, for those who ask: no replica is called for it, since its callback may be at work. Entries are
  # the processes' own and go with them.

  @behaviour Vdr.Link.Owner

  alias Vdr.Link.Owner

  @spec child_spec(term) :: Supervisor.child_spec()
  def child_spec(_argument), do: Vdr.Names.child_spec(keys: :unique, name: __MODULE__)

  @doc "The caller is a replica, with this native handler."
  @spec register(reference) :: :ok
  def register(native) do
    {:ok, _owner} = Registry.register(__MODULE__, self(), native)
    :ok
  end

  @doc "The native handler of a replica on this node."
  @spec native(pid) :: reference | nil
  def native(replica) do
    case Registry.lookup(__MODULE__, replica) do
      [{_pid, native}] -> native
      [] -> nil
    end
  end

  @impl Owner
  def report(replica) do
    case Registry.lookup(__MODULE__, {:link, replica}) do
      [{_pid, report}] -> report
      [] -> Owner.new_report()
    end
  end

  # Called by the link's process alone, whose entry it is.
  @impl Owner
  def report(replica, changes) do
    name = {:link, replica}

    with :error <- Registry.update_value(__MODULE__, name, &Map.merge(&1, changes)) do
      {:ok, _owner} = Registry.register(__MODULE__, name, Map.merge(Owner.new_report(), changes))
    end

    :ok
  end

  @impl Owner
  def ready(_replica), do: :ok

  @impl Owner
  def refused(_replica, _reason), do: :ok

  # No instance's id: who subscribed to an instance hears of that one alone.
  @impl Owner
  def subject(replica, options), do: {{Vdr.RedisStream.Replica, options.id}, %{pid: replica}}
end
