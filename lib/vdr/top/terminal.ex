defmodule Vdr.Top.Terminal do
  @moduledoc false
  # The terminal of `mix vdr.top`: its size, single keys, and drawing.

  @doc "Whether standard output is a terminal."
  @spec terminal?() :: boolean
  def terminal?, do: match?({:ok, columns} when is_integer(columns), :io.columns())

  @spec size() :: {rows :: pos_integer, columns :: pos_integer}
  def size do
    with {:ok, rows} <- :io.rows(), {:ok, columns} <- :io.columns(), do: {rows, columns}, else: (_none -> {24, 80})
  end

  @doc "Whether the terminal shows UTF-8."
  @spec unicode?() :: boolean
  def unicode?, do: Keyword.get(:io.getopts(), :encoding) == :unicode

  @doc """
  Sends the calling process `{:key, character}` for each key, without waiting for a line, until
  `close/0`.
  """
  @spec open() :: :ok
  def open do
    stty("-icanon -echo min 1")
    # The other screen of the terminal, without a cursor.
    IO.write("\e[?1049h\e[?25l")
    owner = self()
    spawn_link(fn -> read(owner) end)
    :ok
  end

  @spec close() :: :ok
  def close do
    IO.write("\e[?25h\e[?1049l")
    stty("sane")
  end

  # Without a terminal there is nothing to set.
  defp stty(settings) do
    _output = System.cmd("sh", ["-c", "stty #{settings} </dev/tty"], stderr_to_stdout: true)
    :ok
  end

  defp read(owner) do
    case IO.getn("", 1) do
      key when is_binary(key) -> send(owner, {:key, key})
      _end -> send(owner, {:key, "q"})
    end

    read(owner)
  end

  @doc "Draws lines over what was there."
  @spec draw([String.t()]) :: :ok
  def draw(lines), do: IO.write(["\e[H", Enum.map_intersperse(lines, "\r\n", &[&1, "\e[K"]), "\e[J"])
end
