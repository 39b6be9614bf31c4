defmodule Vdr.Script do
  @moduledoc """
  A compiled script, which `Veidrodelis.lua_load/2` returns and `Veidrodelis.read_tx/4` runs.

  A script belongs to no instance. Keep it, or send it to other processes of the node. Its
  bytecode never leaves the native library, which accepts no bytecode from outside.
  """

  alias Vdr.{Native, Read, Schema}

  @enforce_keys [:native]
  defstruct [:native]

  @typedoc "Opaque: its fields belong to the library."
  @type t :: %__MODULE__{native: reference}
  @typedoc "`:not_built` where the native library was built without Lua."
  @type error :: {:lua, :syntax | :runtime | :timeout | :memory | :result, message :: String.t()} | :not_built
  @type option ::
          {:keys, [binary]} | {:args, list} | {:timeout, pos_integer} | {:memory, pos_integer}

  @largest 2_147_483_647

  # Scripts that take this long are remembered, by the beginning of their source.
  @slow_ms 10
  @excerpt_bytes 200
  @timeout_ms 5000
  @memory 64 * 1024 * 1024
  @options [
    keys: [type: {:list, :binary}, default: [], doc: "what the script finds as `KEYS`"],
    args: [type: {:list, :any}, default: [], doc: "what the script finds as `ARGV`"],
    timeout: [type: {:integer, 1..@largest}, default: @timeout_ms, doc: "how long the script may run, in ms"],
    memory: [type: {:integer, 1..@largest}, default: @memory, doc: "how many bytes the script may allocate"]
  ]

  @doc false
  @spec options() :: Schema.t()
  def options, do: @options

  @doc false
  @spec load(Veidrodelis.source(), binary) :: {:ok, t} | {:error, :no_instance | error}
  def load(source, text) do
    unless is_binary(text), do: refuse("a source as a binary", text)

    if Read.source(source) do
      ref = make_ref()

      with :ok <- Native.lua_load(text, self(), ref) do
        receive do
          {^ref, {:ok, native}} -> {:ok, %__MODULE__{native: native}}
          {^ref, error} -> error
        end
      end
    else
      {:error, :no_instance}
    end
  end

  @doc false
  @spec run(Veidrodelis.source(), Veidrodelis.db(), binary | t, [option]) ::
          {:ok, term} | {:error, Veidrodelis.reason() | error}
  def run(source, db, script, opts) do
    {keys, args, limits} = options!(opts)

    case Read.source(source) do
      nil -> {:error, :no_instance}
      native -> native |> attempt(db, native_of(script), keys, args, limits) |> note_limit(source, limits)
    end
  end

  # In the caller's process, whose script it is.
  defp note_limit({:error, {:lua, kind, _message}} = answer, source, {timeout_ms, bytes})
       when kind in [:timeout, :memory] do
    limit = if kind == :timeout, do: timeout_ms, else: bytes
    source = if is_struct(source, Vdr.Snapshot), do: :snapshot, else: source
    Vdr.Telemetry.execute([:script, :limit], %{count: 1, limit: limit}, %{kind: kind, source: source})
    answer
  end

  defp note_limit(answer, _source, _limits), do: answer

  defp native_of(%__MODULE__{native: native}) when is_reference(native), do: native
  defp native_of(source) when is_binary(source), do: source
  defp native_of(other), do: refuse("a source as a binary or what lua_load answered", other)

  defp attempt(native, db, script, keys, args, limits) do
    case Native.lua_attempt(native, db, script, keys, args, limits) do
      :long -> native |> start_timed(db, script, keys, args, limits) |> check(db, args)
      answer -> check(answer, db, args)
    end
  end

  # Only what does not end on the caller's scheduler at once is timed.
  defp start_timed(native, db, script, keys, args, limits) do
    since = System.monotonic_time(:millisecond)
    answer = start(native, db, script, keys, args, limits)
    ms = System.monotonic_time(:millisecond) - since
    if ms >= @slow_ms, do: Vdr.Recent.note(:script, native, {ms, excerpt(script)})
    answer
  end

  defp excerpt(source) when is_binary(source), do: binary_part(source, 0, min(byte_size(source), @excerpt_bytes))
  defp excerpt(_loaded), do: nil

  # The ticket is a resource of this process. Where the process is gone, so is the ticket, and the
  # native library drops the run.
  defp start(native, db, script, keys, args, limits) do
    ref = make_ref()

    with {:ok, ticket} <- Native.lua_start(native, db, script, {keys, args}, limits, {self(), ref}) do
      receive do
        {^ref, :done} -> answer(ticket)
        {^ref, error} -> error
      end
    end
  end

  defp answer(ticket) do
    case Native.lua_answer(ticket) do
      :dirty -> Native.lua_answer_dirty(ticket)
      answer -> answer
    end
  end

  defp check({:error, :bad_argument}, db, args) do
    raise ArgumentError,
          "Veidrodelis.read_tx takes db as a number from 0 and args of binaries, numbers, booleans, atoms, nil, " <>
            "and lists of these; got db #{inspect(db)} and args #{inspect(args, limit: 10, printable_limit: 100)}"
  end

  defp check(answer, _db, _args), do: answer

  defp options!([]), do: {[], [], {@timeout_ms, @memory}}

  defp options!(opts) do
    opts = Schema.validate!(opts, @options, "Veidrodelis.read_tx")
    {opts[:keys], opts[:args], {opts[:timeout], opts[:memory]}}
  end

  defp refuse(takes, got) do
    raise ArgumentError,
          "a script takes #{takes}, got: #{inspect(got, limit: 10, printable_limit: 100)}"
  end

  defimpl Inspect do
    def inspect(_script, _opts), do: "#Vdr.Script<>"
  end
end
