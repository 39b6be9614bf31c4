defmodule Veidrodelis.Testing do
  @moduledoc """
  Instances without a server, for the tests of applications.

      setup do
        %{mirror: Veidrodelis.Testing.start_supervised!(data: [["SET", "user:1:name", "Ona"]])}
      end

      test "a greeting names the user", %{mirror: mirror} do
        assert Greeter.greet(mirror, 1) == "Hello Ona"

        :ok = Veidrodelis.Testing.put(mirror, ["SET", "user:1:name", "Jonas"])
        assert Greeter.greet(mirror, 1) == "Hello Jonas"
      end

  Such an instance is a real one: reads, scripts, snapshots, watches and events run the same code as
  in production. Only the network and the server are missing. The test plays the server: it writes,
  closes the connection, lets another server take over, and sets the time.

  Each function returns when its effect is visible. Each instance has an id of its own, so tests may
  run with `async: true`. An instance starts in well under a millisecond, and a thousand instances
  may run at once.

  The guide docs/testing.md has recipes.

  ## Commands

  Write commands as clients send them: `SET` with all its options, `EXPIRE`, `INCRBYFLOAT`, `SPOP`,
  `XADD` with `*`. A command is a list of words. A word is a binary, or a number or an atom, which
  becomes a binary. `{:error, {:bad_command, index, code}}` names the first command that a server
  would refuse. The code is `:unknown_command`, `:bad_argument`, `:wrong_type`, `:not_a_number`,
  `:out_of_range` or `:not_found`. Then no command of the call is applied. Blocking commands,
  scripts and functions are unknown.

  ## Writes of the code under test

  `Veidrodelis.command/3`, `pipeline/3`, `transaction/3` and `sync/2` reach the test's server. The
  reply to a command follows from the data before and after the command. The call returns when the
  write is visible:

      {:ok, 1} = Veidrodelis.command(mirror, ["INCR", "visits"])
      {:ok, "1"} = Veidrodelis.get(mirror, 0, "visits")

  Some replies do not follow from the data, or depend on the server's version. For such a command
  the call returns `{:error, {:no_reply, name}}`, and no command of the call is applied. The option
  `reply:` gives the missing replies. It is a function that takes the words of a command, as
  binaries. The function runs in the calling process and returns

    * `:default` - the reply that follows from the data
    * `{:reply, reply}` - this reply, and the command writes nothing. Return a
      `%Veidrodelis.ServerError{}` for an error of the server
    * `{:reply, reply, commands}` - this reply, and the server applies these commands instead

  While the server is away (`disconnect/2`), calls wait for the server until their timeout. Then
  they return `{:error, :connection_refused}`, or the code of `refuse:`.
  """

  alias Vdr.{Handle, Mirror, Options, Reports, Schema, Snapshot}
  alias Vdr.Options.Definitions
  alias Vdr.Testing.{History, Listener, Primary}

  @mirror_options ~w(id name reconnect reconnect_delay_ms max_reconnect_delay_ms on_unknown_command log only) ++
                    ~w(stale_reads on_link_end guard_key)

  @played [
    data: [type: {:list, :any}, default: [], doc: "commands"],
    db: [type: {:integer, 0..0xFFFFFFFF}, default: 0, doc: "their database"],
    reply: [
      type: {:check, "a function of a command", quote(do: (list -> term)), &__MODULE__.reply?/1},
      doc: "replies to commands"
    ],
    time: [type: :any, default: :real, doc: "the time"]
  ]

  @typedoc "An instance that this module has started."
  @type instance :: Veidrodelis.instance()
  @typedoc "The words of a command, the name first."
  @type command :: [binary | number | atom]
  @type refused :: {:error, {:bad_command, index :: non_neg_integer, code :: atom} | :no_instance}
  @typedoc "A time: Unix milliseconds, a `DateTime`, or `:real` for the time of the clock."
  @type time :: integer | DateTime.t() | :real

  @doc """
  Starts an instance without a server, and waits until its data can be read.

  The options are those of `Veidrodelis.start_link/1` that are not about a server, and four more.
  `data:` are commands that make the data, and `db:` is their database (default 0). `time:` is the
  time, see `set_time/2`, and `reply:` gives replies, see above. Without `id:`, the instance gets a
  unique id. By default, a link that has ended attaches again at once.
  """
  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(options \\ []) do
    {played, options} = options!(options)
    time_ms = time_ms(played[:time])

    with {:ok, data} <- Snapshot.from_commands([]),
         {:ok, primary} <- Primary.start(options.id, data, time_ms, played[:reply]) do
      write!(primary, played[:data], played[:db])
      start(%{options | played: primary}, primary)
    end
  end

  defp write!(primary, data, db) do
    with {:error, reason} <- Primary.call(primary, {:write, db, Enum.map(data, &words!/1), false}) do
      GenServer.stop(primary)

      raise ArgumentError,
            "option :data of Veidrodelis.Testing takes commands: #{Exception.message(Veidrodelis.Error.exception(reason))}"
    end
  end

  defp start(options, primary) do
    case Mirror.Supervisor.start_link(options) do
      {:ok, pid} ->
        Primary.own(primary, pid)
        :ok = Mirror.Readiness.await(options.id, 5000)
        {:ok, pid}

      error ->
        GenServer.stop(primary)
        error
    end
  end

  @doc "A child specification, for `start_supervised/1` and supervisors."
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    options = if is_list(options), do: Keyword.put_new_lazy(options, :id, &id/0), else: options
    {_played, checked} = options!(options)
    %{id: {__MODULE__, checked.id}, start: {__MODULE__, :start_link, [options]}, type: :supervisor}
  end

  @doc """
  Starts an instance under the supervisor of an ExUnit test. The supervisor stops the instance when
  the test ends. Returns the id of the instance.
  """
  @spec start_supervised!(keyword) :: Veidrodelis.id()
  def start_supervised!(options \\ []) do
    %{id: {__MODULE__, id}} = spec = child_spec(options)
    apply(ExUnit.Callbacks, :start_supervised!, [spec])
    id
  end

  @doc """
  Starts a server for handlers (`Vdr.RedisStream.Replica`), under the supervisor of an ExUnit test.
  Returns the id of the server. `put/3`, `multi/3`, `stream/2`, `full_sync/3`, `load_rdb/2`,
  `disconnect/2` and `connect/1` take this id. For a server, these functions return at once, and
  handlers get the change over the network. The options are `data:` and `db:`, see `start_link/1`.

      primary = Veidrodelis.Testing.start_primary_supervised!(data: [["SET", "k", "v"]])
      {:ok, port} = Veidrodelis.Testing.port(primary)

  The full syncs of this server have strings, lists, sets, hashes and sorted sets, and the expiry
  times of keys, but not of hash fields. The server accepts any password. It serves any number of
  handlers, and any number of instances that `Veidrodelis.start_link/1` has started.
  """
  @spec start_primary_supervised!(keyword) :: Veidrodelis.id()
  def start_primary_supervised!(options \\ []) do
    options =
      Schema.validate!(options, Keyword.take(@played, [:data, :db]), "Veidrodelis.Testing.start_primary_supervised!")

    id = id()
    {:ok, data} = Snapshot.from_commands([])
    {:ok, primary} = Primary.start(id, data, nil)
    write!(primary, options[:data], options[:db])
    spec = %{id: {__MODULE__, id}, start: {Listener, :start_link, [{id, primary}]}, restart: :temporary}
    apply(ExUnit.Callbacks, :start_supervised!, [spec])
    id
  end

  @doc "The port of a server of `start_primary_supervised!/1`, on `127.0.0.1`."
  @spec port(Veidrodelis.id()) :: {:ok, :inet.port_number()} | {:error, :no_instance}
  def port(id), do: Listener.port(id)

  @doc "An id that no other call returns."
  @spec id() :: Veidrodelis.id()
  def id, do: {__MODULE__, System.unique_integer([:positive])}

  # ---- writes

  @doc """
  Writes as a client does: one command, or a list of commands, one after the other. The writes are
  visible when this function returns. While the instance is disconnected, they become visible with
  `connect/1`. The option is `db:` (default 0).

      :ok = Veidrodelis.Testing.put(mirror, ["HSET", "user:1", "name", "Ona", "age", 36])
  """
  @spec put(instance, command | [command], db: Veidrodelis.db()) :: :ok | refused
  def put(instance, commands, options \\ []), do: write(:put, instance, commands, options, false)

  @doc "Writes commands in a `MULTI`. They become visible together. Takes the options of `put/3`."
  @spec multi(instance, [command], db: Veidrodelis.db()) :: :ok | refused
  def multi(instance, commands, options \\ []), do: write(:multi, instance, commands, options, true)

  defp write(function, instance, commands, options, multi?) do
    options = Schema.validate!(options, [db: db_option()], "Veidrodelis.Testing.#{function}")
    commands = if match?([[_ | _] | _], commands) or commands == [], do: commands, else: [commands]
    commands = Enum.map(commands, &words!/1)
    with {:ok, primary} <- primary(instance), do: Primary.call(primary, {:write, options[:db], commands, multi?})
  end

  @doc """
  Sends any command in the stream as it is. The command may be unknown to the library, or contradict
  the data, which leads to a full sync. The test's server does not apply the command to its own
  data.
  """
  @spec stream(instance, command) :: :ok | {:error, :no_instance}
  def stream(instance, command) do
    bytes = History.frames([words!(command)])
    with {:ok, primary} <- primary(instance), do: Primary.call(primary, {:stream, bytes})
  end

  # ---- the server

  @doc """
  Makes the instance load all data again, by a full sync. The data is the server's data, or the data
  that the given commands make. Takes the option `db:`, as `put/3` does. Returns when the full sync
  is visible. While the server is away (`disconnect/1`), returns at once, and `connect/1` brings the
  full sync.
  """
  @spec full_sync(instance, nil | [command], db: Veidrodelis.db()) :: :ok | refused | {:error, :timeout}
  def full_sync(instance, commands \\ nil, options \\ []) do
    options = Schema.validate!(options, [db: db_option()], "Veidrodelis.Testing.full_sync")

    with {:ok, data} <- data(commands && Enum.map(commands, &words!/1), options[:db], instance),
         do: replace(instance, data)
  end

  @doc "Replaces all data by that of an RDB file, by a full sync. Errors are those of `Veidrodelis.load_rdb/1`."
  @spec load_rdb(instance, Path.t()) :: :ok | {:error, Veidrodelis.Error.reason() | :timeout}
  def load_rdb(instance, path), do: with({:ok, data} <- Veidrodelis.load_rdb(path), do: replace(instance, data))

  defp data(nil, _db, _instance), do: {:ok, nil}

  defp data(commands, db, instance) do
    {:ok, empty} = Snapshot.from_commands([])

    with {:ok, primary} <- primary(instance),
         {:ok, scratch} <- Primary.start(id(), empty, Primary.call(primary, :time)) do
      written = Primary.call(scratch, {:write, db, commands, false})
      data = Primary.call(scratch, :data)
      GenServer.stop(scratch)
      with :ok <- written, do: {:ok, data}
    end
  end

  defp replace(instance, data) do
    with {:ok, primary} <- primary(instance) do
      before = with %{full_syncs: before} <- Veidrodelis.info(instance), do: before

      case Primary.call(primary, {:replace, data}) do
        {:ok, true} -> await(instance, fn info -> info.full_syncs > before and info.state == :streaming end)
        # `connect/1` brings the full sync.
        {:ok, false} -> :ok
      end
    end
  end

  @doc """
  The server closes the connection, and accepts no other connection before `connect/1`. Reads use
  the last data, if the option `stale_reads:` allows it.

  With `refuse: code`, the server refuses each attempt with this code instead, for example
  `:wrong_password`.
  """
  @spec disconnect(instance, refuse: atom) :: :ok | {:error, :no_instance | :timeout}
  def disconnect(instance, options \\ []) do
    options = Schema.validate!(options, [refuse: [type: :name]], "Veidrodelis.Testing.disconnect")

    with {:ok, primary} <- primary(instance) do
      :ok = Primary.call(primary, {:disconnect, options[:refuse]})
      await(instance, fn info -> info.state != :streaming end)
    end
  end

  @doc """
  The server accepts connections again. Returns when the instance streams from the server. A partial
  sync brings the writes since the disconnection. If these writes are more than a megabyte, a full
  sync brings all data.
  """
  @spec connect(instance) :: :ok | {:error, :no_instance | :timeout}
  def connect(instance) do
    with {:ok, primary} <- primary(instance) do
      :ok = Primary.call(primary, :connect)
      await(instance, fn info -> info.state == :streaming end)
    end
  end

  @doc """
  Another server takes over, as Sentinel announces it. The instance leaves the old server and
  resumes at the new server. Returns the address of the new server, as `Veidrodelis.connected_to/1`
  does.
  """
  @spec failover(instance) :: {:ok, Veidrodelis.address()} | {:error, :no_instance | :timeout}
  def failover(instance) do
    with {:ok, primary} <- primary(instance),
         {:ok, address} <- Primary.call(primary, :failover),
         :ok <- await(instance, fn info -> info.state == :streaming and info.primary == address end),
         do: {:ok, address}
  end

  # ---- time

  @doc """
  Sets the time by which keys expire, for the server and for readers of the instance. From then on
  the time stands still, until `advance/2` or another call of this function. With `:real`, the clock
  runs again. Snapshots keep the time at which they were taken.
  """
  @spec set_time(instance, time) :: :ok | {:error, :no_instance}
  def set_time(instance, time) do
    time_ms = time_ms(time)
    with {:ok, primary} <- primary(instance), do: Primary.call(primary, {:time, time_ms})
  end

  @doc """
  Moves the time forward by milliseconds, from the time that was set, or from now. Then the time
  stands still. The server deletes the keys that have expired, and watches get a `DEL` for each. As
  on a server, a key lives through the millisecond of its expiry, and is gone in the next one.

      :ok = Veidrodelis.Testing.put(mirror, ["SET", "session", "x", "EX", 60])
      :ok = Veidrodelis.Testing.advance(mirror, 60_001)
      {:ok, nil} = Veidrodelis.get(mirror, 0, "session")
  """
  @spec advance(instance, non_neg_integer) :: :ok | {:error, :no_instance}
  def advance(instance, ms) when is_integer(ms) and ms >= 0 do
    with {:ok, primary} <- primary(instance),
         do: Primary.call(primary, {:time, Primary.call(primary, :time) + ms})
  end

  # ---- underneath

  @doc false
  @spec reply?(term) :: boolean
  def reply?(reply), do: is_function(reply, 1)

  defp db_option, do: @played[:db]

  defp options!(options) do
    schema = @played ++ Keyword.take(Definitions.mirror(), Enum.map(@mirror_options, &String.to_atom/1))
    given = Schema.cast!(options, schema, "Veidrodelis.Testing")
    {played, mirror} = Keyword.split(given, Keyword.keys(@played))

    mirror =
      mirror
      |> Keyword.put_new_lazy(:id, &id/0)
      |> Keyword.put_new(:reconnect_delay_ms, 0)
      |> Keyword.put_new(:max_reconnect_delay_ms, 10)

    time_ms(Keyword.get(played, :time, :real))
    {Schema.fill(played, @played), Options.validate!(mirror)}
  end

  defp time_ms(:real), do: nil
  defp time_ms(ms) when is_integer(ms) and ms > 0, do: ms
  defp time_ms(%DateTime{} = time), do: DateTime.to_unix(time, :millisecond)

  defp time_ms(other) do
    raise ArgumentError,
          "a time of Veidrodelis.Testing is a number of Unix milliseconds, a DateTime or :real, got: #{inspect(other)}"
  end

  defp words!(words) do
    unless is_list(words) and words != [] and not List.improper?(words) and Enum.all?(words, &word?/1),
      do:
        raise(
          ArgumentError,
          "a command is a list of binaries, numbers and atoms, got: #{inspect(words, limit: 10, printable_limit: 100)}"
        )

    Enum.map(words, &to_string/1)
  end

  defp word?(word), do: is_binary(word) or is_number(word) or (is_atom(word) and word != nil)

  defp primary(instance) do
    with {:error, :no_instance} <- Primary.find(instance),
         {:ok, {id, _store, _pid}} <- Handle.fetch(instance, "Testing"),
         do: Primary.find(id)
  end

  @await_ms 5000

  # The link's process gets messages about the steps of the server, and answers requests in the
  # order of its mailbox. So an answer of the link's process covers the step before the request. A
  # primary without an instance has no link to wait for.
  defp await(instance, reached?, deadline \\ System.monotonic_time(:millisecond) + @await_ms) do
    if match?({:ok, _port}, Listener.port(instance)), do: :ok, else: await_instance(instance, reached?, deadline)
  end

  defp await_instance(instance, reached?, deadline) do
    with {:ok, {id, _store, _pid}} <- Handle.fetch(instance, "Testing"), %{} = info <- settled(id) do
      cond do
        reached?.(info) ->
          :ok

        System.monotonic_time(:millisecond) > deadline ->
          {:error, :timeout}

        true ->
          Process.sleep(1)
          await_instance(instance, reached?, deadline)
      end
    end
  end

  defp settled(id) do
    with %{pid: pid} when is_pid(pid) <- Reports.read({:mirror, id}) do
      :gen_statem.call(pid, :settle)
      Veidrodelis.info(id)
    else
      _not_started -> %{state: :init, full_syncs: 0, primary: nil}
    end
  catch
    :exit, _restarting -> %{state: :init, full_syncs: 0, primary: nil}
  end
end
