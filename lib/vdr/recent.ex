defmodule Vdr.Recent do
  @moduledoc false
  # The last events of links and the last slow scripts of this node, for those who look at it: a
  # public ETS table of bounded size that the application owns. Calls no process.

  # All instances of the node share these places. An instance that reconnects in a loop must not
  # push out the events of the others.
  @kept 1_000

  @type kind :: :event | :script
  @type entry :: %{time_ms: integer, id: term, about: term}

  @spec new_table() :: :ets.table()
  def new_table, do: :ets.new(__MODULE__, [:named_table, :public, :ordered_set, write_concurrency: true])

  @spec note(kind, id :: term, about :: term) :: :ok
  def note(kind, id, about) do
    number = :ets.update_counter(__MODULE__, kind, 1, {kind, 0})
    :ets.insert(__MODULE__, {{kind, number}, System.os_time(:millisecond), id, about})
    :ets.delete(__MODULE__, {kind, number - @kept})
    :ok
  rescue
    # The application was stopped.
    ArgumentError -> :ok
  end

  @doc "The last of a kind that an instance or a store had, the newest first."
  @spec list(kind, id :: term) :: [entry]
  def list(kind, id), do: select(kind, [{:"=:=", :"$2", {:const, id}}])

  @doc "The last of a kind of the whole node, the newest first."
  @spec list(kind) :: [entry]
  def list(kind), do: select(kind, [])

  defp select(kind, guards) do
    rows = :ets.select(__MODULE__, [{{{kind, :_}, :"$1", :"$2", :"$3"}, guards, [{{:"$1", :"$2", :"$3"}}]}])
    for {time_ms, id, about} <- Enum.reverse(rows), do: %{time_ms: time_ms, id: id, about: about}
  rescue
    ArgumentError -> []
  end
end
