defmodule Vdr.RedisStream.Callback do
  @moduledoc """
  What a handler of the replication stream implements: see `Vdr.RedisStream.Replica`.

  All callbacks run in the replica's process, one after the other:

      init
        handle_replication_start  handle_commands ..  handle_streaming_start  handle_commands ..     a full sync
        handle_streaming_start  handle_commands ..                                                   a partial resync
      handle_destroy

  Only `c:init/1` and `c:handle_commands/2` are required.

  ## When a callback fails

  `{:error, reason}` from `c:handle_replication_start/1`, `c:handle_streaming_start/1` or `c:handle_commands/2` ends the link and stops the
  replica with that `reason`. So does a raise, an exit or a throw in any callback but `c:handle_destroy/1`, with what it was as the
  reason (a throw as `{:nocatch, value}`). `c:handle_destroy/1` is called, and nothing of the batch in hand is acknowledged to the
  primary. A supervisor that restarts the replica gets a new one: it begins with a full sync, or where `:initial` or `c:init/1` says.
  """

  alias Vdr.RedisStream.ReplicaCommand

  @type state :: term
  @typedoc "Where to go on without a full sync; database 0 if none is given."
  @type position ::
          {replication_id :: String.t(), offset :: non_neg_integer}
          | {replication_id :: String.t(), offset :: non_neg_integer, db :: non_neg_integer}

  @doc """
  Makes the state of `:callback_opts`. A handler that saved a position itself answers it as `initial:`, in the place of the option
  of that name. `{:error, reason}` is what `start_link` answers then.
  """
  @callback init(opts :: term) :: {:ok, state} | {:ok, state, initial: position | nil} | {:error, term}

  @doc "A full sync begins: whatever was known of the data is void, and all of it comes as commands."
  @callback handle_replication_start(state) :: {:ok, state} | {:error, term}

  @doc "What follows is the stream: behind a full sync, or behind what was handled before."
  @callback handle_streaming_start(state) :: {:ok, state} | {:error, term}

  @doc """
  The next commands, in their order. When it returns they are handled: acknowledged to the primary, and never sent again. While it
  works nothing more than the next batch is fetched, and the link stays alive.
  """
  @callback handle_commands(state, [ReplicaCommand.t(), ...]) :: {:ok, state} | {:error, term}

  @doc "Answers `Vdr.RedisStream.Replica.call/3`. `{:error, reason}` goes to the caller, and the replica goes on."
  @callback handle_call(state, message :: term) :: {:reply, term, state} | {:error, term}

  @doc "Any other message to the replica's process, `{:EXIT, pid, reason}` of processes linked to it included."
  @callback handle_info(state, message :: term) :: {:noreply, state} | {:error, term}

  @doc """
  The replica ends, for whatever reason. What goes wrong in here is logged.

  Only who is killed is not asked: a supervisor does that when `c:handle_commands/2` has not returned within the `:shutdown` of the child (5 s).
  """
  @callback handle_destroy(state) :: term

  @optional_callbacks handle_replication_start: 1,
                      handle_streaming_start: 1,
                      handle_call: 2,
                      handle_info: 2,
                      handle_destroy: 1
end
