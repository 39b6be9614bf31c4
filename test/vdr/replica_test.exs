defmodule Vdr.ReplicaTest do
  # The lifecycle of a replica, as far as it is visible without a real server.
  use ExUnit.Case, async: true

  alias Vdr.RedisStream.Replica
  alias Vdr.Test.{FakeServer, Mirror, Recorder}

  @moduletag capture_log: true

  defp start!(opts) do
    defaults = [host: "127.0.0.1", callback_module: Recorder, callback_opts: %{to: self()}, timeout: 30_000]
    start_supervised!({Replica, Keyword.merge(defaults, opts)}, id: make_ref(), restart: :temporary)
  end

  # A primary that answers every command except one that begins with this word: then it sends `last`
  # and nothing more.
  defp primary_stuck_at(word, last \\ nil) do
    FakeServer.primary!(fn line ->
      cond do
        not String.starts_with?(String.upcase(line), word) -> greeting(line)
        last == nil -> Process.sleep(:infinity)
        true -> last
      end
    end)
  end

  defp greeting("PING"), do: "+PONG\r\n"
  defp greeting(_other), do: "+OK\r\n"

  for {state, word} <- [
        {:ping, "PING"},
        {:auth, "AUTH"},
        {:replconf_listening_port, "REPLCONF LISTENING-PORT"},
        {:replconf_capa, "REPLCONF CAPA"},
        {:psync, "PSYNC"}
      ] do
    test "its state is #{inspect(state)} while a primary delays its answer to #{word}" do
      port = primary_stuck_at(unquote(word))
      replica = start!(port: port, username: "me", password: "secret")
      Mirror.eventually("it is there", fn -> Replica.get_replication_state(replica) == unquote(state) end)
      assert Replica.connected_to(replica) == {:ok, {"127.0.0.1", port}}
      assert Replica.call(replica, :hello) == {:error, :not_connected}
      assert {Replica.get_replication_id(replica), Replica.get_offset(replica)} == {nil, 0}
    end
  end

  test "its state is :rdb_transfer while the file arrives, and it answers calls meanwhile" do
    id = String.duplicate("a", 40)
    replica = start!(port: primary_stuck_at("PSYNC", "+FULLRESYNC #{id} 17\r\n$1000\r\nREDIS0011"))
    Mirror.eventually("the file comes", fn -> Replica.get_replication_state(replica) == :rdb_transfer end)
    Recorder.await!(replica, :replication_start)
    assert Replica.call(replica, :hello) == {:ok, {:heard, :hello}}
    assert Replica.get_replication_id(replica) == id
    assert {Replica.get_offset(replica), Replica.get_position(replica)} == {0, nil}
  end

  defmodule Nonsense do
    def init(answer), do: answer
    def handle_commands(_commands, state), do: {:ok, state}
  end

  test "an invalid answer of init/1 is reported like that of every other callback" do
    Process.flag(:trap_exit, true)

    for answer <- [:what, {:ok, 1, :more}, {:ok, 1, []}, {:noreply, 1}] do
      options = [host: "127.0.0.1", port: 1, callback_module: Nonsense, callback_opts: answer, reconnect: false]
      assert Replica.start_link(options) == {:error, {:bad_return_value, {Nonsense, :init, answer}}}
    end
  end

  def password_of_a_slow_vault(test) do
    send(test, {:asked, self()})
    receive(do: (:answer -> "secret"))
  end

  test "its state is :init before there is a connection, and it stops with a reason when there will be none" do
    Process.flag(:trap_exit, true)
    port = Vdr.Test.Server.free_port()
    replica = start!(port: port, password: {__MODULE__, :password_of_a_slow_vault, [self()]}, reconnect: false)
    assert_receive {:asked, link}, 5000
    assert Replica.get_replication_state(replica) == :init
    assert Replica.connected_to(replica) == {:error, :not_connected}
    monitor = Process.monitor(replica)
    send(link, :answer)
    assert_receive {:DOWN, ^monitor, :process, ^replica, {:link_ended, :connection_refused}}, 5000
    assert_received {:recorded, ^replica, :destroy}
  end

  test "start_link returns the error of init/1" do
    Process.flag(:trap_exit, true)
    refuse = %{to: self(), init: fn nil -> {:error, :not_today} end}
    assert Replica.start_link(callback_module: Recorder, callback_opts: refuse) == {:error, :not_today}
    bad = %{to: self(), initial: {"", -1}}

    assert {:error, {%ArgumentError{message: message}, _}} =
             Replica.start_link(callback_module: Recorder, callback_opts: bad)

    assert message =~ "Recorder.init/1 answered a bad initial: position"
  end

  test "a name is taken once, and stands for the pid" do
    name = :"replica_#{System.unique_integer([:positive])}"
    opts = [port: primary_stuck_at("PING"), name: name]
    replica = start!(opts)
    own = [host: "127.0.0.1", callback_module: Recorder, callback_opts: %{to: self()}]
    assert Replica.start_link(own ++ opts) == {:error, {:already_started, replica}}
    assert %{to: _} = Replica.get_callback_state(name)
    assert Replica.stop(name) == :ok
    refute Process.alive?(replica)
  end

  # The documented examples of options.
  test "all documented ways to name the server are accepted" do
    callback = [callback_module: Recorder, callback_opts: %{}]

    sentinels = [
      [host: "sentinel1", port: 26_379],
      [host: "sentinel2", port: 26_379],
      [host: "sentinel3", port: 26_379]
    ]

    for opts <- [
          [host: "localhost", port: 6379],
          [host: "localhost", port: 6379, username: "myuser", password: "mypassword"],
          [host: "localhost", ssl: true, ssl_opts: [verify: :verify_none], reconnect: true, reconnect_delay_ms: 1000],
          [max_reconnect_delay_ms: 30_000, ack_interval_ms: 1000, command_filter: nil, name: :some_name],
          [
            sentinel: [
              sentinels: sentinels,
              group: "myprimary",
              role: :primary,
              connect_opts: [timeout: 1000, ssl: true],
              replica_connect_opts: [password: "redis_password", ssl: true]
            ]
          ],
          [
            sentinel: [
              sentinels: sentinels,
              group: "myprimary",
              role: :replica,
              replica_connect_opts: [password: "redis_password"],
              host_map: %{"sentinel1" => "localhost"}
            ]
          ]
        ] do
      assert %{start: {Replica, :start_link, [validated]}, id: {Replica, _}} = Replica.child_spec(opts ++ callback)
      refute inspect(validated) =~ "password\""
    end

    both = [host: "localhost", sentinel: [sentinels: sentinels, group: "myprimary"]] ++ callback
    assert_raise ArgumentError, ~r/exclude each other/, fn -> Replica.start_link(both) end

    assert_raise ArgumentError, ~r/:callback_opts .* is missing/, fn ->
      Replica.start_link(callback_module: Recorder)
    end

    assert_raise ArgumentError, ~r/:callback_module of Vdr.RedisStream.Replica takes/, fn ->
      Replica.start_link(callback_module: Enum, callback_opts: 1)
    end
  end
end
