defmodule Vdr.Schema do
  @moduledoc false
  # Option schemas: they check keyword lists, fill in defaults, and generate documentation and
  # types.
  #
  # A schema is a keyword list of specs. Each spec is a keyword list itself:
  #
  #   * `:type` - see `t:type/0`
  #   * `:doc` - a clause for the documentation
  #   * `:default` - the value of an option that is not given, `nil` without it
  #   * `:required` - whether the option must be given
  #   * `:secret` - whether error messages must hide the value
  #   * `:keep_nil` - whether `nil` is a value. Otherwise an option that is `nil` counts as missing
  #
  # An option of the type `{:unsupported, instead}` is one that users know from elsewhere. It is
  # refused by its name, with what to write instead, and has no documentation and no type.
  #
  # Every complaint is an `ArgumentError` with one of these messages, where a nested option names
  # its path:
  #
  #     option :port of :replica_connect_opts of :sentinel of Veidrodelis takes an integer from 1 to 65535, got: 0
  #     option :id of Veidrodelis is missing: it names the instance
  #     option :ciphers of :ssl_opts of Veidrodelis is not supported: leave it out
  #     unknown option :prot of Veidrodelis, did you mean :port?

  @type t :: keyword(keyword)
  @typedoc "`{:check, ...}` holds what an error message says, the Elixir type, and a function that tests the value."
  @type type ::
          :any
          | :boolean
          | :binary
          | :string
          | :text
          | :host
          | :password
          | :name
          | {:integer, Range.t()}
          | {:one_of, [term]}
          | {:list, type}
          | {:nonempty_list, type}
          | {:either, [type]}
          | {:options, t, relations :: (keyword, path :: String.t() -> term)}
          | {:unsupported, instead :: String.t()}
          | {:check, takes :: String.t(), Macro.t(), (term -> boolean)}

  # Two names at least this similar are probably one name and its misspelling.
  @similar 0.77

  @doc "The options that were given, checked and converted, in the order of the schema. The first of two wins."
  @spec cast!(term, t, String.t()) :: keyword
  def cast!(options, schema, whose) do
    unless Keyword.keyword?(options), do: refuse!(whose, "a keyword list", kind(options))
    Enum.each(options, fn {name, _value} -> check_known!(name, schema, whose) end)

    Enum.flat_map(schema, fn {name, spec} ->
      with {:ok, value} <- given(options, name, spec, whose),
           value = cast_value!(spec[:type], value, {name, whose}, spec),
           true <- value != nil or spec[:keep_nil] == true do
        [{name, value}]
      else
        _not_given -> []
      end
    end)
  end

  @doc "Adds the defaults of the options that were not given."
  @spec fill(keyword, t) :: keyword
  def fill(given, schema),
    do: for({name, spec} <- supported(schema), do: {name, Keyword.get(given, name, spec[:default])})

  @doc "Checks options and fills in their defaults."
  @spec validate!(term, t, String.t()) :: keyword
  def validate!(options, schema, whose), do: options |> cast!(schema, whose) |> fill(schema)

  @doc "Refuses options that exclude each other."
  @spec exclude!(keyword, [atom], [atom], String.t()) :: :ok
  def exclude!(given, ones, others, whose) do
    for one <- ones, other <- others, Keyword.has_key?(given, one) and Keyword.has_key?(given, other) do
      raise ArgumentError, "options #{inspect(one)} and #{inspect(other)} of #{whose} exclude each other"
    end

    :ok
  end

  @doc "Refuses an option without another one beside it."
  @spec need!(keyword, atom, atom, String.t()) :: :ok
  def need!(given, one, other, whose) do
    if Keyword.has_key?(given, one) and not Keyword.has_key?(given, other),
      do: raise(ArgumentError, "option #{inspect(one)} of #{whose} needs #{inspect(other)} beside it")

    :ok
  end

  @doc "Raises the error for a value that an option does not take."
  @spec refuse!(String.t(), String.t(), String.t()) :: no_return
  def refuse!(path, takes, got), do: raise(ArgumentError, "#{subject(path)} takes #{takes}, got: #{got}")

  @doc "The list of options for the documentation."
  @spec docs(t) :: String.t()
  def docs(schema), do: schema |> doc_lines("  ") |> Enum.join("\n")

  @doc "The type of one option, for `@type option :: unquote(Vdr.Schema.type(schema))`."
  @spec type(t) :: Macro.t()
  def type(schema), do: union(for {name, spec} <- supported(schema), do: {name, type_of(spec[:type])})

  @doc "The options that are not refused by their names."
  @spec supported(t) :: t
  def supported(schema), do: Enum.reject(schema, fn {_name, spec} -> match?({:unsupported, _instead}, spec[:type]) end)

  # ---- checking

  defp given(options, name, spec, whose) do
    case Keyword.fetch(options, name) do
      {:ok, value} when value != nil -> {:ok, value}
      {:ok, nil} -> if spec[:keep_nil], do: {:ok, nil}, else: missing(name, spec, whose)
      :error -> missing(name, spec, whose)
    end
  end

  defp missing(name, spec, whose) do
    if spec[:required],
      do: raise(ArgumentError, "option #{inspect(name)} of #{whose} is missing: it #{spec[:doc]}"),
      else: :not_given
  end

  defp check_known!(name, schema, whose) do
    unless Keyword.has_key?(schema, name),
      do: raise(ArgumentError, "unknown option #{inspect(name)} of #{whose}#{hint(name, names(schema))}")
  end

  defp names(schema), do: schema |> supported() |> Keyword.keys()

  @doc "What an error message adds to an unknown name: the similar one, or all that are known."
  @spec hint(atom, [atom]) :: String.t()
  def hint(name, known) do
    nearest = Enum.max_by(known, &String.jaro_distance(to_string(&1), to_string(name)))

    if String.jaro_distance(to_string(nearest), to_string(name)) > @similar,
      do: ", did you mean #{inspect(nearest)}?",
      else: "; known are #{words(known, ", ")}"
  end

  # A write casts its options, so only an error makes the text that names the option.
  defp cast_value!({:unsupported, instead}, _value, option, _spec),
    do: raise(ArgumentError, "#{subject(path(option))} is not supported: #{instead}")

  defp cast_value!({:options, schema, relations}, value, option, _spec) do
    given = cast!(value, schema, path(option))
    relations.(given, path(option))
    fill(given, schema)
  end

  defp cast_value!({list, {:options, _, _} = type}, [_ | _] = values, option, spec)
       when list in [:list, :nonempty_list],
       do: Enum.map(values, &cast_value!(type, &1, option, spec))

  defp cast_value!(type, value, option, spec) do
    case cast(type, value) do
      {:ok, value} -> value
      :error -> refuse!(path(option), takes(type), if(spec[:secret], do: secret(value), else: show(value)))
    end
  end

  defp path({name, whose}), do: "#{inspect(name)} of #{whose}"

  defp cast(:any, value), do: {:ok, value}
  defp cast(:boolean, value) when is_boolean(value), do: {:ok, value}
  defp cast(:binary, value) when is_binary(value), do: {:ok, value}

  defp cast(:string, value) when is_binary(value) and value != "",
    do: if(String.valid?(value), do: {:ok, value}, else: :error)

  # Erlang writes text as a list of characters.
  defp cast(:text, [_ | _] = value), do: if(List.ascii_printable?(value), do: {:ok, to_string(value)}, else: :error)
  defp cast(:text, value), do: cast(:string, value)

  defp cast(:host, address) when is_tuple(address) do
    case :inet.ntoa(address) do
      {:error, :einval} -> :error
      text -> {:ok, to_string(text)}
    end
  end

  defp cast(:host, value), do: cast(:text, value)
  # An environment variable that is set to nothing means no password.
  defp cast(:password, ""), do: {:ok, nil}
  defp cast(:password, value) when is_binary(value), do: {:ok, value}
  defp cast(:password, {m, f, a} = value) when is_atom(m) and is_atom(f) and is_list(a), do: {:ok, value}
  defp cast(:name, value) when is_atom(value) and not is_boolean(value), do: {:ok, value}
  defp cast(:name, {:global, _term} = value), do: {:ok, value}
  defp cast(:name, {:via, module, _term} = value) when is_atom(module), do: {:ok, value}

  defp cast({:integer, first..last//_}, value) when is_integer(value) and value >= first and value <= last,
    do: {:ok, value}

  defp cast({:one_of, values}, value), do: if(value in values, do: {:ok, value}, else: :error)
  defp cast({:nonempty_list, type}, [_ | _] = values), do: cast({:list, type}, values)

  defp cast({:list, :any}, values) when is_list(values), do: if(List.improper?(values), do: :error, else: {:ok, values})

  defp cast({:list, type}, values) when is_list(values) do
    with false <- List.improper?(values),
         casts = Enum.map(values, &cast(type, &1)),
         false <- :error in casts do
      {:ok, Enum.map(casts, &elem(&1, 1))}
    else
      _wrong -> :error
    end
  end

  defp cast({:either, types}, value), do: Enum.find_value(types, :error, &accept(cast(&1, value)))
  defp cast({:check, _takes, _type, fits?}, value), do: if(fits?.(value), do: {:ok, value}, else: :error)
  defp cast(_type, _value), do: :error

  defp accept({:ok, _value} = cast), do: cast
  defp accept(:error), do: nil

  # ---- describing

  defp subject(":" <> _ = path), do: "option #{path}"
  defp subject(whose), do: whose

  defp takes(:any), do: "any term"
  defp takes(:boolean), do: "true or false"
  defp takes(:binary), do: "a binary"
  defp takes(:string), do: "a string that is not empty"
  defp takes(:text), do: "a string that is not empty"
  defp takes(:host), do: "a string or charlist that is not empty, or an IP address as a tuple"
  defp takes(:password), do: "a string or {module, function, arguments}"
  defp takes(:name), do: "an atom, {:global, term} or {:via, module, term}"
  defp takes({:integer, first..last//_}), do: "an integer from #{first} to #{last}"
  defp takes({:one_of, values}), do: words(values, " or ")
  defp takes({:list, type}), do: "a list, each element #{takes(type)}"
  defp takes({:nonempty_list, type}), do: "a list that is not empty, each element #{takes(type)}"
  defp takes({:either, types}), do: Enum.map_join(types, " or ", &takes/1)
  defp takes({:options, schema, _relations}), do: "a keyword list with #{words(names(schema), ", ")}"
  defp takes({:check, takes, _type, _fits?}), do: takes

  defp words(terms, separator), do: Enum.map_join(terms, separator, &inspect/1)
  defp show(value), do: inspect(value, limit: 10, printable_limit: 100)

  @doc "Describes a term that is no keyword list. The term may hold a secret, such as a URL."
  @spec kind(term) :: String.t()
  def kind(value) when is_binary(value), do: "a string"
  def kind(value) when is_list(value), do: "a list"
  def kind(value) when is_tuple(value), do: "a tuple of #{tuple_size(value)}"
  def kind(value) when is_map(value), do: "a map"
  def kind(value) when is_atom(value) or is_number(value), do: inspect(value)
  def kind(_value), do: "a term of another kind"

  # A password may be a number in a configuration, or an atom.
  defp secret(value) when is_number(value), do: "a number"
  defp secret(value) when is_atom(value), do: "an atom"
  defp secret(value), do: kind(value)

  defp doc_lines(schema, indent) do
    Enum.flat_map(supported(schema), fn {name, spec} ->
      ["#{indent}* `#{inspect(name)}`#{notes(spec)} - #{spec[:doc]}." | nested_doc_lines(spec[:type], indent <> "  ")]
    end)
  end

  defp nested_doc_lines({:options, schema, _relations}, indent), do: doc_lines(schema, indent)
  defp nested_doc_lines({:nonempty_list, type}, indent), do: nested_doc_lines(type, indent)
  defp nested_doc_lines(_type, _indent), do: []

  defp notes(spec) do
    required = if spec[:required], do: " (required)", else: ""
    default = if spec[:default] in [nil, []], do: "", else: " (`#{inspect(spec[:default])}`)"
    required <> default
  end

  defp type_of(:any), do: quote(do: term())
  defp type_of(:boolean), do: quote(do: boolean())
  defp type_of(:binary), do: quote(do: binary())
  defp type_of(:string), do: quote(do: String.t())
  defp type_of(:text), do: quote(do: String.t() | charlist())
  defp type_of(:host), do: quote(do: String.t() | charlist() | :inet.ip_address())
  defp type_of(:password), do: quote(do: String.t() | {module(), atom(), list()} | nil)
  defp type_of(:name), do: quote(do: GenServer.name())
  defp type_of({:integer, first..last//_}), do: quote(do: unquote(first)..unquote(last))
  defp type_of({:one_of, values}), do: union(values)
  defp type_of({:list, type}), do: [type_of(type)]
  defp type_of({:nonempty_list, type}), do: [type_of(type), {:..., [], nil}]
  defp type_of({:either, types}), do: types |> Enum.map(&type_of/1) |> union()
  defp type_of({:options, schema, _relations}), do: [type(schema)]
  defp type_of({:check, _takes, type, _fits?}), do: type

  defp union(types), do: types |> Enum.reverse() |> Enum.reduce(fn type, rest -> {:|, [], [type, rest]} end)
end
