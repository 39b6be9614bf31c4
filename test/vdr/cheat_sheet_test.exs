defmodule Vdr.CheatSheetTest do
  use ExUnit.Case, async: true

  alias Vdr.Test.CheatSheet

  @path "docs/cheatsheet.cheatmd"

  # Before the tests of this module, so that a change passes the run that writes it.
  if System.get_env("VDR_WRITE_DOCS") == "1", do: File.write!(@path, CheatSheet.text())

  test "the cheat sheet is made from the rows of the reads: run make docs" do
    assert File.read!(@path) == CheatSheet.text()
  end

  test "every read has its line, once for each row" do
    lines = Regex.scan(~r/^\| `(\w+)\(/m, File.read!(@path), capture: :all_but_first) |> List.flatten()
    assert Enum.sort(lines) == Vdr.Reads.all() |> Enum.map(&to_string(&1.name)) |> Enum.sort()
  end
end
