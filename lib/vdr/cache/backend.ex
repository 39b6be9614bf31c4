defmodule Vdr.Cache.Backend do
  @moduledoc """
  The behaviour of a backend: a module that stores the entries of a cache.

  `c:start/1` runs once, in the supervisor of the cache. It returns the child specifications of the
  processes that the backend needs, and a handle. ETS tables that it creates belong to the
  supervisor, which does nothing else, so they live as long as the cache. Every other callback gets
  the handle, and runs in the calling process. A handle should not refer to a process that all
  callers would wait for.

  A backend must implement `c:start/1`, `c:get/2`, `c:put/4`, `c:delete/2`, `c:flush/1` and
  `c:size/1`. The other callbacks are optional. If one is missing, the cache does its work in
  another way (`get_many` then reads key by key), or returns `{:error, :not_supported}`.

  Every backend must keep this contract:

    * Keys are compared with `===`. `1` and `1.0` are two keys.
    * A put replaces value, times and tags in one step. No reader sees a part of it.
    * An expired entry is absent, whether or not it has been removed.
    * `{:error, :not_found}` means that the key has no entry. A backend that cannot know returns
      another error.

  The smallest backend:

      defmodule MyApp.MapBackend do
        @behaviour Vdr.Cache.Backend

        @impl true
        def start(_config) do
          {:ok, agent} = Agent.start_link(fn -> %{} end)
          {:ok, [], agent}
        end

        @impl true
        def get(agent, key) do
          case Agent.get(agent, &Map.fetch(&1, key)) do
            {:ok, value} -> {:ok, value}
            :error -> {:error, :not_found}
          end
        end

        @impl true
        def put(agent, key, value, %Vdr.Cache.Write{mode: :always, ttl: :infinity, tags: []}) do
          Agent.update(agent, &Map.put(&1, key, value))
          {:ok, true}
        end

        def put(_agent, _key, _value, _write), do: {:error, :not_supported}

        @impl true
        def delete(agent, key), do: {:ok, Agent.get_and_update(agent, &{is_map_key(&1, key), Map.delete(&1, key)})}

        @impl true
        def flush(agent), do: Agent.update(agent, fn _map -> %{} end)

        @impl true
        def size(agent), do: Agent.get(agent, &map_size/1)
      end
  """

  alias Vdr.Cache.{Entry, Write}

  @typedoc """
  The argument of `c:start/1`: the name of the cache, the `:backend_opts` as `opts`, the bounds, and
  the function `report`. The backend calls `report` with `:evictions` or `:expirations` and a
  number, for stats and telemetry.
  """
  @type config :: %{
          required(:name) => atom,
          required(:opts) => keyword,
          required(:max_size) => pos_integer | :infinity,
          required(:max_bytes) => pos_integer | :infinity,
          required(:size_of) => nil | (term, term -> non_neg_integer),
          required(:policy) => :ttl_only | :fifo | :lru | :lfu,
          required(:report) => (atom, non_neg_integer -> :ok),
          optional(atom) => term
        }
  @type handle :: term
  @type key :: term
  @type reason :: term
  @typedoc "The right to store a fetched value. `c:acquire/3` grants it."
  @type lease :: term

  @doc """
  Raises `ArgumentError` if an option is wrong. Runs in the process that starts the cache.
  """
  @callback check!(config) :: :ok
  @callback start(config) :: {:ok, [:supervisor.child_spec() | {module, term} | module], handle} | {:error, reason}
  @callback get(handle, key) :: {:ok, term} | {:error, :not_found} | {:error, reason}
  @doc """
  Stores a value. Returns `{:ok, false}` if the mode of the write forbids it, for example `:new` for
  a key that has an entry.
  """
  @callback put(handle, key, value :: term, Write.t()) :: {:ok, boolean} | {:error, reason}
  @doc "Removes an entry, and returns whether there was one."
  @callback delete(handle, key) :: {:ok, boolean} | {:error, reason}
  @doc "Removes every entry that was put before the call began."
  @callback flush(handle) :: :ok | {:error, reason}
  @callback size(handle) :: non_neg_integer | {:error, reason}

  @callback entry(handle, key) :: {:ok, Entry.t()} | {:error, :not_found} | {:error, reason}
  @callback get_many(handle, [key]) :: {:ok, %{key => term}} | {:error, reason}
  @doc "Stores all entries in one step: a reader sees all of them or none."
  @callback put_many(handle, [{key, term}], Write.t()) :: :ok | {:error, reason}
  @callback delete_many(handle, [key]) :: {:ok, non_neg_integer} | {:error, reason}
  @callback take(handle, key) :: {:ok, term} | {:error, :not_found} | {:error, reason}
  @doc """
  Adds `n` to an integer, and keeps the entry's expiry and tags. If the key has no entry, stores
  `default + n` as the write says.
  """
  @callback incr(handle, key, n :: integer, default :: integer, Write.t()) ::
              {:ok, integer} | {:error, :not_an_integer} | {:error, reason}
  @callback ttl(handle, key) :: {:ok, timeout} | {:error, :not_found} | {:error, reason}
  @callback expire(handle, key, ttl :: timeout) :: {:ok, boolean} | {:error, reason}
  @doc "Invalidates every entry with the tag, and returns how many of them were live."
  @callback invalidate_tag(handle, tag :: term) :: {:ok, non_neg_integer} | {:error, reason}
  @doc "Returns the keys of the live entries with the tag."
  @callback tagged(handle, tag :: term) :: Enumerable.t()
  @doc "Returns the keys of all live entries, or their pairs of key and value. Weakly consistent."
  @callback stream(handle, :keys | :entries) :: Enumerable.t()
  @doc "Removes all expired entries, and returns how many there were."
  @callback sweep(handle) :: {:ok, non_neg_integer} | {:error, reason}
  @callback info(handle) :: map
  @doc "Returns the handle for one call that waits at most so many ms, for backends that wait."
  @callback with_timeout(handle, timeout) :: handle

  @doc """
  Acquires a lease: the right to store the value that the caller fetches for the key. Every put and
  delete of the key ends the lease. Returns `{:hit, entry}` if the key has an entry already, unless
  the caller refreshes it, and `{:wait, term}` if another process holds the lease.
  """
  @callback acquire(handle, key, %{tags: [term], refresh: boolean}) ::
              {:ok, lease} | {:hit, Entry.t()} | {:wait, term} | {:error, reason}
  @doc """
  Waits until the lease of another process ends. `{:done, answer}` has the result of its fetch.
  """
  @callback await_lease(handle, wait :: term, timeout) :: :again | :timeout | {:done, term}
  @doc """
  Stores a fetched value, unless the lease has ended. The waiting processes get `answer`.
  """
  @callback commit(handle, key, lease, {:ok, term} | {:error, term}, Write.t() | :nothing) ::
              {:ok, :stored | :lost} | {:error, reason}
  @doc "Gives a lease back. The processes that wait for it start again."
  @callback release(handle, key, lease) :: :ok

  @optional_callbacks check!: 1,
                      entry: 2,
                      get_many: 2,
                      put_many: 3,
                      delete_many: 2,
                      take: 2,
                      incr: 5,
                      ttl: 2,
                      expire: 3,
                      invalidate_tag: 2,
                      tagged: 2,
                      stream: 2,
                      sweep: 1,
                      info: 1,
                      with_timeout: 2,
                      acquire: 3,
                      await_lease: 3,
                      commit: 5,
                      release: 3

  # Puts entries one after the other. The first error ends it, and what was put before stays.
  @doc false
  @spec put_each(Enumerable.t(), (key, term -> {:ok, boolean} | {:error, reason})) :: :ok | {:error, reason}
  def put_each(entries, put) do
    Enum.reduce_while(entries, :ok, fn {key, value}, :ok ->
      case put.(key, value) do
        {:ok, _written} -> {:cont, :ok}
        error -> {:halt, error}
      end
    end)
  end
end
