# Phoenix is optional, and the tests need no Hex package. These modules stand in for what
# Veidrodelis.LiveDashboard calls. docs/recipes.md says how it was run with the real ones.
defmodule Phoenix.LiveView.Rendered do
  @moduledoc false
  defstruct [:static, :dynamic, :fingerprint, :root, caller: :not_available]
end

defmodule Phoenix.Component do
  @moduledoc false
  def assign(%{assigns: assigns} = socket, key, value), do: %{socket | assigns: Map.put(assigns, key, value)}
end

defmodule Phoenix.LiveView do
  @moduledoc false
  defmacro __using__(_options), do: quote(do: import(Phoenix.LiveView))

  def connected?(socket), do: socket.connected
  def assign(socket, changes), do: %{socket | assigns: Map.merge(socket.assigns, Map.new(changes))}

  defmacro sigil_H({:<<>>, _meta, [template]}, []), do: EEx.compile_string(template, engine: EEx.SmartEngine)
end
