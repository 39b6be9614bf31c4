# The project has no dependencies, and its documents show their examples with Redix, the client that
# most Elixir programs use. This stand-in has Redix' names and call shapes, as far as the tests, the
# demo and the benches need them: RESP2 over one TCP connection. It is compiled in the test
# environment only.
defmodule Redix.Error do
  @moduledoc false
  defexception [:message]
end

defmodule Redix.ConnectionError do
  @moduledoc false
  defexception [:reason]
  @impl Exception
  def message(%{reason: reason}), do: "connection: #{inspect(reason)}"
end

defmodule Redix do
  @moduledoc false
  use GenServer

  @timeout_ms 60_000

  def start_link(opts \\ []) do
    GenServer.start_link(__MODULE__, opts)
  end

  def stop(redis), do: GenServer.stop(redis)

  @doc "One command: `{:ok, reply}` or `{:error, error}`."
  def command(redis, command, _opts \\ []) do
    case pipeline(redis, [command]) do
      {:ok, [%Redix.Error{} = error]} -> {:error, error}
      {:ok, [reply]} -> {:ok, reply}
      {:error, error} -> {:error, error}
    end
  end

  @doc "Many commands in one write: `{:ok, replies}`, where a refused command's reply is a `Redix.Error`."
  def pipeline(redis, commands, _opts \\ []) do
    GenServer.call(redis, {:pipeline, commands}, :infinity)
  end

  def command!(redis, command, opts \\ []), do: bang(command(redis, command, opts))
  def pipeline!(redis, commands, opts \\ []), do: bang(pipeline(redis, commands, opts))

  defp bang({:ok, reply}), do: reply
  defp bang({:error, error}), do: raise(error)

  # ---- the process

  @impl GenServer
  def init(opts) do
    host = opts |> Keyword.get(:host, "localhost") |> String.to_charlist()
    port = Keyword.get(opts, :port, 6379)
    timeout = Keyword.get(opts, :timeout, @timeout_ms)

    with {:ok, socket} <-
           :gen_tcp.connect(
             host,
             port,
             [:binary, active: false, nodelay: true, buffer: 65_536, send_timeout: timeout],
             timeout
           ),
         {:ok, state} <- greet(%{socket: socket, buffer: "", timeout: timeout}, opts) do
      {:ok, state}
    else
      {:error, reason} -> {:stop, reason}
    end
  end

  defp greet(state, opts) do
    auth = if opts[:password], do: [["AUTH"] ++ List.wrap(opts[:username]) ++ [opts[:password]]], else: []
    select = if opts[:database], do: [["SELECT", opts[:database]]], else: []

    case auth ++ select do
      [] ->
        {:ok, state}

      commands ->
        {:ok, replies, state} = exchange(state, commands)
        refused = Enum.find(replies, &match?(%Redix.Error{}, &1))
        if refused, do: {:error, refused}, else: {:ok, state}
    end
  end

  @impl GenServer
  def handle_call({:pipeline, commands}, _from, state) do
    case exchange(state, commands) do
      {:ok, replies, state} -> {:reply, {:ok, replies}, state}
      {:error, reason} -> {:stop, :normal, {:error, %Redix.ConnectionError{reason: reason}}, state}
    end
  end

  defp exchange(state, commands) do
    with :ok <- :gen_tcp.send(state.socket, Enum.map(commands, &pack/1)) do
      replies(state, length(commands), [])
    end
  catch
    {:closed, reason} -> {:error, reason}
  end

  defp replies(state, 0, done), do: {:ok, Enum.reverse(done), state}

  defp replies(state, left, done) do
    {reply, buffer} = read({state.socket, state.timeout}, state.buffer)
    replies(%{state | buffer: buffer}, left - 1, [reply | done])
  end

  # ---- RESP2

  @doc "A command in the server's format."
  def pack(command) do
    parts =
      for word <- command do
        word = if is_binary(word), do: word, else: to_string(word)
        [?$, Integer.to_string(byte_size(word)), "\r\n", word, "\r\n"]
      end

    [?*, Integer.to_string(length(command)), "\r\n" | parts]
  end

  defp read(from, buffer) do
    case line(from, buffer) do
      {"+" <> text, rest} -> {text, rest}
      {"-" <> text, rest} -> {%Redix.Error{message: text}, rest}
      {":" <> number, rest} -> {String.to_integer(number), rest}
      {"$-1", rest} -> {nil, rest}
      {"$" <> length, rest} -> bulk(from, rest, String.to_integer(length))
      {"*-1", rest} -> {nil, rest}
      {"*" <> count, rest} -> array(from, rest, String.to_integer(count), [])
    end
  end

  defp array(_from, buffer, 0, done), do: {Enum.reverse(done), buffer}

  defp array(from, buffer, left, done) do
    {item, buffer} = read(from, buffer)
    array(from, buffer, left - 1, [item | done])
  end

  defp bulk(from, buffer, length) do
    missing = length + 2 - byte_size(buffer)
    buffer = if missing > 0, do: buffer <> receive_bytes(from, missing), else: buffer
    {bytes, "\r\n" <> rest} = :erlang.split_binary(buffer, length)
    {bytes, rest}
  end

  defp line(from, buffer) do
    case :binary.split(buffer, "\r\n") do
      [line, rest] -> {line, rest}
      [partial] -> line(from, partial <> receive_bytes(from, 0))
    end
  end

  defp receive_bytes({socket, timeout_ms}, length) do
    case :gen_tcp.recv(socket, length, timeout_ms) do
      {:ok, bytes} -> bytes
      {:error, reason} -> throw({:closed, reason})
    end
  end
end
