defmodule Vdr.GuidesTest do
  # The documents name only options and constants that exist. The tests of live servers run the
  # other examples.
  use ExUnit.Case, async: true

  alias Vdr.Test.Guide

  test "every constant that a document names is in the code" do
    code =
      ["lib/**/*.ex", "mix/**/*.ex", "native/*/src/**/*.rs", "bin/*", "Makefile"]
      |> Enum.flat_map(&Path.wildcard/1)
      |> Enum.map_join("\n", &File.read!/1)

    names =
      for path <- ~w(ARCHITECTURE.md docs/decisions.md docs/transactions.md),
          [_, name] <- Regex.scan(~r/`([A-Z]+(?:_[A-Z0-9]+)+)`/, File.read!(path)),
          do: {path, name}

    assert length(names) > 5
    assert [] == Enum.reject(names, fn {_path, name} -> code =~ ~r/\b#{name}\b/ end)
  end

  for path <- ~w(README.md docs/operations.md) do
    test "the child specifications of #{path} are accepted" do
      path = unquote(path)

      specs =
        for {line, code} <- Guide.blocks(File.read!(path)), code =~ "{Veidrodelis," do
          {examples, _binding} = Code.eval_string(code, [], file: path, line: line)
          for {Veidrodelis, options} <- List.wrap(examples), do: Veidrodelis.child_spec(options)
        end

      assert [%{id: {Veidrodelis, _id}} | _] = List.flatten(specs)
    end
  end
end
