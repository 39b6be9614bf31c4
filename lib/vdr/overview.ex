defmodule Vdr.Overview do
  @moduledoc false
  # What a person wants to see of an instance at one moment: `mix vdr.top` and the web page show it.
  # It calls no process and touches a bounded number of keys, however many there are, so it may be
  # taken every second.

  alias Vdr.{Handle, Native, Recent}
  alias Vdr.Overview.Sample

  @large_keys 20
  # How many events and slow scripts are shown.
  @recent 100
  # How long an estimate of memory is used.
  @memory_ms 10_000

  @typedoc """
  What the next call needs of this one: where the sample of keys goes on, and the last estimate of
  memory.
  """
  @type memo :: %{sample: Sample.t(), memory: nil | {at_ms :: integer, bytes :: non_neg_integer}}

  @type t :: %{
          id: term,
          at_ms: integer,
          info: Veidrodelis.info(),
          memory_bytes: non_neg_integer,
          types: [Sample.row()],
          prefixes: [Sample.row()],
          large_keys: [{Veidrodelis.db(), binary, atom, non_neg_integer}],
          events: [Recent.entry()],
          scripts: [Recent.entry()]
        }

  @spec memo() :: memo
  def memo, do: %{sample: Sample.new(), memory: nil}

  @doc "The instance as it is now, and the memo for the next call."
  @spec take(Veidrodelis.instance(), memo) :: {:ok, t, memo} | {:error, :no_instance}
  def take(instance, memo) do
    with {:ok, {id, store, _pid}} <- Handle.fetch(instance, :info), %{} = info <- Veidrodelis.info(id) do
      now_ms = System.monotonic_time(:millisecond)
      memory = memory(memo.memory, store, now_ms)
      sample = Sample.extend(memo.sample, id, info.keys)
      {types, prefixes} = Sample.shares(sample, Enum.sum(Map.values(info.keys)), elem(memory, 1))

      overview = %{
        id: id,
        at_ms: now_ms,
        info: info,
        memory_bytes: elem(memory, 1),
        types: types,
        prefixes: prefixes,
        large_keys: Native.large_keys(store, @large_keys),
        events: :event |> Recent.list(id) |> Enum.take(@recent),
        scripts: for(script <- :script |> Recent.list(store) |> Enum.take(@recent), do: %{script | id: id})
      }

      {:ok, overview, %{sample: sample, memory: memory}}
    end
  end

  defp memory({at_ms, _bytes} = memory, _store, now_ms) when now_ms - at_ms < @memory_ms, do: memory
  defp memory(_older, store, now_ms), do: {now_ms, Native.memory_bytes(store)}

  @doc "The overview as JSON has it."
  @spec json(t) :: Vdr.Json.value()
  def json(overview) do
    %{info: info} = overview

    plain =
      for name <- ~w(state link connected ready stale stale_ms lag_bytes last_message_ms_ago offset role
                     replication_id full_syncs partial_syncs attempts reconnects commands_applied divergences
                     unknown_values loading_bytes loading_keys guard_window_ms watches snapshots_held)a,
          do: {name, Map.fetch!(info, name)}

    {:object,
     [id: name(overview.id), primary: address(info.primary), server: server(info.server)] ++
       plain ++
       [
         keys: Enum.sum(Map.values(info.keys)),
         memory_bytes: overview.memory_bytes,
         unknown_commands: {:object, for({name, count} <- Enum.sort(info.unknown_commands), do: {name, count})},
         last_error: error(info.last_error),
         types: Enum.map(overview.types, &row/1),
         prefixes: Enum.map(overview.prefixes, &row/1),
         large_keys:
           for(
             {db, key, kind, size} <- overview.large_keys,
             do: {:object, db: db, key: text(key), type: kind, size: size}
           ),
         events: Enum.map(overview.events, &event/1),
         scripts: Enum.map(overview.scripts, &script/1)
       ]}
  end

  @doc "A term as a name of bounded length."
  @spec name(term) :: String.t()
  def name(id), do: inspect(id, limit: 5, printable_limit: 100)

  @doc "An address as people write it."
  @spec address(nil | {String.t(), non_neg_integer}) :: String.t() | nil
  def address(nil), do: nil
  def address({path, 0}), do: path
  def address({host, port}), do: "#{host}:#{port}"

  @doc "A server's name and version."
  @spec server(nil | map) :: String.t() | nil
  def server(nil), do: nil
  def server(%{name: name, version: version}), do: "#{name} #{version}"

  @doc "Why a link ended, as a sentence."
  @spec error(nil | {atom, String.t()}) :: String.t() | nil
  def error(nil), do: nil
  def error({code, ""}), do: "#{code}: #{Exception.message(Veidrodelis.Error.exception(code))}"
  def error({code, detail}), do: "#{code}: #{Exception.message(Veidrodelis.Error.exception({code, detail}))}"

  @doc "An event in a few words."
  @spec event_text(atom, map) :: String.t()
  def event_text(:disconnected, details), do: "disconnected: #{error({details.reason, details.detail})}"
  def event_text(:streaming, details), do: "streaming after a #{details.sync} sync of #{address(details.primary)}"
  def event_text(event, %{primary: primary}) when primary != nil, do: "#{event}: #{address(primary)}"
  def event_text(event, _details), do: to_string(event)

  @key_chars 200

  @doc "A key as text of bounded length."
  @spec text(binary) :: String.t()
  def text(key) when byte_size(key) > 4 * @key_chars, do: key |> binary_part(0, 4 * @key_chars) |> text()
  def text(key), do: key |> Vdr.Json.text() |> String.slice(0, @key_chars)

  defp row(row), do: {:object, name: text(row.name), keys: row.keys, bytes: row.bytes}
  defp event(%{time_ms: at, about: {event, details}}), do: {:object, at_ms: at, text: event_text(event, details)}
  defp script(%{time_ms: at, about: {ms, source}}), do: {:object, at_ms: at, ms: ms, source: text(source || "(loaded)")}
end
