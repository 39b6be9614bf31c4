defmodule Vdr.Test.Guide do
  @moduledoc """
  Runs every `elixir` block of a guide against a real server, in order and with shared variables.

  The guides use `:mirror` and write through `redis`. Before each block, the mirror has applied the
  writes of the block before. A block states its results by matching.
  """

  alias Vdr.Test.Mirror

  def run!(path, port, redis) do
    # Parallel runs must not share one name.
    id = "{:guide, #{port}}"
    {id_term, _binding} = Code.eval_string(id)
    ExUnit.Callbacks.start_supervised!({Veidrodelis, id: id_term, host: "127.0.0.1", port: port})
    :ok = Veidrodelis.await_ready(id_term, 20_000)

    blocks = path |> File.read!() |> blocks()
    if blocks == [], do: raise("no example in #{path}")

    Enum.reduce(blocks, [redis: redis], fn {line, code}, binding ->
      {_value, binding} = code |> String.replace(":mirror", id) |> Code.eval_string(binding, file: path, line: line)
      Mirror.settle(id_term, redis)
      binding
    end)
  end

  @doc "The blocks of a text with the number of their first line."
  def blocks(text) do
    text
    |> String.split("\n")
    |> Enum.with_index(1)
    |> Enum.reduce({[], nil}, fn
      {"```elixir", number}, {blocks, nil} ->
        {blocks, {number + 1, []}}

      {"```", _number}, {blocks, {first, lines}} ->
        {[{first, lines |> Enum.reverse() |> Enum.join("\n")} | blocks], nil}

      {line, _number}, {blocks, {first, lines}} ->
        {blocks, {first, [line | lines]}}

      {_prose, _number}, state ->
        state
    end)
    |> elem(0)
    |> Enum.reverse()
  end
end
