defmodule Vdr.WebTest do
  # The page: what it answers, to whom, and how much. test/live/browser_test.exs looks at it with a
  # browser.
  use ExUnit.Case, async: true

  alias Vdr.Test.{Http, Mirror}
  alias Veidrodelis.{Testing, Web}

  @moduletag capture_log: true

  setup context do
    garbage = <<0, 255, "<script>alert(1)</script>">>

    data = [
      ["SET", "text", "<b>bold</b>\e[2J"],
      ["SET", garbage, "v"],
      ["SET", "long", String.duplicate("x", 10_000)],
      ["RPUSH", "list" | Enum.map(1..300, &to_string/1)],
      ["SADD", "set", "b", "a"],
      ["HSET", "hash", "f", String.duplicate("y", 1000)],
      ["ZADD", "zset", "1.5", "m", "inf", "n"],
      ["XADD", "stream", "1-1", "f", "v"],
      ["SET", "volatile", "v", "EX", 100]
    ]

    id = Testing.start_supervised!(data: data)
    options = Map.get(context, :web, [])
    pid = start_supervised!({Web, [port: 0, ids: [id]] ++ options})
    %{id: id, port: Web.port(pid), pid: pid, garbage: garbage}
  end

  defp get(port, path, headers \\ ["Host: localhost:1"]) do
    answer =
      Http.raw(port, "GET #{path} HTTP/1.1\r\n#{Enum.map_join(headers, &(&1 <> "\r\n"))}Connection: close\r\n\r\n")

    [head, body] = String.split(answer, "\r\n\r\n", parts: 2)
    [_, status] = Regex.run(~r/^HTTP\/1\.1 (\d+)/, head)
    {String.to_integer(status), String.downcase(head), body}
  end

  # The answers are read as terms of Elixir: the tests have no JSON library.
  defp json(body) do
    text = body |> String.replace("null", "nil") |> String.replace(~r/"(\w+)":/, "\\1: ") |> String.replace("{", "%{")
    {term, _binding} = Code.eval_string(String.replace(text, "\#{", "\\\#{"))
    term
  end

  defp instance(port) do
    {200, _head, body} = get(port, "/api/instances")
    %{instances: [%{id: number}]} = json(body)
    number
  end

  test "the page and its files come from this host only, and forbid any other", %{port: port} do
    {200, head, page} = get(port, "/")
    assert head =~ "content-type: text/html; charset=utf-8"
    assert head =~ "content-security-policy: default-src 'none'; script-src 'self'"
    assert head =~ "x-content-type-options: nosniff"
    {200, script_head, script} = get(port, "/app.js")
    assert script_head =~ "text/javascript"
    {200, _head, style} = get(port, "/app.css")

    for text <- [page, script, style] do
      assert Regex.scan(~r{(?:https?:)?//[a-z][\w.-]+}, text) -- [["http://www.w3.org"]] == []
    end

    # Nothing from the server becomes HTML.
    refute script =~ ~r/innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(/
  end

  test "an overview has the numbers of an instance", %{port: port} do
    {200, _head, body} = get(port, "/api/overview?id=#{instance(port)}")
    overview = json(body)

    assert %{state: "streaming", ready: true, keys: 9, primary: "primary-1.test:6379", databases: [%{db: 0, keys: 9}]} =
             overview

    assert Enum.find(overview.types, &(&1.name == "string")).keys == 4
  end

  test "keys are found by their beginning, with type, expiry and size, whatever they consist of", %{port: port} do
    number = instance(port)
    {200, _head, body} = get(port, "/api/keys?id=#{number}&db=0")
    assert %{keys: keys, next: nil} = json(body)
    assert length(keys) == 9
    assert %{type: "list", size: 300, ttl_ms: nil} = Enum.find(keys, &(&1.key == "list"))
    assert Enum.find(keys, &(&1.key == "volatile")).ttl_ms in 90_000..100_000
    refute body =~ "<script"

    {200, _head, body} = get(port, "/api/keys?id=#{number}&db=0&prefix=l")
    assert json(body).keys |> Enum.map(& &1.key) |> Enum.sort() == ["list", "long"]
    # A prefix is no pattern.
    {200, _head, body} = get(port, "/api/keys?id=#{number}&db=0&prefix=*")
    assert json(body).keys == []
    {200, _head, body} = get(port, "/api/keys?id=#{number}&db=0&prefix=%5Ba-z%5D")
    assert json(body).keys == []
  end

  test "values are shown in part, as text", %{port: port, garbage: garbage} do
    number = instance(port)

    value = fn key ->
      {200, _head, body} = get(port, "/api/value?id=#{number}&db=0&key=#{Vdr.Web.Keys.link(key)}")
      assert byte_size(body) < 50_000
      json(body)
    end

    assert %{type: "string", preview: [text], cut: false} = value.("text")
    assert text == "\"<b>bold</b>\\e[2J\""
    assert %{preview: [long], cut: true, size: 10_000} = value.("long")
    assert byte_size(long) == 4096
    assert %{preview: elements, cut: true, size: 300} = value.("list")
    assert length(elements) == 100
    assert %{preview: ["a", "b"]} = value.("set")
    assert %{preview: ["f  yyy" <> field]} = value.("hash")
    assert byte_size(field) < 210
    assert %{preview: ["1.5  m", "pos_inf  n"]} = value.("zset")
    assert %{preview: ["1-1  f  v"]} = value.("stream")
    assert %{preview: ["v"]} = value.(garbage)
    assert %{type: nil, preview: []} = value.("gone")
  end

  @tag web: [values: false]
  test "values can be hidden", %{port: port} do
    number = instance(port)
    {200, _head, body} = get(port, "/api/value?id=#{number}&db=0&key=#{Vdr.Web.Keys.link("text")}")
    assert %{type: "string", preview: nil} = json(body)
    refute body =~ "bold"
    {200, _head, body} = get(port, "/api/instances")
    assert %{values: false} = json(body)
  end

  test "a request for another host, from another site or with another method is refused", %{port: port} do
    for headers <- [
          ["Host: evil.example"],
          ["Host: localhost.evil.example:#{port}"],
          ["Host: 127.0.0.1.evil.example"],
          ["Host: localhost", "Sec-Fetch-Site: cross-site"]
        ] do
      assert {403, _head, body} = get(port, "/api/instances", headers)
      refute body =~ "Testing"
    end

    for host <- ["localhost", "LOCALHOST:#{port}", "127.0.0.1:#{port}", "[::1]:#{port}"] do
      assert {200, _head, _body} = get(port, "/", ["Host: #{host}"])
    end

    for method <- ~w(POST PUT DELETE OPTIONS) do
      answer =
        Http.raw(port, "#{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

      assert answer =~ ~r/^HTTP\/1\.1 (405|501)/
    end
  end

  test "nothing outside of the page can be reached", %{port: port} do
    for path <-
          ~w(/../etc/passwd /%2e%2e/%2e%2e/etc/passwd /app.js/../../mix.exs //etc/passwd /.git/config /index.html /api /api/none) do
      {status, _head, body} = get(port, path)
      assert status in [400, 403, 404], "#{path} answered #{status}"
      refute body =~ "root:"
      refute body =~ "defmodule"
    end
  end

  test "parameters that are none are refused", %{port: port} do
    number = instance(port)

    for {path, status} <- [
          {"/api/overview?id=zzz", 404},
          {"/api/overview", 404},
          {"/api/keys?id=#{number}&db=x", 400},
          {"/api/keys?id=#{number}&db=-1", 400},
          {"/api/keys?id=#{number}&db=99999999999999999999999", 400},
          {"/api/keys?id=#{number}&db=4294967296", 400},
          {"/api/keys?id=#{number}&db=0&prefix=#{String.duplicate("x", 1001)}", 400},
          {"/api/keys?id=#{number}&db=0&prefix=%zz", 400},
          {"/api/keys?id=#{number}&db=0&cursor=x", 400},
          {"/api/value?id=#{number}&db=0&key=!!", 400}
        ] do
      assert {^status, _head, _body} = get(port, path)
    end

    # Beyond the limits of the web server.
    assert Http.raw(port, "GET /#{String.duplicate("x", 10_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n") =~
             ~r/^HTTP\/1\.1 (413|414)/

    assert Http.raw(port, "no request at all\r\n\r\n") =~ ~r/^HTTP\/1\.[01] (400|501)|^$/
    assert {200, _head, _body} = get(port, "/")
  end

  test "an instance that is not shown, and one that has ended, are not there", %{port: port, id: id} do
    number = instance(port)
    other = Testing.start_supervised!()
    {200, _head, body} = get(port, "/api/instances")
    refute body =~ inspect(other)
    :ok = stop_supervised({Testing, id})
    # A supervisor does not wait until reads find no instance.
    :ok = Veidrodelis.stop(id)
    assert {404, _head, _body} = get(port, "/api/overview?id=#{number}")
    {200, _head, body} = get(port, "/api/instances")
    assert json(body).instances == []
  end

  test "a database of many keys is answered in part, and quickly" do
    keys = for n <- 1..30_000, do: ["k:#{n}", "v"]
    id = Testing.start_supervised!(data: for(part <- Enum.chunk_every(keys, 1000), do: ["MSET" | Enum.concat(part)]))
    pid = start_supervised!({Web, port: 0, ids: [id]}, id: :many)
    port = Web.port(pid)
    number = instance(port)
    {200, _head, body} = get(port, "/api/keys?id=#{number}&db=0")
    %{keys: keys, next: next} = json(body)
    assert length(keys) in 100..2000 and next != nil
    {200, _head, body} = get(port, "/api/keys?id=#{number}&db=0&cursor=#{next}")
    assert json(body).keys |> Enum.map(& &1.key) |> MapSet.new() |> MapSet.disjoint?(MapSet.new(keys, & &1.key))
    {200, _head, body} = get(port, "/api/keys?id=#{number}&db=0&prefix=k:29999")
    assert [%{key: "k:29999"}] = json(body).keys
    {200, _head, body} = get(port, "/api/overview?id=#{number}")
    assert byte_size(body) < 20_000
  end

  test "the server ends with the page, and a port that is taken is said", %{port: port, pid: pid} do
    assert {:error, {{:listen, _reason}, _child}} = start_supervised({Web, port: port}, id: :again)
    monitor = Process.monitor(pid)
    :ok = stop_supervised({Web, 0})
    assert_receive {:DOWN, ^monitor, :process, ^pid, _reason}, 5000
    # The VM closes the sockets of a process that has ended a moment later.
    connect = fn -> :gen_tcp.connect(~c"127.0.0.1", port, []) end
    Mirror.eventually("nothing listens", connect, fn -> connect.() == {:error, :econnrefused} end)
    assert_raise ArgumentError, ~r/unknown option :address/, fn -> Web.start_link(address: "0.0.0.0") end
  end

  test "a Plug answers below the place where it is mounted, to any host that its pipeline lets through", %{id: id} do
    config = Web.init(values: false, ids: [id])
    conn = %{method: "GET", path_info: [], script_name: ["ops", "mirrors"], query_params: %{}, resp_headers: []}
    assert %{status: 200, body: body, resp_headers: headers} = Web.call(conn, config)
    assert body =~ ~s(src="/ops/mirrors/app.js")
    assert {"x-content-type-options", "nosniff"} in headers
    assert %{status: 404} = Web.call(%{conn | path_info: ["none"]}, config)
    %{status: 200, body: body} = Web.call(%{conn | path_info: ["api", "instances"]}, config)
    %{instances: [%{id: number}]} = json(body)
    query = %{"id" => number}
    assert %{status: 200, body: body} = Web.call(%{conn | path_info: ["api", "overview"], query_params: query}, config)
    assert %{keys: 9} = json(body)
    hostile = %{conn | script_name: [~s("><script>)]}
    refute Web.call(hostile, config).body =~ ~s("><script>)
  end
end
