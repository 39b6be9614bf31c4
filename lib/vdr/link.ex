defmodule Vdr.Link do
  @moduledoc false
  # Decides when there is a link, to whom, and when there is another one. What a link does is the native library's: it runs
  # one to its end and tells how it went. Credentials, backoff, Sentinel and events are decided here.
  #
  #     connecting --streaming--> linked
  #         ^    \                  |
  #         |     \--ended--> waiting <--ended
  #         |                    |        (or stopped, with `reconnect: false`)
  #         \------timeout-------/
  #
  # From each of them but `stopped` a failover leads back to connecting, at once and to the new primary.
  #
  # The store and its data are not this process's: when it dies, the native library ends the link, and its successor
  # begins another on the same store.

  @behaviour :gen_statem

  alias Vdr.{Backoff, Events, Instances, Native, Options, Sentinel}

  # A link that has held for so long was no lucky moment: the next failure starts the backoff anew.
  @stable_ms 60_000

  @enforce_keys [:store, :options, :backoff]
  defstruct [
    :store,
    :options,
    :backoff,
    :tag,
    :primary,
    :sentinels,
    :named,
    attempts: 0,
    links: 0,
    sync: :partial,
    ready: false
  ]

  @spec child_spec({reference, Options.t()}) :: Supervisor.child_spec()
  def child_spec(argument), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [argument]}}

  @spec start_link({reference, Options.t()}) :: :gen_statem.start_ret()
  def start_link({_store, options} = argument), do: :gen_statem.start_link(name(options.id), __MODULE__, argument, [])

  @doc "A Sentinel says that this is the primary now."
  @spec switched(term, Sentinel.address()) :: :ok
  def switched(id, address), do: :gen_statem.cast(name(id), {:switched, address})

  defp name(id), do: {:via, Registry, {Vdr.Registry, {__MODULE__, id}}}

  @impl :gen_statem
  def callback_mode, do: :state_functions

  @impl :gen_statem
  def init({store, %Options{} = options}) do
    Logger.metadata(vdr: options.id)
    # A predecessor that crashed left its counts behind.
    %{attempts: attempts, links: links} = Instances.report(options.id)

    link = %__MODULE__{
      store: store,
      options: options,
      backoff: Backoff.new(options.reconnect_delay_ms, options.max_reconnect_delay_ms),
      sentinels: options.sentinel && options.sentinel.sentinels,
      attempts: attempts,
      links: links,
      ready: Native.ready(store)
    }

    {:ok, :connecting, link, {:next_event, :internal, :connect}}
  end

  @doc false
  def connecting(:internal, :connect, link) do
    link = %{link | tag: make_ref(), attempts: link.attempts + 1, sync: :partial}
    report(link, %{link: :connecting, attempts: link.attempts})

    case find(link) do
      {:ok, link} -> connect(link)
      {:error, code, detail, retry} -> ended(link, code, detail, retry)
    end
  end

  def connecting(:info, {tag, {:state, :rdb_transfer}}, %{tag: tag} = link) do
    Events.emit(link.options.id, :syncing, %{primary: link.primary})
    {:keep_state, %{link | sync: :full}}
  end

  def connecting(:info, {tag, {:state, :streaming}}, %{tag: tag} = link) do
    link = %{link | links: link.links + 1}
    report(link, %{link: :linked, links: link.links})
    Instances.refused(link.options.id, nil)
    Events.emit(link.options.id, :streaming, %{primary: link.primary, sync: link.sync})
    {:next_state, :linked, link, {:state_timeout, @stable_ms, :stable}}
  end

  def connecting(type, event, link), do: common(type, event, link)

  @doc false
  def linked(:state_timeout, :stable, link), do: {:keep_state, %{link | backoff: Backoff.reset(link.backoff)}}
  def linked(type, event, link), do: common(type, event, link)

  @doc false
  def waiting(:state_timeout, :connect, link), do: {:next_state, :connecting, link, {:next_event, :internal, :connect}}

  # What keeps us waiting may be the server of before; the one named now is another one, or another one again.
  def waiting(:cast, {:switched, address}, %{options: %{sentinel: %{role: :primary}}, primary: before} = link)
      when address != before,
      do: switch(link, address)

  def waiting(type, event, link), do: common(type, event, link)

  @doc false
  def stopped(:cast, _message, _link), do: :keep_state_and_data
  def stopped(type, event, link), do: common(type, event, link)

  defp common(:info, {tag, :ready}, %{tag: tag} = link) do
    Instances.ready(link.options.id)
    unless link.ready, do: Events.emit(link.options.id, :ready, %{primary: link.primary})
    {:keep_state, %{link | ready: true}}
  end

  defp common(:info, {tag, :guard_given_up}, %{tag: tag} = link) do
    Logger.warning(
      "the guard key #{inspect(link.options.guard_key)} was set for too long, or held back too much: what it held back is shown"
    )

    :keep_state_and_data
  end

  defp common(:info, {tag, {:state, _state}}, %{tag: tag}), do: :keep_state_and_data

  defp common(:info, {tag, {:ended, code, detail, retry}}, %{tag: tag} = link), do: ended(link, code, detail, retry)

  defp common(:cast, {:switched, address}, %{options: %{sentinel: %{role: role}}} = link) do
    # A replica that becomes the primary is no replica any more; the others stay what they are.
    leave = if role == :primary, do: address != link.primary, else: address == link.primary
    if leave, do: switch(link, address), else: :keep_state_and_data
  end

  # From a link of before, or from nobody we know.
  defp common(:info, _message, _link), do: :keep_state_and_data
  defp common(:cast, _message, _link), do: :keep_state_and_data
  defp common({:call, from}, _message, _link), do: {:keep_state_and_data, {:reply, from, {:error, :unknown_call}}}

  defp connect(link) do
    report(link, %{})
    Events.emit(link.options.id, :connecting, %{primary: link.primary, attempt: link.attempts})

    case start(link) do
      :ok -> {:keep_state, link}
      {:error, code} -> ended(link, code, "", :slowly)
    end
  end

  defp switch(link, address) do
    Native.link_stop(link.store)
    Events.emit(link.options.id, :switched, %{primary: address, from: link.primary})
    named = if link.options.sentinel.role == :primary, do: address
    link = %{link | tag: nil, named: named, backoff: Backoff.reset(link.backoff)}
    {:next_state, :connecting, link, {:next_event, :internal, :connect}}
  end

  defp ended(link, code, detail, retry) do
    link = %{link | tag: nil}
    report(link, %{last_error: {code, detail}})

    if link.options.reconnect and retry != :never do
      {delay_ms, backoff} = delay(link.backoff, retry)
      report(link, %{link: :waiting})
      disconnected(link, code, detail, retry, delay_ms)
      if retry == :slowly, do: Instances.refused(link.options.id, code)
      {:next_state, :waiting, %{link | backoff: backoff}, {:state_timeout, delay_ms, :connect}}
    else
      report(link, %{link: :stopped})
      disconnected(link, code, detail, retry, nil)
      Instances.refused(link.options.id, code)
      {:next_state, :stopped, link}
    end
  end

  defp disconnected(link, code, detail, retry, delay_ms) do
    details = %{reason: code, detail: detail, refused: retry == :slowly, retry_in_ms: delay_ms, primary: link.primary}
    Events.emit(link.options.id, :disconnected, details)
  end

  defp delay(backoff, :soon), do: Backoff.next(backoff)
  defp delay(backoff, :slowly), do: Backoff.slow(backoff)

  # Whom to attach to: asked anew at every attempt, unless a Sentinel has just said so.
  defp find(%{options: %{socket: path}} = link) when path != nil, do: {:ok, %{link | primary: {path, 0}}}
  defp find(%{options: %{sentinel: nil} = options} = link), do: {:ok, %{link | primary: {options.host, options.port}}}
  defp find(%{named: {_host, _port} = named} = link), do: {:ok, %{link | primary: named, named: nil}}

  defp find(%{options: %{sentinel: sentinel}} = link) do
    with {:ok, address, sentinels} <- Sentinel.find(sentinel, link.sentinels),
         do: {:ok, %{link | primary: address, sentinels: sentinels}}
  end

  defp start(%{store: store, options: options, tag: tag} = link) do
    with {:ok, password} <- Options.password(options) do
      Native.link_start(store, config(link, password), self(), tag)
    end
  catch
    # The arguments, password and all, must not become a stacktrace.
    _kind, _reason -> {:error, :bad_link_config}
  end

  defp config(%{options: options, primary: {host, port}}, password) do
    %{
      label: inspect(options.id, limit: 5, printable_limit: 100),
      host: host,
      port: port,
      socket: options.socket,
      tls: if(options.ssl, do: Options.Tls.config(options.ssl_opts)),
      username: options.username,
      password: password,
      role: if(options.sentinel, do: options.sentinel.role, else: :ask),
      ack: options.ack,
      connect_timeout_ms: options.timeout,
      read_timeout_ms: options.read_timeout,
      ack_interval_ms: options.ack_interval_ms
    }
  end

  defp report(link, changes), do: Instances.report(link.options.id, Map.put(changes, :primary, link.primary))
end
