defmodule Vdr.Web.Page do
  @moduledoc false
  # What a page of instances shows, whoever serves it: its options, the instances that it may show,
  # under numbers that stand for their ids, and the bounded answers about one of them.

  alias Vdr.Overview
  alias Vdr.Web.{Keys, Server}

  @options [
    values: [type: :boolean, default: true, doc: "whether values of keys may be seen"],
    ids: [type: {:list, :any}, doc: "the instances to show, all of the node without it"]
  ]

  @type config :: %{required(:values) => boolean, required(:ids) => nil | [term], optional(atom) => term}
  @type failure :: {:error, :bad_parameter | :no_page | Veidrodelis.Error.reason()}

  @doc "The schema of the options."
  @spec options() :: Vdr.Schema.t()
  def options, do: @options

  @doc "The instances, each with its number and its name."
  @spec instances(config) :: [{number :: String.t(), name :: String.t()}]
  def instances(config), do: for(id <- ids(config), do: {number(id), Overview.name(id)})

  @doc "The instance with a number."
  @spec find(config, term) :: {:ok, id :: term} | {:error, :no_page}
  def find(config, number) do
    case Enum.filter(ids(config), &(number(&1) == number)) do
      [id | _] -> {:ok, id}
      [] -> {:error, :no_page}
    end
  end

  defp ids(config), do: Enum.filter(Veidrodelis.list(), &(config.ids == nil or &1 in config.ids)) |> Enum.sort()

  # An id may be any term; its number stands for it in a URL.
  defp number(id), do: id |> :erlang.phash2(4_294_967_296) |> Integer.to_string(36)

  @doc "The overview of an instance, at most a second old. `server` answers the process that takes overviews."
  @spec overview(config, term, (... -> pid)) :: {:ok, Overview.t()} | failure
  def overview(config, number, server \\ &Server.shared/0),
    do: with({:ok, id} <- find(config, number), do: Server.overview(server.(), id))

  @doc "Keys that begin with `prefix`, see `Vdr.Web.Keys.list/4`. Numbers are texts of a request."
  @spec keys(config, term, map) :: {:ok, Vdr.Json.value()} | failure
  def keys(config, number, query) do
    with {:ok, id} <- find(config, number),
         {:ok, db} <- integer(query, "db"),
         {:ok, cursor} <- integer(query, "cursor"),
         {:ok, prefix} <- text(query, "prefix"),
         do: Keys.list(id, db, prefix, cursor)
  end

  @doc "A key and the beginning of its value, see `Vdr.Web.Keys.value/4`."
  @spec value(config, term, map) :: {:ok, Vdr.Json.value()} | failure
  def value(config, number, query) do
    with {:ok, id} <- find(config, number),
         {:ok, db} <- integer(query, "db"),
         {:ok, key} <- key(query),
         do: Keys.value(id, db, key, config.values)
  end

  @doc "What went wrong, as a sentence."
  @spec sentence(term) :: String.t()
  def sentence(:no_page), do: "there is no such instance"
  def sentence(:bad_parameter), do: "a parameter is not valid"
  def sentence(reason), do: Exception.message(Veidrodelis.Error.exception(reason))

  # ---- parameters

  defp integer(query, name) do
    with text when is_binary(text) and byte_size(text) <= 20 <- Map.get(query, name, "0"),
         {number, ""} when number in 0..0xFFFFFFFFFFFFFFFF <- Integer.parse(text) do
      {:ok, number}
    else
      _other -> {:error, :bad_parameter}
    end
  end

  defp text(query, name) do
    case Map.get(query, name, "") do
      text when is_binary(text) -> {:ok, text}
      _other -> {:error, :bad_parameter}
    end
  end

  defp key(query) do
    with {:ok, text} <- text(query, "key"),
         {:ok, key} <- Base.url_decode64(text, padding: false) do
      {:ok, key}
    else
      _not_encoded -> {:error, :bad_parameter}
    end
  end
end
