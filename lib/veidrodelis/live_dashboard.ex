defmodule Veidrodelis.LiveDashboard do
  @moduledoc """
  A page of Phoenix LiveDashboard that shows the instances of a node, as `Veidrodelis.Web` does:
  state, lag and rate as plots, keys by type and prefix, the largest keys, keys and their values,
  slow scripts, and events.

      # in the router
      import Phoenix.LiveDashboard.Router

      live_dashboard "/dashboard",
        additional_pages: [mirrors: Veidrodelis.LiveDashboard]

  With options:

      additional_pages: [mirrors: {Veidrodelis.LiveDashboard, values: false, ids: [:mirror]}]

  The dashboard's own settings say how often the page is refreshed, and of which node it shows the
  instances; that node needs this library, and not Phoenix. Who may see it is the matter of your
  router: with `values: false` it shows names of keys and no values.

  Each refresh asks an instance once, for all viewers and at most once a second, and touches a
  bounded number of keys.

  The library does not depend on Phoenix. This module calls it when the dashboard calls this module,
  so it makes no difference which of the two is compiled first.

  ## Options

  #{Vdr.Schema.docs(Vdr.Web.Page.options())}
  """

  alias Vdr.Overview.Text
  alias Vdr.Schema
  alias Vdr.Web.{Dashboard, Page}

  @call_ms 5000
  # What the client's process keeps of keys that were found.
  @keys_max 2000

  # `use Phoenix.LiveDashboard.PageBuilder` would need it while this library is compiled.
  @doc false
  @spec __page_live__(:refresher?) :: true
  def __page_live__(:refresher?), do: true

  @doc false
  @spec init(keyword) :: {:ok, map, keyword}
  def init(options) do
    options = Schema.validate!(options, Page.options(), inspect(__MODULE__))
    # It goes to the browser and back, signed.
    {:ok, Map.new(options), application: :veidrodelis}
  end

  @doc false
  @spec menu_link(map, map) :: {:ok, String.t()} | {:disabled, String.t()}
  def menu_link(_session, %{applications: running}),
    do: if(:veidrodelis in running, do: {:ok, "Mirrors"}, else: {:disabled, "Mirrors"})

  def menu_link(_session, _capabilities), do: {:ok, "Mirrors"}

  @doc false
  @spec mount(map, map, socket) :: {:ok, socket} when socket: map
  def mount(_params, session, socket) do
    view = %{
      config: Map.take(session, [:values, :ids]),
      values: session.values,
      instances: [],
      chosen: nil,
      overview: nil,
      problem: nil,
      points: [],
      search: %{db: "0", prefix: ""},
      keys: nil,
      looked_at: nil,
      value: nil
    }

    {:ok, put(socket, refresh(view, node_of(socket)))}
  end

  @doc false
  @spec handle_refresh(socket) :: {:noreply, socket} when socket: map
  def handle_refresh(socket), do: {:noreply, put(socket, refresh(view(socket), node_of(socket)))}

  @doc false
  @spec handle_event(String.t(), map, socket) :: {:noreply, socket} when socket: map
  def handle_event(event, params, socket),
    do: {:noreply, put(socket, event(event, params, view(socket), node_of(socket)))}

  @doc false
  @spec render(map) :: struct
  def render(%{vdr: view}) do
    # What a template would be compiled to: one changing part between two that never change.
    struct!(Phoenix.LiveView.Rendered,
      static: ["", ""],
      dynamic: fn _changed -> [IO.iodata_to_binary(Dashboard.html(view))] end,
      fingerprint: :erlang.phash2({__MODULE__, 1}),
      root: false
    )
  end

  # ---- events

  defp event("vdr_instance", %{"number" => number}, view, node) when is_binary(number),
    do: refresh(%{forget(view) | chosen: number}, node)

  defp event("vdr_keys", %{"db" => db, "prefix" => prefix}, view, node) when is_binary(db) and is_binary(prefix) do
    search = %{db: String.slice(db, 0, 20), prefix: String.slice(prefix, 0, 200)}
    keys = call(node, :keys, [view.config, view.chosen, %{"db" => search.db, "prefix" => search.prefix}])
    %{view | search: search, keys: answer(keys), looked_at: nil, value: nil}
  end

  defp event("vdr_more", _params, %{keys: {:ok, keys: found, next: next}} = view, node) when next != nil do
    query = %{"db" => view.search.db, "prefix" => view.search.prefix, "cursor" => next}

    case answer(call(node, :keys, [view.config, view.chosen, query])) do
      {:ok, keys: more, next: next} -> %{view | keys: {:ok, keys: Enum.take(found ++ more, @keys_max), next: next}}
      {:error, _problem} = error -> %{view | keys: error}
    end
  end

  defp event("vdr_value", %{"db" => db, "key" => key} = params, view, node) when is_binary(db) and is_binary(key) do
    name = params |> Map.get("name") |> to_name()
    value = call(node, :value, [view.config, view.chosen, %{"db" => db, "key" => key}])
    %{view | looked_at: %{db: db, key: key, name: name}, value: answer(value)}
  end

  # What no page of ours sends.
  defp event(_event, _params, view, _node), do: view

  defp to_name(name) when is_binary(name), do: String.slice(name, 0, 1000)
  defp to_name(_other), do: ""

  # ---- reading

  defp refresh(view, node) do
    case call(node, :instances, [view.config]) do
      instances when is_list(instances) -> take(%{view | instances: instances, problem: nil}, node)
      {:error, reason} -> %{forget(view) | instances: [], problem: sentence(reason)}
    end
  end

  defp take(%{instances: []} = view, _node), do: %{forget(view) | chosen: nil}

  defp take(%{instances: [{first, _name} | _]} = view, node) do
    view = if List.keymember?(view.instances, view.chosen, 0), do: view, else: %{forget(view) | chosen: first}

    case call(node, :overview, [view.config, view.chosen]) do
      {:ok, overview} -> %{view | overview: overview, points: points(view, overview)}
      {:error, reason} -> %{view | overview: nil, problem: sentence(reason)}
    end
  end

  # Of another instance, what is shown is nothing.
  defp forget(view), do: %{view | overview: nil, points: [], keys: nil, looked_at: nil, value: nil}

  defp points(%{overview: nil}, _now), do: []
  defp points(%{overview: %{at_ms: at_ms}, points: points}, %{at_ms: at_ms}), do: points

  defp points(%{overview: before, points: points}, now),
    do: Enum.take([%{rate: Text.rate(now, before), lag: now.info.lag_bytes} | points], Dashboard.points_max())

  defp answer({:ok, {:object, fields}}), do: {:ok, fields}
  defp answer({:error, reason}), do: {:error, sentence(reason)}

  defp sentence(:no_library), do: "the node does not run this version of Veidrodelis"
  defp sentence(:no_node), do: "the node does not answer"
  defp sentence(reason), do: Page.sentence(reason)

  defp call(node, function, arguments) when node == node(), do: apply(Page, function, arguments)

  defp call(node, function, arguments) do
    :erpc.call(node, Page, function, arguments, @call_ms)
  catch
    :error, {:exception, _reason, _stack} -> {:error, :no_library}
    _kind, _reason -> {:error, :no_node}
  end

  # ---- Phoenix

  defp node_of(%{assigns: %{page: %{node: node}}}), do: node
  defp view(%{assigns: %{vdr: view}}), do: view
  defp put(socket, view), do: apply(Phoenix.Component, :assign, [socket, :vdr, view])
end
