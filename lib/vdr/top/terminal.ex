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

  # The VM starts programs in a session of their own, where /dev/tty is no terminal. So it is opened
  # by its name. Without a terminal there is nothing to set.
  defp stty(settings) do
    with "/dev/" <> _name = terminal <- name() do
      _output = System.cmd("sh", ["-c", "stty #{settings} <\"$0\"", terminal], stderr_to_stdout: true)
    end

    :ok
  end

  # Linux tells it in /proc, other systems by ps.
  defp name do
    case File.read_link("/proc/self/fd/0") do
      {:ok, name} -> name
      {:error, _reason} -> if System.find_executable("ps"), do: name_by_ps()
    end
  end

  defp name_by_ps do
    {name, _status} = System.cmd("ps", ["-o", "tty=", "-p", System.pid()], stderr_to_stdout: true)
    "/dev/" <> String.trim(name)
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
