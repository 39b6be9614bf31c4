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
  # What the link feeds, and its data, are not this process's: when it dies, the native library ends the link, and its
  # successor begins another on the same store. Who is told how the link stands is a `Vdr.Link.Owner`.

  @behaviour :gen_statem

  require Logger

  alias Vdr.{Backoff, Native, Options}

  # A link that has held for so long was no lucky moment: the next failure starts the backoff anew.
  @stable_ms 60_000

  @enforce_keys [:store, :options, :backoff, :owner]
  defstruct [:store, :options, :backoff, :owner, :tag, attempts: 0, links: 0]

  @typedoc "What the link feeds, how, and who is told: a `Vdr.Link.Owner` with the name by which it knows the link."
  @type argument :: {reference, Options.t(), {module, term}}

  @spec child_spec(argument) :: Supervisor.child_spec()
  def child_spec(argument), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [argument]}}

  @spec start_link(argument) :: :gen_statem.start_ret()
  def start_link(argument), do: :gen_statem.start_link(__MODULE__, argument, [])

  @impl :gen_statem
  def callback_mode, do: :state_functions

  @impl :gen_statem
  def init({store, %Options{} = options, {owner, name}}) do
    Logger.metadata(vdr: options.id)
    backoff = Backoff.new(options.reconnect_delay_ms, options.max_reconnect_delay_ms)
    # A predecessor that crashed left its counts behind.
    %{attempts: attempts, links: links} = owner.report(name)
    link = %__MODULE__{store: store, options: options, backoff: backoff, owner: {owner, name}}
    {:ok, :connecting, %{link | attempts: attempts, links: links}, {:next_event, :internal, :connect}}
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
    refused(link, nil)
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

  defp common(:info, {tag, :ready}, %{tag: tag, owner: {owner, name}} = link) do
    owner.ready(name)
    {:keep_state, link}
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
      if retry == :slowly, do: refused(link, code)
      Logger.warning("link to #{address(link)} ended: #{because(code, detail)}; next attempt in #{delay_ms} ms")
      report(link, %{link: :waiting})
      {:next_state, :waiting, %{link | backoff: backoff}, {:state_timeout, delay_ms, :connect}}
    else
      refused(link, code)
      Logger.warning("link to #{address(link)} ended: #{because(code, detail)}; there will be no other")
      report(link, %{link: :stopped})
      {:next_state, :stopped, link}
    end
  end

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
      ack_interval_ms: options.ack_interval_ms
    }
  end

  defp report(%{owner: {owner, name}} = link, changes),
    do: owner.report(name, Map.put(changes, :primary, primary(link)))

  defp refused(%{owner: {owner, name}}, reason), do: owner.refused(name, reason)
  defp primary(%{options: options}), do: {options.host, options.port}
  defp address(%{options: options}), do: "#{options.host}:#{options.port}"

  defp because(code, ""), do: to_string(code)
  defp because(code, detail), do: "#{code} (#{detail})"
end
