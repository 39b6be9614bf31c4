defmodule Vdr.Snapshot do
  @moduledoc """
  An immutable view of a whole keyspace, taken in O(1) by `Veidrodelis.snapshot/1`.

  Every read and `Veidrodelis.read_tx/3` takes a snapshot in the place of an instance. It goes on
  answering from the state that it was taken of, whatever the primary does. A snapshot shares
  memory with the instance (copy-on-write): it keeps alive what has been overwritten or deleted
  since, until the processes that hold it drop it. Keys still expire in it: a read past a key's
  time finds no key, as on a server.

      iex> {:ok, snapshot} = Vdr.Snapshot.from_commands([["SET", "user:1", "Alice"]])
      iex> inspect(snapshot)
      "#Vdr.Snapshot<offset: 0, keys: %{0 => 1}>"
  """

  alias Vdr.Native

  @enforce_keys [:native]
  defstruct [:native]

  @typedoc "Opaque: its fields belong to the library."
  @type t :: %__MODULE__{native: reference}

  @doc """
  A snapshot of what write commands leave behind in database `db`, without a server: for tests and
  examples.

  A command is a list of words as a client sends them: binaries, or numbers and atoms, which are
  converted. The commands are those of the replication stream, with the names and arguments of the
  stream: `PEXPIREAT`, never `EXPIRE`. `{:error, {:bad_command, index}}` is the first that is no
  such command.

      iex> {:ok, snapshot} = Vdr.Snapshot.from_commands([["SET", "user:1", "Alice"], ["RPUSH", "l", 1, 2]])
      iex> Veidrodelis.get(snapshot, 0, "user:1")
      {:ok, "Alice"}
      iex> Veidrodelis.lrange(snapshot, 0, "l", 0, -1)
      {:ok, ["1", "2"]}
      iex> Vdr.Snapshot.from_commands([["SET", "a", "1"], ["GET", "a"]])
      {:error, {:bad_command, 1}}
  """
  @spec from_commands([[binary | number | atom]], Veidrodelis.db()) ::
          {:ok, t} | {:error, {:bad_command, non_neg_integer}}
  def from_commands(commands, db \\ 0) do
    unless is_list(commands) and not List.improper?(commands) and is_integer(db) and db in 0..0xFFFFFFFF do
      raise ArgumentError,
            "Vdr.Snapshot.from_commands takes a list of commands and db as a number from 0, " <>
              "got: #{inspect(commands, limit: 10, printable_limit: 100)} and #{inspect(db)}"
    end

    with {:ok, native} <- Native.snapshot_from_commands(db, Enum.map(commands, &words/1)),
         do: {:ok, %__MODULE__{native: native}}
  end

  # A command without words is the one that the native library refuses by its index.
  defp words(words) do
    if is_list(words) and not List.improper?(words) and Enum.all?(words, &word?/1),
      do: Enum.map(words, &to_string/1),
      else: []
  end

  defp word?(word), do: is_binary(word) or is_number(word) or (is_atom(word) and word != nil)

  @doc """
  The replication offset of the snapshot: it shows every byte of the stream up to this one, and
  none after it. 0 for a snapshot that comes from no link.
  """
  @spec offset(t) :: non_neg_integer
  def offset(%__MODULE__{native: native}), do: Native.snapshot_offset(native)

  defimpl Inspect do
    import Inspect.Algebra

    def inspect(%{native: native}, opts) do
      fields = [offset: Vdr.Native.snapshot_offset(native), keys: Vdr.Native.snapshot_keys(native)]
      container_doc("#Vdr.Snapshot<", fields, ">", opts, &Inspect.List.keyword/2, separator: ",", break: :strict)
    end
  end
end
