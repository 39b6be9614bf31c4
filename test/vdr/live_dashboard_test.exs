defmodule Vdr.LiveDashboardTest do
  # The page of Phoenix LiveDashboard, driven by hand: its callbacks and its HTML. The real
  # dashboard is not here, see test/support/phoenix.ex.
  use ExUnit.Case, async: true

  alias Veidrodelis.{LiveDashboard, Testing}

  @moduletag capture_log: true

  @hostile ~s{<img src=x onerror="alert('1')">&}

  setup do
    data = [
      ["SET", @hostile, @hostile],
      ["SET", "volatile", "v", "EX", 100],
      ["SADD", "set", "b", "a"],
      ["SET", <<0, 255>>, <<254>>],
      ["SETRANGE", "large", 70_000, "x"]
    ]

    %{id: Testing.start_supervised!(data: data)}
  end

  defp mount(options) do
    {:ok, session, application: :veidrodelis} = LiveDashboard.init(options)
    {:ok, socket} = LiveDashboard.mount(%{}, session, %{assigns: %{page: %{node: node()}}})
    socket
  end

  defp event(socket, name, params) do
    {:noreply, socket} = LiveDashboard.handle_event(name, params, socket)
    socket
  end

  defp html(%{assigns: assigns}) do
    %{static: [before, behind], dynamic: dynamic} = LiveDashboard.render(assigns)
    [html] = dynamic.(false)
    assert String.valid?(html)
    before <> html <> behind
  end

  test "it shows the instance as the web page does", %{id: id} do
    socket = mount(ids: [id])
    html = html(socket)
    assert html =~ "streaming, primary-1.test:6379"
    assert html =~ "<dt>Keys</dt><dd class=\"mb-0\">5</dd>"
    assert html =~ "Commands per second: 0 now"

    # The node remembers its last thousand events, and other tests have events, too.
    Vdr.Test.Mirror.eventually("its events are shown", fn ->
      :ok = Testing.full_sync(id)
      html(mount(ids: [id])) =~ "streaming after a full sync of primary-1.test:6379"
    end)

    # Everything that can be used has a name.
    for name <- ~w(instance db prefix), do: assert(html =~ ~s(<label for="vdr-#{name}"))
    for name <- ~w(types prefixes large scripts events), do: assert(html =~ ~s(aria-labelledby="vdr-#{name}-title"))
    assert LiveDashboard.__page_live__(:refresher?)
  end

  test "rates and lags are points of a plot, once for each overview", %{id: id} do
    socket = mount(ids: [id])
    {:noreply, same} = LiveDashboard.handle_refresh(socket)
    # The node takes an overview once a second, and a loaded machine may take as long to ask again.
    same? = same.assigns.vdr.overview.at_ms == socket.assigns.vdr.overview.at_ms
    assert length(same.assigns.vdr.points) == if(same?, do: 0, else: 1)
    for n <- 1..200, do: :ok = Testing.put(id, ["SET", "n", n])
    Process.sleep(1000)
    {:noreply, socket} = LiveDashboard.handle_refresh(socket)
    assert [%{rate: rate, lag: 0}] = socket.assigns.vdr.points
    assert rate > 10
    assert html(socket) =~ ~r/points="600,8"/
  end

  test "keys are found by their beginning, and looked at", %{id: id} do
    socket = mount(ids: [id]) |> event("vdr_keys", %{"db" => "0", "prefix" => ""})
    html = html(socket)
    assert html =~ "5 keys found."
    refute html =~ "<img"
    assert html =~ "&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;"
    link = Vdr.Web.Keys.link(@hostile)
    assert html =~ ~s(phx-value-key="#{link}")

    shown = html(event(socket, "vdr_value", %{"db" => "0", "key" => link, "name" => @hostile}))
    assert shown =~ "string, no expiry, 33 B"
    refute shown =~ "<img"

    shown = html(event(socket, "vdr_value", %{"db" => "0", "key" => Vdr.Web.Keys.link("set"), "name" => "set"}))
    assert shown =~ "set, no expiry, 2 elements"
    shown = html(event(socket, "vdr_value", %{"db" => "0", "key" => Vdr.Web.Keys.link("volatile"), "name" => "v"}))
    assert shown =~ ~r/expires in \d+ s/
    shown = html(event(socket, "vdr_value", %{"db" => "0", "key" => Vdr.Web.Keys.link("none"), "name" => "none"}))
    assert shown =~ "The key is gone."
    assert html(event(socket, "vdr_keys", %{"db" => "0", "prefix" => "vol"})) =~ "1 keys found."
  end

  test "with values: false it shows names and no values", %{id: id} do
    socket = mount(ids: [id], values: false)
    shown = html(event(socket, "vdr_value", %{"db" => "0", "key" => Vdr.Web.Keys.link("set"), "name" => "set"}))
    assert shown =~ "Values are hidden."
    refute shown =~ ">a\n"
  end

  test "many keys come in portions, and no more than are kept" do
    keys = for n <- 1..9000, do: ["k:#{n}", "v"]
    id = Testing.start_supervised!(data: for(part <- Enum.chunk_every(keys, 1000), do: ["MSET" | Enum.concat(part)]))
    socket = mount(ids: [id]) |> event("vdr_keys", %{"db" => "0", "prefix" => ""})
    {:ok, keys: first, next: next} = socket.assigns.vdr.keys
    assert next != nil and html(socket) =~ "and there may be more"
    socket = event(socket, "vdr_more", %{})
    {:ok, keys: more, next: _next} = socket.assigns.vdr.keys
    assert length(more) > length(first)
    socket = Enum.reduce(1..60, socket, fn _n, socket -> event(socket, "vdr_more", %{}) end)
    {:ok, keys: kept, next: _next} = socket.assigns.vdr.keys
    assert length(kept) == 2000
  end

  test "an instance that ends, and one that is not to be shown, are not there", %{id: id} do
    other = Testing.start_supervised!()
    socket = mount(ids: [id])
    refute html(socket) =~ inspect(other)
    [{number, _name}] = Vdr.Web.Page.instances(%{ids: [other]})
    # Whoever chooses it all the same gets the first that may be shown.
    socket = event(socket, "vdr_instance", %{"number" => number})
    assert socket.assigns.vdr.overview.id == id
    both = mount(ids: [id, other]) |> event("vdr_instance", %{"number" => number})
    assert both.assigns.vdr.overview.id == other
    :ok = stop_supervised({Testing, id})
    # `Veidrodelis.list/0` drops an instance a moment after its supervisor has ended.
    Vdr.Test.Mirror.eventually("it is gone", fn -> id not in Veidrodelis.list() end)
    {:noreply, socket} = LiveDashboard.handle_refresh(socket)
    assert html(socket) =~ "There is no instance on this node."
    assert html(event(socket, "vdr_keys", %{"db" => "0", "prefix" => ""})) =~ "no instance"
  end

  test "what a stranger sends is refused or ignored", %{id: id} do
    socket = mount(ids: [id])

    for {name, params} <- [
          {"vdr_keys", %{"db" => "x", "prefix" => ""}},
          {"vdr_keys", %{"db" => "-1", "prefix" => ""}},
          {"vdr_keys", %{"db" => "4294967296", "prefix" => ""}},
          {"vdr_keys", %{"db" => String.duplicate("9", 10_000), "prefix" => ""}},
          {"vdr_value", %{"db" => "0", "key" => "!!"}}
        ] do
      assert html(event(socket, name, params)) =~ "a parameter is not valid"
    end

    for {name, params} <- [
          {"vdr_keys", %{"db" => %{}, "prefix" => []}},
          {"vdr_instance", %{"number" => ["x"]}},
          {"vdr_value", %{}},
          {"vdr_more", %{}},
          {"no_such_event", %{"x" => 1}}
        ] do
      assert event(socket, name, params).assigns.vdr.keys == nil
    end

    long = event(socket, "vdr_keys", %{"db" => "0", "prefix" => String.duplicate("é", 100_000)})
    assert String.length(long.assigns.vdr.search.prefix) == 200
    assert byte_size(html(long)) < 50_000
  end

  test "a node that does not answer is a sentence", %{id: id} do
    {:ok, session, _requirements} = LiveDashboard.init(ids: [id])
    {:ok, socket} = LiveDashboard.mount(%{}, session, %{assigns: %{page: %{node: :nobody@nowhere}}})
    assert html(socket) =~ "the node does not answer"
    assert LiveDashboard.menu_link(session, %{applications: []}) == {:disabled, "Mirrors"}
    assert LiveDashboard.menu_link(session, %{applications: [:veidrodelis]}) == {:ok, "Mirrors"}

    assert_raise ArgumentError, ~r/unknown option :port of Veidrodelis.LiveDashboard/, fn ->
      LiveDashboard.init(port: 1)
    end
  end
end
