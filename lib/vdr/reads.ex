defmodule Vdr.Reads do
  @moduledoc false
  # Every read as a row. `use Vdr.Reads` turns the rows into functions; other faces of the library
  # (another language, a cheat sheet) can be made from `all/0`.

  alias Vdr.Reads.{Hashes, Keys, Lists, Row, Sets, SortedSets, Streams, Strings}

  @groups [Strings, Lists, Sets, Hashes, SortedSets, Streams, Keys]

  @doc "The rows, in the order of the documentation."
  @spec all() :: [Row.t()]
  def all, do: Enum.flat_map(@groups, & &1.rows())

  @doc "Defines the function of each read and its twin that ends in `!`; with `twins: false`, only the function."
  defmacro __using__(options) do
    twins? = Keyword.get(options, :twins, true)
    Enum.flat_map(all(), &if(twins?, do: [Row.function(&1), Row.twin(&1)], else: [Row.function(&1)]))
  end
end
