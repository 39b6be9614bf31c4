defmodule Vdr.Cache.OptionsTest do
  use ExUnit.Case, async: true

  alias Vdr.Test.CacheContract.Cache

  defmodule Configured do
    use Vdr.Cache,
      otp_app: :vdr_cache_test_app,
      default_ttl: 1_000,
      max_size: 5,
      backend_opts: [clock: &__MODULE__.zero/0]

    def zero, do: 0
  end

  defp message(fun), do: fun |> then(&assert_raise(ArgumentError, &1)) |> Exception.message()

  test "a wrong option raises in the process that starts the cache, and says what is taken" do
    assert message(fn -> Cache.start_link(nme: :x) end) =~ "did you mean :name?"
    assert message(fn -> Cache.start_link(default_ttl: -1) end) =~ ":default_ttl"
    assert message(fn -> Cache.start_link(max_size: 0) end) =~ "an integer from 1, or :infinity"
    assert message(fn -> Cache.start_link(eviction_policy: :random) end) =~ ":lfu"
    assert message(fn -> Cache.start_link(backend: String) end) =~ ":backend"
    assert message(fn -> Cache.start_link(backend: Vdr.NoSuchBackend) end) =~ ":backend"
    assert message(fn -> Cache.start_link(topology: String) end) =~ ":topology"
    assert message(fn -> Cache.start_link(backend_opts: [dir: "x"]) end) =~ "unknown option :dir"
    assert message(fn -> Cache.start_link(size_of: fn _k, _v -> 1 end) end) =~ "needs :max_bytes"
    assert message(fn -> Cache.start_link(:what) end) =~ "keyword list"
    refute message(fn -> Cache.start_link("redis://:hidden@host") end) =~ "hidden"
    assert message(fn -> Cache.child_spec(max_size: 0) end) =~ ":max_size"
  end

  test "the start wins over the application's configuration, and that over use" do
    Application.put_env(:vdr_cache_test_app, Configured, default_ttl: 2_000, max_size: 6)
    on_exit(fn -> Application.delete_env(:vdr_cache_test_app, Configured) end)
    used = Configured.__vdr_cache__()
    options = Vdr.Cache.Options.resolve!(Configured, used, max_size: 7, backend_opts: [data_dir: "d"])
    assert options.default_ttl == 2_000
    assert options.max_size == 7
    assert [clock: clock, data_dir: "d"] = Enum.sort(options.backend_opts.())
    assert clock.() == 0
  end

  test "no child specification shows what a password may be in" do
    spec = Cache.child_spec(name: :options_secret, backend: Vdr.Cache.Backend.DETS, backend_opts: [data_dir: "hidden"])
    refute inspect(spec) =~ "hidden"
    refute "~p" |> :io_lib.format([spec]) |> to_string() =~ "hidden"
    message = message(fn -> Cache.start_link(backend_opts: "hidden") end)
    refute message =~ "hidden"
  end

  test "no error message shows a password, whatever its type is" do
    for password <- [123_456, :hidden, ~c"hidden", %{hidden: 1}] do
      options = [backend: Vdr.Cache.Backend.Redis, backend_opts: [password: password]]
      message = message(fn -> Cache.start_link(options) end)
      assert message =~ "option :password of :backend_opts of #{inspect(Cache)} takes a string"
      refute message =~ ~r/123|hidden/
    end
  end

  # The VM refuses a longer timer, when the cache starts or a process waits.
  test "a time that the VM has no timer for is refused" do
    for option <- [:sweep_interval, :stats_interval, :stampede_timeout, :warm_timeout] do
      assert message(fn -> Cache.start_link([{option, 4_294_967_296}]) end) =~ "4294967295"
    end

    start_supervised!({Cache, name: :options_timer, stampede_timeout: 4_294_967_295, sweep_interval: 4_294_967_295})

    assert message(fn -> Vdr.Cache.transaction(:options_timer, [1], fn -> 1 end, timeout: 4_294_967_296) end) =~
             "timeout"

    assert Vdr.Cache.transaction(:options_timer, [1], fn -> 1 end, timeout: 4_294_967_295) == 1
  end

  defmodule Connection do
    # Answers with the timeout that it gets.
    def transaction(_id, _commands, opts), do: {:error, {:asked, opts[:timeout]}}
    def command(_id, _command, opts), do: {:error, {:asked, opts[:timeout]}}
  end

  test "a cache on a server waits as long as its option says, or the option of the call" do
    config = %{name: :options_timeout, report: fn _what, _n -> :ok end, telemetry: nil, opts: [timeout: 60_000]}
    {:ok, _children, state} = Vdr.Cache.Backend.Redis.start(config)
    state = %{state | connection: Connection}
    assert Vdr.Cache.Backend.Redis.put(state, 1, 1, %Vdr.Cache.Write{}) == {:error, {:asked, 60_000}}

    Vdr.Cache.Handle.publish(%Vdr.Cache.Handle{
      name: :options_timeout,
      module: Cache,
      store: Vdr.Cache.Backend.Redis,
      state: state,
      options: %{stampede_protection: true, stampede_timeout: 5_000}
    })

    c = :options_timeout
    assert Vdr.Cache.put(c, 1, 1) == {:error, {:asked, 60_000}}

    for answer <- [
          Vdr.Cache.put(c, 1, 1, timeout: 7),
          Vdr.Cache.put_many(c, [{1, 1}], timeout: 7),
          Vdr.Cache.get(c, 1, timeout: 7),
          Vdr.Cache.get_many(c, [1], timeout: 7),
          Vdr.Cache.delete(c, 1, timeout: 7),
          Vdr.Cache.take(c, 1, timeout: 7),
          Vdr.Cache.incr(c, 1, 1, timeout: 7),
          Vdr.Cache.expire(c, 1, 1, timeout: 7),
          Vdr.Cache.touch(c, 1, timeout: 7),
          Vdr.Cache.flush(c, timeout: 7),
          Vdr.Cache.invalidate_tag(c, :t, timeout: 7)
        ] do
      assert answer == {:error, {:asked, 7}}
    end
  after
    Vdr.Cache.Handle.withdraw(:options_timeout)
  end

  defmodule Refusing do
    # The script of a put answers 0: its condition does not hold.
    def command(_id, _command, _opts), do: {:ok, 0}
    def transaction(_id, commands, _opts), do: {:ok, Enum.map(commands, fn _command -> 0 end)}
  end

  test "a put with a condition returns whether the server stored the value, also with :async" do
    config = %{name: :options_async, report: fn _what, _n -> :ok end, telemetry: nil, opts: []}
    {:ok, _children, state} = Vdr.Cache.Backend.Redis.start(config)
    state = %{state | connection: Refusing}

    for mode <- [:new, :existing, {:version, "1"}, {:version, nil}] do
      write = %Vdr.Cache.Write{mode: mode, consistency: :async}
      assert Vdr.Cache.Backend.Redis.put(state, 1, 1, write) == {:ok, false}
    end

    assert Vdr.Cache.Backend.Redis.put(state, 1, 1, %Vdr.Cache.Write{consistency: :async}) == {:ok, true}
  end

  test "a key whose owner changes during a read is a miss, alone or among many" do
    asked = :counters.new(1, [])

    # The caller finds this node, and this node finds another one.
    hash = fn _key, _nodes ->
      :counters.add(asked, 1, 1)
      if :counters.get(asked, 1) == 1, do: node(), else: :nobody@nowhere
    end

    topology = [topology: Vdr.Cache.Topology.Partitioned, topology_opts: [hash: hash]]
    start_supervised!({Cache, [name: :options_moved] ++ topology})

    for {read, answer} <- [{&Vdr.Cache.get(&1, 1), {:error, :not_found}}, {&Vdr.Cache.get_many(&1, [1]), {:ok, %{}}}] do
      :counters.put(asked, 1, 0)
      assert read.(:options_moved) == answer
    end
  end

  test "a cache on a server refuses a URL that names another database than the cache has" do
    config = %{name: :options_database, max_size: :infinity, max_bytes: :infinity, policy: :ttl_only}
    check! = &Vdr.Cache.Backend.Redis.check!(Map.put(config, :opts, &1))
    assert check!.(url: "redis://h/2", database: 2) == :ok
    assert check!.(url: "redis://h", database: 2) == :ok
    assert check!.(url: "redis://h/0") == :ok
    assert check!.(url: "redis://h/?x=2") == :ok

    for opts <- [[url: "redis://:hidden@h/2"], [url: "redis://:hidden@h/2", database: 3]] do
      message = message(fn -> check!.(opts) end)
      assert message =~ "names another database than the option :database"
      refute message =~ "hidden"
    end
  end

  test "the documentation says what a full cache does without a policy" do
    line = Vdr.Cache.Options.docs() |> String.split("\n") |> Enum.find(&(&1 =~ "`:max_size`"))
    assert line =~ "`:ttl_only`, a put into a full cache returns `{:error, :full}`"
  end

  test "a wrong option of a call raises" do
    start_supervised!({Cache, name: :options_calls})
    assert message(fn -> Vdr.Cache.get(:options_calls, 1, tll: 1) end) =~ "unknown option :tll"
    assert message(fn -> Vdr.Cache.put(:options_calls, 1, 1, tll: 1) end) =~ "did you mean :ttl?"
    assert message(fn -> Vdr.Cache.put(:options_calls, 1, 1, tags: :users) end) =~ "a list of terms"
    assert message(fn -> Vdr.Cache.put(:options_calls, 1, 1, [:ttl]) end) =~ "keyword list"
    assert message(fn -> Vdr.Cache.get_or_fetch(:options_calls, 1, fn -> {:ok, 1, tll: 1} end) end) =~ ":tll"
    # What another call takes is not similar to what this one takes.
    assert message(fn -> Vdr.Cache.get(:options_calls, 1, ttl: 1) end) =~ "; known are :telemetry, :stats, :timeout"
    assert message(fn -> Vdr.Cache.get_or_fetch(:options_calls, 1, fn -> {:ok, 1} end, default: 1) end) =~ ":default"
    assert message(fn -> Vdr.Cache.touch(:options_calls, 1, tags: [:t]) end) =~ "option :tags of touch"

    for more <- [[negative_ttl: 1], [on_timeout: :fetch], [stats: false], [1], [{"ttl", 1}]] do
      assert message(fn -> Vdr.Cache.get_or_fetch(:options_calls, 1, fn -> {:ok, 1, more} end) end) =~ ~r/option/
    end

    assert message(fn -> Vdr.Cache.get_or_fetch(:options_calls, 1, fn -> {:ok, 1, 5} end) end) =~ "returns {:ok, value}"
  end

  test "an argument of the wrong type raises, and the message says what is taken" do
    start_supervised!({Cache, name: :options_arguments})

    # By `apply`, because newer compilers see some of these.
    for {function, arguments} <- [
          get_many: [:k],
          delete_many: [:k],
          put_many: [:k],
          put_many: [[:k]],
          incr: [:k, 1.5],
          decr: [:k, "1"],
          update: [:k, 1, :no_function],
          get_and_update: [:k, fn -> 1 end],
          get_or_fetch: [:k, :no_function],
          get_or_fetch: [:k, fn _, _ -> 1 end],
          transaction: [:k, fn -> 1 end],
          transaction: [[:k], :no_function],
          keys: [:k]
        ] do
      assert message(fn -> apply(Vdr.Cache, function, [:options_arguments | arguments]) end) =~
               "#{function} of a cache takes "
    end
  end

  test "a cache that does not run says so" do
    assert Vdr.Cache.get(:options_none, 1) == {:error, :not_started}
    assert Vdr.Cache.put(:options_none, 1, 1) == {:error, :not_started}
    assert Vdr.Cache.size(:options_none) == {:error, :not_started}
    assert Vdr.Cache.get_or_fetch(:options_none, 1, fn -> {:ok, 1} end) == {:error, :not_started}
    assert_raise Vdr.Cache.Error, "the cache is not started", fn -> Vdr.Cache.get!(:options_none, 1) end
    assert_raise Vdr.Cache.Error, fn -> Vdr.Cache.exists?(:options_none, 1) end
  end

  test "calls while the cache stops answer, and never raise" do
    for n <- 1..20 do
      name = :"options_stop_#{n}"
      {:ok, pid} = Cache.start_link(name: name)
      Vdr.Cache.put(name, 1, 1)

      readers =
        for _ <- 1..4 do
          Task.async(fn ->
            Enum.find(Stream.repeatedly(fn -> Vdr.Cache.get(name, 1) end), &(&1 != {:ok, 1}))
          end)
        end

      writer =
        Task.async(fn -> Enum.find(Stream.repeatedly(fn -> Vdr.Cache.put(name, 2, 2, ttl: 5) end), &(&1 != :ok)) end)

      Supervisor.stop(pid)
      assert Enum.uniq(Task.await_many([writer | readers], 30_000)) == [{:error, :not_started}]
    end
  end

  test "bypass: reads miss and writes do nothing" do
    start_supervised!({Cache, name: :options_bypass, bypass: true})
    c = :options_bypass
    assert Vdr.Cache.put(c, 1, 1, tags: [:t]) == :ok
    assert Vdr.Cache.get(c, 1) == {:error, :not_found}
    assert Vdr.Cache.put_new(c, 1, 1) == {:ok, true}
    assert Vdr.Cache.get_many(c, [1]) == {:ok, %{}}
    assert Vdr.Cache.get_or_fetch(c, 1, fn -> {:ok, 5} end) == {:ok, 5}
    assert Vdr.Cache.update(c, 1, 0, &(&1 + 1)) == {:ok, 0}
    assert Vdr.Cache.incr(c, 1) == {:ok, 1}
    assert Vdr.Cache.invalidate_tag(c, :t) == {:ok, 0}
    assert Enum.to_list(Vdr.Cache.keys(c)) == []
    assert Vdr.Cache.size(c) == 0
  end

  test "stats that are not enabled count nothing" do
    start_supervised!({Cache, name: :options_stats, stats_enabled: false})
    Vdr.Cache.get(:options_stats, 1)
    assert %{misses: 0, enabled: false} = Vdr.Cache.stats(:options_stats)
  end

  test "every reason has a sentence" do
    reasons =
      [:full, :timeout, :not_started, :contended, :not_an_integer, :not_supported, {:node_down, :a@b}] ++
        [{:remote, :x}, {:partial, 1, [:a@b]}, {:partial, [:a@b]}, {:not_storable, self()}, {:disk, :enospc}] ++
        [
          {:undecodable, "k"},
          :server_full,
          :read_only,
          {:refused, "ERR x"},
          {:written, :not_visible},
          :not_ready,
          :not_found
        ]

    sentences = for reason <- reasons, do: Exception.message(Vdr.Cache.Error.exception(reason))
    assert Enum.all?(sentences, &(&1 =~ ~r/^[a-z].*[^.]$/))
    assert length(Enum.uniq(sentences)) == length(sentences) - 1
    assert Exception.message(Vdr.Cache.Error.exception(:no_instance)) == "there is no such instance"
  end

  doctest Vdr.Cache.Error

  test "the smallest backend of the docs works" do
    {:docs_v1, _, _, _, %{"en" => doc}, _, _} = Code.fetch_docs(Vdr.Cache.Backend)
    [_, code] = String.split(doc, "The smallest backend:\n\n")
    [{module, _binary} | _] = Code.compile_string(code)
    start_supervised!({Cache, name: :options_backend, backend: module})
    c = :options_backend
    assert Vdr.Cache.put(c, 1, :one) == :ok
    assert Vdr.Cache.get(c, 1) == {:ok, :one}
    assert Vdr.Cache.get_many(c, [1, 2]) == {:ok, %{1 => :one}}
    assert Vdr.Cache.get_or_fetch(c, 2, fn -> {:ok, :two} end) == {:ok, :two}
    assert Vdr.Cache.get(c, 2) == {:ok, :two}
    assert Vdr.Cache.incr(c, 3) == {:error, :not_supported}
    assert Vdr.Cache.update(c, 3, 1, & &1) == {:error, :not_supported}
    assert Vdr.Cache.put(c, 1, 1, ttl: 5) == {:error, :not_supported}
    assert Vdr.Cache.size(c) == 2
    assert Vdr.Cache.delete(c, 1) == :ok
    assert Vdr.Cache.flush(c) == :ok
    assert Vdr.Cache.sweep(c) == {:ok, 0}
    assert Vdr.Cache.info(c).backend == module
  end
end
