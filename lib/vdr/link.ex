defmodule Vdr.Link do
  @moduledoc false
  # Decides when there is a link, and when there is another one. What a link does is the native library's: it runs one to
  # its end and tells how it went. Credentials, backoff and log lines are decided here.
  #
  #     connecting --streaming--> linked
  #         ^    \                  |
  #         |     \--ended--> waiting <--ended
  #         |                    |        (or stopped, with `reconnect: false`)
  #         \------timeout-------/
  #
  # The store and its data are not this process's: when it dies, the native library ends the link, and its successor
  # begins another on the same store.

  @behaviour :gen_statem

  require Logger

  alias Vdr.{Backoff, Instances, Native, Options}

  # A link that has held for so long was no lucky moment: the next failure starts the backoff anew.
  @stable_ms 60_000

  # Each contradiction costs the primary a full sync, however soon the options say that the next attempt may come.
  @diverged_ms 1_000

  @enforce_keys [:store, :options, :backoff]
  defstruct [:store, :options, :backoff, :tag, attempts: 0, links: 0, unknown: []]

  @spec child_spec({reference, Options.t()}) :: Supervisor.child_spec()
  def child_spec(argument), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [argument]}}

  @spec start_link({reference, Options.t()}) :: :gen_statem.start_ret()
  def start_link(argument), do: :gen_statem.start_link(__MODULE__, argument, [])

  @impl :gen_statem
  def callback_mode, do: :state_functions

  @impl :gen_statem
  def init({store, %Options{} = options}) do
    Logger.metadata(vdr: options.id)
    backoff = Backoff.new(options.reconnect_delay_ms, options.max_reconnect_delay_ms)
    # A predecessor that crashed left its counts behind.
    %{attempts: attempts, links: links} = Instances.report(options.id)
    link = %__MODULE__{store: store, options: options, backoff: backoff, attempts: attempts, links: links}
    {:ok, :connecting, link, {:next_event, :internal, :connect}}
  end

  @doc false
  def connecting(:internal, :connect, link) do
    link = %{link | tag: make_ref(), attempts: link.attempts + 1}
    report(link, %{link: :connecting, attempts: link.attempts})

    case start(link) do
      :ok -> {:keep_state, link}
      {:error, code} -> ended(link, code, "", :slowly)
    end
  end

  def connecting(:info, {tag, {:state, :streaming}}, %{tag: tag} = link) do
    Logger.info("following #{address(link)}")
    link = %{link | links: link.links + 1}
    report(link, %{link: :linked, links: link.links})
    Instances.refused(link.options.id, nil)
    {:next_state, :linked, link, {:state_timeout, @stable_ms, :stable}}
  end

  def connecting(type, event, link), do: common(type, event, link)

  @doc false
  def linked(:state_timeout, :stable, link), do: {:keep_state, %{link | backoff: Backoff.reset(link.backoff)}}
  def linked(type, event, link), do: common(type, event, link)

  @doc false
  def waiting(:state_timeout, :connect, link), do: {:next_state, :connecting, link, {:next_event, :internal, :connect}}
  def waiting(type, event, link), do: common(type, event, link)

  @doc false
  def stopped(type, event, link), do: common(type, event, link)

  defp common(:info, {tag, :ready}, %{tag: tag} = link) do
    Instances.ready(link.options.id)
    {:keep_state, link}
  end

  # The place for whoever wants to hear of it.
  defp common(:info, {tag, {:unknown_command, name}}, %{tag: tag} = link) do
    if name not in link.unknown do
      Logger.warning("the stream of #{address(link)} brings #{name}, which the library does not know; what it changes is missing")
    end

    {:keep_state, %{link | unknown: Enum.uniq([name | link.unknown])}}
  end

  defp common(:info, {tag, {:state, _state}}, %{tag: tag}), do: :keep_state_and_data

  defp common(:info, {tag, {:ended, code, detail, retry}}, %{tag: tag} = link), do: ended(link, code, detail, retry)

  # From a link of before, or from nobody we know.
  defp common(:info, _message, _link), do: :keep_state_and_data
  defp common(:cast, _message, _link), do: :keep_state_and_data
  defp common({:call, from}, _message, _link), do: {:keep_state_and_data, {:reply, from, {:error, :unknown_call}}}

  defp ended(link, code, detail, retry) do
    link = %{link | tag: nil}
    report(link, %{last_error: {code, detail}})

    if link.options.reconnect and retry != :never do
      {delay_ms, backoff} = delay(link.backoff, retry)
      delay_ms = if code == :diverged, do: max(delay_ms, @diverged_ms), else: delay_ms
      if retry == :slowly, do: Instances.refused(link.options.id, code)
      Logger.warning("link to #{address(link)} ended: #{because(code, detail)}; next attempt in #{delay_ms} ms")
      report(link, %{link: :waiting})
      {:next_state, :waiting, %{link | backoff: backoff}, {:state_timeout, delay_ms, :connect}}
    else
      Instances.refused(link.options.id, refusal(code, detail))
      Logger.warning("link to #{address(link)} ended: #{because(code, detail)}; there will be no other")
      report(link, %{link: :stopped})
      {:next_state, :stopped, link}
    end
  end

  defp refusal(:unknown_command, name), do: {:unknown_command, name}
  defp refusal(code, _detail), do: code

  defp delay(backoff, :soon), do: Backoff.next(backoff)
  defp delay(backoff, :slowly), do: Backoff.slow(backoff)

  defp start(%{store: store, options: options, tag: tag}) do
    with {:ok, password} <- Options.password(options) do
      Native.link_start(store, config(options, password), self(), tag)
    end
  catch
    # The arguments, password and all, must not become a stacktrace.
    _kind, _reason -> {:error, :bad_link_config}
  end

  defp config(options, password) do
    %{
      label: inspect(options.id, limit: 5, printable_limit: 100),
      host: options.host,
      port: options.port,
      username: options.username,
      password: password,
      connect_timeout_ms: options.timeout,
      ack_interval_ms: options.ack_interval_ms,
      stop_on_unknown_command: options.on_unknown_command == :stop
    }
  end

  defp report(link, changes), do: Instances.report(link.options.id, Map.put(changes, :primary, primary(link)))
  defp primary(%{options: options}), do: {options.host, options.port}
  defp address(%{options: options}), do: "#{options.host}:#{options.port}"

  defp because(code, ""), do: to_string(code)
  defp because(code, detail), do: "#{code} (#{detail})"
end
