defmodule Vdr.Script do
  @moduledoc """
  A loaded script: what `Veidrodelis.lua_load/2` answers and `Veidrodelis.read_tx/4` runs.

  It is opaque and belongs to no instance; it can be kept and sent to other processes of the node. Its bytecode stays in
  the native library, which takes none from anywhere else.
  """

  alias Vdr.{Native, Read, Schema}

  @enforce_keys [:native]
  defstruct [:native]

  @opaque t :: %__MODULE__{native: reference}

  @largest 2_147_483_647
  @timeout_ms 5000
  @memory 64 * 1024 * 1024
  @options [
    keys: [type: {:list, :binary}, default: [], doc: "what the script finds as `KEYS`"],
    args: [type: {:list, :any}, default: [], doc: "what the script finds as `ARGV`"],
    timeout: [type: {:integer, 1..@largest}, default: @timeout_ms, doc: "how long the script may run, in ms"],
    memory: [type: {:integer, 1..@largest}, default: @memory, doc: "how many bytes the script may allocate"]
  ]

  @doc false
  @spec load(term, binary) :: {:ok, t} | {:error, term}
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
      {:error, :not_found}
    end
  end

  @doc false
  @spec run(Veidrodelis.source(), Veidrodelis.db(), binary | t, keyword) :: {:ok, term} | {:error, term}
  def run(source, db, script, opts) do
    {keys, args, limits} = options!(opts)

    case Read.source(source) do
      nil -> {:error, :not_found}
      native -> attempt(native, db, native_of(script), keys, args, limits)
    end
  end

  defp native_of(%__MODULE__{native: native}) when is_reference(native), do: native
  defp native_of(source) when is_binary(source), do: source
  defp native_of(other), do: refuse("a source as a binary or what lua_load answered", other)

  defp attempt(native, db, script, keys, args, limits) do
    case Native.lua_attempt(native, db, script, keys, args, limits) do
      :long -> native |> whole(db, script, keys, args, limits) |> known(db, args)
      answer -> known(answer, db, args)
    end
  end

  # The native library drops what nobody waits for: that is when this process, and so the ticket, is gone.
  defp whole(native, db, script, keys, args, limits) do
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

  defp known({:error, :bad_argument}, db, args) do
    raise ArgumentError,
          "Veidrodelis.read_tx takes db as a number from 0 and args of binaries, numbers, booleans, atoms, nil, " <>
            "and lists of these; got db #{inspect(db)} and args #{inspect(args, limit: 10, printable_limit: 100)}"
  end

  defp known(answer, _db, _args), do: answer

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
