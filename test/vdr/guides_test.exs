defmodule Vdr.GuidesTest do
  # The child specifications of the documents hold only options that the library accepts. The tests
  # of live servers run the other examples.
  use ExUnit.Case, async: true

  alias Vdr.Test.Guide

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
