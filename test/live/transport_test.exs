defmodule Vdr.Live.TransportTest do
  # TLS and Unix sockets by the options that users write.
  use Vdr.Test.LiveCase, async: true

  alias Vdr.RedisStream.Replica
  alias Vdr.Test.{Recorder, Sentinels, Tls}

  defp mirror!(options) do
    id = {:transport, System.unique_integer([:positive])}
    start_supervised!({Veidrodelis, [id: id] ++ options})
    id
  end

  # A handler by the same options: what it is told of is the server's data, and then its writes.
  defp assert_handled(redis, key, options) do
    own = [callback_module: Recorder, callback_opts: %{to: self()}]
    replica = start_supervised!({Replica, options ++ own}, id: make_ref())
    [value] = Redix.pipeline!(redis, [["GET", key]])
    assert {:set, key, value} in Recorder.tuples_until(replica, ["SET", key, value])
    Recorder.await!(replica, :streaming_start)
    written = Integer.to_string(System.unique_integer())
    Redix.command!(redis, ["SET", "handled", written])
    assert {:set, "handled", written} in Recorder.tuples_until(replica, ["SET", "handled", written])
    replica
  end

  for binary <- Server.available() do
    @tag binary_of_tls: binary
    test "#{binary.name}: TLS verifies the server, and a client certificate is shown", %{binary_of_tls: binary} do
      files = Tls.certificates!()
      {server, port} = Tls.server!(binary, files, "yes")
      redis = Server.connect!(server)
      Redix.command!(redis, ["SET", "k", "secret"])
      own = [certfile: files.client.cert, keyfile: String.to_charlist(files.client.key)]
      trusted = [cacertfile: files.client.ca] ++ own

      id = mirror!(url: "rediss://localhost:#{port}", ssl_opts: trusted)
      assert Veidrodelis.await_ready(id, 20_000) == :ok
      assert Veidrodelis.get(id, 0, "k") == {:ok, "secret"}
      Mirror.settle(id, redis)
      assert_handled(redis, "k", url: "rediss://localhost:#{port}", ssl_opts: trusted)
      assert_handled(redis, "k", host: "localhost", port: port, ssl: true, ssl_opts: trusted)

      id = mirror!(host: "localhost", port: port, ssl: true, ssl_opts: own)
      assert Veidrodelis.await_ready(id, 20_000) in [{:error, :tls_unknown_ca}, {:error, :tls_no_system_roots}]

      id = mirror!(host: "127.0.0.1", port: port, ssl: true, ssl_opts: trusted)
      assert Veidrodelis.await_ready(id, 20_000) == {:error, :tls_wrong_name}

      id = mirror!(host: "127.0.0.1", port: port, ssl: true, ssl_opts: [server_name_indication: :disable] ++ trusted)
      assert Veidrodelis.await_ready(id, 20_000) == :ok

      id = mirror!(host: "127.0.0.1", port: port, ssl: true, ssl_opts: [verify: :verify_none] ++ own)
      assert Veidrodelis.await_ready(id, 20_000) == :ok

      id = mirror!(host: "localhost", port: port, ssl: true, ssl_opts: [cacertfile: files.client.ca])
      assert Veidrodelis.await_ready(id, 20_000) == {:error, :tls_client_certificate_required}

      id = mirror!(host: "localhost", port: port, ssl: true, ssl_opts: [cacertfile: files.client.ca <> ".gone"])
      assert Veidrodelis.await_ready(id, 20_000) == {:error, :tls_bad_config}
    end

    @tag binary_of_tls: binary
    test "#{binary.name}: a Sentinel is reached over TLS by the same options", %{binary_of_tls: binary} do
      files = Tls.certificates!()
      {server, tls_port} = Tls.server!(binary, files, "yes")
      Redix.command!(Server.connect!(server), ["SET", "k", "found"])
      sentinel_port = Server.free_port()

      Sentinels.sentinel!(binary, Server.port(server), """
      tls-port #{sentinel_port}
      tls-cert-file #{files.server.cert}
      tls-key-file #{files.server.key}
      tls-ca-cert-file #{files.server.ca}
      """)

      tls = [cacertfile: files.client.ca, certfile: files.client.cert, keyfile: files.client.key]

      sentinel = fn host, ssl_opts ->
        [
          sentinels: [[host: host, port: sentinel_port]],
          group: Sentinels.group(),
          connect_opts: [timeout: 5000, ssl: true, ssl_opts: ssl_opts],
          replica_connect_opts: [host: "localhost", port: tls_port, ssl: true, ssl_opts: tls]
        ]
      end

      id = mirror!(sentinel: sentinel.("localhost", tls))
      assert Veidrodelis.await_ready(id, 20_000) == :ok
      assert Veidrodelis.get(id, 0, "k") == {:ok, "found"}
      id = mirror!(sentinel: sentinel.("127.0.0.1", tls ++ [server_name_indication: "localhost"]))
      assert Veidrodelis.await_ready(id, 20_000) == :ok

      for {host, ssl_opts, code} <- [
            {"127.0.0.1", tls, "tls_wrong_name"},
            {"localhost", Keyword.delete(tls, :cacertfile), ~r/tls_unknown_ca|tls_no_system_roots/}
          ] do
        id = mirror!(sentinel: sentinel.(host, ssl_opts))

        Mirror.eventually("the reason is known", fn ->
          match?({:no_sentinel_reachable, _detail}, Veidrodelis.info(id).last_error)
        end)

        assert elem(Veidrodelis.info(id).last_error, 1) =~ code
      end
    end
  end

  live_test "a URL says it all", %{port: port, redis: redis}, mirror: false do
    Redix.pipeline!(redis, [
      ["ACL", "SETUSER", "me", "on", ">pass:w/rd", "+psync", "+replconf", "+ping"],
      ["SET", "k", 1]
    ])

    assert_handled(redis, "k", url: "redis://127.0.0.1:#{port}")
    assert_handled(redis, "k", url: "valkey://me:pass%3Aw%2Frd@127.0.0.1:#{port}")
  end

  live_test "a Unix socket is followed", %{server: server}, mirror: false do
    path = Path.join(Server.info(server).dir, "redis.sock")
    server = Server.start!(binary: Server.info(server).binary, config: [{"unixsocket", path}])
    redis = Server.connect!(server)
    Redix.command!(redis, ["SET", "k", "through the socket"])

    for options <- [[socket: path], [url: "unix://" <> path]] do
      id = mirror!(options)
      assert Veidrodelis.await_ready(id, 20_000) == :ok
      Mirror.settle(id, redis)
      assert Veidrodelis.get(id, 0, "k") == {:ok, "through the socket"}
      assert Veidrodelis.connected_to(id) == {:ok, {path, 0}}
      replica = assert_handled(redis, "k", options)
      assert Replica.connected_to(replica) == {:ok, {path, 0}}
    end

    id = mirror!(socket: path <> ".none", reconnect: false)
    assert Veidrodelis.await_ready(id, 20_000) == {:error, :socket_not_found}
  end
end
