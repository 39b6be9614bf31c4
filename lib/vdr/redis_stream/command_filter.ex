defmodule Vdr.RedisStream.CommandFilter do
  @moduledoc """
  A filter changes or skips commands before a handler gets them, and sees the commands that the
  handler has handled. Set a filter with the option `:command_filter` of `Vdr.RedisStream.Replica`.

  A filter is a module with `c:pre_handle/1`, `c:post_handle/1` or both. The result of `combine/2`
  is a filter, too:

      defmodule NoSessions do
        @behaviour Vdr.RedisStream.CommandFilter

        @impl true
        def pre_handle(%{affected_keys: ["session:" <> _]}), do: :skip
        def pre_handle(command), do: command
      end

  A filter runs for every command, in the replica's process. To filter by database, prefix or type,
  use the option `:only`. That option is far cheaper, because the native library decides before it
  makes a term. If a filter skips all commands of a batch, the batch counts as handled, and the
  callback does not see it.
  """

  alias Vdr.RedisStream.ReplicaCommand

  @doc "Returns the command as the handler gets it, or `:skip`."
  @callback pre_handle(ReplicaCommand.t()) :: ReplicaCommand.t() | :skip

  @doc """
  The handler has handled this command. The command is the one that the handler got, after all
  filters. The result is ignored.
  """
  @callback post_handle(ReplicaCommand.t()) :: term

  @optional_callbacks pre_handle: 1, post_handle: 1

  @enforce_keys [:first, :second]
  defstruct [:first, :second]

  @opaque combined :: %__MODULE__{first: t, second: t}
  @type t :: module | combined

  @doc """
  Combines two filters. On the way to the handler, `first` runs before `second`. After the handler,
  `second` runs before `first`. `second` does not see the commands that `first` skips.
  """
  @spec combine(t, t) :: combined
  def combine(first, second) do
    for filter <- [first, second], not filter?(filter) do
      raise ArgumentError, "CommandFilter.combine takes two filters, got: #{inspect(filter)}"
    end

    %__MODULE__{first: first, second: second}
  end

  @doc false
  @spec filter?(term) :: boolean
  def filter?(%__MODULE__{}), do: true

  def filter?(module) when is_atom(module),
    do: Code.ensure_loaded?(module) and (pre?(module) or post?(module))

  def filter?(_other), do: false

  @doc false
  @spec before(t | nil, [ReplicaCommand.t()]) :: [ReplicaCommand.t()]
  def before(nil, commands), do: commands

  def before(filter, commands) do
    filter |> modules() |> Enum.filter(&pre?/1) |> Enum.reduce(commands, &pass/2)
  end

  @doc false
  @spec behind(t | nil, [ReplicaCommand.t()]) :: :ok
  def behind(nil, _commands), do: :ok

  def behind(filter, commands) do
    for module <- filter |> modules() |> Enum.filter(&post?/1) |> Enum.reverse(),
        command <- commands,
        do: module.post_handle(command)

    :ok
  end

  defp pass(module, commands) do
    Enum.flat_map(commands, fn command ->
      case module.pre_handle(command) do
        %ReplicaCommand{} = command -> [command]
        :skip -> []
        # The result may hold values, and the message becomes a part of the crash report.
        _other -> raise ArgumentError, "#{inspect(module)}.pre_handle/1 returned neither a command nor :skip"
      end
    end)
  end

  defp modules(%__MODULE__{first: first, second: second}), do: modules(first) ++ modules(second)
  defp modules(module), do: [module]

  defp pre?(module), do: function_exported?(module, :pre_handle, 1)
  defp post?(module), do: function_exported?(module, :post_handle, 1)
end
