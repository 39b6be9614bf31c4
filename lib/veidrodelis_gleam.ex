defmodule :veidrodelis_gleam do
  @moduledoc false
  # The functions that the Gleam package in `gleam/` calls. Arguments and results are Gleam's terms
  # (`{:some, value}`, `:none`, `{:ok, nil}`). Returned strings are UTF-8. A reason is a `Failure`
  # of gleam/src/veidrodelis/mirror.gleam. No function raises for an argument of the right type,
  # because a Gleam program has no use for an exception of Elixir.
  #
  # Gleam does not check the types of these functions. So each function here must fit its
  # declaration in Gleam; the tests run both.

  import Bitwise

  alias Vdr.{Handle, Unlinked}
  alias Vdr.Options.Url

  @typedoc """
  A mirror, opaque for Gleam. It holds no process, so it may be kept, copied and sent to other
  processes. It means nothing on another node.
  """
  @type handle :: {:veidrodelis_gleam, id :: term, Veidrodelis.db(), timeout_ms :: pos_integer}
  @type option(value) :: {:some, value} | :none
  @type failure ::
          :not_ready
          | :stale
          | :not_running
          | :wrong_type
          | :not_text
          | :timed_out
          | :not_visible
          | {:connection_lost | :server_failed | :refused | :start_failed, String.t()}
  @type setting ::
          {:name | :host | :url | :username | :password, String.t()}
          | {:port | :timeout | :start_timeout | :database, integer}
          | {:tls, boolean}
          | {:prefixes, [String.t()]}
          | {:stale_reads, :allow | {:max_ms, integer} | :deny}

  # No server has a database of this number, so reads find nothing, and the server refuses writes.
  @db_max 0xFFFFFFFF
  @timeout_ms 5000
  @longest_ms 2_147_483_647
  @least_integer -0x8000_0000_0000_0000
  @greatest_integer 0x7FFF_FFFF_FFFF_FFFF

  # ---- lifecycle

  @doc "Starts a mirror, and returns when it can be read. If that fails, nothing is left running."
  @spec start([setting]) :: {:ok, handle} | {:error, failure}
  def start(settings) do
    with {:ok, _started} <- Application.ensure_all_started(:veidrodelis),
         {handle, options, start_timeout} = options(settings),
         :ok <- Unlinked.start(options, start_timeout) do
      {:ok, handle}
    else
      {:error, :timeout} -> {:error, :timed_out}
      {:error, reason} -> {:error, {:start_failed, text(reason)}}
    end
  rescue
    # An option is wrong. The message shows no password.
    error in ArgumentError -> {:error, {:start_failed, Exception.message(error)}}
  end

  @own [:name, :database, :prefixes, :start_timeout]

  defp options(settings) do
    {own, options} = Keyword.split(settings, @own)
    # `Veidrodelis.child_spec/1` refuses wrong values, so none gets into the handle.
    timeout = Keyword.get(options, :timeout, @timeout_ms)
    start_timeout = Keyword.get(own, :start_timeout, timeout)
    db = Keyword.get_lazy(own, :database, fn -> url_database(options[:url]) end)
    id = Keyword.get_lazy(own, :name, fn -> {:gleam, make_ref()} end)
    only = [dbs: [db], prefixes: Keyword.get(own, :prefixes)]

    unless start_timeout in 1..@longest_ms do
      raise ArgumentError, "the start timeout is a time from 1 to #{@longest_ms} ms, got: #{start_timeout}"
    end

    {{:veidrodelis_gleam, id, db, timeout}, [id: id, only: only] ++ Enum.map(options, &option/1), start_timeout}
  end

  defp option({:tls, tls}), do: {:ssl, tls}
  defp option(option), do: option

  # An instance ignores the number in its URL, because it holds all databases. A mirror of Gleam
  # holds one database, so here the number counts.
  defp url_database(url) do
    with true <- is_binary(url), db when db in 0..@db_max <- Url.database(url), do: db, else: (_none -> 0)
  end

  @doc "Stops a mirror that `start/1` has begun."
  @spec stop(handle) :: {:ok, nil} | {:error, :not_running}
  def stop({:veidrodelis_gleam, id, _db, _timeout}) do
    case Unlinked.stop(id) do
      :ok -> {:ok, nil}
      {:error, :not_found} -> {:error, :not_running}
    end
  end

  @doc "Returns the handle of a running instance, which has this id or registered name."
  @spec named(String.t()) :: handle
  def named(name), do: {:veidrodelis_gleam, id(name), 0, @timeout_ms}

  # An id in Elixir is mostly an atom. No new atom is created from the name.
  defp id(name) do
    atom = String.to_existing_atom(name)
    if Handle.store(name) == nil and Handle.store(atom) != nil, do: atom, else: name
  rescue
    # There is no such atom, or the name is too long for an atom.
    _error in [ArgumentError, SystemLimitError] -> name
  end

  @spec in_database(handle, integer) :: handle
  def in_database({:veidrodelis_gleam, id, _db, timeout}, db),
    do: {:veidrodelis_gleam, id, if(db in 0..@db_max, do: db, else: @db_max), timeout}

  @spec with_timeout(handle, integer) :: handle
  def with_timeout({:veidrodelis_gleam, id, db, _timeout}, timeout),
    do: {:veidrodelis_gleam, id, db, timeout |> max(1) |> min(@longest_ms)}

  @spec await_ready(handle, integer) :: {:ok, nil} | {:error, failure}
  def await_ready({:veidrodelis_gleam, id, _db, _timeout}, timeout) do
    case Veidrodelis.await_ready(id, timeout |> max(0) |> min(@longest_ms)) do
      :ok -> {:ok, nil}
      {:error, reason} when reason in [:timeout, :no_instance] -> {:error, failure(reason)}
      {:error, reason} -> {:error, {:start_failed, text(reason)}}
    end
  end

  @spec is_ready(handle) :: boolean
  def is_ready({:veidrodelis_gleam, id, _db, _timeout}), do: Veidrodelis.ready?(id)

  @doc "Returns whether the instance runs, ready or not."
  @spec is_running(handle) :: boolean
  def is_running({:veidrodelis_gleam, id, _db, _timeout}), do: Handle.store(id) != nil

  # ---- reads

  @doc """
  A key on the server. Gleam's `<>` would make three binaries, each with room for more. So would one
  construction that begins with a whole binary, and this one begins with a part of given size.
  """
  @spec join(prefix :: String.t(), resource_type :: String.t(), key :: String.t()) :: String.t()
  def join(prefix, resource_type, key) do
    size = byte_size(prefix)
    <<prefix::binary-size(size), resource_type::binary, ?:, key::binary>>
  end

  @spec get(handle, String.t()) :: {:ok, option(String.t())} | {:error, failure}
  def get({:veidrodelis_gleam, id, db, _timeout}, key) do
    case Veidrodelis.get(id, db, key) do
      {:ok, nil} -> {:ok, :none}
      {:ok, value} -> if text?(value), do: {:ok, {:some, value}}, else: {:error, :not_text}
      {:error, reason} -> {:error, failure(reason)}
    end
  end

  # The name of a read, the number of its arguments, and the form of its result.
  for {name, arity, shape} <- [
        {:mget, 1, {:list, {:option, :text}}},
        {:strlen, 1, :same},
        {:exists, 1, :same},
        {:ttl, 1, :expiry},
        {:dbsize, 0, :same},
        {:keys, 1, {:list, :text}},
        {:hget, 2, {:option, :text}},
        {:hmget, 2, {:list, {:option, :text}}},
        {:hgetall, 1, {:list, {:pair, :text, :text}}},
        {:hkeys, 1, {:list, :text}},
        {:hvals, 1, {:list, :text}},
        {:hlen, 1, :same},
        {:hexists, 2, :same},
        {:llen, 1, :same},
        {:lrange, 3, {:list, :text}},
        {:lindex, 2, {:option, :text}},
        {:smembers, 1, {:list, :text}},
        {:sismember, 2, :same},
        {:scard, 1, :same},
        {:zscore, 2, {:option, :score}},
        {:zrank, 2, {:option, :same}},
        {:zcard, 1, :same},
        {:zrange, 3, {:list, {:pair, :text, :score}}},
        {:zrangebyscore, 3, {:list, {:pair, :text, :score}}}
      ] do
    args = Macro.generate_arguments(arity, __MODULE__)

    @spec unquote(name)(unquote_splicing([quote(do: handle) | List.duplicate(quote(do: term), arity)])) ::
            {:ok, term} | {:error, failure}
    def unquote(name)(handle, unquote_splicing(args)),
      do: read(handle, unquote(name), unquote(args), unquote(Macro.escape(shape)))
  end

  defp read({:veidrodelis_gleam, id, db, _timeout}, name, args, shape) do
    case Vdr.Read.call(id, db, name, Enum.map(args, &argument/1)) do
      {:ok, value} -> {:ok, shape(shape, value)}
      {:error, reason} -> {:error, failure(reason)}
    end
  catch
    :not_text -> {:error, :not_text}
  end

  # Integers of Gleam have no bounds. An index beyond the server's bounds means the first or the
  # last.
  defp argument(integer) when is_integer(integer), do: integer |> max(@least_integer) |> min(@greatest_integer)
  defp argument({:finite, score}), do: score
  defp argument(:infinite), do: :pos_inf
  defp argument(:negative_infinite), do: :neg_inf
  defp argument(text_or_list), do: text_or_list

  defp shape(:same, value), do: value
  defp shape(:text, value), do: if(text?(value), do: value, else: throw(:not_text))
  defp shape({:option, _shape}, nil), do: :none
  defp shape({:option, shape}, value), do: {:some, shape(shape, value)}
  defp shape({:list, shape}, values), do: Enum.map(values, &shape(shape, &1))
  defp shape({:pair, one, other}, {a, b}), do: {shape(one, a), shape(other, b)}
  defp shape(:score, :pos_inf), do: :infinite
  defp shape(:score, :neg_inf), do: :negative_infinite
  defp shape(:score, score), do: {:finite, score}
  defp shape(:expiry, nil), do: :no_such_key
  defp shape(:expiry, :infinity), do: :never
  defp shape(:expiry, seconds), do: {:expires_in, seconds}

  # ---- writes

  @doc "Stores a value, which this node can read afterwards. A time to live of 0 or less deletes the key."
  @spec set(handle, key :: String.t(), value :: String.t(), option(integer)) :: {:ok, nil} | {:error, failure}
  def set(handle, key, value, :none), do: write(handle, ["SET", key, value])

  def set(handle, key, value, {:some, seconds}) when seconds > 0,
    do: write(handle, ["SET", key, value, "EX", Integer.to_string(seconds)])

  def set(handle, key, _value, {:some, _over}), do: delete(handle, key)

  @spec delete(handle, key :: String.t()) :: {:ok, nil} | {:error, failure}
  def delete(handle, key), do: write(handle, ["UNLINK", key])

  defp write(handle, words), do: with({:ok, _reply} <- call(handle, words), do: {:ok, nil})

  @doc "Sends any command that `Veidrodelis.command/3` takes, and returns its reply."
  @spec command(handle, [String.t()]) :: {:ok, term} | {:error, failure}
  def command(_handle, []), do: {:error, {:refused, "a command begins with its name"}}

  def command(handle, words) do
    with {:ok, reply} <- call(handle, words), do: {:ok, reply(reply)}
  catch
    :not_text -> {:error, :not_text}
  end

  defp call({:veidrodelis_gleam, id, db, timeout}, words) do
    with {:error, reason} <- Veidrodelis.command(id, words, db: db, timeout: timeout), do: {:error, failure(reason)}
  end

  defp reply(nil), do: :nothing
  defp reply(number) when is_integer(number), do: {:number, number}
  defp reply(text) when is_binary(text), do: {:text, shape(:text, text)}
  defp reply(replies) when is_list(replies), do: {:many, Enum.map(replies, &reply/1)}
  defp reply(%Veidrodelis.ServerError{} = error), do: {:failed, Exception.message(error)}

  @spec sync(handle) :: {:ok, nil} | {:error, failure}
  def sync({:veidrodelis_gleam, id, _db, timeout}) do
    case Veidrodelis.sync(id, timeout) do
      :ok -> {:ok, nil}
      {:error, reason} -> {:error, failure(reason)}
    end
  end

  # ---- watches

  @spec watch(handle, key :: String.t(), tag :: term) :: {:ok, nil} | {:error, failure}
  def watch({:veidrodelis_gleam, id, db, _timeout}, key, tag),
    do: watched(Veidrodelis.watch(id, db, key, tag, notify: :key))

  @spec watch_prefix(handle, prefix :: String.t(), tag :: term) :: {:ok, nil} | {:error, failure}
  def watch_prefix({:veidrodelis_gleam, id, db, _timeout}, prefix, tag),
    do: watched(Veidrodelis.watch_prefix(id, db, prefix, tag, notify: :key))

  @spec unwatch(handle, key :: String.t()) :: {:ok, nil} | {:error, failure}
  def unwatch({:veidrodelis_gleam, id, db, _timeout}, key), do: watched(Veidrodelis.unwatch(id, db, key))

  @spec unwatch_prefix(handle, prefix :: String.t()) :: {:ok, nil} | {:error, failure}
  def unwatch_prefix({:veidrodelis_gleam, id, db, _timeout}, prefix),
    do: watched(Veidrodelis.unwatch_prefix(id, db, prefix))

  defp watched(:ok), do: {:ok, nil}
  defp watched({:error, reason}), do: {:error, failure(reason)}

  @doc "Returns the content of a watch's message, which is `{tag, event}`."
  @spec event(term) :: {:changed, option(String.t())} | :replaced | :missed | :unknown
  def event({_tag, event}), do: event(event)

  def event(%Vdr.WatchEvent.Key{key: key}),
    do: {:changed, if(is_binary(key) and text?(key), do: {:some, key}, else: :none)}

  def event(%Vdr.WatchEvent.Init{}), do: :replaced
  def event(%Vdr.WatchEvent.Missed{}), do: :missed
  def event(_other), do: :unknown

  # ---- failures

  defp failure(:not_ready), do: :not_ready
  defp failure(:stale), do: :stale
  defp failure(:no_instance), do: :not_running
  defp failure(:wrong_type), do: :wrong_type
  defp failure(:timeout), do: :timed_out
  # With these two reasons, it is unknown whether the write has run.
  defp failure({:sent, :timeout}), do: :timed_out
  defp failure({:sent, reason}), do: {:connection_lost, text(reason)}
  # The write has run, but this node does not know whether it can read it.
  defp failure({:written, _reason}), do: :not_visible
  defp failure(%Veidrodelis.ServerError{} = error), do: {:server_failed, Exception.message(error)}

  defp failure(reason)
       when reason in [:unknown_value, :no_offset, :overloaded, :request_too_large, :already_registered, :not_found],
       do: {:refused, text(reason)}

  defp failure({:not_allowed, _name} = reason), do: {:refused, text(reason)}
  # The remaining reasons are those of connecting.
  defp failure(reason), do: {:connection_lost, text(reason)}

  defp text({:already_started, _pid}), do: "there is a mirror of this name"

  defp text(reason) do
    sentence = Exception.message(Veidrodelis.Error.exception(reason: reason))
    if String.valid?(sentence), do: sentence, else: inspect(sentence)
  end

  # ---- text

  # `String.valid?/1` looks at one character after the other. Most values are ASCII: of them, eight
  # bytes at once are two numbers that the VM keeps in words.
  @ascii 0x80808080

  defp text?(<<one::32, other::32, rest::binary>>) when ((one ||| other) &&& @ascii) == 0, do: text?(rest)
  defp text?(<<four::32, rest::binary>>) when (four &&& @ascii) == 0, do: text?(rest)
  defp text?(rest), do: text_by_bytes?(rest)

  defp text_by_bytes?(<<byte, rest::binary>>) when byte < 0x80, do: text_by_bytes?(rest)
  defp text_by_bytes?(<<>>), do: true
  defp text_by_bytes?(rest), do: String.valid?(rest)
end
