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

  If `c:handle_replication_start/1`, `c:handle_streaming_start/1`, `c:handle_commands/2` or
  `c:handle_info/2` returns `{:error, reason}`, the link ends and the replica stops with that
  `reason`. A raise, an exit or a throw in any callback but `c:handle_destroy/1` stops the replica,
  too. Then the stop reason is the exception or the exit reason. A throw becomes
  `{:nocatch, value}`.

  Before the replica ends, it calls `c:handle_destroy/1`. It does not acknowledge the current batch
  to the primary. When a supervisor restarts the replica, the new replica begins with a full sync,
  or at the position that `:initial` or `c:init/1` gives.

  Crash reports show neither the commands of a batch nor the callback's state. Keep values out of
  your own reasons and exceptions.
  """

  alias Vdr.RedisStream.ReplicaCommand

  @type state :: term
  @typedoc "The position at which the stream continues without a full sync. The default database is 0."
  @type position ::
          {replication_id :: String.t(), offset :: non_neg_integer}
          | {replication_id :: String.t(), offset :: non_neg_integer, db :: non_neg_integer}

  @doc """
  Makes the callback's state from `:callback_opts`.

  A handler that saved a position returns the position as `initial:`, which overrides the option
  `:initial`. If this callback returns `{:error, reason}`, `start_link` returns the same.
  """
  @callback init(opts :: term) :: {:ok, state} | {:ok, state, initial: position | nil} | {:error, term}

  @doc """
  A full sync begins. Discard the data that you have: all of the server's data comes as commands.
  """
  @callback handle_replication_start(state) :: {:ok, state} | {:error, term}

  @doc "The stream begins, after a full sync or after the commands that were handled before."
  @callback handle_streaming_start(state) :: {:ok, state} | {:error, term}

  @doc """
  Handles the next commands, in the server's order.

  When this callback returns, the commands are handled. The replica acknowledges them to the
  primary, and this process does not get them again. While the callback runs, the link fetches no
  more than the next batch. The link stays alive.
  """
  @callback handle_commands(state, [ReplicaCommand.t(), ...]) :: {:ok, state} | {:error, term}

  @doc """
  Answers `Vdr.RedisStream.Replica.call/3`. The caller gets `{:error, reason}` as it is, and the
  replica continues.
  """
  @callback handle_call(state, message :: term) :: {:reply, term, state} | {:error, term}

  @doc """
  Handles any other message to the replica's process, including `{:EXIT, pid, reason}` of linked
  processes.
  """
  @callback handle_info(state, message :: term) :: {:noreply, state} | {:error, term}

  @doc """
  The replica ends, for any reason. A failure of this callback is logged.

  This callback does not run if the process is killed. A supervisor kills the process when
  `c:handle_commands/2` does not return within the child's `:shutdown` (5 s).
  """
  @callback handle_destroy(state) :: term

  @optional_callbacks handle_replication_start: 1,
                      handle_streaming_start: 1,
                      handle_call: 2,
                      handle_info: 2,
                      handle_destroy: 1
end
