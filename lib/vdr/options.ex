defmodule Vdr.Options do
  @moduledoc false
  # The checked options of `Veidrodelis.start_link/1` and `Vdr.RedisStream.Replica.start_link/1`,
  # and what they mean together. Code that has a `%Vdr.Options{}` need not check anything again.

  alias Vdr.{Schema, Secret}
  alias Vdr.Options.{Definitions, Url}

  @names (Definitions.mirror() ++ Definitions.handler())
         |> Keyword.delete(:socket_opts)
         |> Keyword.keys()
         |> Enum.uniq()
  @owners %{mirror: "Veidrodelis", handler: "Vdr.RedisStream.Replica"}

  @enforce_keys [:id]
  # `only` is a map for the native library. `password`, `psync_command` and `callback_opts` are
  # `nil` or functions, see `Vdr.Secret`. `played` is the primary that a test plays instead of a
  # server, see `Vdr.Testing.Primary`.
  defstruct [:played | @names -- [:url]]

  @type t :: %__MODULE__{}
  @type owner :: :mirror | :handler

  @doc "The list of options for the documentation."
  @spec docs(owner) :: String.t()
  def docs(owner \\ :mirror), do: owner |> schema() |> Schema.docs()

  @doc "The type of one option."
  @spec type(owner) :: Macro.t()
  def type(owner), do: owner |> schema() |> Schema.type()

  @doc "The options as a struct. Raises an `ArgumentError` that names what is wrong."
  @spec validate!(keyword | t, owner) :: t
  def validate!(options, owner \\ :mirror)
  def validate!(%__MODULE__{} = options, _owner), do: options

  def validate!(options, owner) do
    whose = @owners[owner]

    options
    |> refuse_filter_of_mirror!(owner)
    |> Schema.cast!(schema(owner), whose)
    |> expand_url(owner, whose)
    |> check_together!(whose)
    |> expand_sentinel()
    |> Schema.fill(schema(owner))
    |> Keyword.drop([:url, :socket_opts])
    |> Keyword.update!(:only, &only/1)
    |> Keyword.update!(:password, &Secret.hide/1)
    |> Keyword.update!(:psync_command, &Secret.hide_psync_command/1)
    |> identify(owner)
    |> then(&struct!(__MODULE__, &1))
  end

  @doc "The schema of the options."
  @spec schema(owner) :: Schema.t()
  def schema(:mirror), do: Definitions.mirror()
  def schema(:handler), do: Definitions.handler()

  # An Elixir function would be called for each of a million commands a second, and a command that
  # it changed or left out would make the results of later commands wrong.
  defp refuse_filter_of_mirror!(options, :mirror) when is_list(options) do
    if Keyword.keyword?(options) and options[:command_filter] != nil do
      raise ArgumentError,
            "option :command_filter is not for a mirror, whose values must be the primary's: keep a part of the data " <>
              "with :only, or filter commands in Vdr.RedisStream.Replica"
    end

    if List.improper?(options), do: options, else: List.delete(options, {:command_filter, nil})
  end

  defp refuse_filter_of_mirror!(options, _owner), do: options

  defp expand_url(given, owner, whose) do
    case Keyword.pop(given, :url) do
      {nil, given} ->
        given

      {url, given} ->
        parsed = Url.parse!(url, ":url of #{whose}")
        replaced = [:host, :port, :socket] ++ Keyword.keys(parsed)
        Schema.exclude!([{:url, url} | given], [:url], replaced, whose)
        # Only what a URL cannot know is missing here.
        schema = owner |> schema() |> Keyword.take(replaced)
        Schema.cast!(parsed, schema, ":url of #{whose}") ++ given
    end
  end

  defp check_together!(given, whose) do
    server = [:host, :port, :socket, :username, :password, :ssl, :ssl_opts]
    Schema.exclude!(given, [:sentinel], server, whose)
    Schema.exclude!(given, [:socket], [:host, :port], whose)
    Schema.need!(given, :username, :password, whose)

    if given[:ssl_opts] != nil and not Keyword.get(given, :ssl, false) and ssl_opts?(given[:ssl_opts]),
      do: raise(ArgumentError, "option :ssl_opts of #{whose} needs ssl: true beside it")

    check_delays!(Schema.fill(given, Definitions.mirror()), whose)
    given
  end

  defp ssl_opts?(given) do
    {:options, schema, _relations} = Vdr.Options.Tls.type()
    given != Schema.fill([], schema)
  end

  defp check_delays!(filled, whose) do
    {first, longest} = {filled[:reconnect_delay_ms], filled[:max_reconnect_delay_ms]}

    if first > longest,
      do: Schema.refuse!(":max_reconnect_delay_ms of #{whose}", "at least :reconnect_delay_ms (#{first})", "#{longest}")
  end

  # The options for the server that Sentinel finds become options of the server.
  defp expand_sentinel(given) do
    case Keyword.pop(given, :sentinel) do
      {nil, given} ->
        given

      {sentinel, given} ->
        {sentinel, server} = Vdr.Options.Sentinel.new!(sentinel)
        given |> Keyword.merge(server) |> Keyword.put(:sentinel, sentinel)
    end
  end

  defp only(nil), do: nil
  defp only(only), do: Map.new(only)

  defp identify(options, :mirror), do: options

  defp identify(options, :handler) do
    callback_opts = options[:callback_opts]

    options
    |> Keyword.put(:id, options[:name] || options[:callback_module])
    |> Keyword.put(:callback_opts, fn -> callback_opts end)
  end

  @doc "Identifies the data of an instance: two instances of one id and equal identities would hold the same data."
  @spec identity(t) :: map
  def identity(%__MODULE__{sentinel: sentinel} = options) do
    followed = if sentinel, do: {sentinel.group, sentinel.role}, else: options.socket || {options.host, options.port}
    %{followed: followed, stale_ms: stale_ms(options), guard_key: options.guard_key || nil, only: options.only}
  end

  @doc "How long reads use data after the server's last message: `nil` is for ever, 0 only while a link streams."
  @spec stale_ms(t) :: nil | non_neg_integer
  def stale_ms(%__MODULE__{stale_reads: :allow}), do: nil
  def stale_ms(%__MODULE__{stale_reads: :deny}), do: 0
  def stale_ms(%__MODULE__{stale_reads: {:max_ms, ms}}), do: ms

  @doc "The password for one attempt to connect."
  @spec password(t | %{:password => Secret.t(), optional(atom) => term}) ::
          {:ok, binary | nil} | {:error, :bad_password_function}
  def password(%{password: password}), do: Secret.reveal(password)

  defimpl Inspect do
    import Inspect.Algebra

    alias Vdr.Options.Definitions

    @defaults for {name, spec} <- Definitions.mirror() ++ Definitions.handler(), into: %{}, do: {name, spec[:default]}
    @always [:id, :host, :port]
    @secret [:password, :psync_command, :callback_opts]

    # Supervisors print options: only what distinguishes instances.
    def inspect(options, opts) do
      shown = for {name, value} <- Map.from_struct(options), show?(name, value), do: {name, value}
      concat(["#Vdr.Options<", to_doc(Enum.sort_by(shown, &rank/1), opts), ">"])
    end

    defp show?(name, _value) when name in @secret, do: false
    defp show?(name, value), do: name in @always or value != @defaults[name]

    defp rank({name, _value}), do: {Enum.find_index(@always, &(&1 == name)) || length(@always), name}
  end
end
