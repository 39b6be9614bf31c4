defmodule Vdr.RedisStream.Callback do
  @moduledoc """
  The behaviour of a handler of the replication stream. See `Vdr.RedisStream.Replica`.

  All callbacks run in the replica's process, one after the other:

      a full sync:        init
                          handle_replication_start  handle_commands ..
                          handle_streaming_start    handle_commands ..
      a partial resync:   handle_streaming_start    handle_commands ..
      the end:            handle_destroy

  Only `c:init/1` and `c:handle_commands/2` are required.

  ## When a callback fails

  If `c:handle_replication_start/1`, `c:handle_streaming_start/1` or `c:handle_commands/2` returns
  `{:error, reason}`, the link ends and the replica stops with that `reason`. A raise, an exit or a
  throw in any callback but `c:handle_destroy/1` stops it, too, with the exception or the exit
  reason as its reason; a throw becomes `{:nocatch, value}`. The replica calls `c:handle_destroy/1`,
  and acknowledges nothing of the batch at hand to the primary. When a supervisor restarts the
  replica, the new one begins with a full sync, or where `:initial` or `c:init/1` says.

  Crash reports show neither the commands of a batch nor the callback's state. Keep values out of
  the reasons and exceptions of your own.
  """

  alias Vdr.RedisStream.ReplicaCommand

  @type state :: term
  @typedoc "Where to continue without a full sync. The database is 0 where none is given."
  @type position ::
          {replication_id :: String.t(), offset :: non_neg_integer}
          | {replication_id :: String.t(), offset :: non_neg_integer, db :: non_neg_integer}

  @doc """
  Makes the state from `:callback_opts`.

  A handler that saved a position returns it as `initial:`, which overrides the option of that name.
  After `{:error, reason}`, `start_link` returns the same.
  """
  @callback init(opts :: term) :: {:ok, state} | {:ok, state, initial: position | nil} | {:error, term}

  @doc """
  A full sync begins. Discard what you have: all of the data comes as commands.
  """
  @callback handle_replication_start(state) :: {:ok, state} | {:error, term}

  @doc "The stream follows, behind a full sync or behind the commands that were handled before."
  @callback handle_streaming_start(state) :: {:ok, state} | {:error, term}

  @doc """
  Handles the next commands, in their order.

  When it returns they are handled: they are acknowledged to the primary, and never come again.
  While it works, the link fetches no more than the next batch, and stays alive.
  """
  @callback handle_commands(state, [ReplicaCommand.t(), ...]) :: {:ok, state} | {:error, term}

  @doc """
  Answers `Vdr.RedisStream.Replica.call/3`. `{:error, reason}` goes to the caller, and the replica
  continues.
  """
  @callback handle_call(state, message :: term) :: {:reply, term, state} | {:error, term}

  @doc """
  Handles any other message to the replica's process, including `{:EXIT, pid, reason}` of linked
  processes.
  """
  @callback handle_info(state, message :: term) :: {:noreply, state} | {:error, term}

  @doc """
  The replica ends, for whatever reason. A failure in here is logged.

  It is not called if the process is killed. A supervisor kills it when `c:handle_commands/2` does
  not return within the child's `:shutdown` (5 s).
  """
  @callback handle_destroy(state) :: term

  @optional_callbacks handle_replication_start: 1,
                      handle_streaming_start: 1,
                      handle_call: 2,
                      handle_info: 2,
                      handle_destroy: 1
end
