defmodule Vdr.Live.ServerTest do
  # Tests the tests' own tools: a server that is left running, or a comparison that sees nothing,
  # would make all other tests worthless.
  use Vdr.Test.LiveCase, async: true

  live_test "a server ends with the process that started it", _context, mirror: false do
    test = self()

    owner =
      spawn(fn ->
        {:ok, server} = Server.start_link()
        send(test, {:server, Server.info(server)})
        Process.sleep(:infinity)
      end)

    assert_receive {:server, %{pid: pid}}, 20_000
    assert alive?(pid)
    Process.exit(owner, :kill)
    Mirror.eventually("the server is gone", fn -> not alive?(pid) end)
  end

  live_test "a paused server answers again when it is resumed", %{server: server, redis: redis}, mirror: false do
    Server.pause(server)
    asked = Task.async(fn -> Redix.command!(redis, ["PING"]) end)
    assert Task.yield(asked, 100) == nil
    Server.resume(server)
    assert Task.await(asked) == "PONG"
  end

  live_test "the comparison sees a value, a time and a key that differ", %{redis: redis, id: id, server: server} do
    Redix.pipeline!(redis, [["SET", "k", 1], ["RPUSH", "l", 1, 2]])
    assert Compare.assert_equal(redis, id, [0]) == 3

    # Another server, which the mirror does not follow.
    other = Server.connect!(Server.start!(binary: Server.info(server).binary))
    follow = fn commands -> Redix.pipeline!(other, [["FLUSHALL"] | commands]) end

    same = [
      ["SET", "k", 1],
      ["RPUSH", "l", 1, 2],
      ["SET", "vdr:settled", Redix.command!(redis, ["GET", "vdr:settled"])]
    ]

    follow.(same)
    assert Compare.first_difference(other, id, 0) == nil

    follow.(same ++ [["SET", "k", 2]])
    assert {"k", _there, _here} = Compare.first_difference(other, id, 0)

    follow.(same ++ [["PEXPIREAT", "l", 9_999_999_999_999]])
    assert {"l", _there, _here} = Compare.first_difference(other, id, 0)

    follow.(same ++ [["SET", "one more", 1]])
    assert {"one more", _there, {nil, nil, nil}} = Compare.first_difference(other, id, 0)

    follow.(tl(same))
    assert {"k", {nil, nil, nil}, _here} = Compare.first_difference(other, id, 0)
  end

  defp alive?(pid), do: match?({_out, 0}, System.cmd("/bin/sh", ["-c", "kill -0 #{pid}"], stderr_to_stdout: true))
end
