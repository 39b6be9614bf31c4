defmodule Vdr.RecipesTest do
  # The examples of docs/recipes.md, with mirrors of a test. Phoenix, GenStage and Broadway are
  # stand-ins (test/support): the callbacks are driven by hand.
  use ExUnit.Case, async: false

  alias Vdr.Test.Guide
  alias Veidrodelis.Testing

  @moduletag capture_log: true

  for {line, code} <- Guide.blocks(File.read!("docs/recipes.md")) do
    Code.eval_string(code, [], file: "docs/recipes.md", line: line)
  end

  defp html(socket), do: socket.assigns |> ShopWeb.PriceLive.render() |> String.trim()

  defp mounted(connected) do
    {:ok, socket} = ShopWeb.PriceLive.mount(%{"id" => "1"}, %{}, %{assigns: %{}, connected: connected})
    socket
  end

  # Follows the messages until the page shows this.
  defp followed(socket, wanted) do
    if html(socket) == wanted do
      socket
    else
      assert_receive {:price, _event} = message
      {:noreply, socket} = ShopWeb.PriceLive.handle_info(message, socket)
      followed(socket, wanted)
    end
  end

  test "LiveView by hand: a connected page follows the key, and the first render watches nothing" do
    Testing.start_supervised!(id: :shop, data: [["SET", "price:1", 10]])
    assert html(mounted(false)) == ~s(<p id="price">10</p>)
    assert Veidrodelis.info(:shop, :watches) == 0
    socket = mounted(true)
    assert Veidrodelis.info(:shop, :watches) == 1
    for n <- 11..20, do: :ok = Testing.put(:shop, ["SET", "price:1", n])
    socket = followed(socket, ~s(<p id="price">20</p>))
    :ok = Testing.full_sync(:shop, [["SET", "price:1", 30]])
    socket = followed(socket, ~s(<p id="price">30</p>))
    :ok = Testing.put(:shop, ["DEL", "price:1"])
    followed(socket, ~s(<p id="price">not for sale</p>))
  end

  # The test's process is the producer's.
  defp commands(state) do
    assert_receive {:"$gen_call", from, {:commands, _commands} = call}, 5000
    CommandProducer.handle_call(call, from, state)
  end

  test "GenStage by hand: the producer emits what is asked for, and the handler waits for the rest" do
    primary = Testing.start_primary_supervised!(data: [["SET", "old", 1]])
    {:ok, port} = Testing.port(primary)
    replica = [name: :recipe_producer, host: "127.0.0.1", port: port, reconnect_delay_ms: 1]
    assert {:producer, state} = CommandProducer.init(replica: replica)
    assert {:noreply, [], state} = commands(state)
    assert {:noreply, [:full_sync], state} = CommandProducer.handle_demand(1, state)
    assert {:noreply, [], state} = commands(state)
    assert {:noreply, [%{command: {:set, "old", "1"}}], state} = CommandProducer.handle_demand(3, state)
    assert state.demand == 2

    # Everything at once, so that it is one batch.
    :ok = Testing.put(primary, for(n <- 1..10, do: ["SET", "k#{n}", n]))
    {events, state} = take([], state, 2)
    assert length(events) == 2
    # No other batch comes before this one is taken.
    if state.from, do: refute_receive({:"$gen_call", _from, _call}, 100)
    {events, state} = take(events, %{state | demand: 0}, 10)
    assert Enum.map(events, &elem(&1.command, 1)) == for(n <- 1..10, do: "k#{n}")
    assert state.waiting == [] and state.from == nil
    assert {:noreply, [], ^state} = CommandProducer.handle_info(:whatever, state)
    Vdr.RedisStream.Replica.stop(:recipe_producer)
  end

  # Until there are so many events.
  defp take(events, state, wanted) when length(events) >= wanted, do: {events, state}

  defp take(events, %{from: nil} = state, wanted) do
    {:noreply, more, state} = commands(state)
    take(events ++ more, state, wanted)
  end

  defp take(events, state, wanted) do
    {:noreply, more, state} = CommandProducer.handle_demand(wanted - length(events), state)
    take(events ++ more, state, wanted)
  end

  test "Broadway by hand: an event is a message, and the options name the producer" do
    options = CommandPipeline.options([host: "h"], self())
    assert {CommandProducer, replica: [host: "h"]} = options[:producer][:module]
    message = CommandPipeline.to_message(:full_sync, [])
    assert %Broadway.Message{data: :full_sync} = CommandPipeline.handle_message(:default, message, self())
    assert_received {:handled, :full_sync}
  end

  test "several mirrors are started together, and read by key" do
    servers =
      for {id, data} <- [orders: [["SET", "order:1", "o"]], stock: [["SET", "stock:1", "s"]]] do
        primary = Testing.start_primary_supervised!(data: data)
        {:ok, port} = Testing.port(primary)
        {id, "redis://127.0.0.1:#{port}"}
      end

    start_supervised!({Mirrors, mirrors: servers, with: [log: false]})
    assert Mirrors.await_ready(5000) == :ok
    assert Mirrors.get("order:1") == {:ok, "o"}
    assert Mirrors.get("stock:1") == {:ok, "s"}
    assert Mirrors.get("stock:2") == {:ok, nil}
    :ok = Veidrodelis.stop(:stock)
    # As its supervisor starts it again.
    assert Health.check([:orders]) == {200, ""}
  end

  test "a health check names what is wrong, and a short break is not" do
    id = Testing.start_supervised!(data: [["SET", "k", "v"]])
    assert Health.check([id]) == {200, ""}
    :ok = Testing.disconnect(id)
    assert Health.check([id]) == {200, ""}
    assert {503, text} = Health.check([id, :nobody])
    assert text == ":nobody is not running"
    port = Vdr.Test.Server.free_port()
    start_supervised!({Veidrodelis, id: :health_of_nothing, host: "127.0.0.1", port: port, log: false})
    assert Health.check([:health_of_nothing]) == {503, ":health_of_nothing has no data yet"}
  end
end
