defmodule Vdr.Test.Server do
  @moduledoc """
  A real server, started for a test on a free port in a directory of its own. It ends together with
  the process that started it.

  The server is the child of a small shell that reads its standard input. When the owning process
  ends, or the whole VM is killed, that input closes and the shell kills the server. So nothing is
  left over, however the run ends.
  """
  use GenServer

  @ready_ms 20_000
  @log_lines 400

  # $1 is the server, the rest are its arguments. The background loop ends together with our
  # standard input and removes the server's directory. It needs a descriptor of its own, because a
  # shell gives /dev/null to its background processes.
  @wrapper """
  exec 3<&0
  "$@" </dev/null 2>&1 &
  server=$!
  exec 2>/dev/null
  echo "pid $server"
  ( while read -r _; do :; done <&3; trap '' TERM; kill -KILL $server; rm -rf "$OWN_DIR" ) >/dev/null 2>&1 &
  guard=$!
  wait $server
  code=$?
  kill $guard
  exit $code
  """

  @type t :: %{name: String.t(), path: String.t()}

  # ---- the servers at hand

  @doc "Every server at hand: those on PATH and those that `make servers` unpacked. `ONLY_SERVER=name` narrows the list."
  @spec available() :: [t]
  def available do
    case :persistent_term.get(__MODULE__, nil) do
      nil ->
        servers = list()
        :persistent_term.put(__MODULE__, servers)
        servers

      servers ->
        servers
    end
  end

  @doc "A server for tests that accept any."
  @spec any() :: t
  def any do
    List.first(available()) || raise "no redis-server or valkey-server at hand: make setup installs one"
  end

  defp list do
    script = Path.expand("../../bin/list-servers", __DIR__)
    {out, 0} = System.cmd(script, [], stderr_to_stdout: true)

    for line <- String.split(out, "\n", trim: true) do
      [name, path] = String.split(line, " ", parts: 2)
      %{name: name, path: path}
    end
  end

  # ---- lifecycle

  @doc """
  Starts a server and waits until it takes connections. Options: `:binary` (an entry of
  `available/0`; default the first), `:config` (a list of `{directive, value}`), `:host` is always
  127.0.0.1, `:port` (default: a free one), `:dir`, `:sentinel` (the lines of a Sentinel's
  configuration beyond its port and directory; what it writes to them is there after a restart).
  """
  def start_link(opts \\ []) do
    GenServer.start_link(__MODULE__, opts, timeout: @ready_ms * 2)
  end

  def child_spec(opts) do
    %{id: {__MODULE__, make_ref()}, start: {__MODULE__, :start_link, [opts]}, shutdown: 5_000}
  end

  @doc "A server under the test's own supervisor."
  def start!(opts \\ []), do: ExUnit.Callbacks.start_supervised!({__MODULE__, opts})

  def port(server), do: info(server).port
  def info(server), do: GenServer.call(server, :info, @ready_ms * 2)
  def running?(server), do: info(server).pid != nil

  @doc "The last lines that the server logged."
  def log(server), do: GenServer.call(server, :log, @ready_ms * 2)

  @doc "Sends SIGTERM and waits for the end. `restart/1` starts the server again."
  def stop(server), do: GenServer.call(server, {:end, "TERM"}, @ready_ms)

  @doc "Sends SIGKILL and waits for the end."
  def kill(server), do: GenServer.call(server, {:end, "KILL"}, @ready_ms)

  @doc "Sends SIGSTOP: the server keeps its sockets and answers nothing until `resume/1`."
  def pause(server), do: GenServer.call(server, {:signal, "STOP"}, @ready_ms)
  def resume(server), do: GenServer.call(server, {:signal, "CONT"}, @ready_ms)

  @doc "Starts a stopped server again: same port, same directory."
  def restart(server), do: GenServer.call(server, :restart, @ready_ms * 2)

  @doc """
  As `restart/1`, without data: a full sync by the disk leaves a file, which the server itself
  removes only after a second.
  """
  def restart_empty(server) do
    _none = File.rm(Path.join(info(server).dir, "dump.rdb"))
    restart(server)
  end

  @doc "A connection to the server."
  def connect!(server, opts \\ []) do
    {:ok, redis} = Redix.start_link([host: "127.0.0.1", port: port(server)] ++ opts)
    redis
  end

  @doc "Reads this many bytes of replies from a socket, each read within the time."
  def drain(socket, bytes, timeout_ms \\ 60_000)
  def drain(_socket, bytes, _timeout_ms) when bytes <= 0, do: :ok

  def drain(socket, bytes, timeout_ms) do
    {:ok, replies} = :gen_tcp.recv(socket, 0, timeout_ms)
    drain(socket, bytes - byte_size(replies), timeout_ms)
  end

  # Below the ports that the system gives away, also with the 10,000 more of a cluster's bus.
  @first_port 10_500
  @ports 10_000

  @doc """
  A port at which nothing listens. It stays free until the caller uses it: the system takes the
  ports of connections and of `listen(0)` from a higher range, and this VM gets another one each
  time. A VM beside it begins elsewhere.
  """
  def free_port do
    number = :erlang.phash2(System.pid(), @ports) + System.unique_integer([:monotonic, :positive])
    port = @first_port + rem(number, @ports)

    case :gen_tcp.listen(port, ip: {127, 0, 0, 1}, reuseaddr: true) do
      {:ok, socket} ->
        :ok = :gen_tcp.close(socket)
        port

      {:error, _taken} ->
        free_port()
    end
  end

  # ---- the process

  @impl GenServer
  def init(opts) do
    Process.flag(:trap_exit, true)
    dir = opts[:dir] || temp_dir()
    File.mkdir_p!(dir)

    state = %{
      binary: opts[:binary] || any(),
      config: Keyword.get(opts, :config, []),
      wanted_port: opts[:port],
      port: opts[:port],
      dir: dir,
      own_dir: opts[:dir] == nil,
      sentinel: opts[:sentinel],
      io: nil,
      pid: nil,
      log: []
    }

    boot(state, 5)
  end

  # Another process can take a free port before the server listens on it: then try the next.
  defp boot(state, tries) do
    state = %{state | port: state.wanted_port || free_port()}
    write_sentinel(state)
    state = spawn_server(state)

    case await_ready(state) do
      {:ok, state} -> {:ok, %{state | wanted_port: state.port}}
      {:error, state} when tries > 1 and state.wanted_port == nil -> boot(state, tries - 1)
      {:error, state} -> {:stop, {:server_did_not_start, Enum.reverse(state.log)}}
    end
  end

  @impl GenServer
  def handle_call(:info, _from, state), do: {:reply, Map.take(state, [:port, :dir, :pid, :binary]), state}
  def handle_call(:log, _from, state), do: {:reply, Enum.reverse(state.log), state}

  def handle_call({:signal, name}, _from, state) do
    {:reply, signal(state.pid, name), state}
  end

  def handle_call({:end, _name}, _from, %{io: nil} = state), do: {:reply, :ok, state}

  def handle_call({:end, name}, _from, state) do
    signal(state.pid, name)
    {:reply, :ok, await_exit(state)}
  end

  def handle_call(:restart, _from, %{io: nil} = state) do
    case boot(state, 1) do
      {:ok, state} -> {:reply, :ok, state}
      {:stop, reason} -> {:reply, {:error, reason}, %{state | io: nil, pid: nil}}
    end
  end

  @impl GenServer
  def handle_info({io, {:data, {_eol, line}}}, %{io: io} = state), do: {:noreply, logged(state, line)}
  def handle_info({io, {:exit_status, _}}, %{io: io} = state), do: {:noreply, %{state | io: nil, pid: nil}}
  def handle_info(_other, state), do: {:noreply, state}

  @impl GenServer
  def terminate(_reason, state) do
    if state.io do
      signal(state.pid, "KILL")
      await_exit(state)
    end

    if state.own_dir, do: File.rm_rf(state.dir)
  end

  # ---- the operating system's side

  defp spawn_server(state) do
    arguments = [state.binary.path | arguments(state)]

    io =
      Port.open({:spawn_executable, "/bin/sh"}, [
        :binary,
        :exit_status,
        {:line, 4096},
        {:cd, state.dir},
        {:env, [{to_charlist("OWN_DIR"), to_charlist(if(state.own_dir, do: state.dir, else: ""))}]},
        {:args, ["-c", @wrapper, "server" | arguments]}
      ])

    %{state | io: io, pid: nil}
  end

  defp arguments(%{sentinel: nil} = state),
    do: Enum.flat_map(config(state), fn {name, value} -> ["--" <> name | Enum.map(List.wrap(value), &to_string/1)] end)

  defp arguments(state), do: [sentinel_path(state), "--sentinel"]

  defp write_sentinel(%{sentinel: nil}), do: :ok

  # A restarted Sentinel continues with the file that it wrote.
  defp write_sentinel(state) do
    if state.wanted_port == nil or not File.exists?(sentinel_path(state)),
      do:
        File.write!(
          sentinel_path(state),
          "port #{state.port}\nbind 127.0.0.1\ndir #{state.dir}\n" <> state.sentinel
        )
  end

  defp sentinel_path(state), do: Path.join(state.dir, "sentinel.conf")

  # The test's own directives come last and win.
  defp config(state) do
    [
      {"port", state.port},
      {"bind", "127.0.0.1"},
      {"dir", state.dir},
      {"save", ""},
      {"daemonize", "no"},
      {"repl-diskless-sync-delay", "0"},
      # A server without persistence that restarts is empty, although a full sync went by its disk.
      {"rdb-del-sync-files", "yes"},
      {"enable-debug-command", "yes"}
    ] ++ state.config
  end

  defp await_ready(%{io: io} = state) do
    receive do
      {^io, {:data, {_eol, "pid " <> pid}}} ->
        await_ready(%{state | pid: String.to_integer(pid)})

      {^io, {:data, {_eol, line}}} ->
        if(line =~ ~r/Ready to accept connections|Sentinel ID is/,
          do: {:ok, logged(state, line)},
          else: await_ready(logged(state, line))
        )

      {^io, {:exit_status, _}} ->
        {:error, %{state | io: nil, pid: nil}}
    after
      @ready_ms ->
        signal(state.pid, "KILL")
        {:error, await_exit(state)}
    end
  end

  defp await_exit(%{io: io} = state) do
    receive do
      {^io, {:data, {_eol, line}}} -> await_exit(logged(state, line))
      {^io, {:exit_status, _}} -> %{state | io: nil, pid: nil}
    after
      @ready_ms -> raise "the server #{state.pid} does not end"
    end
  end

  defp logged(state, line), do: %{state | log: Enum.take([line | state.log], @log_lines)}

  defp signal(nil, _name), do: :ok

  defp signal(pid, name) do
    {_out, _code} = System.cmd("/bin/sh", ["-c", "kill -#{name} #{pid}"], stderr_to_stdout: true)
    :ok
  end

  defp temp_dir do
    Path.join(System.tmp_dir!(), "vdr-server-#{System.pid()}-#{System.unique_integer([:positive])}")
  end
end
