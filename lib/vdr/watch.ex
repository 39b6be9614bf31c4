defmodule Vdr.Watch do
  @moduledoc false
  # Adds and removes the watches of a process: the calling process, or the process of the option
  # `:to`. The store keeps the watches, and removes them when the process ends. A process of another
  # node gets its events from a relay on this node.

  alias Vdr.{Handle, Native, Schema}
  alias Vdr.Watch.Relay

  @type watched :: {:key | :prefix | :pattern, term}

  # A busy process rarely has more messages in its mailbox. With short commands, so many messages
  # take some megabytes.
  @max_pending 10_000
  @most_pending 1_000_000

  @shared [
    to: [
      type: {:check, "a pid", quote(do: pid()), &is_pid/1},
      doc: "the process that watches; the default is the caller. The process may run on another node"
    ]
  ]

  @schema @shared ++
            [
              notify: [
                type: {:one_of, [:command, :value, :key]},
                default: :command,
                doc:
                  "what a write sends. `:command` sends a `Vdr.WatchEvent.Update` with the command for each write. `:value` " <>
                    "sends a `Vdr.WatchEvent.Value` with the old and the new value, and `:key` sends a `Vdr.WatchEvent.Key`. " <>
                    "Both send one event for each key, however often the key was written since the last event"
              ],
              max_pending: [
                type: {:integer, 1..@most_pending},
                default: @max_pending,
                doc:
                  "how many messages may wait in the mailbox of the process. Beyond this number, the library sends no " <>
                    "events. When at most half of this number wait, it sends one `Vdr.WatchEvent.Missed`"
              ],
              ack: [
                type: :boolean,
                default: false,
                doc:
                  "whether the process calls `Veidrodelis.ack/3` for the messages that it has handled. Then `:max_pending` " <>
                    "counts the messages that the process has not acknowledged, instead of the messages in its mailbox. The " <>
                    "option holds for all watches of the process on this instance. It is not related to the option `:ack` " <>
                    "of `start_link/1`"
              ],
              since: [
                type: {:check, "a position", quote(do: Veidrodelis.position()), &__MODULE__.position?/1},
                doc:
                  "a position from `Veidrodelis.position/1`, from before the process read the data. The call then returns " <>
                    "`{:ok, :unchanged}`, or `{:ok, :missed}` if a write after the position may have touched a watched key"
              ],
              events: [
                type: {:list, {:one_of, [:link]}},
                default: [],
                doc: "`[:link]` also sends a `Vdr.WatchEvent.Link` at once, and whenever the link comes up or goes down"
              ]
            ]

  @spec docs() :: String.t()
  def docs, do: Schema.docs(@schema)

  @spec type() :: Macro.t()
  def type, do: Schema.type(@schema)

  @spec add(Veidrodelis.instance(), term, watched, term, keyword) ::
          :ok | {:ok, :unchanged | :missed} | {:error, :no_instance | :already_registered | :not_found}
  def add(instance, db, watched, ref, options) do
    function = function("watch", watched)
    options = watch_options(options, function)

    with {:ok, {id, store, _pid}} <- Handle.fetch(instance, function) do
      manner = {options[:notify], options[:max_pending], :link in options[:events], options[:ack]}

      options[:to]
      |> watch(id, store, db, watched, ref, manner)
      |> check(function, ", ref", db, watched)
      |> since(options[:since], store, db, watched)
    end
  end

  # The watch is registered first. So the answer or an event covers every write.
  defp since(:ok, {replication_id, offset}, store, db, watched) do
    missed? = Native.watch_may_have_missed(store, db, watched, replication_id, offset)
    {:ok, if(missed?, do: :missed, else: :unchanged)}
  end

  defp since(answer, _since, _store, _db, _watched), do: answer

  @doc "Whether a term is a position, as `Veidrodelis.position/1` returns it."
  @spec position?(term) :: boolean
  def position?({id, offset}),
    do: is_binary(id) and String.valid?(id) and is_integer(offset) and offset in 0..0xFFFFFFFFFFFFFFFF

  def position?(_other), do: false

  defp watch(nil, _id, store, db, watched, ref, manner), do: Native.watch(store, db, watched, ref, self(), manner)

  defp watch(pid, _id, store, db, watched, ref, manner) when node(pid) == node(),
    do: Native.watch(store, db, watched, ref, pid, manner)

  defp watch(pid, id, store, db, watched, ref, manner), do: Relay.watch(pid, id, store, db, watched, ref, manner)

  @spec remove(Veidrodelis.instance(), term, watched, keyword) :: :ok | {:error, :no_instance | :not_found}
  def remove(instance, db, watched, options) do
    function = function("unwatch", watched)
    options = Schema.validate!(options, @shared, "Veidrodelis.#{function}")

    with {:ok, {_id, store, _pid}} <- Handle.fetch(instance, function),
         do: (options[:to] || self()) |> unwatch(store, db, watched) |> check(function, "", db, watched)
  end

  defp unwatch(pid, store, db, watched) when node(pid) == node(), do: Native.unwatch(store, db, watched, pid)
  defp unwatch(pid, store, db, watched), do: Relay.unwatch(pid, store, db, watched)

  @spec ack(Veidrodelis.instance(), non_neg_integer, keyword) :: :ok | {:error, :no_instance | :not_found}
  def ack(instance, count, options) when is_integer(count) and count in 0..0xFFFFFFFF do
    options = if options == [], do: [], else: Schema.validate!(options, @shared, "Veidrodelis.ack")

    with {:ok, {_id, store, _pid}} <- Handle.fetch(instance, :ack),
         {:ok, watcher} <- watcher(options[:to] || self(), store),
         do: Native.watch_acknowledge(store, watcher, count)
  end

  def ack(_instance, count, _options) do
    raise ArgumentError, "Veidrodelis.ack takes (instance, count), count an integer from 0; got #{inspect(count)}"
  end

  # The process of this node that the store sends the events to: the process itself, or its relay.
  defp watcher(pid, _store) when node(pid) == node(), do: {:ok, pid}
  defp watcher(pid, store), do: Relay.find(pid, store)

  # Most watches have no options, so the defaults are filled in at compile time.
  @defaults Schema.fill([], @schema)
  defp watch_options([], _function), do: @defaults
  defp watch_options(options, function), do: Schema.validate!(options, @schema, "Veidrodelis.#{function}")

  defp function(name, {:key, _key}), do: name
  defp function(name, {what, _name}), do: "#{name}_#{what}"

  defp check({:error, :bad_argument}, function, more, db, {what, given}) do
    raise ArgumentError,
          "Veidrodelis.#{function} takes (instance, db, #{what}#{more}), db a number from 0 and #{what} a binary" <>
            "#{bound(what)}; got db #{inspect(db)} and #{what} #{inspect(given, limit: 10, printable_limit: 100)}"
  end

  defp check(answer, _function, _more, _db, _watched), do: answer

  defp bound(:pattern), do: " of at most 1024 bytes"
  defp bound(_what), do: ""
end
