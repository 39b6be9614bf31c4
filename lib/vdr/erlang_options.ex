defmodule Vdr.ErlangOptions do
  @moduledoc false
  # Options as Erlang writes them, as keyword lists for `Vdr.Schema`: property lists or maps, text
  # as charlists, an atom alone for `{atom, true}`, and `undefined` for what is not given. Nothing
  # is checked here: what is no option stays as it is, and the schema refuses it by its name.

  alias Vdr.Schema

  @doc "The options as the schema takes them."
  @spec keywords(term, Schema.t()) :: term
  def keywords(options, schema) when is_map(options), do: options |> Map.to_list() |> keywords(schema)

  def keywords(options, schema) when is_list(options) do
    if List.improper?(options), do: options, else: Enum.map(options, &option(&1, schema))
  end

  def keywords(other, _schema), do: other

  @doc "Text as a binary: charlists are converted, anything else stays as it is."
  @spec text(term) :: term
  def text([_ | _] = value) do
    with false <- List.improper?(value),
         true <- Enum.all?(value, &is_integer/1),
         text when is_binary(text) <- :unicode.characters_to_binary(value) do
      text
    else
      _no_text -> value
    end
  end

  def text(value), do: value

  defp option({name, value}, schema) when is_atom(name), do: {name, value(schema[name][:type], value)}
  defp option(name, _schema) when is_atom(name), do: {name, true}
  defp option(other, _schema), do: other

  defp value(_type, :undefined), do: nil
  defp value({:options, schema, _relations}, value), do: keywords(value, schema)

  defp value({list, type}, values) when list in [:list, :nonempty_list] and is_list(values),
    do: if(List.improper?(values), do: values, else: Enum.map(values, &value(type, &1)))

  # Names of hosts.
  defp value({:check, _takes, _type, _fits?}, %{} = map),
    do: Map.new(map, fn {key, value} -> {text(key), text(value)} end)

  defp value({:check, _takes, _type, _fits?}, value), do: text(value)
  # An empty charlist is an empty list.
  defp value(type, []) when type in [:binary, :string, :text, :host, :password], do: ""
  defp value(type, value) when type in [:binary, :string, :text, :host, :password], do: text(value)
  defp value({:either, types}, value), do: if(:text in types, do: text(value), else: value)
  defp value(_any, value), do: value
end
