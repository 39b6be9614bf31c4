# GenStage and Broadway are no dependencies. These modules stand in for what docs/recipes.md calls
# of them; docs/recipes.md says how it was run with the real ones.
defmodule GenStage do
  @moduledoc false
  defmacro __using__(_options), do: nil
  def call(producer, message, timeout), do: GenServer.call(producer, message, timeout)
  def reply(from, answer), do: GenServer.reply(from, answer)
  def start_link(_module, _options), do: raise("this GenStage is a stand-in: it starts nothing")
end

defmodule Broadway.Message do
  @moduledoc false
  defstruct [:data, :acknowledger]
end
