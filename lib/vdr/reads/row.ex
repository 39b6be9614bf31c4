defmodule Vdr.Reads.Row do
  @moduledoc false
  # The declaration of one read, and the functions that are generated from it.
  #
  # A file of `lib/vdr/reads/` says `use Vdr.Reads.Row, group: "Hashes"` and declares each read as
  #
  #     @doc "The value of `field` in the hash at `key`, or `nil`. O(1)."
  #     read hget(key :: key, field :: binary) :: binary | nil
  #
  # with the arguments behind the source and the database. Types are those of `Veidrodelis`. A
  # default value makes an argument optional. Two rows of one name are two functions of different
  # arity.

  @enforce_keys [:name, :args, :returns, :doc, :group, :file, :line]
  defstruct @enforce_keys

  @typedoc "An argument's name and its type; an optional argument has its default value, too."
  @type arg :: {atom, Macro.t()} | {atom, Macro.t(), default :: Macro.t()}

  @type t :: %__MODULE__{
          name: atom,
          args: [arg],
          returns: Macro.t(),
          doc: String.t(),
          group: String.t(),
          file: String.t(),
          line: pos_integer
        }

  @doc "Makes the using module a list of rows: `rows/0`."
  defmacro __using__(group: group) do
    quote do
      import Vdr.Reads.Row, only: [read: 1]
      Module.register_attribute(__MODULE__, :rows, accumulate: true)
      @group unquote(group)
      @before_compile Vdr.Reads.Row
    end
  end

  defmacro __before_compile__(env) do
    rows = env.module |> Module.get_attribute(:rows) |> Enum.reverse()

    quote do
      @spec rows() :: [Vdr.Reads.Row.t()]
      def rows, do: unquote(Macro.escape(rows))
    end
  end

  @doc "Declares a read. The `@doc` before it is the documentation of its function."
  defmacro read({:"::", _, [{name, _, args}, returns]}) do
    row = %{
      name: name,
      args: Enum.map(args, &arg/1),
      returns: returns,
      file: Path.relative_to_cwd(__CALLER__.file),
      line: __CALLER__.line
    }

    quote do
      @rows Vdr.Reads.Row.new!(unquote(Macro.escape(row)), @group, @doc)
      Module.delete_attribute(__MODULE__, :doc)
    end
  end

  defp arg({:\\, _, [arg, default]}), do: arg |> arg() |> Tuple.insert_at(2, default)
  defp arg({:"::", _, [{name, _, _context}, type]}), do: {name, type}

  @doc false
  @spec new!(map, String.t(), String.t() | nil) :: t
  def new!(%{name: name, file: file, line: line}, _group, nil), do: raise("#{file}:#{line}: #{name} has no @doc")
  def new!(row, group, doc), do: struct!(__MODULE__, Map.merge(row, %{group: group, doc: doc}))

  @doc "The fewest and the most arguments behind the source and the database."
  @spec arities(t) :: {non_neg_integer, non_neg_integer}
  def arities(%__MODULE__{args: args}), do: {Enum.count(args, &match?({_name, _type}, &1)), length(args)}

  @doc """
  The function of a row, which answers `{:ok, value}` or `{:error, reason}`. Stack traces show the
  row's place.
  """
  @spec function(t) :: Macro.t()
  def function(%__MODULE__{} = row),
    do: function(row, row.name, row.doc, quote(do: answer(unquote(row.returns))), call(row))

  @doc "The twin of that function, which ends in `!`: it answers the value, or raises."
  @spec twin(t) :: Macro.t()
  def twin(%__MODULE__{} = row), do: function(row, :"#{row.name}!", bang_doc(row), row.returns, unwrap(call(row)))

  defp call(row),
    do: quote(do: Vdr.Read.call(source, db, unquote(row.name), unquote(Enum.map(row.args, &variable/1))))

  defp unwrap(call) do
    quote do
      case unquote(call) do
        {:ok, value} -> value
        {:error, reason} -> raise Veidrodelis.Error, reason: reason
      end
    end
  end

  defp bang_doc(row) do
    {_fewest, most} = arities(row)
    "As `#{row.name}/#{most + 2}`, but returns the value itself, and raises `Veidrodelis.Error` where there is none."
  end

  defp function(row, name, doc, returns, body) do
    function =
      quote do
        @doc group: unquote(row.group)
        @doc unquote(doc)
        unquote_splicing(specs(row, name, returns))
        def unquote(name)(source, db, unquote_splicing(Enum.map(row.args, &parameter/1))), do: unquote(body)
      end

    at(row, function)
  end

  # Places code in the row's line, in the form in which `quote location: :keep` does.
  defp at(row, code) do
    place = {:keep, {row.file, row.line}}
    Macro.prewalk(code, &Macro.update_meta(&1, fn meta -> [place | Keyword.drop(meta, [:keep, :line])] end))
  end

  # One for each number of arguments.
  defp specs(row, name, returns) do
    {fewest, most} = arities(row)

    for arity <- fewest..most do
      types = row.args |> Enum.take(arity) |> Enum.map(&type/1)
      quote(do: @spec(unquote(name)(source, db, unquote_splicing(types)) :: unquote(returns)))
    end
  end

  defp type(arg) do
    case {elem(arg, 0), elem(arg, 1)} do
      # `key :: key` says nothing that `key` does not.
      {name, {name, _, context} = type} when is_atom(context) -> type
      {name, type} -> quote(do: unquote(Macro.var(name, nil)) :: unquote(type))
    end
  end

  defp parameter({_name, _type} = arg), do: variable(arg)
  defp parameter({_name, _type, default} = arg), do: quote(do: unquote(variable(arg)) \\ unquote(default))

  defp variable(arg), do: Macro.var(elem(arg, 0), __MODULE__)
end
