defmodule Vdr.ScriptTest do
  # Scripts at the border to Elixir: options, results, errors, and the thread on which they run. The
  # engine's own tests are beside the engine.
  use ExUnit.Case, async: true

  alias Vdr.{Snapshot, Test.Mirror}

  setup do
    {:ok, snapshot} = Snapshot.from_commands([["SET", "a", "1"], ["RPUSH", "l", "x", "y"], ["HSET", "h", "f", "v"]])
    %{snapshot: snapshot}
  end

  defp run(snapshot, script, opts \\ []), do: Veidrodelis.read_tx(snapshot, 0, script, opts)

  test "results have their Elixir form, in a quick attempt and on a thread", %{snapshot: snapshot} do
    for prefix <- ["", "pcall(error) "], _turn <- 1..3 do
      run = &run(snapshot, prefix <> &1)
      assert run.("return nil") == {:ok, nil}
      assert run.("return ts.get('a')") == {:ok, "1"}
      assert run.("return ts.hgetall('h')") == {:ok, %{"f" => "v"}}
      assert run.("return {ts.lrange('l', 0, -1), true, 1.5, 3, {}}") == {:ok, [["x", "y"], true, 1.5, 3, []]}
      assert run.("return {[1] = 'a', [3] = 'b'}") == {:ok, %{"1" => "a", "3" => "b"}}
      assert {:error, {:lua, :result, message}} = run.("return print or function() end")
      assert message =~ "function"
      assert {:error, {:lua, :runtime, "script:1: wrong_type"}} = run.("return ts.get('l')")
    end
  end

  test "large tables arrive whole from a thread that is not a scheduler", %{snapshot: snapshot} do
    # The VM builds a map of more than 32 keys in another way, with a structure that only schedulers
    # have.
    for prefix <- ["", "pcall(error) "], size <- [32, 33, 200, 5_000] do
      source =
        "#{prefix}local all = {} for n = 1, #{size} do all['k' .. n] = {n, {[tostring(n)] = 'v'}} end return {all, all}"

      all = for n <- 1..size, into: %{}, do: {"k#{n}", [n, %{to_string(n) => "v"}]}
      assert run(snapshot, source) == {:ok, [all, all]}
    end

    # Large keys.
    long = fn n -> String.duplicate("k", 100_000) <> to_string(n) end
    source = "local all = {} for n = 1, 50 do all[string.rep('k', 100000) .. n] = n end return all"
    assert run(snapshot, source) == {:ok, Map.new(1..50, &{long.(&1), &1})}

    assert {:ok, text} = run(snapshot, "return string.rep('x', 8000000)")
    assert text == String.duplicate("x", 8_000_000)
  end

  test "each call has its own keys and arguments", %{snapshot: snapshot} do
    script = "return {KEYS, ARGV}"

    for _turn <- 1..3 do
      args = ["b", 1, 2.5, true, :word, ["x", ["y"]]]

      assert run(snapshot, script, keys: ["k", <<0, 255>>], args: args) ==
               {:ok, [["k", <<0, 255>>], ["b", 1, 2.5, true, "word", ["x", ["y"]]]]}

      assert run(snapshot, script) == {:ok, [[], []]}
    end
  end

  test "an invalid script, option or argument is refused", %{snapshot: snapshot} do
    refused = fn fun -> Exception.message(assert_raise(ArgumentError, fun)) end
    assert refused.(fn -> run(snapshot, :script) end) =~ "what lua_load answered"
    assert refused.(fn -> run(snapshot, "return 1", key: []) end) =~ ":key"
    assert refused.(fn -> run(snapshot, "return 1", keys: [:a]) end) =~ "each element a binary"
    assert refused.(fn -> run(snapshot, "return 1", keys: ["a" | "b"]) end) =~ "each element a binary"
    assert refused.(fn -> run(snapshot, "return 1", args: [self()]) end) =~ "args"
    assert refused.(fn -> run(snapshot, "return 1", timeout: 0) end) =~ ":timeout"
    assert refused.(fn -> run(snapshot, "return 1", memory: :much) end) =~ ":memory"
    assert refused.(fn -> Veidrodelis.lua_load(snapshot, 1) end) =~ "source"
    assert refused.(fn -> Veidrodelis.read_tx(snapshot, -1, "return 1", []) end) =~ "db"
  end

  test "a loaded script cannot be forged, and bytecode is refused", %{snapshot: snapshot} do
    assert {:ok, script} = Veidrodelis.lua_load(snapshot, "return ts.get('a')")
    assert run(snapshot, script) == {:ok, "1"}
    assert Veidrodelis.read_tx(snapshot, 0, script) == {:ok, "1"}
    assert inspect(script) == "#Vdr.Script<>"
    assert_raise ArgumentError, fn -> run(snapshot, %{script | native: make_ref()}) end
    assert_raise ArgumentError, fn -> run(snapshot, %{script | native: snapshot.native}) end
    assert_raise ArgumentError, fn -> run(snapshot, %{script | native: "return 1"}) end
    assert {:error, {:lua, :syntax, _message}} = Veidrodelis.lua_load(snapshot, <<6, 3, 0, 1, 2, 3>>)
    assert {:error, {:lua, :syntax, _message}} = Veidrodelis.lua_load(snapshot, "\eLua" <> <<0::80>>)
  end

  test "an unknown instance has no scripts" do
    assert Veidrodelis.read_tx(:nobody, 0, "return 1", []) == {:error, :no_instance}
    assert Veidrodelis.lua_load(:nobody, "return 1") == {:error, :no_instance}
  end

  test "each call has its own limits", %{snapshot: snapshot} do
    assert {:error, {:lua, :timeout, message}} = run(snapshot, "while true do end", timeout: 30)
    assert message =~ "30 ms"
    assert {:error, {:lua, :memory, _}} = run(snapshot, "return #string.rep('x', 2e6)", memory: 1_000_000)
    assert run(snapshot, "return #string.rep('x', 2e6)", memory: 10_000_000) == {:ok, 2_000_000}
  end

  test "long scripts of many processes block no scheduler", %{snapshot: snapshot} do
    count = System.schedulers_online() * 4
    busy = for _ <- 1..count, do: Task.async(fn -> run(snapshot, "while true do end", timeout: 600_000) end)
    {:ok, large} = Snapshot.from_commands([["SADD", "s" | Enum.map(1..5000, &to_string/1)]])
    # Reads that go to dirty schedulers. All of them are over long before a script is.
    for _ <- 1..20, do: assert({:ok, [_ | _]} = Veidrodelis.smembers(large, 0, "s"))
    for task <- busy, do: assert(Task.yield(task, 0) == nil)
    for task <- busy, do: Task.shutdown(task, :brutal_kill)
  end

  test "the script of a killed process ends", %{snapshot: snapshot} do
    threads = System.schedulers_online() * 2

    killed = for _ <- 1..threads, do: spawn(fn -> run(snapshot, "while true do end", timeout: 600_000) end)

    Process.sleep(50)
    for pid <- killed, do: Process.exit(pid, :kill)
    # The threads are free again: this script cannot finish in a quick attempt.
    assert run(snapshot, "return pcall(ts.get, 'a')", timeout: 20_000) == {:ok, true}
    Mirror.eventually("a script runs", fn -> run(snapshot, "pcall(error) return 1") == {:ok, 1} end)
  end
end
