defmodule Vdr.Cache.Backend do
  @moduledoc """
  The behaviour of what keeps a cache's entries.

  `c:start/1` runs in the supervisor of the cache, once. ETS tables that it makes belong to that
  supervisor, which does nothing else, so they live as long as the cache. It returns the child
  specifications of the processes that the backend needs, and a handle. Every other callback gets
  the handle and runs in the process of the caller. A handle should hold no process that all
  callers would wait for.

  A backend must have `c:start/1`, `c:get/2`, `c:put/4`, `c:delete/2`, `c:flush/1` and `c:size/1`.
  What it lacks of the other callbacks, the cache does in another way where there is one
  (`get_many` reads key by key), and answers `{:error, :not_supported}` where there is none.

  The contract of all backends:

    * Keys are the same if `===` says so. `1` and `1.0` are two keys.
    * A put replaces value, times and tags at once. No reader sees a part of it.
    * An entry past its time is absent, whether it is removed or not.
    * `{:error, :not_found}` is for a key that has no entry, never for a backend that cannot know.

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
  What `c:start/1` gets: the name of the cache, the `:backend_opts`, the bounds, and `report`, a
  function of `:evictions` or `:expirations` and a number, for stats and telemetry.
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
  @typedoc "What `c:acquire/3` answers and `c:commit/5` and `c:release/3` take."
  @type lease :: term

  @doc """
  Raises `ArgumentError` where the options are wrong. Runs in the process that starts the cache.
  """
  @callback check!(config) :: :ok
  @callback start(config) :: {:ok, [:supervisor.child_spec() | {module, term} | module], handle} | {:error, reason}
  @callback get(handle, key) :: {:ok, term} | {:error, :not_found} | {:error, reason}
  @doc "`{:ok, false}` where the mode of the write forbids it."
  @callback put(handle, key, value :: term, Write.t()) :: {:ok, boolean} | {:error, reason}
  @doc "Whether there was an entry."
  @callback delete(handle, key) :: {:ok, boolean} | {:error, reason}
  @doc "What was put before the call began is gone when it returns."
  @callback flush(handle) :: :ok | {:error, reason}
  @callback size(handle) :: non_neg_integer | {:error, reason}

  @callback entry(handle, key) :: {:ok, Entry.t()} | {:error, :not_found} | {:error, reason}
  @callback get_many(handle, [key]) :: {:ok, %{key => term}} | {:error, reason}
  @doc "All or none of the entries are seen."
  @callback put_many(handle, [{key, term}], Write.t()) :: :ok | {:error, reason}
  @callback delete_many(handle, [key]) :: {:ok, non_neg_integer} | {:error, reason}
  @callback take(handle, key) :: {:ok, term} | {:error, :not_found} | {:error, reason}
  @doc """
  Adds to an integer, and keeps expiry and tags; without an entry, puts `default + n` by the write.
  """
  @callback incr(handle, key, n :: integer, default :: integer, Write.t()) ::
              {:ok, integer} | {:error, :not_an_integer} | {:error, reason}
  @callback ttl(handle, key) :: {:ok, timeout} | {:error, :not_found} | {:error, reason}
  @callback expire(handle, key, ttl :: timeout) :: {:ok, boolean} | {:error, reason}
  @doc "Makes every entry with the tag absent, and counts those that were alive."
  @callback invalidate_tag(handle, tag :: term) :: {:ok, non_neg_integer} | {:error, reason}
  @doc "The keys of the living entries with the tag."
  @callback tagged(handle, tag :: term) :: Enumerable.t()
  @doc "The keys, or the pairs of key and value, of the living entries; weakly consistent."
  @callback stream(handle, :keys | :entries) :: Enumerable.t()
  @doc "Removes what is past its time, and counts it."
  @callback sweep(handle) :: {:ok, non_neg_integer} | {:error, reason}
  @callback info(handle) :: map

  @doc """
  The right to store what is fetched next for the key. Every put and delete of the key ends it.
  `{:hit, entry}` where there is an entry already, unless it is to be refreshed; `{:wait, term}`
  where somebody else has the right.
  """
  @callback acquire(handle, key, %{tags: [term], refresh: boolean}) ::
              {:ok, lease} | {:hit, Entry.t()} | {:wait, term} | {:error, reason}
  @doc """
  Waits until a lease that somebody else holds ends. `{:done, answer}` is what the other fetched.
  """
  @callback await_lease(handle, wait :: term, timeout) :: :again | :timeout | {:done, term}
  @doc """
  Stores what was fetched, unless the lease has ended. `answer` goes to those who wait for it.
  """
  @callback commit(handle, key, lease, {:ok, term} | {:error, term}, Write.t() | :nothing) ::
              {:ok, :stored | :lost} | {:error, reason}
  @doc "Gives a lease back; those who wait for it begin anew."
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
                      acquire: 3,
                      await_lease: 3,
                      commit: 5,
                      release: 3
end
