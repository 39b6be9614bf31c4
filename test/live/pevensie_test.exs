defmodule Vdr.Live.PevensieTest do
  # The border to Gleam, without a compiler of Gleam: a driver by hand plays the part of gleam/src.
  use Vdr.Test.LiveCase, async: true
  use Vdr.Test.PevensieContract, driver: :by_hand

  alias Vdr.Test.Peers
  alias Vdr.Test.Pevensie, as: P

  test "what is set on one node is read on the other" do
    server = Server.start!()
    options = [host: "127.0.0.1", port: Server.port(server)]
    [one, other] = Peers.start!(2)
    {:ok, here} = Peers.call(one, P, :connect, [P.by_hand(options)])
    {:ok, there} = Peers.call(other, P, :connect, [P.by_hand(options)])

    for n <- 1..20 do
      {:ok, nil} = Peers.call(one, P, :set, [here, "t", "k", "#{n}", :none])
      assert Peers.call(one, P, :get, [here, "t", "k"]) == {:ok, "#{n}"}
      Mirror.eventually("it is there", fn -> Peers.call(other, P, :get, [there, "t", "k"]) == {:ok, "#{n}"} end)
    end

    # A driver that is connected has the mirror of its node, and no other.
    assert Peers.call(other, P, :get, [here, "t", "k"]) == {:error, {:get_driver_error, :not_running}}
    assert {:ok, _} = Peers.call(one, P, :disconnect, [here])
    assert Peers.call(other, P, :get, [there, "t", "k"]) == {:ok, "20"}
  end

  @info "role:master\r\nmaster_replid:#{String.duplicate("b", 40)}\r\nmaster_replid2:#{String.duplicate("0", 40)}\r\n" <>
          "master_repl_offset:10\r\nsecond_repl_offset:-1\r\n"

  test "the errors of a primary that serves no writes are the server's" do
    for code <- ~w(READONLY LOADING MASTERDOWN) do
      port =
        FakeServer.primary!(fn
          "SET" <> _ -> "-#{code} for a reason\r\n"
          "PSYNC" <> _ -> {:last, "-ERR not now\r\n"}
          "INFO replication" -> FakeServer.bulk(@info)
          "ROLE" -> "*3\r\n$6\r\nmaster\r\n:10\r\n*0\r\n"
          "PING" -> "+PONG\r\n"
          _other -> "+OK\r\n"
        end)

      name = "#{code} #{port}"
      start_supervised!({Veidrodelis, id: name, host: "127.0.0.1", port: port, reconnect_delay_ms: 50})
      handle = :veidrodelis_gleam.named(name)
      assert {:error, {:server_failed, text}} = :veidrodelis_gleam.set(handle, "k", "v", :none)
      assert text == "#{code} for a reason"
    end
  end
end

defmodule Vdr.Live.PevensieResourcesTest do
  # What is left of connections, counted in the whole VM: nothing else may run beside it.
  use Vdr.Test.LiveCase, async: false

  alias Vdr.Test.{Pevensie, Resources}

  live_test "a hundred connections, and as many wrong passwords, leave no process and no socket",
            %{port: port, redis: redis},
            mirror: false do
    options = [host: "127.0.0.1", port: port, username: "me", password: "hunter2", timeout: 5000]
    Redix.command!(redis, ~w(ACL SETUSER me on >hunter2 ~* &* +@all))
    wrong = Keyword.put(options, :password, "hunter3")
    once(options)
    refused(wrong)
    settled = Resources.now()
    mirrors = Veidrodelis.list()

    for _ <- 1..100, do: once(options)
    assert Veidrodelis.list() == mirrors
    same(settled)

    for _ <- 1..100, do: refused(wrong)
    assert Veidrodelis.list() == mirrors
    assert Supervisor.count_children(Vdr.Unlinked).specs == 0
    same(settled)
  end

  defp once(options) do
    {:ok, cache} = Pevensie.connect(Pevensie.by_hand(options))
    {:ok, nil} = Pevensie.set(cache, "t", "k", "v", :none)
    {:ok, "v"} = Pevensie.get(cache, "t", "k")
    {:ok, _} = Pevensie.disconnect(cache)
  end

  defp refused(options),
    do: {:error, {:connect_driver_error, {:start_failed, _}}} = Pevensie.connect(Pevensie.by_hand(options))

  # Threads and sockets end some moments after what they served.
  defp same(settled) do
    Mirror.eventually("as before: #{inspect(settled)}", &Resources.now/0, fn ->
      now = Resources.now()
      now.processes <= settled.processes and now.sockets <= settled.sockets and now.threads <= settled.threads
    end)
  end
end
