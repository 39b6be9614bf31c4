defmodule Vdr.Live.TopTest do
  # `mix vdr.top` as people and scripts run it: on a server, on a node, in a terminal and without
  # one.
  use ExUnit.Case, async: true

  alias Vdr.Test.Server

  @moduletag :tmp_dir
  @moduletag timeout: 900_000

  setup_all do
    server = Server.start!(binary: Server.any())
    redis = Server.connect!(server)
    for n <- 1..50, do: Redix.command!(redis, ["SET", "user:#{n}", "v"])
    Redix.command!(redis, ["RPUSH", "list" | Enum.map(1..5000, &to_string/1)])
    %{port: Server.port(server)}
  end

  defp top(args, env \\ []) do
    System.cmd("mix", ["vdr.top" | args], env: [{"MIX_ENV", "test"} | env], stderr_to_stdout: true)
  end

  test "one look as JSON is one line that a script can read", %{port: port} do
    assert {out, 0} = top(["--url", "redis://127.0.0.1:#{port}", "--once", "--json"])
    [line] = out |> String.split("\n", trim: true) |> Enum.filter(&String.starts_with?(&1, "{"))
    assert line =~ ~s("state":"streaming")
    assert line =~ ~s("keys":51)
    assert line =~ ~s("large_keys":[{"db":0,"key":"list")
    assert line =~ ~s("commands_per_second":)
  end

  test "one look as text fits into 80 columns, and the URL may be in the environment", %{port: port} do
    assert {out, 0} = top(["--once"], [{"VDR_URL", "redis://127.0.0.1:#{port}"}])
    assert out =~ "keys 51"
    assert out =~ ~r/user: +50/
    assert out |> String.split("\n") |> Enum.all?(&(String.length(&1) <= 80))
  end

  test "in a terminal it draws, hears single keys, and leaves the terminal as it was", %{port: port, tmp_dir: dir} do
    {terminal, shows} = in_terminal!(dir, "--url redis://127.0.0.1:#{port}", "stty -a")
    shows.("user:")
    # No line is ended, and the input goes on: a key is heard at once.
    for {key, words} <- [{"p", "PAUSED"}, {"s", "s sort (bytes)"}, {"x", "s sort (bytes)"}, {"q", "left 0"}] do
      Port.command(terminal, key)
      shows.(words)
    end

    assert_receive {^terminal, {:exit_status, 0}}, 30_000
    text = File.read!("#{dir}/typescript")
    [_before, drawn, left] = String.split(text, ["\e[?1049h", "\e[?1049l"])
    assert drawn =~ "PAUSED"
    assert left =~ ~r/[^-]icanon/
    assert left =~ ~r/[^-]echo\b/
  end

  # As a person sees it: the test reads the terminal while the view runs.
  test "a server that vanishes is said on the screen, and the view goes on", %{tmp_dir: dir} do
    server = Server.start!(binary: Server.any())
    redis = Server.connect!(server)
    Redix.command!(redis, ["SET", "k", "v"])
    {terminal, shows} = in_terminal!(dir, "--url redis://127.0.0.1:#{Server.port(server)}", "true")
    shows.("keys 1 ")
    Server.kill(server)
    shows.("! stale for")
    shows.("connection_refused")
    refute_received {^terminal, {:exit_status, _status}}
  end

  # `script` gives it a terminal. Answers its port, and a function that waits until it shows words.
  defp in_terminal!(dir, args, at_the_end) do
    top = "mix vdr.top #{args} --interval 200"

    terminal =
      Port.open({:spawn_executable, System.find_executable("script")}, [
        :binary,
        :exit_status,
        args: ["-qefc", "stty rows 24 cols 80; #{top}; echo left $?; #{at_the_end}", "#{dir}/typescript"],
        env: [{~c"MIX_ENV", ~c"test"}, {~c"TERM", ~c"xterm"}]
      ])

    {:os_pid, os_pid} = Port.info(terminal, :os_pid)
    on_exit(fn -> System.cmd("kill", ["-9", to_string(os_pid)], stderr_to_stdout: true) end)
    {terminal, &shown!("#{dir}/typescript", &1, System.monotonic_time(:millisecond) + 90_000)}
  end

  # Mix takes its time to start on a busy machine.
  defp shown!(path, words, deadline_ms) do
    text = with({:error, _not_yet} <- File.read(path), do: {:ok, ""}) |> elem(1)

    cond do
      text =~ words ->
        :ok

      System.monotonic_time(:millisecond) > deadline_ms ->
        flunk("the terminal does not show #{words}: #{String.slice(text, -3000, 3000)}")

      true ->
        Process.sleep(50)
        shown!(path, words, deadline_ms)
    end
  end

  test "a server that is none, that refuses or is not there is a sentence and not a crash", %{port: port, tmp_dir: _dir} do
    silent = Vdr.Test.FakeServer.start!(fn socket -> :gen_tcp.send(socket, "HTTP/1.1 400 Bad Request\r\n\r\n") end)

    for {args, words} <- [
          {["--url", "redis://127.0.0.1:#{Server.free_port()}", "--timeout", "1500"],
           ~r/no server answered in time: nothing listens at the host and port/},
          {["--url", "redis://127.0.0.1:#{silent}", "--timeout", "1500"], ~r/\*\* \(Mix\) /},
          {["--url", "redis://:secret@127.0.0.1:#{port}", "--timeout", "5000"], ~r/\*\* \(Mix\) .*password/},
          {["--url", "http://localhost"], ~r/:url of Veidrodelis takes redis/},
          {["--url", "redis://127.0.0.1:#{port}", "--json"], ~r/usage: mix vdr.top/},
          {[], ~r/usage: mix vdr.top/},
          {["--node", "vdr_nobody_#{port}@#{:net_adm.localhost()}", "--once"], ~r/\*\* \(Mix\) /}
        ] do
      assert {out, 1} = top(args, [{"VDR_URL", nil}])
      assert out =~ words
      refute out =~ "secret"
      refute out =~ "(stdlib"
    end
  end

  test "it shows the instances of a running node, and says when the node is gone", %{port: port, tmp_dir: dir} do
    name = "vdr_top_test_#{port}"
    paths = Enum.flat_map(:code.get_path(), &["-pa", to_string(&1)])

    start = """
    {:ok, _} = Application.ensure_all_started(:veidrodelis)
    {:ok, _} = Veidrodelis.start_link(id: :shop, host: "127.0.0.1", port: #{port}, log: false)
    :ok = Veidrodelis.await_ready(:shop)
    IO.puts("ready")
    Process.sleep(:infinity)
    """

    options = ["--sname", name, "--cookie", "c00kie"] ++ paths ++ ["-e", start]
    node = Port.open({:spawn_executable, System.find_executable("elixir")}, [:binary, args: options, line: 1000])
    {:os_pid, os_pid} = Port.info(node, :os_pid)
    on_exit(fn -> System.cmd("kill", ["-9", to_string(os_pid)], stderr_to_stdout: true) end)
    assert_receive {^node, {:data, {:eol, "ready"}}}, 60_000

    {:ok, host} = :inet.gethostname()
    assert {out, 0} = top(["--node", "#{name}@#{host}", "--cookie", "c00kie", "--once", "--json"])
    assert out =~ ~s("id":":shop")
    assert out =~ ~s("keys":51)
    assert {out, 1} = top(["--node", "#{name}@#{host}", "--cookie", "wrong", "--once"])
    assert out =~ "is the cookie right?"

    {_terminal, shows} = in_terminal!(dir, "--node #{name}@#{host} --cookie c00kie", "true")
    shows.("keys 51")
    System.cmd("kill", ["-9", to_string(os_pid)])
    shows.("the node #{name}@#{host} is gone")
    shows.("left 1")
  end
end
