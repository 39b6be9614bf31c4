defmodule Vdr.EventsTest do
  # The events of a link for subscribers, telemetry and the log.
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias Vdr.RedisStream.Replica
  alias Vdr.Test.{FakeServer, Mirror, Recorder, Telemetry}

  @moduletag capture_log: true

  setup do
    id = make_ref()
    :ok = Veidrodelis.subscribe(id)
    %{id: id}
  end

  # A primary with a small snapshot that streams nothing after it.
  defp primary! do
    file = File.read!("test/fixtures/small.rdb")

    FakeServer.primary!(fn line ->
      case String.split(line) do
        ["PSYNC" | _] ->
          "+FULLRESYNC #{String.duplicate("a", 40)} 0\r\n$#{byte_size(file)}\r\n" <> file

        ["PING"] ->
          "+PONG\r\n"

        ["REPLCONF", "ACK" | _] ->
          ""

        _other ->
          "+OK\r\n"
      end
    end)
  end

  defp start!(id, options) do
    defaults = [id: id, host: "127.0.0.1", reconnect_delay_ms: 5, max_reconnect_delay_ms: 20]
    start_supervised!({Veidrodelis, Keyword.merge(defaults, options)}, id: id)
  end

  # The events of an id up to the one given.
  defp events_until(id, last, events \\ []) do
    receive do
      {:veidrodelis, ^id, ^last, details} -> Enum.reverse([{last, details} | events])
      {:veidrodelis, ^id, event, details} -> events_until(id, last, [{event, details} | events])
    after
      10_000 -> flunk("no #{last} after #{inspect(Enum.reverse(events))}")
    end
  end

  # Each link is announced once, may stream, and ends once, at the address with which it was
  # announced.
  defp assert_paired(events) do
    Enum.reduce(events, nil, fn
      {:connecting, %{primary: primary}}, nil -> {primary}
      {:disconnected, %{primary: primary}}, {primary} -> nil
      {event, %{primary: primary}}, {primary} when event in [:syncing, :ready, :streaming] -> {primary}
      {event, _details}, nil when event in [:switched, :stopped] -> nil
      {event, details}, link -> flunk("#{event} #{inspect(details)} while the link is #{inspect(link)}")
    end)
    |> then(&assert &1 == nil)

    events
  end

  defp names(events), do: for({name, _details} <- events, do: name)

  test "failed attempts begin and end, and so does the current one when the instance stops", %{id: id} do
    start!(id, port: free_port())
    events = for _ <- 1..3, event <- events_until(id, :disconnected), do: event
    assert names(events) == List.flatten(List.duplicate([:connecting, :disconnected], 3))
    :ok = stop_supervised(id)
    assert_paired(events ++ events_until(id, :stopped))
    refute_received {:veidrodelis, ^id, _event, _details}
  end

  test "a link that streams ends once when the instance stops, which is the last event", %{id: id} do
    port = primary!()
    start!(id, port: port)
    :ok = Veidrodelis.await_ready(id, 10_000)
    assert %{primary: {"127.0.0.1", ^port}} = id |> events_until(:streaming) |> List.last() |> elem(1)
    :ok = stop_supervised(id)

    assert [{:disconnected, %{reason: :stopped, retry_in_ms: nil, primary: {_, ^port}}}, {:stopped, %{}}] =
             events_until(id, :stopped)
  end

  test "a link whose process is killed ends for its listeners, and another one begins", %{id: id} do
    start!(id, port: primary!())
    before = events_until(id, :streaming)
    Process.exit(Vdr.Reports.read({:mirror, id}).pid, :kill)
    events = events_until(id, :streaming)
    assert [{:disconnected, %{reason: :link_crashed, retry_in_ms: 0}}, {:connecting, _} | _] = events
    :ok = stop_supervised(id)
    assert_paired(before ++ events ++ events_until(id, :stopped))
  end

  test "a supervisor that is killed and replaced is a link that ended", %{id: id} do
    Process.flag(:trap_exit, true)
    options = [id: id, host: "127.0.0.1", port: primary!(), reconnect_delay_ms: 5]
    {:ok, pid} = Veidrodelis.start_link(options)
    before = events_until(id, :streaming)
    Process.exit(pid, :kill)
    assert_receive {:EXIT, ^pid, :killed}
    {:ok, pid} = Veidrodelis.start_link(options)
    events = events_until(id, :streaming)
    :ok = Veidrodelis.stop(pid)
    assert_paired(before ++ events ++ events_until(id, :stopped))
  end

  test "the end of an instance whose supervisor was killed is announced when its store is closed", %{id: id} do
    Process.flag(:trap_exit, true)
    port = free_port()
    {:ok, pid} = Veidrodelis.start_link(id: id, host: "127.0.0.1", port: port)
    Process.exit(pid, :kill)
    assert_receive {:EXIT, ^pid, :killed}
    # Another server under the same id is another instance, so the store is closed at once.
    {:ok, pid} = Veidrodelis.start_link(id: id, host: "127.0.0.1", port: free_port(), reconnect: false)
    assert_receive {:veidrodelis, ^id, :stopped, %{}}, 20_000
    :ok = Veidrodelis.stop(pid)
  end

  test "a look-up by Sentinel that fails is an attempt without an address", %{id: id} do
    sentinel = [sentinels: [[host: "127.0.0.1", port: free_port()]], group: "g"]
    start_supervised!({Veidrodelis, id: id, sentinel: sentinel, reconnect_delay_ms: 5}, id: id)
    events = events_until(id, :disconnected) ++ events_until(id, :disconnected)

    assert [{:connecting, %{primary: nil}}, {:disconnected, %{reason: :no_sentinel_reachable, primary: nil}} | _] =
             assert_paired(events)
  end

  test "a link that a failover leaves ends before the switch, at the old address", %{id: id} do
    {old, new} = {primary!(), primary!()}

    named = start_supervised!({Agent, fn -> Integer.to_string(old) end})

    sentinel = FakeServer.switching_sentinel!(fn -> Agent.get(named, & &1) end)

    sentinel = [sentinels: [[host: "127.0.0.1", port: sentinel]], group: "g"]
    start_supervised!({Veidrodelis, id: id, sentinel: sentinel, reconnect_delay_ms: 5}, id: id)
    before = events_until(id, :connecting)
    Agent.update(named, fn _old -> Integer.to_string(new) end)
    events = before ++ events_until(id, :switched) ++ events_until(id, :connecting)
    :ok = stop_supervised(id)
    events = assert_paired(events ++ events_until(id, :stopped))
    assert %{reason: :switched, primary: {"127.0.0.1", ^old}} = events[:disconnected]
    assert %{primary: {"127.0.0.1", ^new}, from: {"127.0.0.1", ^old}} = events[:switched]
  end

  test "a killed handler ends for its listeners" do
    name = :"events_of_killed_#{System.unique_integer([:positive])}"
    id = {Replica, name}
    :ok = Veidrodelis.subscribe(id)
    opts = [name: name, host: "127.0.0.1", port: primary!(), callback_module: Recorder, callback_opts: %{to: self()}]
    Process.flag(:trap_exit, true)
    {:ok, handler} = Replica.start_link(opts)
    events = events_until(id, :streaming)
    Process.exit(handler, :kill)
    assert_paired(events ++ events_until(id, :stopped))
  end

  test "a slow telemetry handler of one instance delays no other" do
    {a, b, c} = {make_ref(), make_ref(), make_ref()}
    test = self()

    Telemetry.attach(fn
      [:veidrodelis, :link, :stopped], %{id: ^a} ->
        send(test, {:slow, self()})
        receive(do: (:go_on -> :ok), after: (60_000 -> :ok))

      _event, _metadata ->
        :ok
    end)

    for id <- [a, b], do: start!(id, port: free_port())
    stopping = Task.async(fn -> stop_supervised_elsewhere(a) end)
    assert_receive {:slow, handler}
    assert Veidrodelis.await_ready(b, 100) == {:error, :timeout}
    start!(c, port: free_port())
    assert %{ready: false} = Veidrodelis.info(c)
    :ok = Veidrodelis.stop(b)
    # All of this happened while the handler waited.
    assert Process.alive?(handler)
    send(handler, :go_on)
    Task.await(stopping, 30_000)
  end

  defp stop_supervised_elsewhere(id), do: Veidrodelis.stop(id)

  test "a log line names the library and the instance, and says what the code means", %{id: id} do
    log =
      capture_log(fn ->
        start!(id, port: free_port(), log: :debug)
        events_until(id, :disconnected)
        :ok = stop_supervised(id)
      end)

    assert log =~ "Veidrodelis #{inspect(id)}: connecting to 127.0.0.1:"
    assert log =~ ~r/Veidrodelis #{inspect(id)}: the link to 127.0.0.1:\d+ ended: connection_refused, nothing listens/
    assert log =~ "Veidrodelis #{inspect(id)}: stopped"
  end

  test "every code that a link may end with of itself has a sentence" do
    for code <- [:stopped, :switched, :link_crashed, :application_restarted] do
      assert Exception.message(Veidrodelis.Error.exception(code)) =~ " "
    end

    assert Exception.message(Veidrodelis.Error.exception({:link_ended, :wrong_password})) =~ "password"
  end

  test "a mirror whose link has ended for good stops if the option says so" do
    Process.flag(:trap_exit, true)
    id = make_ref()
    options = [id: id, host: "127.0.0.1", port: free_port(), reconnect: false]
    {:ok, pid} = Veidrodelis.start_link(options ++ [on_link_end: :stop])
    assert_receive {:EXIT, ^pid, {:link_ended, :connection_refused}}, 20_000
    {:ok, pid} = Veidrodelis.start_link(options)
    assert Veidrodelis.await_ready(id, 5000) == {:error, :connection_refused}
    Mirror.eventually("it is stopped", fn -> Veidrodelis.replication_state(id) == :stopped end)
    assert Process.alive?(pid)
    :ok = Veidrodelis.stop(pid)
  end

  defp free_port, do: Vdr.Test.Server.free_port()
end
