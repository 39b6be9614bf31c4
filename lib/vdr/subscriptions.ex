defmodule Vdr.Subscriptions do
  @moduledoc false
  # Event subscriptions, in a public ETS table that the application owns. A subscription is to an
  # id, whether there is an instance or not, so it lasts over restarts of the instance.
  # `Vdr.Cleaner` deletes those of processes that have ended.

  @spec new_table() :: :ets.table()
  def new_table, do: :ets.new(__MODULE__, [:named_table, :public, :bag, read_concurrency: true])

  @doc "Subscribes the calling process. A second subscription to the same id changes nothing."
  @spec subscribe(id :: term) :: :ok
  def subscribe(id) do
    # The row comes first: a cleaner that is restarted in between finds it.
    :ets.insert(__MODULE__, {id, self()})
    Vdr.Cleaner.watch(self())
  rescue
    ArgumentError -> reraise ArgumentError, "the application :veidrodelis does not run", __STACKTRACE__
  end

  @spec unsubscribe(id :: term) :: :ok
  def unsubscribe(id) do
    :ets.delete_object(__MODULE__, {id, self()})
    :ok
  rescue
    ArgumentError -> :ok
  end

  @doc "Sends an event to all subscribers of an id."
  @spec notify(id :: term, event :: atom, details :: map) :: :ok
  def notify(id, event, details) do
    for {_id, pid} <- :ets.lookup(__MODULE__, id), do: send(pid, {:veidrodelis, id, event, details})
    :ok
  rescue
    # The application was stopped.
    ArgumentError -> :ok
  end

  @doc "Deletes the subscriptions of a process."
  @spec forget(pid) :: :ok
  def forget(pid) do
    :ets.match_delete(__MODULE__, {:_, pid})
    :ok
  end

  @doc "The processes of all subscriptions."
  @spec subscribers() :: [pid]
  def subscribers, do: __MODULE__ |> :ets.select([{{:_, :"$1"}, [], [:"$1"]}]) |> Enum.uniq()
end
