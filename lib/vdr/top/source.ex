defmodule Vdr.Top.Source do
  @moduledoc false
  # Where `mix vdr.top` takes its overviews: a mirror of its own, or the instances of a running
  # node. A value.

  alias Vdr.Overview

  @call_ms 5000

  @enforce_keys [:node, :ids]
  defstruct [:node, :ids, memo: nil]

  @type t :: %__MODULE__{node: node, ids: [term], memo: nil | Overview.memo()}

  @doc "A mirror of the server at a URL. Returns when it can be read."
  @spec follow(String.t(), timeout) :: {:ok, t} | {:error, String.t()}
  def follow(url, timeout) do
    id = {Vdr.Top, System.unique_integer([:positive])}

    with {:ok, _pid} <- start(id, url),
         :ok <- Veidrodelis.await_ready(id, timeout) do
      {:ok, %__MODULE__{node: node(), ids: [id]}}
    else
      {:error, reason} ->
        last_error = last_error(id)
        Veidrodelis.stop(id)
        {:error, sentence(reason) <> if(reason == :timeout, do: last_error, else: "")}
    end
  end

  # An error of the URL says what is wrong and shows no part of it.
  defp start(id, url) do
    Veidrodelis.start_link(id: id, url: url, log: false)
  rescue
    error in ArgumentError -> {:error, error.message}
  end

  # Why the attempts until the timeout failed.
  defp last_error(id) do
    case Veidrodelis.info(id, :last_error) do
      {code, _detail} -> ": " <> sentence(code)
      _none -> ""
    end
  end

  defp sentence(text) when is_binary(text), do: text
  defp sentence(:timeout), do: "no server answered in time"
  defp sentence(reason), do: Exception.message(Veidrodelis.Error.exception(reason))

  @doc "The instances of a node, with a cookie or with that of this machine."
  @spec attach(String.t(), nil | String.t()) :: {:ok, t} | {:error, String.t()}
  def attach(name, cookie) do
    with :ok <- distribute(name),
         node = String.to_atom(name),
         :ok <- set_cookie(node, cookie),
         true <- Node.connect(node) do
      case call(node, Veidrodelis, :list, []) do
        {:ok, []} -> {:error, "#{name} has no instance"}
        {:ok, ids} -> {:ok, %__MODULE__{node: node, ids: Enum.sort(ids)}}
        {:error, _reason} -> {:error, "#{name} does not run this version of Veidrodelis"}
      end
    else
      {:error, reason} -> {:error, reason}
      _not_connected -> {:error, "no connection to the node #{name}: is it running, and is the cookie right?"}
    end
  end

  defp set_cookie(_node, nil), do: :ok

  defp set_cookie(node, cookie) do
    Node.set_cookie(node, String.to_atom(cookie))
    :ok
  end

  # A hidden node, so that the cluster takes no notice.
  defp distribute(name) do
    if Node.alive?() do
      :ok
    else
      type = if name =~ ~r/@.*\./, do: :longnames, else: :shortnames
      :application.set_env(:kernel, :dist_listen, false)
      own = :"vdr_top_#{System.pid()}#{if type == :longnames, do: "@127.0.0.1"}"

      case Node.start(own, type) do
        {:ok, _pid} -> :ok
        {:error, _reason} -> {:error, "this machine cannot start a node of its own (is epmd running?)"}
      end
    end
  end

  @doc "The overview of the instance whose turn it is."
  @spec take(t) :: {:ok, Overview.t(), t} | {:error, String.t()}
  def take(%__MODULE__{ids: [id | _]} = source) do
    case call(source.node, Overview, :take, [id, source.memo || Overview.memo()]) do
      {:ok, {:ok, overview, memo}} -> {:ok, overview, %{source | memo: memo}}
      {:ok, {:error, :no_instance}} -> {:error, "the instance #{Overview.name(id)} has ended"}
      {:error, reason} -> {:error, reason}
    end
  end

  @doc "The next instance."
  @spec next(t) :: t
  def next(%__MODULE__{ids: [id | rest]} = source), do: %{source | ids: rest ++ [id], memo: nil}

  defp call(node, module, function, arguments) when node == node(), do: {:ok, apply(module, function, arguments)}

  defp call(node, module, function, arguments) do
    {:ok, :erpc.call(node, module, function, arguments, @call_ms)}
  catch
    :error, {:erpc, :noconnection} -> {:error, "the node #{node} is gone"}
    :error, {:erpc, :timeout} -> {:error, "the node #{node} does not answer"}
    _kind, _reason -> {:error, "the node #{node} could not answer"}
  end
end
