defmodule Vdr.SecretsTest do
  # No secret and no value of the data appears in what supervisors print and crashes log.
  use ExUnit.Case, async: false

  import ExUnit.CaptureLog

  alias Vdr.RedisStream.{Replica, ReplicaCommand}
  alias Vdr.Test.{FakeServer, Mirror}

  @secret "s3cret of the target"
  @value "TOPSECRETVALUE"

  # Like the forwarder of docs/handlers.md: its options hold the target's credentials.
  defmodule Forwarder do
    @behaviour Vdr.RedisStream.Callback
    @impl true
    def init(opts), do: {:ok, opts}
    @impl true
    def handle_commands(opts, commands), do: with(:ok <- opts[:fail].(commands), do: {:ok, opts})
    @impl true
    def handle_call(opts, _message), do: {:reply, :ok, opts}
  end

  # A handler of Erlang's logger, because Elixir's own drops the crash reports that Erlang prints.
  def log(event, %{config: %{to: pid}}), do: send(pid, {:logged, printed(event)})

  setup do
    :ok = :logger.add_handler(__MODULE__, __MODULE__, %{config: %{to: self()}})
    on_exit(fn -> :logger.remove_handler(__MODULE__) end)
  end

  defp logged(reports \\ []) do
    receive do
      {:logged, report} -> logged([report | reports])
    after
      0 -> Enum.join(reports)
    end
  end

  # A report may come after the end of its process.
  defp logged_until(words, reports \\ "") do
    assert_receive {:logged, report}, 5_000
    reports = reports <> report
    if String.contains?(reports, words), do: reports <> logged(), else: logged_until(words, reports)
  end

  defp options(fail \\ fn _commands -> :ok end, more \\ []) do
    [host: "127.0.0.1", port: 1, callback_module: Forwarder, callback_opts: [password: @secret, fail: fail]] ++ more
  end

  # A primary whose stream brings a command, and another one for each acknowledgement.
  defp primary! do
    file = File.read!("test/fixtures/small.rdb")
    set = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$#{byte_size(@value)}\r\n#{@value}\r\n"

    FakeServer.primary!(fn
      "PING" -> "+PONG\r\n"
      "REPLCONF ACK" <> _ -> set
      "REPLCONF" <> _ -> "+OK\r\n"
      "PSYNC" <> _ -> "+FULLRESYNC #{String.duplicate("a", 40)} 0\r\n$#{byte_size(file)}\r\n" <> file <> set
      _other -> "-ERR unknown command\r\n"
    end)
  end

  # Everything that a supervisor report or crash report of the handler may print, as Elixir and as
  # Erlang print it.
  defp printed(term), do: inspect(term, structs: false, limit: :infinity, printable_limit: :infinity) <> erlang(term)
  defp erlang(term), do: to_string(:io_lib.format("~p", [term]))

  test "the options of a callback are in no child specification and in no option that is inspected" do
    for printed <- [printed(Replica.child_spec(options())), inspect(Replica.child_spec(options()))] do
      refute printed =~ @secret
    end

    error = assert_raise ArgumentError, fn -> Replica.child_spec(options() ++ [port: 0, callback_optz: @secret]) end
    refute Exception.message(error) =~ @secret
  end

  test "the options of a callback are in no state that the system shows" do
    handler = start_supervised!({Replica, options()})
    link = Vdr.Reports.read({:handler, handler}).pid
    refute printed(:sys.get_status(handler)) =~ @secret
    refute printed(:sys.get_status(link)) =~ @secret
    refute printed(:sys.get_state(link)) =~ @secret
    assert Replica.get_callback_state(handler)[:password] == @secret
  end

  for {name, fail} <- [
        {"an error", quote(do: fn _ -> {:error, :no} end)},
        {"a raise", quote(do: fn _ -> raise "no" end)},
        {"a clause that does not match", quote(do: fn [%ReplicaCommand{db: 99}] -> :ok end)},
        {"a function that is not there", quote(do: fn commands -> apply(__MODULE__, :not_there, [commands]) end)},
        {"a throw", quote(do: fn _ -> throw(:ball) end)},
        {"an exit", quote(do: fn _ -> exit(:gone) end)}
      ] do
    test "#{name} in a callback logs no value and no option" do
      Process.flag(:trap_exit, true)
      test = self()
      fail = unquote(fail)

      # The second batch waits in the mailbox when the first one fails.
      wait = fn commands ->
        if Enum.any?(commands, &(&1.context.phase == :stream)) do
          send(test, {:failing, self()})
          receive(do: (:go_on -> fail.(commands)))
        else
          :ok
        end
      end

      log =
        capture_log(fn ->
          {:ok, handler} = Replica.start_link(options(wait, ack_interval_ms: 20) |> Keyword.put(:port, primary!()))
          monitor = Process.monitor(handler)
          fail_when_another_waits(handler)
          assert_receive {:DOWN, ^monitor, :process, ^handler, reason}, 10_000
          refute printed(reason) =~ @value
          refute printed(reason) =~ @secret

          # Up to Elixir 1.14 a process of its own writes the log.
          Mirror.eventually("the crash is logged", fn ->
            logger = Process.whereis(Logger)
            logger == nil or Process.info(logger, :message_queue_len) == {:message_queue_len, 0}
          end)
        end)

      assert log =~ "terminating"
      # From OTP 29 on, a process that stops with an error reports its end, and no crash.
      reports = logged_until(["crash_report", "proc_lib", "{:gen_server, :terminate}"])
      refute log <> reports =~ @value
      refute log <> reports =~ @secret
    end
  end

  defmodule Wrong do
    @behaviour Vdr.RedisStream.CommandFilter
    @impl true
    def pre_handle(command), do: {:ok, command}
  end

  test "a filter that returns something else is named, without the command" do
    command = %ReplicaCommand{
      db: 0,
      command: {:set, "k", @value},
      raw_command: {:generic, ["SET", "k", @value]},
      affected_keys: ["k"],
      offset: 1,
      context: %{phase: :stream, replication_id: "a", unit: nil}
    }

    error = catch_error(Vdr.RedisStream.CommandFilter.before(Wrong, [command]))
    assert Exception.message(error) == "#{inspect(Wrong)}.pre_handle/1 returned neither a command nor :skip"
    refute printed(error) =~ @value
  end

  defmodule Choosy do
    @behaviour Vdr.RedisStream.Callback
    @impl true
    def init([{:wrong, _option}]), do: {:ok, nil}
    def init(%{password: password}), do: {:ok, password}
    @impl true
    def handle_commands(state, _commands), do: {:ok, state}
    @impl true
    def handle_destroy([:none]), do: :ok
  end

  test "neither an init/1 nor a handle_destroy/1 that fails shows its argument" do
    Process.flag(:trap_exit, true)
    options = [host: "127.0.0.1", port: 1, callback_module: Choosy]

    log =
      capture_log(fn ->
        assert {:error, {:function_clause, _} = reason} =
                 Replica.start_link(options ++ [callback_opts: [password: @secret]])

        refute printed(reason) =~ @secret
        {:ok, handler} = Replica.start_link(options ++ [callback_opts: %{password: @secret}])
        assert Replica.stop(handler) == :ok
      end)

    assert log =~ "handle_destroy/1: "
    refute log <> logged() =~ @secret
  end

  defp waiting?(handler) do
    {:messages, messages} = Process.info(handler, :messages)
    Enum.any?(messages, &match?({_tag, {:commands, _number, _commands}}, &1))
  end

  defp fail_when_another_waits(handler) do
    receive do
      {:failing, ^handler} ->
        Mirror.eventually("another batch waits", fn -> waiting?(handler) end)
        send(handler, :go_on)
    after
      10_000 -> flunk("no batch came")
    end
  end
end
