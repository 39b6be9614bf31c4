defmodule Vdr.Recent do
  @moduledoc false
  # The last events of links and the last slow scripts of this node, for those who look at it: a
  # public ETS table of bounded size that the application owns. Calls no process.

  # Of all instances: one that reconnects again and again must not hide what happened to another.
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

  @doc "The last of a kind, the newest first."
  @spec list(kind) :: [entry]
  def list(kind) do
    rows = :ets.select(__MODULE__, [{{{kind, :_}, :"$1", :"$2", :"$3"}, [], [{{:"$1", :"$2", :"$3"}}]}])
    for {time_ms, id, about} <- Enum.reverse(rows), do: %{time_ms: time_ms, id: id, about: about}
  rescue
    ArgumentError -> []
  end
end
