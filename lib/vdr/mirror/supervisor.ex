defmodule Vdr.Mirror.Supervisor do
  @moduledoc false
  # The supervisor of one instance. `Veidrodelis.start_link/1` returns its pid. The store lives as
  # long as this process. The link below it may crash without a loss of data or watches.

  use Supervisor

  alias Vdr.{Log, Mirror, NativeLog, Options}

  # A link that keeps crashing is a bug. The pauses between attempts to connect are in `Vdr.Link`.
  @max_restarts 100
  @max_seconds 10

  @spec start_link(Options.t()) :: Supervisor.on_start()
  def start_link(%Options{} = options) do
    case Supervisor.start_link(__MODULE__, options, if(options.name, do: [name: options.name], else: [])) do
      :ignore -> already_started(options)
      started -> started
    end
  end

  # The other instance may have ended by now; then the id is free.
  defp already_started(options) do
    case Mirror.Stores.find(options.id) do
      {_store, pid} -> {:error, {:already_started, pid}}
      nil -> start_link(options)
    end
  end

  @impl Supervisor
  def init(%Options{} = options) do
    key = {:mirror, options.id}

    case Mirror.Stores.claim(options.id, Options.identity(options)) do
      {:ok, store} ->
        Log.set_level(store, options.log)

        Supervisor.init([{NativeLog, {store, options.id}}, {Vdr.Link, {store, options, key}}],
          strategy: :one_for_one,
          max_restarts: @max_restarts,
          max_seconds: @max_seconds
        )

      {:error, {:already_started, _pid}} ->
        :ignore
    end
  end
end
