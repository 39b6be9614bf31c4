defmodule Vdr.Test.LiveCase do
  @moduledoc """
  Tests against real servers: `live_test` makes one test for every server at hand, each with a
  server of its own.

      live_test "a write is read", %{server: server, redis: redis, id: id} do

  The context holds the `server`, a connection `redis`, and, unless `mirror: false`, the `id` of a
  mirror that is ready. `config: [{directive, value}]` goes to the server.
  """
  use ExUnit.CaseTemplate

  alias Vdr.Test.{Mirror, Server}

  using do
    quote do
      import Vdr.Test.LiveCase
      alias Vdr.Test.{Compare, FakeServer, Mirror, Server, Writes}
      @moduletag capture_log: true
    end
  end

  setup context do
    case context do
      %{binary: binary, live: opts} -> live(binary, opts)
      _other -> :ok
    end
  end

  defp live(binary, opts) do
    server = Server.start!(binary: binary, config: Keyword.get(opts, :config, []))
    redis = Server.connect!(server)
    base = %{server: server, redis: redis, port: Server.port(server)}
    if Keyword.get(opts, :mirror, true), do: {:ok, Map.put(base, :id, Mirror.start!(server))}, else: {:ok, base}
  end

  defmacro live_test(message, context, opts \\ [], do: block) do
    quote do
      for binary <- Vdr.Test.Server.available() do
        @tag binary: binary
        @tag live: unquote(opts)
        test "#{binary.name}: " <> unquote(message), unquote(context) do
          unquote(block)
        end
      end
    end
  end
end
