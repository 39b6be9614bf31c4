defmodule Vdr.Reports do
  @moduledoc false
  # Link reports: how each link stands, in one public ETS table. The application owns the table, so
  # a report survives every process that writes or reads it, and nobody calls a process to read one.
  #
  # A row is `{key, report, about}`. `Vdr.Mirror.Stores` creates and deletes the rows of mirrors,
  # and `about` is the identity of their data. Handlers create their own rows, `about` is the native
  # handler, and `Vdr.Cleaner` deletes them. The process of the link is the only one that changes a
  # report.

  @type key :: {:mirror, id :: term} | {:handler, pid} | {:supervisor, pid} | {:played | :listener, id :: term}

  @typedoc """
  `attempts` and `links` count the attempts to connect and the links that came to stream.
  `announced` is `{primary}` from the event `:connecting` to the event `:disconnected`. `pid` is the
  process of the link, and `predecessors` are those that it waits for. `link` is `:ended` once
  `:stopped` was announced. `spans` are for who ends what the link has begun.
  """
  @type t :: %{
          required(:link) => :connecting | :linked | :waiting | :stopped | :ended,
          required(:attempts) => non_neg_integer,
          required(:links) => non_neg_integer,
          required(:last_error) => nil | {atom, String.t()},
          required(:announced) => nil | {primary :: term},
          required(:pid) => nil | pid,
          required(:predecessors) => [pid],
          required(:spans) => Vdr.Link.Spans.t(),
          optional(:primary) => nil | {String.t(), :inet.port_number()}
        }

  @new %{
    link: :connecting,
    attempts: 0,
    links: 0,
    last_error: nil,
    announced: nil,
    pid: nil,
    predecessors: [],
    spans: %{}
  }

  @spec new_table() :: :ets.table()
  def new_table, do: :ets.new(__MODULE__, [:named_table, :public, read_concurrency: true, write_concurrency: true])

  @doc "Whether there is a table, which is while the application runs."
  @spec table?() :: boolean
  def table?, do: :ets.whereis(__MODULE__) != :undefined

  @doc "Starts the report of a link anew."
  @spec create(key, about :: term) :: :ok
  def create(key, about) do
    :ets.insert(__MODULE__, {key, @new, about})
    :ok
  end

  @spec exists?(key) :: boolean
  def exists?(key), do: lookup(key) != nil

  @doc "The report, or a new one where there is none."
  @spec read(key) :: t
  def read(key) do
    case lookup(key) do
      {_key, report, _about} -> report
      nil -> @new
    end
  end

  @doc "What the row holds besides the report, `nil` where there is no row."
  @spec about(key) :: term
  def about(key), do: with({_key, _report, about} <- lookup(key), do: about)

  @doc "Merges changes into a report. `false` where there is none."
  @spec update(key, map) :: boolean
  def update(key, changes) do
    :ets.update_element(__MODULE__, key, {2, Map.merge(read(key), changes)})
  rescue
    # The application was stopped.
    ArgumentError -> false
  end

  @spec delete(key) :: :ok
  def delete(key) do
    :ets.delete(__MODULE__, key)
    :ok
  end

  @doc "The processes of all handlers that have a report."
  @spec handlers() :: [pid]
  def handlers, do: :ets.select(__MODULE__, [{{{:handler, :"$1"}, :_, :_}, [], [:"$1"]}])

  defp lookup(key) do
    case :ets.lookup(__MODULE__, key) do
      [row] -> row
      [] -> nil
    end
  rescue
    ArgumentError -> nil
  end
end
