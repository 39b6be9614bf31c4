defmodule Vdr.Test.Copy do
  @moduledoc """
  A handler that runs every command on another server, as it was received. Its options are a
  connection to that server. It stops with the error if the server refuses a command.
  """
  @behaviour Vdr.RedisStream.Callback

  @impl true
  def init(target), do: {:ok, target}

  @impl true
  def handle_replication_start(target) do
    Redix.command!(target, ["FLUSHALL"])
    {:ok, target}
  end

  @impl true
  def handle_commands(target, commands) do
    words = Enum.flat_map(commands, fn %{db: db, raw_command: {:generic, words}} -> [["SELECT", db], words] end)
    replies = Redix.pipeline!(target, words)

    case Enum.find(Enum.zip(words, replies), fn {_words, reply} -> is_struct(reply, Redix.Error) end) do
      nil -> {:ok, target}
      refused -> {:error, refused}
    end
  end
end
