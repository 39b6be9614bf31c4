defmodule Vdr.Live.WritesBadInputTest do
  # Servers that answer what no healthy server answers, and callers that ask for what makes no
  # sense.
  use ExUnit.Case, async: true

  alias Vdr.Test.{FakeServer, Mirror}
  alias Veidrodelis.ServerError

  @moduletag capture_log: true
  @id String.duplicate("b", 40)
  @info "role:master\r\nmaster_replid:#{@id}\r\nmaster_replid2:#{String.duplicate("0", 40)}\r\n" <>
          "master_repl_offset:10\r\nsecond_repl_offset:-1\r\n"
  @role "*3\r\n$6\r\nmaster\r\n:10\r\n*0\r\n"

  # A primary that refuses the link and answers commands by a function.
  defp start!(reply, opts \\ []) do
    port =
      FakeServer.primary!(fn
        "PSYNC" <> _ -> {:last, "-ERR not now\r\n"}
        "INFO replication" -> FakeServer.bulk(@info)
        "ROLE" -> @role
        "INFO" <> _ -> FakeServer.bulk("redis_version:7.0.0\r\n")
        "PING" -> "+PONG\r\n"
        "REPLCONF" <> _ -> "+OK\r\n"
        command -> reply.(command)
      end)

    id = {:bad_input, System.unique_integer([:positive])}
    start_supervised!({Veidrodelis, [id: id, host: "127.0.0.1", port: port, reconnect_delay_ms: 50] ++ opts})
    id
  end

  test "a reply that is none ends the connection with an error that names it" do
    nested = String.duplicate("*1\r\n", 1000) <> ":1\r\n"

    for {bytes, code} <- [
          {"HTTP/1.1 400 Bad Request\r\n", :bad_reply},
          {"*9223372036854775808\r\n", :reply_too_many_elements},
          {"*9223372036854775807\r\n", :reply_too_many_elements},
          {"$9223372036854775807\r\n", :reply_too_long},
          {nested, :reply_too_deep},
          {":12x\r\n", :bad_reply},
          {"+OK\r\n+OK\r\n", nil}
        ] do
      id = start!(fn _command -> bytes end)
      answer = Veidrodelis.command(id, ["SET", "k", 1], sync: false)
      if code, do: assert(answer == {:error, {:sent, code}}), else: assert(answer == {:ok, "OK"})
      assert Veidrodelis.info(id, :writes) in [:down, :ready]
    end
  end

  test "a server that hangs up leaves the fate of a write unknown" do
    id = start!(fn "SET k 1" -> {:last, ""} end)
    assert Veidrodelis.command(id, ["SET", "k", 1], sync: false) == {:error, {:sent, :closed}}
  end

  test "errors of a server that cannot serve are data" do
    for code <- ~w(LOADING READONLY MASTERDOWN CROSSSLOT MOVED CLUSTERDOWN) do
      id = start!(fn "SET" <> _ -> "-#{code} for a reason\r\n" end)
      assert {:error, %ServerError{code: ^code}} = Veidrodelis.command(id, ["SET", "k", 1])
    end
  end

  test "a write that is acknowledged is not visible while the link is down" do
    id = start!(fn "SET" <> _ -> "+OK\r\n" end)
    assert Veidrodelis.command(id, ["SET", "k", 1], timeout: 200) == {:error, {:written, :not_visible}}
    Mirror.eventually("nobody waits", fn -> Veidrodelis.info(id, :waiting) == 0 end)
  end

  test "a wrong password is told at once" do
    port =
      FakeServer.primary!(fn
        "AUTH" <> _ -> "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
        _other -> "-NOAUTH Authentication required.\r\n"
      end)

    id = {:bad_input, System.unique_integer([:positive])}
    start_supervised!({Veidrodelis, id: id, host: "127.0.0.1", port: port, password: "hunter2"})
    assert Veidrodelis.command(id, ["SET", "k", 1]) == {:error, :wrong_password}
    assert Veidrodelis.sync(id) == {:error, :wrong_password}
    refute inspect(Veidrodelis.info(id)) =~ "hunter2"
  end

  test "replicas that name each other as primary have none" do
    id =
      start_chain!(fn port ->
        "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:#{port}\r\n$9\r\nconnected\r\n:1\r\n"
      end)

    assert Veidrodelis.command(id, ["SET", "k", 1], timeout: 500) == {:error, :no_primary}
  end

  defp start_chain!(role) do
    test = self()

    port =
      FakeServer.primary!(fn
        "ROLE" -> role.(:persistent_term.get({__MODULE__, test}))
        "INFO replication" -> "-NOPERM no\r\n"
        "PSYNC" <> _ -> {:last, "-ERR not now\r\n"}
        "INFO" <> _ -> "-NOPERM no\r\n"
        _other -> "+OK\r\n"
      end)

    :persistent_term.put({__MODULE__, test}, port)
    on_exit(fn -> :persistent_term.erase({__MODULE__, test}) end)
    id = {:bad_input, System.unique_integer([:positive])}
    start_supervised!({Veidrodelis, id: id, host: "127.0.0.1", port: port, reconnect_delay_ms: 50})
    id
  end

  test "wrong arguments raise, and show no value" do
    for wrong <- [[], "SET a 1", ["SET" | "a"], ["SET", nil], ["SET", {1, 2}], [["SET"]], :set] do
      error = assert_raise ArgumentError, fn -> Veidrodelis.command(:none, wrong) end
      assert error.message =~ "Veidrodelis.command takes a command"
      assert_raise ArgumentError, fn -> Veidrodelis.pipeline(:none, [wrong]) end
    end

    assert_raise ArgumentError, ~r/list of commands/, fn -> Veidrodelis.pipeline(:none, ["SET"]) end
    assert_raise ArgumentError, ~r/list of commands/, fn -> Veidrodelis.transaction(:none, [["SET"] | ["GET"]]) end
    assert_raise ArgumentError, ~r/:timeout/, fn -> Veidrodelis.command(:none, ["GET", "k"], timeout: -1) end
    assert_raise ArgumentError, ~r/did you mean :timeout/, fn -> Veidrodelis.command(:none, ["GET"], timout: 1) end
    assert_raise ArgumentError, fn -> Veidrodelis.sync(:none, :soon) end

    for wrong <- [nil, {"a", -1}, {:a, 1}, {"a", 1.0}, {<<255>>, 1}, "a:1"] do
      assert_raise ArgumentError, ~r/position/, fn -> Veidrodelis.await_position(:none, wrong) end
    end

    assert Veidrodelis.command(:none, ["GET", "k"]) == {:error, :no_instance}
    {:ok, snapshot} = Vdr.Snapshot.from_commands([["SET", "a", "1"]])
    assert_raise ArgumentError, ~r/not a snapshot/, fn -> Veidrodelis.command(snapshot, ["GET", "a"]) end
  end
end
