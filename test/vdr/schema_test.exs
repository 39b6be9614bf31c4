defmodule Vdr.SchemaTest do
  use ExUnit.Case, async: true

  alias Vdr.Schema

  @schema [
    size: [type: {:integer, 1..9}, required: true, doc: "is how large it is"],
    mode: [type: {:either, [{:one_of, [:fast, :slow]}, :string]}, default: :fast, doc: "how it runs"],
    flag: [type: :boolean, default: true, doc: "whether it does"],
    key: [type: :string, secret: true, doc: "what opens it"]
  ]

  defp message(options) do
    Exception.message(assert_raise(ArgumentError, fn -> Schema.validate!(options, @schema, "It") end))
  end

  test "options are checked, and defaults filled in" do
    assert Schema.validate!([size: 3], @schema, "It") == [size: 3, mode: :fast, flag: true, key: nil]
    assert Schema.validate!([flag: false, size: 1, mode: "own"], @schema, "It")[:flag] == false
    assert Schema.cast!([size: 1, mode: nil], @schema, "It") == [size: 1]
    assert Schema.cast!([size: 1, size: 2], @schema, "It") == [size: 1]
  end

  test "every error names the option, its module, and what it takes" do
    assert message(size: 0) == "option :size of It takes an integer from 1 to 9, got: 0"
    assert message([]) == "option :size of It is missing: it is how large it is"
    assert message(size: nil) == message([])
    assert message(size: 1, mode: 5) == "option :mode of It takes :fast or :slow or a string that is not empty, got: 5"
    assert message(size: 1, flog: true) == "unknown option :flog of It, did you mean :flag?"
    assert message(size: 1, other: 1) == "unknown option :other of It; known are :size, :mode, :flag, :key"
    assert message(%{}) == "It takes a keyword list, got: a map"
  end

  test "no error shows a secret" do
    for value <- [<<255, "secret">>, [:secret], {:secret}, %{secret: 1}, :secret] do
      refute message(size: 1, key: value) =~ "secret\""
      refute message(size: 1, key: value) =~ ":secret"
    end

    assert message(size: 1, key: 123_456) == "option :key of It takes a string that is not empty, got: a number"
  end

  test "an error cuts a long value" do
    assert byte_size(message(size: List.duplicate(:long, 10_000))) < 300
  end

  test "the documentation lists options with their defaults, and nested options below their parent" do
    docs = Vdr.Options.docs()
    assert docs =~ "  * `:port` (`6379`) - the server's port."
    assert docs =~ "  * `:sentinel` - finds the server by Sentinel"
    assert docs =~ "    * `:group` (required) - names the group"
    assert docs =~ "      * `:timeout` (`500`) - how long each step"
  end

  test "the schema generates the types of options" do
    for owner <- [:mirror, :handler] do
      type = Vdr.Options.type(owner)
      module = Module.concat(__MODULE__, owner)
      assert [{^module, _bytes}] = Code.compile_quoted(typed(module, type))
      text = Macro.to_string(type)
      assert text =~ "{:port, 1..65535}"
      assert text =~ "{:ack, :truthful | :lagging}"
      assert text =~ "{:role, :primary | :replica}"
    end
  end

  defp typed(module, type) do
    quote do
      defmodule unquote(module) do
        @type option :: unquote(type)
      end
    end
  end
end
