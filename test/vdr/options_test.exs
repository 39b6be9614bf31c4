defmodule Vdr.OptionsTest do
  use ExUnit.Case, async: true

  alias Vdr.Options

  defp message(options) do
    Exception.message(assert_raise(ArgumentError, fn -> Options.validate!(options) end))
  end

  test "defaults are those of the documentation" do
    options = Options.validate!(id: :a)
    assert {options.host, options.port, options.reconnect, options.timeout} == {"localhost", 6379, true, 5000}
    assert {options.reconnect_delay_ms, options.max_reconnect_delay_ms, options.ack_interval_ms} == {1000, 30_000, 1000}
    assert Options.password(options) == {:ok, nil}
  end

  test "every option is in the documentation" do
    for name <-
          ~w(id name host port url socket sentinel username password ssl ssl_opts timeout reconnect
                   reconnect_delay_ms max_reconnect_delay_ms ack_interval_ms ack read_timeout stale_reads guard_key only)a do
      assert Options.docs() =~ "`#{inspect(name)}`"
    end
  end

  test "an application with one mirror need not name it" do
    assert Options.validate!([]).id == Veidrodelis
  end

  test "an option that is nil counts as not given" do
    none = [username: nil, password: nil, url: nil, socket: nil, sentinel: nil, host: nil, ssl: nil, guard_key: nil]
    assert inspect(Options.validate!([id: nil] ++ none)) == inspect(Options.validate!([]))
    sentinel = [sentinels: [[host: "s", port: 1]], group: "g", host_map: nil, connect_opts: [username: nil]]
    assert Options.validate!(sentinel: sentinel, host: nil).sentinel.role == :primary
    assert message(sentinel: [sentinels: nil, group: "g"]) =~ "option :sentinels of :sentinel of Veidrodelis is missing"
  end

  test "an empty password is none" do
    for options <- [[password: ""], [url: "redis://:@h"]] do
      assert Options.password(Options.validate!(options)) == {:ok, nil}
    end

    assert message(username: "me", password: "") =~ "option :username of Veidrodelis needs :password beside it"
  end

  test "a misspelt option is told the nearest known name" do
    assert message(id: :a, prot: 1) == "unknown option :prot of Veidrodelis, did you mean :port?"
    assert message(id: :a, qqqqqq: 1) =~ "known are :id,"
  end

  test "a wrong value names the option, what it takes and what it got" do
    assert message(id: :a, port: 70_000) == "option :port of Veidrodelis takes an integer from 1 to 65535, got: 70000"
    assert message(id: :a, port: "6379") =~ ~s(got: "6379")
    assert message(id: :a, host: :h) =~ ":host of Veidrodelis takes a string or charlist"
    assert message(id: :a, reconnect: 1) =~ ":reconnect of Veidrodelis takes true or false"
    assert message(id: :a, reconnect_delay_ms: -1) =~ ":reconnect_delay_ms"
    assert message(id: :a, ack_interval_ms: 0) =~ ":ack_interval_ms"
    assert message(id: :a, name: "x") =~ ":name of Veidrodelis takes an atom"
    assert message(:a) == "Veidrodelis takes a keyword list, got: :a"
  end

  test "the guard key is a name, or none" do
    assert Options.validate!(id: :a).guard_key == "__vdr_tx"
    assert Options.validate!(id: :a, guard_key: "tx").guard_key == "tx"
    assert Options.validate!(id: :a, guard_key: false).guard_key == false
    for wrong <- ["", true, :tx], do: assert(message(id: :a, guard_key: wrong) =~ "or false")
  end

  test "delays must fit together" do
    assert message(id: :a, reconnect_delay_ms: 100, max_reconnect_delay_ms: 50) =~ "at least :reconnect_delay_ms (100)"
    assert message(id: :a, reconnect_delay_ms: 60_000) =~ ":max_reconnect_delay_ms"
  end

  test "a URL stands for host, port, user and password" do
    options = Options.validate!(id: :a, url: "redis://me:p%40ss@example.org:7000")
    assert {options.host, options.port, options.username} == {"example.org", 7000, "me"}
    assert Options.password(options) == {:ok, "p@ss"}

    options = Options.validate!(id: :a, url: "valkey://[::1]")
    assert {options.host, options.port, options.username} == {"::1", 6379, nil}
    assert Options.password(Options.validate!(id: :a, url: "redis://:x@h/")) == {:ok, "x"}
  end

  test "a URL excludes what it stands for" do
    assert message(id: :a, url: "redis://h", host: "h") == "options :url and :host of Veidrodelis exclude each other"
    assert message(id: :a, url: "redis://h", port: 1) =~ ":port"
    assert message(id: :a, url: "redis://:x@h", password: "y") =~ ":password"
  end

  test "a wrong URL is refused without showing its password" do
    for url <-
          ["http://u:secret@h", "redis://u:secret@", "redis://u:secret@h/x", "redis://secret@h", "secret"] ++
            ["redis://u:1#secret@h", "redis://u:1?secret@h", "redis://u:1/secret@h", "redis://:se/secret@h"] ++
            ["redis://:1/2?secret@h", "redis://u:secret@h:0", "redis://secret:@h"] do
      message = message(id: :a, url: url)
      assert message =~ ~r/:url of Veidrodelis takes/
      refute message =~ "secret"
    end
  end

  test "the database and the query of a URL are ignored, since a mirror holds every database" do
    for url <- ["redis://h:7/0", "redis://h:7/15?timeout=5", "redis://u:p@h:7?db=2", "redis://h:7/?x=y"] do
      assert %{host: "h", port: 7} = Options.validate!(url: url)
    end

    assert Options.validate!(url: "unix:///run/a:b?db=2").socket == "/run/a:b"
  end

  test "the documentation says that the database of a URL has no effect, and where it is named instead" do
    line = Options.docs() |> String.split("\n") |> Enum.find(&(&1 =~ "`:url`"))
    assert line =~ "`redis://host:6379/2`) has no effect"
    assert line =~ "`command/3` as the option `:db`"
  end

  test "the database that a URL names can be read from it" do
    assert Options.Url.database("redis://h/2") == 2
    assert Options.Url.database("rediss://u:p%2F3@h:7/15?timeout=5") == 15

    for none <- ["redis://h", "redis://h/", "redis://h:7?db=2", "unix:///2"],
        do: assert(Options.Url.database(none) == nil)
  end

  test "a URL holds nothing that would be dropped in silence" do
    assert message(id: :a, url: "redis://h#b") =~ ":url of Veidrodelis takes no #"
    assert message(id: :a, url: "unix:///run/a#b") =~ ":url of Veidrodelis takes no #"
    assert message(id: :a, url: "redis://h/some/path") =~ "at most the number of a database"

    for address <- ["h:abc", "h:", "u:p@h:6379x", "[::1]:x"] do
      assert message(id: :a, url: "redis://" <> address) =~ ":url of Veidrodelis takes a number as the port"
    end

    for {url, expected} <- [
          {"redis://u:p%23%3F%2F@h", {"h", 6379}},
          {"redis://u:p:q@h:7/", {"h", 7}},
          {"redis://u:p@@[::1]", {"::1", 6379}},
          {"valkey://[::1]:7000", {"::1", 7000}}
        ] do
      options = Options.validate!(id: :a, url: url)
      assert {options.host, options.port} == expected
    end

    assert Options.validate!(id: :a, url: "unix:///run/a:b").socket == "/run/a:b"
  end

  test "any term is an id" do
    for id <- [false, %{}, self()] do
      assert Options.validate!(id: id, name: :registered).id == id
    end
  end

  test "a host is text, also as Erlang writes it, or an address" do
    assert message(id: :a, host: <<255>>) =~ ":host of Veidrodelis takes a string"

    for {host, text} <- [
          {String.to_charlist("h"), "h"},
          {{127, 0, 0, 1}, "127.0.0.1"},
          {{0, 0, 0, 0, 0, 0, 0, 1}, "::1"}
        ] do
      assert Options.validate!(host: host).host == text
      sentinel = [sentinels: [[host: host, port: 1]], group: "g", replica_connect_opts: [host: host]]
      assert %{sentinels: [{^text, 1}], override: {^text, nil}} = Options.validate!(sentinel: sentinel).sentinel
    end

    for wrong <- [{}, {1, 2, 3}, {256, 0, 0, 1}, [], [0], [:a], :h, 5], do: assert(message(host: wrong) =~ ":host")
  end

  test "a username needs a password" do
    assert message(id: :a, username: "me") =~ ":password"
  end

  test "a filter of commands is for handlers, and the message says what there is instead" do
    assert message(id: :a, command_filter: fn -> nil end) =~ ":only"
  end

  test "a replica takes the options of the link, and its own" do
    needed = [callback_module: Vdr.Test.Recorder, callback_opts: %{}]
    options = Options.validate!([url: "redis://:x@h:7000", initial: {"abc", 5, 3}] ++ needed, :handler)
    assert {options.host, options.port, options.callback_module} == {"h", 7000, Vdr.Test.Recorder}
    assert Options.password(options) == {:ok, "x"}
    assert Options.docs(:handler) =~ "`:callback_module` (required)"

    message = fn options ->
      Exception.message(assert_raise(ArgumentError, fn -> Options.validate!(options, :handler) end))
    end

    assert message.(id: :a) =~ "unknown option :id of Vdr.RedisStream.Replica"
    assert message.([]) =~ "option :callback_module of Vdr.RedisStream.Replica is missing"
    assert message.(Keyword.delete(needed, :callback_opts)) =~ ":callback_opts"
    assert message.(callback_module: String, callback_opts: 1) =~ "a module with init/1 and handle_commands/2"
    assert message.([initial: 5] ++ needed) =~ ":initial of Vdr.RedisStream.Replica takes {replication_id, offset}"

    for position <- [{"id", -1}, {"id", 0x7FFFFFFFFFFFFFFF}, {"id", 0, 0x100000000}] do
      assert message.([initial: position] ++ needed) =~ ":initial of Vdr.RedisStream.Replica takes"
    end

    assert message.([command_filter: String] ++ needed) =~
             ":command_filter of Vdr.RedisStream.Replica takes a module with pre_handle/1"

    assert message.([callback_modul: 1] ++ needed) =~ "did you mean :callback_module?"
  end

  test "a part of the data is described by what there is" do
    assert Options.validate!(id: :a, only: [types: [:hash]]).only == %{dbs: nil, prefixes: nil, types: [:hash]}
    assert Options.validate!(id: :a).only == nil
    assert message(id: :a, only: [dbs: [-1]]) =~ "option :dbs of :only of Veidrodelis takes a list"
    assert message(id: :a, only: [dbs: [0, 0x100000000]]) =~ "each element an integer from 0"
    assert message(id: :a, only: [prefixes: "user:"]) =~ ":prefixes of :only of Veidrodelis takes a list"
    assert message(id: :a, only: [prefixes: []]) =~ ":prefixes of :only of Veidrodelis takes a list that is not empty"
    assert message(id: :a, only: [types: [:json]]) =~ "each element :string or :list"

    assert message(id: :a, only: [keys: ["a"]]) =~
             "unknown option :keys of :only of Veidrodelis; known are :dbs, :prefixes, :types"

    assert message(id: :a, only: "user:") =~ "keyword list"
  end

  test "what Sentinel's :replica_connect_opts say holds for the server that is found" do
    sentinel = [
      sentinels: [[host: "s", port: 26_379], [host: "t", port: 1]],
      group: "g",
      connect_opts: [password: "first secret"],
      replica_connect_opts: [username: "u", password: "second secret", timeout: 7, port: 99],
      host_map: %{"a" => "b"}
    ]

    options = Options.validate!(id: :a, sentinel: sentinel)
    assert {options.username, options.timeout} == {"u", 7}
    assert Options.password(options) == {:ok, "second secret"}
    assert Options.password(options.sentinel.connect) == {:ok, "first secret"}
    assert %{sentinels: [{"s", 26_379}, {"t", 1}], role: :primary, group: "g"} = options.sentinel

    assert %{host_map: %{"a" => "b"}, server_host: nil, server_port: 99, access: access, server_access: server} =
             Options.Sentinel.config(options.sentinel, options)

    assert %{timeout_ms: 500, password: true, username: nil, tls: nil} = access
    assert %{timeout_ms: 7, password: true, username: "u", tls: nil} = server
    refute inspect(options) =~ "secret"
    refute inspect(options, structs: false, limit: :infinity) =~ "secret"
  end

  test "a host map is a map or a function, and must give strings" do
    sentinel = &Options.validate!(sentinel: [sentinels: [[host: "s", port: 1]], group: "g", host_map: &1]).sentinel
    map = &Options.Sentinel.map_host(sentinel.(&1), "a")
    assert map.(nil) == {:ok, "a"}
    assert map.(%{"a" => "b"}) == {:ok, "b"}
    assert map.(fn "a" -> "c" end) == {:ok, "c"}

    for wrong <- [%{"a" => :b}, %{"a" => ""}, fn _host -> nil end, fn _host -> raise "no" end, fn _host -> throw(1) end] do
      assert map.(wrong) == {:error, :bad_host_map}
    end

    # The native library knows the whole of a map, and asks a function.
    config = &Options.Sentinel.config(sentinel.(&1), Options.validate!([])).host_map
    assert config.(%{"a" => "b"}) == %{"a" => "b"}
    for asked <- [fn host -> host end, %{"a" => :b}, %{1 => "b"}], do: assert(config.(asked) == nil)
  end

  test "Sentinel's TLS takes the options of the link's" do
    connect = [ssl: true, ssl_opts: [server_name_indication: "name", cacertfile: ~c"ca.pem"]]
    sentinel = [sentinels: [[host: "s", port: 1]], group: "g", connect_opts: connect]
    options = Options.validate!(sentinel: sentinel)

    assert %{verify: :peer, server_name: "name", cacertfile: "ca.pem"} =
             Options.Sentinel.config(options.sentinel, options).access.tls

    wrong = Keyword.put(sentinel, :connect_opts, ssl: true, ssl_opts: [ciphers: []])

    assert message(sentinel: wrong) =~
             "option :ciphers of :ssl_opts of :connect_opts of :sentinel of Veidrodelis is not supported: leave it out"
  end

  test "what examples for other clients have is accepted where it holds anyway, and refused by name elsewhere" do
    https = :public_key.pkix_verify_hostname_match_fun(:https)
    tls = &Options.validate!(ssl: true, ssl_opts: &1).ssl_opts
    assert Options.Tls.config(tls.(depth: 3, customize_hostname_check: [match_fun: https])) == Options.Tls.config([])

    for {wrong, instead} <- [
          {[customize_hostname_check: [match_fun: fn _, _ -> true end]], "pkix_verify_hostname_match_fun(:https)"},
          {[depth: 0], "an integer from 1"},
          {[ciphers: ~c"ALL"], "leave it out"},
          {[cert: "der"], ":certfile"},
          {[key: {:RSAPrivateKey, "sesame"}], ":keyfile"},
          {[password: "sesame"], "without a password"},
          {[verify_fun: {fn _, _, _ -> nil end, nil}], ":cacertfile"},
          {[partial_chain: fn _ -> nil end], ":cacerts"}
        ] do
      message = message(ssl: true, ssl_opts: wrong)
      assert message =~ "option #{inspect(hd(Keyword.keys(wrong)))} of :ssl_opts of Veidrodelis"
      assert message =~ instead
      refute message =~ "sesame"
    end

    refute Options.docs() =~ "ciphers"
    anyway = [:inet6, nodelay: true, keepalive: true]
    assert inspect(Options.validate!(socket_opts: anyway)) == inspect(Options.validate!([]))
    assert message(socket_opts: [:inet]) =~ "option :socket_opts of Veidrodelis takes only [:inet6, "
    sentinel = [sentinels: [[host: "s", port: 1]], group: "g"]
    assert Options.validate!(sentinel: [connect_opts: [socket_opts: anyway]] ++ sentinel).sentinel.group == "g"
    assert message(sentinel: [connect_opts: [socket_opts: [packet: 4]]] ++ sentinel) =~ ":socket_opts of :connect_opts"
  end

  test "the options of TLS are those of Erlang" do
    options = Options.validate!(id: :a, url: "valkeys://h", ssl_opts: [cacertfile: "ca.pem", versions: [:"tlsv1.3"]])
    assert options.ssl

    assert %{verify: :peer, cacertfile: "ca.pem", versions: :tls13, server_name: nil} =
             Options.Tls.config(options.ssl_opts)

    config = &Options.Tls.config(Options.validate!(ssl: true, ssl_opts: &1).ssl_opts)
    assert %{verify: :none} = config.(verify: :verify_none)
    assert %{verify: :chain, server_name: nil} = config.(server_name_indication: :disable)
    assert %{server_name: "other"} = config.(server_name_indication: String.to_charlist("other"))
    assert %{versions: :all} = config.(versions: [:"tlsv1.3", :"tlsv1.2"])
    assert Options.Tls.config([]) == config.([])

    assert message(id: :a, ssl: true, ssl_opts: [verfy: 1]) =~
             "unknown option :verfy of :ssl_opts of Veidrodelis, did you mean :verify?"

    assert message(id: :a, ssl: true, ssl_opts: [verify: true]) =~
             ":verify of :ssl_opts of Veidrodelis takes :verify_peer"

    assert message(id: :a, ssl: true, ssl_opts: [certfile: "a"]) =~
             ":certfile of :ssl_opts of Veidrodelis needs :keyfile"

    assert message(id: :a, ssl: true, ssl_opts: [versions: [:"tlsv1.1"]]) =~ ":versions"
    assert message(id: :a, ssl: true, ssl_opts: [versions: []]) =~ ":versions of :ssl_opts of Veidrodelis takes a list"
    assert message(ssl: true, ssl_opts: [cacertfile: "a", cacerts: ["b"]]) =~ "exclude each other"
    refute message(id: :a, ssl: true, ssl_opts: [keyfile: {:secret, 1}]) =~ "{:secret"

    assert message(id: :a, ssl_opts: [verify: :verify_none]) ==
             "option :ssl_opts of Veidrodelis needs ssl: true beside it"
  end

  test "a Unix socket stands for host and port" do
    assert Options.validate!(id: :a, socket: "/run/redis.sock").socket == "/run/redis.sock"
    options = Options.validate!(id: :a, url: "unix://:x@/run/my%20redis.sock")
    assert options.socket == "/run/my redis.sock"
    assert Options.password(options) == {:ok, "x"}
    assert message(id: :a, socket: "/s", port: 1) == "options :socket and :port of Veidrodelis exclude each other"
    assert message(id: :a, url: "unix://host/s") =~ ":url of Veidrodelis takes only a path"
    assert message(id: :a, url: "unix://") =~ ":url of Veidrodelis takes the path of a socket"
  end

  test "stale reads and acknowledgements take their words" do
    assert message(id: :a, stale_reads: :never) =~ ":stale_reads of Veidrodelis takes :allow, {:max_ms, n} or :deny"
    assert message(id: :a, stale_reads: {:max_ms, 0}) =~ ":stale_reads"
    assert message(id: :a, ack: :never) =~ ":ack of Veidrodelis takes :truthful or :lagging"
    assert message(id: :a, sync_by: :disc) =~ ":sync_by of Veidrodelis takes :auto or :disk or :socket"
    assert message(id: :a, read_timeout: 0) =~ ":read_timeout"

    assert Enum.map([:allow, {:max_ms, 5}, :deny], &Options.stale_ms(Options.validate!(id: :a, stale_reads: &1))) ==
             [nil, 5, 0]
  end

  test "the options of Sentinel are checked one by one" do
    sentinel = [sentinels: [[host: "s", port: 26_379]], group: "g"]
    assert message(id: :a, sentinel: []) =~ "option :sentinels of :sentinel of Veidrodelis is missing"

    assert message(id: :a, sentinel: Keyword.delete(sentinel, :group)) =~
             "option :group of :sentinel of Veidrodelis is missing"

    for sentinels <- [[], [[host: "", port: 1]], [[host: <<255>>, port: 1]], [[host: "h", port: 0]]] do
      assert message(id: :a, sentinel: [sentinels: sentinels, group: "g"]) =~ ":sentinels of :sentinel of Veidrodelis"
    end

    assert message(id: :a, sentinel: [role: :master] ++ sentinel) =~
             ":role of :sentinel of Veidrodelis takes :primary or :replica"

    assert message(id: :a, sentinel: [nodes: []] ++ sentinel) =~ "unknown option :nodes of :sentinel of Veidrodelis"

    assert message(id: :a, sentinel: sentinel, host: "h") ==
             "options :sentinel and :host of Veidrodelis exclude each other"

    assert message(sentinel: sentinel, ssl_opts: []) ==
             "options :sentinel and :ssl_opts of Veidrodelis exclude each other"

    assert message(id: :a, sentinel: [connect_opts: [timeut: 1]] ++ sentinel) =~
             "unknown option :timeut of :connect_opts of :sentinel of Veidrodelis, did you mean :timeout?"

    assert message(id: :a, sentinel: [replica_connect_opts: [port: 0]] ++ sentinel) =~ ":port of :replica_connect_opts"
    assert message(id: :a, sentinel: [connect_opts: [username: "u"]] ++ sentinel) =~ "needs :password"
    secret = message(id: :a, sentinel: [connect_opts: "secret"] ++ sentinel)
    assert secret =~ ":connect_opts"
    refute secret =~ "secret\""
  end

  test "inspected options show the server and what is not a default" do
    shown = inspect(Options.validate!(id: :a, port: 7000, password: "secret", ack: :lagging))
    assert shown == ~s(#Vdr.Options<[id: :a, host: "localhost", port: 7000, ack: :lagging]>)
  end

  describe "a password" do
    def broken, do: raise("secret in hand")
    def from_vault(name), do: "from " <> name

    test "is in no inspect, however deep" do
      options = Options.validate!(id: :a, username: "u", password: "secret")
      refute inspect(options) =~ "secret"
      refute inspect(options, structs: false, limit: :infinity) =~ "secret"
      refute inspect(Veidrodelis.child_spec(id: :a, password: "secret"), structs: false, limit: :infinity) =~ "secret"
      refute to_string(:io_lib.format("~p", [options])) =~ "secret"
    end

    test "may be had from a function at each attempt" do
      options = Options.validate!(id: :a, password: {__MODULE__, :from_vault, ["vault"]})
      assert Options.password(options) == {:ok, "from vault"}
    end

    test "from a function that fails is an error that shows nothing" do
      options = Options.validate!(id: :a, password: {__MODULE__, :broken, []})
      assert Options.password(options) == {:error, :bad_password_function}
    end

    test "of a wrong kind is not shown" do
      message = message(id: :a, password: String.to_charlist("secret"))
      assert message =~ ":password of Veidrodelis takes a string"
      refute message =~ "secret"
    end
  end
end
