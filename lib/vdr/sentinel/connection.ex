defmodule Vdr.Sentinel.Connection do
  @moduledoc false
  # One connection to a Sentinel, used by the process that opened it: RESP2, one command at a time, every wait with an end.
  # What comes is trusted in nothing: replies have a largest size and a deepest nesting.

  alias Vdr.Options

  @reply_bytes_max 256 * 1024
  @depth_max 8

  @enforce_keys [:transport, :socket, :timeout_ms]
  defstruct [:transport, :socket, :timeout_ms, buffer: ""]

  @type t :: %__MODULE__{}
  @type address :: {host :: String.t(), :inet.port_number()}
  @type reply :: binary | integer | nil | {:error, binary} | [reply]

  @doc "Connects and authenticates. `connect` is what `Vdr.Options.Sentinel` made of `:connect_opts`."
  @spec open(address, map) :: {:ok, t} | {:error, {:unreachable | :refused, String.t()}}
  def open({host, port}, connect) do
    transport = if connect.ssl, do: :ssl, else: :gen_tcp

    with :ok <- started(transport),
         {:ok, socket} <- connect(transport, host, port, connect) do
      authenticate(%__MODULE__{transport: transport, socket: socket, timeout_ms: connect.timeout}, connect)
    else
      {:error, reason} -> unreachable(reason)
    end
  end

  @doc "The reply to a command: `{:refused, text}` is an error reply."
  @spec command(t, [String.t()]) :: {:ok, reply, t} | {:error, {:unreachable | :refused, String.t()}}
  def command(connection, words) do
    with :ok <- send_command(connection, words), {:ok, reply, connection} <- next(connection) do
      case reply do
        {:error, text} -> {:error, {:refused, printable(text)}}
        reply -> {:ok, reply, connection}
      end
    else
      {:error, reason} -> unreachable(reason)
    end
  end

  @doc "Sends without waiting."
  @spec send_command(t, [String.t()]) :: :ok | {:error, term}
  def send_command(%{transport: transport, socket: socket}, words) do
    transport.send(socket, ["*#{length(words)}\r\n" | Enum.map(words, &["$#{byte_size(&1)}\r\n", &1, "\r\n"])])
  end

  @doc "From now on what comes is sent to the calling process, once; see `received/2`."
  @spec activate(t) :: :ok | {:error, term}
  def activate(%{transport: :ssl, socket: socket}), do: :ssl.setopts(socket, active: :once)
  def activate(%{socket: socket}), do: :inet.setopts(socket, active: :once)

  @doc "The replies that a message to the process brought; `:unknown` when it is not of this connection."
  @spec received(t, term) :: {:ok, [reply], t} | {:error, term} | :unknown
  def received(%{socket: socket} = connection, {tag, socket, data}) when tag in [:tcp, :ssl],
    do: replies(%{connection | buffer: connection.buffer <> data}, [])

  def received(%{socket: socket}, {tag, socket}) when tag in [:tcp_closed, :ssl_closed], do: {:error, :closed}
  def received(%{socket: socket}, {tag, socket, reason}) when tag in [:tcp_error, :ssl_error], do: {:error, reason}
  def received(_connection, _message), do: :unknown

  @spec close(t) :: :ok
  def close(%{transport: transport, socket: socket}) do
    _ = transport.close(socket)
    :ok
  end

  defp started(:gen_tcp), do: :ok

  defp started(:ssl) do
    case Application.ensure_all_started(:ssl) do
      {:ok, _started} -> :ok
      {:error, {app, _reason}} -> {:error, {:not_started, app}}
    end
  end

  # What is no host or no option raises or exits in there; a host may have come from another Sentinel.
  defp connect(transport, host, port, connect) do
    transport.connect(peer(host), port, options(connect), connect.timeout)
  catch
    _kind, _reason -> {:error, :badarg}
  end

  # An address in its own form is what a certificate's addresses are compared with, and nothing is sent as its name.
  defp peer(host) do
    case host |> to_charlist() |> :inet.parse_address() do
      {:ok, address} -> address
      {:error, :einval} -> to_charlist(host)
    end
  end

  defp options(connect) do
    # The last of two counts, and the form in which data comes is ours to say.
    own = [nodelay: true, keepalive: true] ++ connect.socket_opts ++ [:binary, active: false, packet: :raw]
    if connect.ssl, do: own ++ tls(connect.ssl_opts), else: own
  end

  # The peer and its name are verified unless the user says otherwise.
  defp tls(given) do
    match = :public_key.pkix_verify_hostname_match_fun(:https)

    [verify: :verify_peer, depth: 4, customize_hostname_check: [match_fun: match]]
    |> Keyword.merge(given)
    |> authorities()
  end

  defp authorities(options) do
    if options[:verify] == :verify_none || options[:cacerts] || options[:cacertfile],
      do: options,
      else: [cacerts: :public_key.cacerts_get()] ++ options
  end

  defp authenticate(connection, %{password: nil}), do: {:ok, connection}

  defp authenticate(connection, connect) do
    with {:ok, password} <- Options.password(connect),
         {:ok, _ok, connection} <- command(connection, ["AUTH" | List.wrap(connect.username)] ++ [password]) do
      {:ok, connection}
    else
      # Never with the server's words, which may quote ours.
      {:error, {:refused, _text}} -> failed(connection, {:refused, "it does not accept the username or password"})
      {:error, :bad_password_function} -> failed(connection, {:refused, "the function for its password failed"})
      {:error, reason} -> failed(connection, reason)
    end
  end

  defp failed(connection, reason) do
    close(connection)
    {:error, reason}
  end

  # The time is for the whole reply, however it trickles in.
  defp next(connection), do: next(connection, System.monotonic_time(:millisecond) + connection.timeout_ms)

  defp next(connection, deadline) do
    case parse(connection.buffer) do
      {:ok, reply, rest} ->
        {:ok, reply, %{connection | buffer: rest}}

      :more ->
        left = max(deadline - System.monotonic_time(:millisecond), 0)

        with {:ok, data} <- connection.transport.recv(connection.socket, 0, left),
             do: next(%{connection | buffer: connection.buffer <> data}, deadline)

      :error ->
        {:error, :not_resp}
    end
  end

  defp replies(connection, replies) do
    case parse(connection.buffer) do
      {:ok, reply, rest} -> replies(%{connection | buffer: rest}, [reply | replies])
      :more -> {:ok, Enum.reverse(replies), connection}
      :error -> {:error, :not_resp}
    end
  end

  @doc false
  @spec parse(binary) :: {:ok, reply, binary} | :more | :error
  def parse(buffer) do
    case value(buffer, @depth_max) do
      :more when byte_size(buffer) > @reply_bytes_max -> :error
      parsed -> parsed
    end
  end

  defp value(_buffer, 0), do: :error
  defp value("", _depth), do: :more

  defp value(<<kind, rest::binary>>, depth) when kind in [?+, ?-, ?:, ?$, ?*] do
    case :binary.split(rest, "\r\n") do
      [line, rest] -> value(kind, line, rest, depth)
      [_line] -> :more
    end
  end

  defp value(_buffer, _depth), do: :error

  defp value(?+, line, rest, _depth), do: {:ok, line, rest}
  defp value(?-, line, rest, _depth), do: {:ok, {:error, line}, rest}

  defp value(kind, line, rest, depth) do
    case {kind, Integer.parse(line)} do
      {?:, {number, ""}} -> {:ok, number, rest}
      {_nothing, {-1, ""}} -> {:ok, nil, rest}
      {?$, {size, ""}} when size in 0..@reply_bytes_max -> bulk(rest, size)
      {?*, {count, ""}} when count in 0..@reply_bytes_max -> array(rest, count, depth, [])
      _no_number -> :error
    end
  end

  defp bulk(rest, size) do
    case rest do
      <<bytes::binary-size(size), "\r\n", rest::binary>> -> {:ok, bytes, rest}
      rest when byte_size(rest) < size + 2 -> :more
      _no_end -> :error
    end
  end

  defp array(rest, 0, _depth, values), do: {:ok, Enum.reverse(values), rest}

  defp array(rest, count, depth, values) do
    with {:ok, value, rest} <- value(rest, depth - 1), do: array(rest, count - 1, depth, [value | values])
  end

  defp unreachable({:unreachable, _text} = reason), do: {:error, reason}
  defp unreachable(reason), do: {:error, {:unreachable, reason |> inspect(limit: 5) |> printable()}}

  defp printable(text), do: text |> String.slice(0, 160) |> String.replace(~r/[^[:print:]]/, "?")
end
