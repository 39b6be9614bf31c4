defmodule Vdr.Cache.Options do
  @moduledoc false
  # The options of a cache and of its calls: their sources, their types, and how they combine.

  alias Vdr.Cache.Write
  alias Vdr.Schema

  # Larger numbers lose precision in other languages, which read the entries on a server.
  @ms_max 0x1F_FFFF_FFFF_FFFF
  # The longest timer of the VM.
  @timer_max 4_294_967_295
  @merged [:backend_opts, :topology_opts]

  @events ~w(get put delete fetch invalidate_tag ttl_sweep eviction stats cluster rebalance heal decode)a

  @doc "Returns the names of the events, for `telemetry: [...]`."
  @spec events() :: [atom]
  def events, do: @events

  @doc "Returns the schema of `use Vdr.Cache` and `start_link/1`."
  @spec schema() :: Schema.t()
  def schema do
    [
      name: [
        type: {:check, "an atom", quote(do: atom()), &(is_atom(&1) and not is_boolean(&1))},
        doc: "the name of the cache in calls of `Vdr.Cache`; the module by default"
      ],
      otp_app: [
        type: :name,
        doc: "the application whose configuration has options of the cache, as `config otp_app, MyApp.Cache, ...`"
      ],
      backend: [type: :name, default: Vdr.Cache.Backend.ETS, doc: "the module that stores the entries"],
      backend_opts: [
        type: keywords(),
        secret: true,
        default: [],
        doc: "options of the backend; its module documents them"
      ],
      topology: [type: :name, default: Vdr.Cache.Topology.Local, doc: "the module that spreads the entries over nodes"],
      topology_opts: [type: keywords(), default: [], doc: "options of the topology; its module documents them"],
      default_ttl: [type: ttl(), default: :infinity, doc: "the time to live of an entry without `ttl:`, in ms"],
      max_size: [
        type: positive(),
        default: :infinity,
        doc:
          "the largest number of entries. With the default `:eviction_policy`, `:ttl_only`, a put into a full cache " <>
            "returns `{:error, :full}`; set `eviction_policy: :lfu` to evict instead"
      ],
      max_bytes: [
        type: positive(),
        default: :infinity,
        doc:
          "the largest size of all keys and values in bytes, in the external term format or as `:size_of` counts them. A " <>
            "full cache behaves as with `:max_size`"
      ],
      size_of: [
        type:
          {:check, "a function of a key and a value", quote(do: (term, term -> non_neg_integer)), &is_function(&1, 2)},
        doc: "returns the size of an entry in bytes, for `:max_bytes`"
      ],
      eviction_policy: [
        type: {:one_of, [:ttl_only, :fifo, :lru, :lfu]},
        default: :ttl_only,
        doc: "which entry a full cache evicts; `:ttl_only` removes expired entries only"
      ],
      stampede_protection: [
        type: :boolean,
        default: true,
        doc: "whether one process fetches a missing value while the other processes wait for it"
      ],
      stampede_timeout: [
        type: {:integer, 0..@timer_max},
        default: 5_000,
        doc: "how long a process waits for the fetch of another process, in ms"
      ],
      stats_enabled: [type: :boolean, default: true, doc: "whether the cache counts, for `stats/0`"],
      stats_interval: [
        type: timer(),
        default: 60_000,
        doc: "how often the event `[:stats, :summary]` is sent, in ms"
      ],
      telemetry_prefix: [
        type: {:nonempty_list, {:check, "an atom", quote(do: atom()), &is_atom/1}},
        default: [:veidrodelis, :cache],
        doc: "the beginning of every event name"
      ],
      telemetry: [
        type: {:either, [:boolean, {:list, {:one_of, @events}}]},
        default: true,
        doc: "which events are sent: all, none, or a list of the first words of their names"
      ],
      telemetry_keys: [type: :boolean, default: true, doc: "whether events have the key; keys may be personal data"],
      sweep_interval: [type: timer(), default: 30_000, doc: "how often expired entries are removed, in ms"],
      near_cache: [
        type: :boolean,
        default: false,
        doc: "whether this node keeps copies of values that are stored on other nodes or on a server"
      ],
      near_cache_l1_ttl: [
        type: {:integer, 1..@ms_max},
        default: 60_000,
        doc: "how long the near cache keeps a copy at most, in ms"
      ],
      near_cache_max_size: [type: positive(), default: 10_000, doc: "how many copies the near cache keeps at most"],
      refresh_backoff: [
        type: {:integer, 1..@ms_max},
        default: 1_000,
        doc: "the delay after a failed refresh, in ms; each further failure doubles it"
      ],
      warm: [
        type: {:check, "a function of no arguments", quote(do: (... -> Enumerable.t())), &is_function(&1, 0)},
        doc:
          "returns the first entries, as pairs of key and value, or as triples with the options of `put`. Existing " <>
            "entries stay. The function runs in a task: if it fails, the cache starts without the entries"
      ],
      warm_timeout: [
        type: {:integer, 0..@timer_max},
        default: 30_000,
        doc: "how long the start waits for the function `:warm`, in ms"
      ],
      bypass: [type: :boolean, default: false, doc: "for tests: every read misses, and no write has an effect"]
    ]
  end

  @doc "Returns the list of options for the documentation."
  @spec docs() :: String.t()
  def docs, do: Schema.docs(schema())

  @doc """
  Returns the options of one cache. Each of these sources overrides the ones before it: the
  defaults, `config :veidrodelis, Vdr.Cache`, the options of `use`, `config otp_app, module`, and
  the options of the start.
  """
  @spec resolve!(module, keyword, keyword) :: map
  def resolve!(module, used, started) do
    Enum.each([used, started], &keywords!/1)
    library = Application.get_env(:veidrodelis, Vdr.Cache, [])
    otp_app = started[:otp_app] || used[:otp_app] || library[:otp_app]
    app = if otp_app, do: Application.get_env(otp_app, module, []), else: []
    given = Enum.reduce([library, used, app, started], [], &merge!/2)

    given
    |> Schema.validate!(schema(), inspect(module))
    |> Keyword.update!(:name, &(&1 || module))
    |> Map.new()
    |> Map.put(:module, module)
    |> Map.update!(:backend_opts, &hide/1)
  end

  @doc """
  Hides options that may hold a password in a function. `inspect/1` and crash reports do not show
  what a function returns.
  """
  @spec hide(keyword) :: (... -> keyword)
  def hide(opts), do: fn -> opts end

  defp keywords!(given) do
    unless Keyword.keyword?(given),
      do: Schema.refuse!("Vdr.Cache", "a keyword list as options", Schema.kind(given))
  end

  defp merge!(stronger, weaker) do
    keywords!(stronger)

    Keyword.merge(weaker, stronger, fn
      name, old, new when name in @merged and is_list(old) and is_list(new) -> Keyword.merge(old, new)
      _name, _old, new -> new
    end)
  end

  # ---- options of calls

  @everywhere [:telemetry, :stats, :timeout]
  @writing [:ttl, :tags, :refresh_after, :ttl_jitter, :stale_if_error, :consistency]
  @allowed %{
    read: @everywhere,
    touch: @everywhere ++ [:ttl],
    write: @everywhere ++ @writing,
    incr: @everywhere ++ @writing ++ [:default],
    fetch: @everywhere ++ @writing ++ [:negative_ttl, :on_timeout],
    fetched: @writing
  }

  @doc """
  Raises for an option that the call does not take. `:fetched` are the options that the function of
  `get_or_fetch` returns.
  """
  @spec check!(keyword, :read | :touch | :write | :incr | :fetch | :fetched) :: :ok
  def check!([], _kind), do: :ok

  def check!(opts, kind) do
    unless Keyword.keyword?(opts), do: Schema.refuse!("a call of a cache", "a keyword list as options", inspect(opts))
    Enum.each(opts, fn {name, value} -> check_option!(name, value, kind) end)
  end

  defp check_option!(name, value, kind) do
    unless name in @allowed[kind],
      do: raise(ArgumentError, "unknown option #{inspect(name)} of #{call(kind)}#{Schema.hint(name, @allowed[kind])}")

    unless fits?(name, value) do
      raise ArgumentError,
            "option #{inspect(name)} takes #{takes(name)}, got: #{inspect(value, limit: 5, printable_limit: 100)}"
    end
  end

  defp call(:read), do: "a call of a cache that stores no value"
  defp call(:touch), do: "touch"
  defp call(:write), do: "a call of a cache that stores a value"
  defp call(:incr), do: "incr and decr"
  defp call(:fetch), do: "get_or_fetch"
  defp call(:fetched), do: "a fetched value"

  defp fits?(:ttl, value), do: ttl?(value)
  defp fits?(:tags, value), do: is_list(value) and not List.improper?(value)
  defp fits?(name, value) when name in [:refresh_after, :stale_if_error, :negative_ttl], do: value == nil or ms?(value)
  defp fits?(:ttl_jitter, value), do: is_number(value) and value >= 0 and value <= 1
  defp fits?(:consistency, value), do: value in [:local, :server, :async]
  defp fits?(:on_timeout, value), do: value in [:error, :fetch]
  defp fits?(:timeout, value), do: value == :infinity or (is_integer(value) and value in 0..@timer_max)
  defp fits?(:default, value), do: is_integer(value)
  defp fits?(_flag, value), do: is_boolean(value)

  defp takes(:ttl), do: ttl_text()
  defp takes(:timeout), do: "milliseconds as an integer from 0 to #{@timer_max}, or :infinity"
  defp takes(:tags), do: "a list of terms"
  defp takes(:ttl_jitter), do: "a number from 0 to 1"
  defp takes(:consistency), do: ":local, :server or :async"
  defp takes(:on_timeout), do: ":error or :fetch"
  defp takes(:default), do: "an integer"
  defp takes(name) when name in [:telemetry, :stats], do: "true or false"
  defp takes(_ms), do: "milliseconds as an integer from 0"

  @doc "Returns the write that the checked options of a call describe, on top of another write."
  @spec write(timeout, keyword, Write.t() | nil) :: Write.t()
  def write(default_ttl, opts, base \\ nil)
  def write(default_ttl, [], nil), do: %Write{ttl: default_ttl}

  def write(default_ttl, opts, base) do
    # If an option is given twice, the first value counts.
    opts
    |> Enum.reverse()
    |> Enum.reduce(base || %Write{ttl: default_ttl}, &set/2)
    |> jitter(opts[:ttl_jitter])
  end

  defp set({:ttl, ttl}, write), do: %{write | ttl: ttl}
  defp set({:tags, tags}, write), do: %{write | tags: Enum.uniq(tags)}
  defp set({:refresh_after, ms}, write), do: %{write | soft: ms}
  defp set({:stale_if_error, ms}, write), do: %{write | keep: ms || 0}
  defp set({:consistency, consistency}, write), do: %{write | consistency: consistency}
  defp set({_other, _value}, write), do: write

  defp jitter(%Write{ttl: ttl} = write, part) when is_integer(ttl) and is_number(part) and ttl > 0,
    do: %{write | ttl: max(1, ttl - trunc(ttl * part * :rand.uniform()))}

  defp jitter(write, _part), do: write

  @doc "Raises unless the value is a time to live."
  @spec ttl!(term) :: timeout
  def ttl!(value) do
    if ttl?(value), do: value, else: raise(ArgumentError, "a time to live is #{ttl_text()}, got: #{inspect(value)}")
  end

  defp ttl?(value), do: value == :infinity or ms?(value)
  defp ms?(value), do: is_integer(value) and value in 0..@ms_max
  defp ttl_text, do: "milliseconds as an integer from 0, or :infinity"

  defp ttl, do: {:check, ttl_text(), quote(do: timeout()), &ttl?/1}

  defp positive do
    {:check, "an integer from 1, or :infinity", quote(do: pos_integer() | :infinity),
     &(&1 == :infinity or (is_integer(&1) and &1 in 1..@ms_max))}
  end

  defp timer do
    {:check, "an integer from 1 to #{@timer_max}, or :infinity", quote(do: pos_integer() | :infinity),
     &(&1 == :infinity or (is_integer(&1) and &1 in 1..@timer_max))}
  end

  defp keywords, do: {:check, "a keyword list", quote(do: keyword()), &Keyword.keyword?/1}
end
