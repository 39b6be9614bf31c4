defmodule Vdr.Cache.DetsTest do
  use ExUnit.Case, async: true

  alias Vdr.Cache, as: C
  alias Vdr.Cache.Backend.DETS
  alias Vdr.Test.CacheContract.Cache

  setup do
    dir = Path.join(System.tmp_dir!(), "vdr_cache_#{System.pid()}_#{System.unique_integer([:positive])}")
    on_exit(fn -> File.rm_rf!(dir) end)
    {:ok, dir: dir}
  end

  @name :dets_restart

  defp start(dir, opts \\ []) do
    {backend_opts, opts} = Keyword.pop(opts, :backend_opts, [])
    name = Keyword.get(opts, :name, @name)
    opts = [name: name, backend: DETS, backend_opts: [data_dir: dir] ++ backend_opts, sweep_interval: :infinity] ++ opts
    start_supervised({Cache, opts}, id: name)
  end

  defp restart(dir, opts \\ []) do
    :ok = stop_supervised(@name)
    {:ok, _pid} = start(dir, opts)
  end

  test "entries survive a restart, with their times and tags", %{dir: dir} do
    {:ok, _pid} = start(dir)
    C.put(@name, "a", %{deep: [1, "two", nil]}, tags: [:t])
    C.put(@name, {:b, :_}, 2, ttl: 60_000)
    C.put(@name, "short", 3, ttl: 50)
    C.put(@name, "deleted", 4)
    C.delete(@name, "deleted")
    C.incr(@name, "n", 5)
    C.expire(@name, "n", 30_000)
    C.put_many(@name, %{"m1" => 1, "m2" => 2}, tags: [:m])
    C.invalidate_tag(@name, :m)
    C.get_or_fetch(@name, "f", fn -> {:ok, :fetched} end)
    C.get_or_fetch(@name, "neg", fn -> {:error, :gone} end, negative_ttl: 60_000)
    C.get_or_fetch(@name, "stale", fn -> {:ok, :old} end, ttl: 20, stale_if_error: 60_000)
    Process.sleep(60)
    restart(dir)
    assert C.get(@name, "a") == {:ok, %{deep: [1, "two", nil]}}
    assert C.get(@name, {:b, :_}) == {:ok, 2}
    assert {:ok, ms} = C.ttl(@name, {:b, :_})
    assert ms in 50_000..60_000
    assert C.get(@name, "short") == {:error, :not_found}
    assert C.get(@name, "deleted") == {:error, :not_found}
    assert C.get(@name, "n") == {:ok, 5}
    assert {:ok, ms} = C.ttl(@name, "n")
    assert ms in 20_000..30_000
    assert C.get_many(@name, ["m1", "m2"]) == {:ok, %{}}
    assert C.get(@name, "f") == {:ok, :fetched}
    assert C.get_or_fetch(@name, "neg", fn -> flunk("called") end) == {:error, :gone}
    assert C.get(@name, "stale") == {:error, :not_found}
    assert C.get_or_fetch(@name, "stale", fn -> {:error, :down} end) == {:ok, :old}
    assert C.invalidate_tag(@name, :t) == {:ok, 1}
    C.flush(@name)
    restart(dir)
    assert C.size(@name) == 0
  end

  test "what was evicted does not come back", %{dir: dir} do
    opts = [max_size: 10, eviction_policy: :fifo]
    {:ok, _pid} = start(dir, opts)
    for n <- 1..100, do: C.put(@name, n, n)
    restart(dir)
    assert @name |> C.keys() |> Enum.sort() == Enum.to_list(91..100)
    restart(dir, max_size: 3, eviction_policy: :fifo)
    assert C.size(@name) == 3
  end

  test "the file has the last value of each key, whoever wrote it", %{dir: dir} do
    {:ok, _pid} = start(dir)
    writers = for w <- 1..4, do: Task.async(fn -> for n <- 1..300, do: C.put(@name, rem(n, 3), {w, n}) end)
    Task.await_many(writers, 60_000)
    values = C.get_many(@name, [0, 1, 2])
    restart(dir)
    assert C.get_many(@name, [0, 1, 2]) == values
  end

  test "a killed writer of the file loses nothing", %{dir: dir} do
    {:ok, _pid} = start(dir)
    for n <- 1..50, do: C.put(@name, n, n)
    Process.exit(Process.whereis(Module.concat(@name, "Vdr.Cache.File")), :kill)
    Vdr.Test.Mirror.eventually("it is back", fn -> C.put(@name, 51, 51) == :ok end)
    for n <- 2..51, do: assert(C.get(@name, n) == {:ok, n})
    restart(dir)
    assert C.size(@name) in 51..51
  end

  test "a file that is none, and a directory that cannot be made, stop the start", %{dir: dir} do
    File.mkdir_p!(dir)
    File.write!(Path.join(dir, "_dets_restart.dets"), String.duplicate("no file of ours", 100))
    assert {:error, {{:disk, _reason}, _child}} = start(dir)
    Process.flag(:trap_exit, true)

    assert {:error, {:disk, :enotdir}} =
             Cache.start_link(name: :dets_bad, backend: DETS, backend_opts: [data_dir: "/dev/null/x"])
  end

  test "a VM that is killed leaves a file that is repaired", %{dir: dir} do
    vm = Vdr.Test.Vm.start!()
    opts = [name: @name, backend: DETS, backend_opts: [data_dir: dir, sync: true]]
    {:ok, _pid} = Vdr.Test.Vm.call(vm, Supervisor, :start_child, [Vdr.Supervisor, Cache.child_spec(opts)])
    for n <- 1..100, do: :ok = Vdr.Test.Vm.call(vm, C, :put, [@name, n, n, [ttl: 60_000]])
    pid = vm.pid |> to_string()
    {_out, 0} = System.cmd("kill", ["-KILL", pid])
    {:ok, _pid} = start(dir)
    assert C.size(@name) == 100
    assert {:ok, ms} = C.ttl(@name, 1)
    assert ms in 1..60_000
  end

  test "a full disk is an answer, and the cache goes on", %{dir: dir} do
    vm = Vdr.Test.Vm.start!(file_blocks: 2_048)
    call = fn function, arguments -> Vdr.Test.Vm.call(vm, C, function, [@name | arguments]) end
    opts = [name: @name, backend: DETS, backend_opts: [data_dir: dir]]
    {:ok, _pid} = Vdr.Test.Vm.call(vm, Supervisor, :start_child, [Vdr.Supervisor, Cache.child_spec(opts)])
    value = :binary.copy("x", 50_000)
    answers = for n <- 1..100, do: {n, call.(:put, [n, value])}
    {good, bad} = Enum.split_with(answers, &(elem(&1, 1) == :ok))
    assert length(good) > 5
    assert length(bad) > 40
    for {_n, answer} <- bad, do: assert({:error, {:disk, _reason}} = answer)
    # What was refused is absent, what was stored is there, and the next calls answer.
    for {n, _answer} <- bad, do: assert(call.(:get, [n]) == {:error, :not_found})
    for {n, _answer} <- good, do: assert(call.(:get, [n]) == {:ok, value})
    assert call.(:get_or_fetch, ["f", &Vdr.Test.PeerWork.large/0]) == {:ok, value}
    # There is room again.
    for {n, _answer} <- good, do: call.(:delete, [n])
    Vdr.Test.Mirror.eventually("writes succeed again", fn -> call.(:put, ["small", 1]) == :ok end)
    assert call.(:get, ["small"]) == {:ok, 1}
    :ok = Vdr.Test.Vm.call(vm, Supervisor, :terminate_child, [Vdr.Supervisor, @name])
    Vdr.Test.Vm.stop(vm)
    {:ok, _pid} = start(dir)
    assert C.get(@name, "small") == {:ok, 1}
    for {n, _answer} <- bad, do: assert(C.get(@name, n) == {:error, :not_found})
  end

  test "values of 100 MB", %{dir: dir} do
    {:ok, _pid} = start(dir, backend_opts: [])
    large = :binary.copy("0123456789", 10_000_000)
    assert C.put(@name, :large, large) == :ok
    assert C.get(@name, :large) == {:ok, large}
    restart(dir)
    assert C.get(@name, :large) == {:ok, large}
  end

  test "info names the file", %{dir: dir} do
    {:ok, _pid} = start(dir)
    assert %{file: file, file_bytes: bytes} = C.info(@name)
    assert Path.dirname(file) == dir
    assert bytes > 0
  end
end
