defmodule Vdr.Test.CheatSheet do
  @moduledoc """
  Makes docs/cheatsheet.cheatmd, which ExDoc shows as a cheat sheet, from the rows of the reads.
  `make docs` writes it.
  """

  alias Vdr.Reads.Row

  @introduction """
  # Cheat sheet

  Made by `make docs` from the rows of the reads. `Veidrodelis` documents each function.

  ## Calls

  ### A read

  ```elixir
  {:ok, value} = Veidrodelis.get(:mirror, 0, "key")
  value = Veidrodelis.get!(:mirror, 0, "key")
  ```

  The source is an instance or a snapshot, and 0 is the number of the database. Errors are
  `:no_instance`, `:not_ready`, `:stale`, `:wrong_type` and `:unknown_value`; `get!/3` raises them.

  ### Reads on one state

  ```elixir
  {:ok, [{:ok, a}, {:ok, b}]} =
    Veidrodelis.read_tx(:mirror, 0, [{:get, "a"}, {:hget, "b", "field"}])

  {:ok, value} =
    Veidrodelis.read_tx(:mirror, 0, "return ts.get(KEYS[1])", keys: ["a"])

  {:ok, snapshot} = Veidrodelis.snapshot(:mirror)
  ```

  ### A write, visible when the call returns

  ```elixir
  {:ok, "OK"} = Veidrodelis.command(:mirror, ["SET", "key", "value"])
  {:ok, [1, 1]} = Veidrodelis.transaction(:mirror, [["INCR", "n"], ["SADD", "s", "m"]])
  ```

  ### Watches

  ```elixir
  :ok = Veidrodelis.watch(:mirror, 0, "key", ref)
  :ok = Veidrodelis.watch_prefix(:mirror, 0, "user:", ref)

  receive do
    {^ref, %Vdr.WatchEvent.Update{command: command}} -> command
    {^ref, %Vdr.WatchEvent.Init{}} -> :read_again
  end
  ```

  ### The instance

  ```elixir
  {:ok, _pid} = Veidrodelis.start_link(id: :mirror, url: "redis://localhost")
  :ok = Veidrodelis.await_ready(:mirror)
  true = Veidrodelis.ready?(:mirror)
  %{stale: false} = Veidrodelis.info(:mirror)
  ```
  """

  @doc "The text of the file."
  def text, do: [@introduction | groups()] |> Enum.join("\n")

  # Groups stand in the order of the documentation.
  defp groups do
    rows = Vdr.Reads.all()

    for group <- rows |> Enum.map(& &1.group) |> Enum.uniq(),
        do: section(group, Enum.filter(rows, &(&1.group == group)))
  end

  defp section(group, rows) do
    """
    ## #{group}

    ### Source and database come first

    | call | value | |
    |---|---|---|
    #{Enum.map_join(rows, "\n", &line/1)}
    """
  end

  defp line(row),
    do: "| `#{call(row)}` | `#{cell(type(row.returns))}` | #{cell(summary(row.doc))} #{cell(cost(row.doc))} |"

  defp call(%Row{name: name, args: args}), do: "#{name}(#{args |> Enum.map_join(", ", &argument/1) |> cell()})"

  defp argument({name, _type}), do: to_string(name)
  defp argument({name, _type, default}), do: "#{name} \\\\ #{Macro.to_string(default)}"

  # Long types are broken into lines.
  defp type(returns), do: returns |> Macro.to_string() |> flat()

  defp summary(doc), do: doc |> flat() |> String.split(~r/(?<=\.) /, parts: 2) |> hd()

  # `O(n)`, `O(log(n) + m)`.
  defp cost(doc) do
    case Regex.run(~r/O\((?:[^()]|\([^()]*\))*\)/, flat(doc)) do
      [cost] -> cost <> "."
      nil -> raise "a read documents no cost: #{doc}"
    end
  end

  defp flat(text), do: text |> String.split() |> Enum.join(" ")

  # A bar ends a cell, also within code.
  defp cell(text), do: String.replace(text, "|", "\\|")
end
