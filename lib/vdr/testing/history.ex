defmodule Vdr.Testing.History do
  @moduledoc false
  # The replication stream of a simulated primary: the replication id, the former id, the offset,
  # and the backlog from which a link may resume. This module has no process: a history is a value.

  @enforce_keys [:id]
  defstruct [:id, :former, offset: 0, backlog: "", selected: nil]

  @type t :: %__MODULE__{
          id: String.t(),
          former: nil | String.t(),
          offset: non_neg_integer,
          backlog: binary,
          selected: nil | non_neg_integer
        }

  # The backlog of a server is at least as large.
  @backlog_bytes 1_048_576

  @spec new() :: t
  def new, do: %__MODULE__{id: new_id()}

  defp new_id, do: 20 |> :rand.bytes() |> Base.encode16(case: :lower)

  @doc "Another server continues the same history, under a new id."
  @spec promote(t) :: t
  def promote(%__MODULE__{id: id} = history), do: %{history | id: new_id(), former: id}

  @doc "A history with a new id and an empty backlog. No link can resume from before."
  @spec forget(t) :: t
  def forget(%__MODULE__{offset: offset}), do: %{new() | offset: offset}

  @doc "Appends commands of a database, in a transaction or not. Returns the bytes of the commands."
  @spec append(t, db :: non_neg_integer, [[binary]], multi? :: boolean) :: {t, binary}
  def append(history, _db, [], _multi?), do: {history, ""}

  def append(history, db, commands, multi?) do
    select = if history.selected == db, do: [], else: [["SELECT", to_string(db)]]
    commands = if multi?, do: [["MULTI"]] ++ commands ++ [["EXEC"]], else: commands
    append_bytes(%{history | selected: db}, frames(select ++ commands))
  end

  @doc "Appends bytes as they are. They may select a database, so the next command selects its own."
  @spec append_raw(t, binary) :: {t, binary}
  def append_raw(history, bytes), do: append_bytes(%{history | selected: nil}, bytes)

  defp append_bytes(history, bytes) do
    backlog = history.backlog <> bytes
    excess = max(byte_size(backlog) - @backlog_bytes, 0)
    backlog = binary_part(backlog, excess, byte_size(backlog) - excess)
    {%{history | offset: history.offset + byte_size(bytes), backlog: backlog}, bytes}
  end

  @doc "The bytes after a position, if the backlog has them."
  @spec since(t, nil | {id :: String.t(), offset :: non_neg_integer}) :: {:ok, binary} | :full_sync
  def since(%__MODULE__{} = history, {id, offset}) when id == history.id or id == history.former do
    missing = history.offset - offset

    if missing in 0..byte_size(history.backlog),
      do: {:ok, binary_part(history.backlog, byte_size(history.backlog) - missing, missing)},
      else: :full_sync
  end

  def since(_history, _other), do: :full_sync

  @doc "The bytes of commands in the stream."
  @spec frames([[binary]]) :: binary
  def frames(commands), do: commands |> Enum.map(&frame/1) |> IO.iodata_to_binary()

  defp frame(words) do
    ["*", to_string(length(words)), "\r\n" | Enum.map(words, &["$", to_string(byte_size(&1)), "\r\n", &1, "\r\n"])]
  end
end
