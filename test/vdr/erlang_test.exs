defmodule Vdr.ErlangTest do
  # The module `veidrodelis`: it has what `Veidrodelis` has, and takes options as Erlang writes
  # them.
  use ExUnit.Case, async: true

  # Functions of the facade that Erlang has under another name.
  @renamed [ready?: 0, ready?: 1, stream_keys: 2, stream_keys: 3, diff: 3]

  test "every function of the facade is there, except twins that raise and old names" do
    {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(Veidrodelis)
    deprecated = for {{:function, name, arity}, _, _, _, %{deprecated: _}} <- docs, do: {name, arity}
    ours = :veidrodelis.module_info(:exports)

    missing =
      for {name, arity} <- Veidrodelis.__info__(:functions),
          not String.ends_with?(to_string(name), "!"),
          {name, arity} not in deprecated and {name, arity} not in @renamed and {name, arity} not in ours,
          do: {name, arity}

    assert missing == []
    assert {:is_ready, 1} in ours and {:fold_keys, 5} in ours and {:fold_diff, 5} in ours
  end

  test "reads answer as those of Elixir, from the rows" do
    {:ok, snapshot} = :veidrodelis.from_commands([[~c"SET", ~c"k", ~c"v"], [~c"ZADD", ~c"z", 1, ~c"a", 2, ~c"b"]])
    assert :veidrodelis.get(snapshot, 0, "k") == {:ok, "v"}
    assert :veidrodelis.get(snapshot, 0, "none") == {:ok, nil}
    assert :veidrodelis.zrange(snapshot, 0, "z", 0, -1) == {:ok, [{"a", 1.0}, {"b", 2.0}]}
    assert :veidrodelis.zrange(snapshot, 0, "z", 0, -1, with_scores: false) == {:ok, ["a", "b"]}
    assert :veidrodelis.read_tx(snapshot, 0, get: "k", zcard: "z") == {:ok, [ok: "v", ok: 2]}
    assert :veidrodelis.read_tx(snapshot, 0, ~c"return ts.get('k')") == {:ok, "v"}
    assert :veidrodelis.read_tx(snapshot, 0, []) == {:ok, []}
    assert :veidrodelis.read_tx(snapshot, 0, ~c"return KEYS[1]", keys: [~c"k"], timeout: :undefined) == {:ok, "k"}
    {:ok, script} = :veidrodelis.lua_load(snapshot, ~c"return 7")
    assert :veidrodelis.read_tx(snapshot, 0, script) == {:ok, 7}
    assert :veidrodelis.fold_keys(&[&1 | &2], [], snapshot, 0) == ["z", "k"]
    assert :veidrodelis.fold_keys(&[&1 | &2], [], snapshot, 0, %{type: :zset}) == ["z"]
    {:ok, other} = :veidrodelis.from_commands([["SET", "k", "w"], ["ZADD", "z", "1", "a", "2", "b"]])
    assert :veidrodelis.fold_diff(&[&1 | &2], [], snapshot, other, 0) == [changed: "k"]
    assert :veidrodelis.snapshot_offset(snapshot) == 0
    assert {:ok, _snapshot} = :veidrodelis.load_rdb(~c"test/fixtures/small.rdb")
    assert :veidrodelis.from_commands([["NO"]]) == {:error, {:bad_command, 0}}
    assert_raise ArgumentError, ~r/takes/, fn -> :veidrodelis.get(snapshot, 0, ~c"k") end
    assert_raise ArgumentError, ~r/list of commands/, fn -> :veidrodelis.from_commands([:a | :b]) end
  end

  defp options(given) do
    %{start: {_module, _function, [options]}} = :veidrodelis.child_spec(given)
    options
  end

  test "options are lists as Erlang writes them" do
    assert %{id: :veidrodelis, host: "db", port: 1} = options(host: ~c"db", port: 1)
    assert %{id: :m, host: "127.0.0.1"} = options(host: {127, 0, 0, 1}, id: :m)
    assert %{host: "::1"} = options(%{host: {0, 0, 0, 0, 0, 0, 0, 1}})
    assert %{host: "db", port: 7, username: "u"} = options(~c"redis://u:p@db:7")
    assert %{host: "db", id: :m} = options({~c"redis://db", [id: :m]})
    assert %{host: "localhost", username: nil} = options(username: :undefined, password: :undefined)
    assert %{ssl: true, ssl_opts: ssl} = options([:ssl, ssl_opts: [verify: :verify_none, cacertfile: ~c"ca.pem"]])
    assert ssl[:cacertfile] == "ca.pem" and ssl[:verify] == :verify_none
    assert %{only: %{prefixes: ["user:", "ž"], dbs: [0]}} = options(only: [prefixes: [~c"user:", ~c"ž"], dbs: [0]])
    assert %{guard_key: "guard"} = options(guard_key: ~c"guard")
    assert %{socket: "/run/redis"} = options(socket: ~c"/run/redis")

    sentinel = [sentinels: [[host: ~c"s1", port: 26_379]], group: ~c"shop", host_map: %{~c"10.0.0.1" => ~c"db"}]

    assert %{sentinel: %{sentinels: [{"s1", 26_379}], group: "shop", host_map: %{"10.0.0.1" => "db"}}} =
             options(sentinel: sentinel)
  end

  test "what is no option is refused by its name, and a password stays secret" do
    for {given, message} <- [
          {[prot: 1], ~r/unknown option :prot of Veidrodelis, did you mean :port\?/},
          {[{~c"host", ~c"h"}], ~r/takes a keyword list/},
          {[{:host, ~c"h"} | :port], ~r/takes a keyword list/},
          {[host: []], ~r/:host of Veidrodelis takes/},
          {[host: [0x110000]], ~r/:host of Veidrodelis takes/},
          {[host: [~c"h" | ~c"p"]], ~r/:host of Veidrodelis takes/},
          {[:tls], ~r/unknown option :tls/},
          {[:password], ~r/:password of Veidrodelis takes/},
          {:options, ~r/takes a keyword list/},
          {[password: [~c"secret", :x]], ~r/:password of Veidrodelis takes .* got: a list$/},
          {[only: [prefixes: ~c"user:"]], ~r/:prefixes of :only/}
        ] do
      assert_raise ArgumentError, message, fn -> :veidrodelis.child_spec(given) end
    end

    spec = :veidrodelis.child_spec(host: ~c"h", username: ~c"u", password: ~c"hunter2")
    refute inspect(spec, structs: false) =~ "hunter2"
    assert Vdr.Options.password(options(host: ~c"h", password: ~c"hunter2")) == {:ok, "hunter2"}
  end

  test "options of watches are written as Erlang writes them" do
    id = Veidrodelis.Testing.start_supervised!()
    assert :veidrodelis.watch(id, 0, "k", :ref, [:ack, to: :undefined]) == :ok
    assert :veidrodelis.ack(id, 1, %{to: self()}) == :ok
    assert :veidrodelis.unwatch(id, 0, "k", %{to: self()}) == :ok
    assert :veidrodelis.watch_prefix(id, 0, "k", :ref, %{notify: :key}) == :ok
    assert :veidrodelis.unwatch_prefix(id, 0, "k", %{}) == :ok
    assert :veidrodelis.watch_pattern(id, 0, "k*", :ref, %{max_pending: 5}) == :ok
    assert :veidrodelis.unwatch_pattern(id, 0, "k*", to: :undefined) == :ok
  end

  test "watch events are told apart" do
    assert :veidrodelis.event_type(%Vdr.WatchEvent.Init{offset: 1}) == :init
    update = %Vdr.WatchEvent.Update{command: {:del, ["k"]}, db: 0, key: "k", offset: 1}
    assert :veidrodelis.event_type(update) == :update
  end

  test "without an instance the id is veidrodelis" do
    assert :veidrodelis.info() == {:error, :no_instance}
    assert :veidrodelis.is_ready() == false
    assert :veidrodelis.await_ready() == {:error, :no_instance}
    assert :veidrodelis.snapshot() == {:error, :no_instance}
    assert :veidrodelis.connected_to() == {:error, :no_instance}
    assert :veidrodelis.replication_state() == {:error, :no_instance}
    assert :veidrodelis.stop(:veidrodelis) == :ok
    start_supervised!(:veidrodelis.child_spec(port: Vdr.Test.Server.free_port(), log: false))
    assert %{ready: false} = :veidrodelis.info()
    assert :veidrodelis.info(:veidrodelis, :ready) == false
    assert :veidrodelis in :veidrodelis.list()
    assert :veidrodelis.await_ready(:veidrodelis, 1) == {:error, :timeout}
    assert :ok = :veidrodelis.subscribe()
    assert :ok = :veidrodelis.unsubscribe()
  end
end
