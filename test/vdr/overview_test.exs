defmodule Vdr.OverviewTest do
  # What `mix vdr.top` and the web page show: shares by type and prefix, plots, and text that is
  # safe for a terminal.
  use ExUnit.Case, async: true

  alias Vdr.Test.Mirror
  alias Vdr.Overview
  alias Vdr.Overview.Sample
  alias Vdr.Top.Screen
  alias Veidrodelis.Testing

  @moduletag capture_log: true

  defp taken(commands, options \\ []) do
    id = Testing.start_supervised!([data: commands] ++ options)
    {:ok, overview, memo} = Overview.take(id, Overview.memo())
    {id, overview, memo}
  end

  test "keys divide into types and prefixes, and the sample goes on until all are counted" do
    commands =
      for(n <- 1..600, do: ["SET", "user:#{n}", "x"]) ++
        for(n <- 1..300, do: ["HSET", "item:#{n}", "f", "v"]) ++ for n <- 1..100, do: ["SADD", "plain#{n}", "m"]

    {id, overview, memo} = taken(commands)

    memo =
      Enum.reduce(1..10, memo, fn _n, memo ->
        {:ok, _overview, memo} = Overview.take(id, memo)
        memo
      end)

    {:ok, later, _memo} = Overview.take(id, memo)

    for overview <- [overview, later] do
      assert [%{name: "string", keys: strings}, %{name: "hash", keys: hashes}, %{name: "set", keys: sets}] =
               overview.types

      assert strings in 500..700 and hashes in 200..400 and sets in 50..150
      assert [%{name: "user:"}, %{name: "item:"}, %{name: "(none)"}] = overview.prefixes
      assert_in_delta Enum.sum(Enum.map(overview.types, & &1.bytes)), overview.memory_bytes, 3
    end
  end

  test "a prefix or a key of any bytes and any length is text of bounded length" do
    garbage = <<0, 255, 27, "[2J">> <> String.duplicate("é", 5000)

    {_id, overview, _memo} =
      taken([["SET", garbage, "v"], ["SET", "\e]0;title\a", "v"], ["SETRANGE", garbage <> "2", 70_000, "x"]])

    assert [{0, _key, :string, 70_001}] = overview.large_keys
    json = Vdr.Json.encode(Overview.json(overview))
    assert String.valid?(json) and byte_size(json) < 20_000
    refute json =~ "\e"

    lines = Screen.lines(%{history: [overview], sort: :keys, paused: false, plain: false, rows: 24, columns: 80})
    assert Enum.all?(lines, &(String.printable?(&1) and String.length(&1) <= 80))
    plain = Screen.lines(%{history: [overview], sort: :keys, paused: false, plain: true, rows: 24, columns: 80})
    assert Enum.all?(plain, &(&1 =~ ~r/^[ -~]*$/))
  end

  test "JSON has no character that ends a script" do
    text = Vdr.Json.encode({:object, a: "</script>&\u2028", b: [1, 1.5, nil, true, :word]})
    assert text == ~S({"a":"\u003C/script\u003E\u0026\u2028","b":[1,1.5,null,true,"word"]})
  end

  test "the largest keys come first, of all databases" do
    members = Enum.map(1..5000, &"m#{&1}")
    id = Testing.start_supervised!()
    :ok = Testing.put(id, ["SADD", "set" | members])
    :ok = Testing.put(id, ["RPUSH", "list" | members ++ members], db: 3)
    :ok = Testing.put(id, ["SET", "small", "v"])
    {:ok, overview, _memo} = Overview.take(id, Overview.memo())
    assert overview.large_keys == [{3, "list", :list, 10_000}, {0, "set", :set, 5000}]
  end

  test "slow scripts and events are those of the instance" do
    id = Testing.start_supervised!()
    other = Testing.start_supervised!()
    script = "local n = 0 for i = 1, 3e7 do n = n + i end return n -- of overview_test"
    {:ok, _sum} = Veidrodelis.read_tx(id, 0, script, timeout: 60_000)
    :ok = Testing.disconnect(id)
    {:ok, overview, _memo} = Overview.take(id, Overview.memo())
    assert [%{about: {ms, ^script}}] = overview.scripts
    assert ms >= 10

    events = fn ->
      {:ok, overview, _memo} = Overview.take(id, Overview.memo())
      for %{about: {event, _details}} <- overview.events, do: event
    end

    # The node remembers its last thousand events, and other tests have events, too. The instance
    # begins the next attempt a moment after it has lost the connection.
    Mirror.eventually("the next attempt", events, fn -> match?([:connecting, :disconnected | _], events.()) end)
    {:ok, %{scripts: []}, _memo} = Overview.take(other, Overview.memo())
  end

  test "what is remembered of a node is bounded" do
    id = make_ref()
    for n <- 1..5000, do: Vdr.Recent.note(:script, id, {n, nil})
    scripts = Vdr.Recent.list(:script)
    assert length(scripts) <= 1001
    assert %{about: {5000, nil}} = Enum.find(scripts, &(&1.id == id))
  end

  test "the screen says what is wrong, and fits into any terminal" do
    {id, overview, memo} = taken([["SET", "k", "v"]])
    :ok = Testing.stream(id, ["NO.SUCH", "k"])
    :ok = Testing.disconnect(id, refuse: :wrong_password)
    # The link ends first, and the next attempt is refused.
    last_error = fn -> Veidrodelis.info(id, :last_error) end
    Mirror.eventually("the attempt was refused", last_error, fn -> match?({:wrong_password, _}, last_error.()) end)
    {:ok, later, _memo} = Overview.take(id, memo)
    text = Enum.join(Screen.lines(view([later, overview], 24, 80)), "\n")
    assert text =~ "! stale for"
    assert text =~ "! 1 keys are unknown"
    assert text =~ "wrong_password"
    assert text =~ "q quit"

    for {rows, columns} <- [{24, 80}, {60, 200}, {5, 20}, {1, 1}, {12, 40}] do
      lines = Screen.lines(view([later, overview], rows, columns))
      assert length(lines) <= rows
      assert Enum.all?(lines, &(String.length(&1) <= columns))
    end

    assert Screen.lines(view([], 24, 80)) == ["no instance"]
  end

  defp view(history, rows, columns),
    do: %{history: history, sort: :bytes, paused: true, plain: false, rows: rows, columns: columns}

  test "a rate is the difference of two looks, and never negative" do
    at = fn ms, commands -> %{at_ms: ms, info: %{commands_applied: commands, lag_bytes: commands}} end
    assert Screen.rate([at.(2000, 500), at.(1000, 0)]) == 500
    assert Screen.rate([at.(2000, 5), at.(1000, 500)]) == 0
    assert Screen.rate([at.(2000, 5)]) == 0
    assert Screen.series([at.(3000, 300), at.(2000, 100), at.(1000, 0)], :rate) == [200, 100]
    assert Screen.series([at.(3000, 300)], :lag) == [300]
  end

  test "an instance that has ended is said" do
    assert Overview.take(:nobody, Overview.memo()) == {:error, :no_instance}
    assert Sample.shares(Sample.new(), 0, 0) == {[], []}
  end
end
