defmodule Vdr.Writes do
  @moduledoc false
  # Commands of the user to the primary, and waiting until a position is visible. The native library
  # keeps the connections; the calling process waits for a message, and its ticket tells the native
  # library when it no longer does.

  alias Vdr.{Deadline, Handle, Native, Schema, Telemetry, Testing}

  @timeout_ms 5000

  # The longest timer of the VM.
  @longest_ms 4_294_967_295

  @options [
    db: [type: {:integer, 0..0xFFFFFFFF}, default: 0, doc: "the number of the database"],
    timeout: [
      type: {:check, "a time in ms or :infinity", quote(do: timeout()), &__MODULE__.timeout?/1},
      default: @timeout_ms,
      doc: "how long the call may take as a whole, in ms, or `:infinity`"
    ],
    sync: [
      type: :boolean,
      default: true,
      doc: "whether to wait until the effect is visible in the instance"
    ]
  ]

  @type kind :: :command | :pipeline | :transaction

  @doc "The options as a type, for the facade."
  @spec type() :: Macro.t()
  def type, do: Schema.type(@options)

  @doc "The list of options for the documentation."
  @spec docs() :: String.t()
  def docs, do: Schema.docs(@options)

  @doc false
  @spec timeout?(term) :: boolean
  def timeout?(timeout), do: timeout == :infinity or (is_integer(timeout) and timeout in 0..@longest_ms)

  @doc "Sends commands. `function` is the facade's, for messages about wrong arguments."
  @spec call(Veidrodelis.instance(), kind, [Veidrodelis.command()], [Veidrodelis.write_option()], atom) ::
          {:ok, term} | {:error, term}
  def call(instance, kind, commands, opts, function) do
    opts = if opts == [], do: [], else: Schema.cast!(opts, @options, "Veidrodelis.#{function}")
    timeout = Keyword.get(opts, :timeout, @timeout_ms)
    db = Keyword.get(opts, :db, 0)
    awaits = Keyword.get(opts, :sync, true)
    commands = encode(commands, function)

    with {:ok, {id, store, _pid}} <- Handle.fetch(instance, function) do
      if commands == [],
        do: {:ok, []},
        else: observe(id, kind, db, commands, fn -> send_call({id, store}, kind, db, commands, awaits, timeout) end)
    end
  end

  defp observe(id, kind, db, commands, call) do
    Telemetry.span([:command], %{commands: length(commands)}, %{id: id, call: kind, db: db}, fn ->
      answer = call.()
      {answer, outcome(answer)}
    end)
  end

  # The message of a server's error may quote a value.
  defp outcome({:ok, _reply}), do: %{result: :ok, reason: nil}
  defp outcome({:error, %Veidrodelis.ServerError{code: code}}), do: %{result: :error, reason: code}
  defp outcome({:error, reason}), do: %{result: :error, reason: reason}

  defp send_call({id, store}, kind, db, commands, awaits, timeout) do
    ref = make_ref()
    caller = {self(), ref}

    answer =
      case Native.client_call(store, kind, db, commands, awaits, caller) do
        :dirty -> Native.client_call_dirty(store, kind, db, commands, awaits, caller)
        answer -> answer
      end

    case answer do
      {:ok, ticket} -> await(store, ref, ticket, timeout, &late/1)
      {:error, :not_connected} -> call_played(id, kind, db, commands, awaits, timeout)
      error -> error
    end
  end

  # An instance without connections: a test plays its primary.
  defp call_played(id, kind, db, commands, awaits, timeout) do
    deadline = Deadline.after_timeout(timeout)

    case Testing.Writes.call(id, db, commands, kind == :transaction, deadline) do
      {:ok, replies, position} ->
        shown = if awaits, do: await_position(id, position, Deadline.left(deadline)), else: :ok

        with :ok <- shown,
             do: played(kind, replies),
             else: ({:error, reason} -> {:error, {:written, invisible(reason)}})

      :none ->
        {:error, :not_connected}

      error ->
        error
    end
  end

  defp played(:command, [%Veidrodelis.ServerError{} = error]), do: {:error, error}
  defp played(:command, [reply]), do: {:ok, reply}
  defp played(_several, replies), do: {:ok, replies}

  defp invisible(:timeout), do: :not_visible
  defp invisible(reason), do: reason

  # How far a call has come when its time is over.
  defp late({:queued, nil}), do: {:error, :timeout}
  defp late({:queued, reason}), do: {:error, reason}
  defp late({:sent, _reason}), do: {:error, {:sent, :timeout}}
  defp late({:written, _reason}), do: {:error, {:written, :not_visible}}

  @doc "The value of an answer, or an exception."
  @spec value!({:ok, value} | {:error, term}) :: value when value: term
  def value!({:ok, value}), do: value
  def value!({:error, %Veidrodelis.ServerError{} = error}), do: raise(error)
  def value!({:error, reason}), do: raise(Veidrodelis.Error, reason)

  @doc "Waits until all that the primary has acknowledged before the call is visible."
  @spec sync(Veidrodelis.instance(), timeout) :: :ok | {:error, term}
  def sync(instance, timeout) do
    check_timeout!(timeout, :sync)

    with {:ok, {id, store, _pid}} <- Handle.fetch(instance, :sync) do
      ref = make_ref()

      case Native.client_sync(store, self(), ref) do
        {:ok, ticket} ->
          await(store, ref, ticket, timeout, fn
            {_stage, nil} -> {:error, :timeout}
            {_stage, reason} -> {:error, reason}
          end)

        {:error, :not_connected} ->
          sync_played(id, Deadline.after_timeout(timeout))

        error ->
          error
      end
    end
  end

  defp sync_played(id, deadline) do
    case Testing.Writes.position(id, deadline) do
      {:ok, nil, position} -> await_position(id, position, Deadline.left(deadline))
      :none -> {:error, :not_connected}
      error -> error
    end
  end

  @doc "The position of what can be read now."
  @spec position(Veidrodelis.instance()) :: {:ok, Veidrodelis.position()} | {:error, term}
  def position(instance) do
    with {:ok, {_id, store, _pid}} <- Handle.fetch(instance, :position), do: Native.position(store)
  end

  @doc "Waits until a position is visible."
  @spec await_position(Veidrodelis.instance(), Veidrodelis.position(), timeout) :: :ok | {:error, term}
  def await_position(instance, {replication_id, offset}, timeout)
      when is_binary(replication_id) and is_integer(offset) and offset in 0..0xFFFFFFFFFFFFFFFF do
    check_timeout!(timeout, :await_position)

    unless String.valid?(replication_id), do: refuse_position!({replication_id, offset})

    with {:ok, {_id, store, _pid}} <- Handle.fetch(instance, :await_position) do
      ref = make_ref()

      with {:ok, ticket} <- Native.position_await(store, replication_id, offset, {self(), ref}),
           do: await(store, ref, ticket, timeout, fn _late -> {:error, :timeout} end)
    end
  end

  def await_position(_instance, position, _timeout), do: refuse_position!(position)

  defp refuse_position!(position) do
    raise ArgumentError,
          "Veidrodelis.await_position takes what position/1 answered, got: " <>
            inspect(position, limit: 10, printable_limit: 100)
  end

  # The ticket is a resource of this process: the native library forgets the call when the process
  # is gone. It is in use until the end of this function, whatever the timeout is.
  defp await(store, ref, ticket, timeout, late) do
    receive do
      {^ref, answer} -> answer
    after
      timeout ->
        case Native.client_cancel(store, ticket) do
          # The answer came in this moment.
          :done -> receive(do: ({^ref, answer} -> answer))
          stage -> late.(stage)
        end
    end
  end

  defp check_timeout!(timeout, function) do
    unless timeout?(timeout) do
      raise ArgumentError,
            "Veidrodelis.#{function} takes a timeout in ms from 0 to #{@longest_ms}, or :infinity; " <>
              "got: #{inspect(timeout)}"
    end
  end

  # ---- commands

  defp encode(commands, function) when is_list(commands) do
    if List.improper?(commands), do: refuse!(function, commands)
    Enum.map(commands, &words(&1, function))
  end

  defp encode(commands, function), do: refuse!(function, commands)

  defp words([_name | _rest] = words, function) do
    if List.improper?(words), do: refuse!(function, words)
    if Enum.all?(words, &is_binary/1), do: words, else: Enum.map(words, &word(&1, function))
  end

  defp words(other, function), do: refuse!(function, other)

  defp word(word, _function) when is_binary(word), do: word
  defp word(word, _function) when is_integer(word), do: Integer.to_string(word)
  defp word(word, _function) when is_float(word), do: Float.to_string(word)
  defp word(word, _function) when is_atom(word) and word not in [nil, true, false], do: Atom.to_string(word)
  # A value may be secret, and so it is not shown.
  defp word(_word, function), do: refuse!(function, "a word of another kind")

  @spec refuse!(atom, term) :: no_return
  defp refuse!(function, got) do
    takes = if function in [:command, :command!], do: "a command", else: "a list of commands"

    raise ArgumentError,
          "Veidrodelis.#{function} takes #{takes}, and a command is a list of binaries, numbers and atoms, " <>
            "its name first; got: #{kind(got)}"
  end

  defp kind("a word of another kind" = got), do: got
  defp kind([]), do: "an empty list"
  defp kind(got) when is_list(got), do: "an improper list"
  defp kind(got) when is_binary(got), do: "a binary"
  defp kind(_got), do: "something else"
end
