defmodule Vdr.Reads do
  @moduledoc false
  # Every read as a row. `use Vdr.Reads` turns the rows into functions; other faces of the library
  # (another language, a cheat sheet) can be made from `all/0`.

  alias Vdr.Reads.{Hashes, Keys, Lists, Row, Sets, SortedSets, Streams, Strings}

  @groups [Strings, Lists, Sets, Hashes, SortedSets, Streams, Keys]

  @doc "The rows, in the order of the documentation."
  @spec all() :: [Row.t()]
  def all, do: Enum.flat_map(@groups, & &1.rows())

  @doc "Defines the function of each read and its twin that ends in `!`."
  defmacro __using__(_options), do: Enum.flat_map(all(), &Row.functions/1)
end
