defmodule Vdr.Snapshot do
  @moduledoc """
  An immutable view of a whole keyspace, taken in O(1) by `Veidrodelis.snapshot/1`.

  Every read and `Veidrodelis.read_tx/3` takes one in the place of an instance id and keeps answering from it, whatever
  the primary does. It holds the memory of what has changed since, until the process that has it drops it.
  Keys still expire in it: what is past its time is absent, as on a server.
  """

  @enforce_keys [:native]
  defstruct [:native]

  @opaque t :: %__MODULE__{native: reference}

  @doc """
  The snapshot that write commands leave behind in database `db`, without any server: for tests and examples.

  Commands are lists of binaries as a client sends them; those that the replication stream knows are taken, with the
  names and arguments that it uses (`PEXPIREAT`, never `EXPIRE`). `{:error, {:bad_command, index}}` tells the first that is
  none.

      iex> {:ok, snapshot} = Vdr.Snapshot.from_commands([["SET", "user:1", "Alice"]])
      iex> Veidrodelis.get(snapshot, 0, "user:1")
      {:ok, "Alice"}
  """
  @spec from_commands([[binary]], Veidrodelis.db()) :: {:ok, t} | {:error, {:bad_command, non_neg_integer | nil}}
  def from_commands(commands, db \\ 0) do
    with {:ok, native} <- Vdr.Native.snapshot_from_commands(db, commands), do: {:ok, %__MODULE__{native: native}}
  end

  @doc false
  @spec of(term) :: {:ok, t} | {:error, :not_found | :not_ready | :stale}
  def of(id) do
    with {store, _pid} <- Vdr.Instances.find(id), {:ok, native} <- Vdr.Native.snapshot(store) do
      {:ok, %__MODULE__{native: native}}
    else
      nil -> {:error, :not_found}
      error -> error
    end
  end
end
