defmodule Vdr.Cache.ContractTest do
  # One suite for every backend, bounded and not.
  alias Vdr.Test.CacheContract.{Cache, Clock}

  defmodule Start do
    @moduledoc false
    def cache(context, opts) do
      clock = Clock.new()
      name = :"#{context.module}.#{context.test}" |> :erlang.phash2() |> then(&:"contract_#{&1}")
      opts = Keyword.update(opts, :backend_opts, [clock: Clock.reader(clock)], &[{:clock, Clock.reader(clock)} | &1])
      ExUnit.Callbacks.start_supervised!({Cache, [name: name, sweep_interval: :infinity] ++ opts})
      {:ok, cache: name, pass: &Clock.pass(clock, &1)}
    end
  end

  for {name, opts} <- [
        ets: [],
        ets_fifo: [max_size: 1_000, eviction_policy: :fifo],
        ets_lru: [max_size: 1_000, eviction_policy: :lru],
        ets_lfu: [max_size: 1_000, eviction_policy: :lfu],
        ets_ttl_only: [max_size: 1_000],
        ets_bytes: [max_bytes: 1_000_000, eviction_policy: :lru]
      ] do
    defmodule Module.concat(__MODULE__, Macro.camelize("#{name}")) do
      use ExUnit.Case, async: true
      use Vdr.Test.CacheContract, except: if(opts[:max_size] || opts[:max_bytes], do: [:at_once], else: [])

      @opts opts
      setup context, do: Start.cache(context, @opts)
    end
  end

  defmodule Dets do
    use ExUnit.Case, async: true
    use Vdr.Test.CacheContract, except: [:terms, :at_once]

    setup context do
      dir = Path.join(System.tmp_dir!(), "vdr_cache_#{System.unique_integer([:positive])}_#{System.pid()}")
      on_exit(fn -> File.rm_rf!(dir) end)
      Start.cache(context, backend: Vdr.Cache.Backend.DETS, backend_opts: [data_dir: dir])
    end
  end
end
