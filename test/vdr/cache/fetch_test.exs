defmodule Vdr.Cache.FetchTest do
  use ExUnit.Case, async: true

  alias Vdr.Cache, as: C
  alias Vdr.Test.CacheContract.Cache
  alias Vdr.Test.Mirror

  setup context do
    name = :"fetch_#{:erlang.phash2(context.test)}"
    start_supervised!({Cache, [name: name] ++ Map.get(context, :options, [])})
    {:ok, c: name}
  end

  defp messages, do: self() |> Process.info(:messages) |> elem(1)

  # On a loaded machine the last of them wait for longer than the default.
  @tag options: [stampede_timeout: 60_000]
  test "five thousand processes, one key: one fetch, and an answer for everybody", %{c: c} do
    calls = :counters.new(1, [])
    gate = spawn_link(fn -> receive do: (:never -> :ok) end)

    fetch = fn ->
      :counters.add(calls, 1, 1)
      ref = Process.monitor(gate)
      receive do: ({:DOWN, ^ref, _, _, _} -> {:ok, :value})
    end

    tasks = for _ <- 1..5_000, do: Task.async(fn -> {C.get_or_fetch(c, :k, fetch), messages()} end)
    Mirror.eventually("everybody else waits", fn -> C.stats(c).waits == 4_999 end)
    Process.unlink(gate)
    Process.exit(gate, :kill)
    assert Enum.uniq(Task.await_many(tasks, 30_000)) == [{{:ok, :value}, []}]
    assert :counters.get(calls, 1) == 1
    assert no_rows?(c)
  end

  defp no_rows?(c) do
    %{flights: flights} = C.Handle.fetch(c)
    :ets.tab2list(flights.flights) == [] and :ets.tab2list(flights.waiters) == []
  end

  defp fail(:raises), do: raise("broken")
  defp fail(:exits), do: exit(:broken)
  defp fail(:throws), do: throw(:broken)
  defp fail(:killed), do: Process.exit(self(), :kill)

  for {how, message} <- [raises: "an exception", exits: "an exit", throws: "a throw", killed: "a kill"] do
    test "a leader that ends by #{message} hands over to exactly one", %{c: c} do
      how = unquote(how)
      test = self()
      calls = :counters.new(1, [])

      fetch = fn ->
        :counters.add(calls, 1, 1)

        if :counters.get(calls, 1) == 1 do
          send(test, {:leading, self()})
          receive do: (:go -> :ok)
          fail(how)
        else
          Process.sleep(20)
          {:ok, :second}
        end
      end

      {leader, ref} = spawn_monitor(fn -> C.get_or_fetch(c, :k, fetch) end)
      assert_receive {:leading, ^leader}, 5_000
      waiters = for _ <- 1..100, do: Task.async(fn -> {C.get_or_fetch(c, :k, fetch), messages()} end)
      Mirror.eventually("they wait", fn -> C.stats(c).waits == 100 end)
      send(leader, :go)
      assert_receive {:DOWN, ^ref, _, _, reason}, 5_000
      assert reason != :normal
      assert Enum.uniq(Task.await_many(waiters, 10_000)) == [{{:ok, :second}, []}]
      assert :counters.get(calls, 1) == 2
      assert no_rows?(c)
    end
  end

  test "an exception is the caller's own", %{c: c} do
    assert_raise RuntimeError, "mine", fn -> C.get_or_fetch(c, :k, fn -> raise "mine" end) end
    assert catch_throw(C.get_or_fetch(c, :k, fn -> throw(:mine) end)) == :mine
    assert C.get_or_fetch(c, :k, fn -> {:ok, 1} end) == {:ok, 1}
    assert %{fetches: 3, fetch_errors: 2} = C.stats(c)
  end

  test "the function runs in the process of the caller", %{c: c} do
    Process.put(:mine, 42)
    assert C.get_or_fetch(c, :k, fn -> {:ok, {self(), Process.get(:mine)}} end) == {:ok, {self(), 42}}
  end

  test "an error goes to all who wait, and is not stored", %{c: c} do
    test = self()

    fetch = fn ->
      send(test, {:fetching, self()})
      receive do: (:go -> {:error, :down})
    end

    tasks = for _ <- 1..20, do: Task.async(fn -> C.get_or_fetch(c, :k, fetch) end)
    assert_receive {:fetching, leader}
    # Who comes later would fetch again.
    Mirror.eventually("all others wait", fn -> C.stats(c).waits == 19 end)
    send(leader, :go)
    assert Enum.uniq(Task.await_many(tasks, 30_000)) == [{:error, :down}]
    assert C.stats(c).fetches == 1
    assert C.get(c, :k) == {:error, :not_found}
  end

  test "to fetch the same key inside raises; another key is fine", %{c: c} do
    nested = fn key -> fn -> C.get_or_fetch(c, key, fn -> {:ok, 1} end) end end
    assert_raise ArgumentError, ~r/its own key :k/, fn -> C.get_or_fetch(c, :k, nested.(:k)) end
    assert C.get_or_fetch(c, :k, nested.(:other)) == {:ok, 1}
    assert no_rows?(c)
  end

  test "what the function must not return raises", %{c: c} do
    assert_raise ArgumentError, ~r/returns {:ok, value}/, fn -> C.get_or_fetch(c, :k, fn -> :what end) end
    assert C.get_or_fetch(c, :k, fn -> {:ok, 1} end) == {:ok, 1}
  end

  @tag options: [stampede_timeout: 50]
  test "who waits too long gets an error, or fetches for itself; nothing comes late", %{c: c} do
    test = self()

    slow = fn ->
      send(test, :leading)
      receive do: (:go -> {:ok, :slow})
    end

    leader = Task.async(fn -> C.get_or_fetch(c, :k, slow) end)
    assert_receive :leading
    assert C.get_or_fetch(c, :k, slow) == {:error, :timeout}
    assert C.get_or_fetch(c, :k, fn -> {:ok, :own} end, on_timeout: :fetch) == {:ok, :own}
    send(leader.pid, :go)
    assert Task.await(leader) == {:ok, :slow}
    assert C.get(c, :k) == {:ok, :slow}
    assert messages() == []
    assert no_rows?(c)
  end

  @tag options: [stampede_protection: false]
  test "without protection everybody fetches", %{c: c} do
    test = self()

    fetch = fn ->
      send(test, :fetching)
      receive do: (:go -> {:ok, 1})
    end

    tasks = for _ <- 1..10, do: Task.async(fn -> C.get_or_fetch(c, :k, fetch) end)
    # Nobody stores the value before all have begun.
    for _ <- 1..10, do: assert_receive(:fetching)
    for task <- tasks, do: send(task.pid, :go)
    Task.await_many(tasks, 30_000)
    assert C.stats(c).fetches == 10
    assert C.get(c, :k) == {:ok, 1}
  end

  test "a delete by another process while a thousand fetches run: what was deleted does not come back", %{c: c} do
    # The truth is a counter. A fetch reads it and takes its time; a writer counts on, and deletes.
    truth = :counters.new(1, [])

    readers =
      for _ <- 1..4 do
        Task.async(fn ->
          for _ <- 1..500 do
            C.get_or_fetch(c, :k, fn ->
              value = :counters.get(truth, 1)
              if :rand.uniform(3) == 1, do: :erlang.yield()
              {:ok, value}
            end)
          end
        end)
      end

    for n <- 1..500 do
      :counters.put(truth, 1, n)
      C.delete(c, :k)
      with {:ok, value} <- C.get(c, :k), do: assert(value >= n)
    end

    Task.await_many(readers, 60_000)
    assert C.get_or_fetch(c, :k, fn -> {:ok, 500} end) == {:ok, 500}
  end

  @hour_ms 3_600_000

  @tag options: [refresh_backoff: @hour_ms]
  test "a refresh that fails keeps the value, and is not tried again at once", %{c: c} do
    opts = [ttl: 60_000, refresh_after: 1]
    C.get_or_fetch(c, :k, fn -> {:ok, :old} end, opts)
    Process.sleep(5)
    calls = :counters.new(1, [])

    fails = fn ->
      :counters.add(calls, 1, 1)
      if :counters.get(calls, 1) == 1, do: raise("broken"), else: {:error, :down}
    end

    read = fn -> C.get_or_fetch(c, :k, fails, opts ++ [negative_ttl: 60_000]) end
    assert read.() == {:ok, :old}
    await_backoff(c)
    assert C.stats(c).fetch_errors == 1
    for _ <- 1..50, do: assert(read.() == {:ok, :old})
    assert :counters.get(calls, 1) == 1
    pass_hour(c)
    assert read.() == {:ok, :old}
    Mirror.eventually("it was tried again", fn -> :counters.get(calls, 1) == 2 end)
    # The second failure doubles the wait.
    await_backoff(c)
    pass_hour(c)
    assert read.() == {:ok, :old}
    await_backoff(c)
    assert :counters.get(calls, 1) == 2
    pass_hour(c)
    assert C.get_or_fetch(c, :k, fn -> {:ok, :new} end, opts) == {:ok, :old}
    Mirror.eventually("it succeeded", fn -> C.get(c, :k) == {:ok, :new} end)
  end

  # Waits until the refresh of `:k` has failed, and its next time stands.
  defp await_backoff(c) do
    %{refreshes: refreshes} = C.Handle.fetch(c)
    Mirror.eventually("it backs off", fn -> match?([{:k, _not_before, _delay}], :ets.lookup(refreshes, :k)) end)
  end

  # The clock of the backoff is the VM's, so the next time moves.
  defp pass_hour(c), do: :ets.update_counter(C.Handle.fetch(c).refreshes, :k, {2, -@hour_ms})

  test "transactions of the same keys take turns", %{c: c} do
    add = fn keys ->
      C.transaction(c, keys, fn ->
        {:ok, n} = with {:error, :not_found} <- C.get(c, :n), do: {:ok, 0}
        if :rand.uniform(4) == 1, do: Process.sleep(1)
        C.put(c, :n, n + 1)
        :added
      end)
    end

    tasks = for n <- 1..40, do: Task.async(fn -> add.(if rem(n, 2) == 0, do: [:a, :b], else: [:b, :a, :c]) end)
    assert Enum.uniq(Task.await_many(tasks, 30_000)) == [:added]
    assert C.get(c, :n) == {:ok, 40}
    assert no_rows?(c)
  end

  test "a transaction whose holder is killed ends; one that takes too long is an error", %{c: c} do
    test = self()

    holder =
      spawn(fn ->
        C.transaction(c, [:a], fn ->
          send(test, :held)
          Process.sleep(:infinity)
        end)
      end)

    assert_receive :held, 5_000
    assert C.transaction(c, [:a], fn -> :never end, timeout: 20) == {:error, :timeout}
    assert C.transaction(c, [:b], fn -> :other end) == :other
    waiting = Task.async(fn -> C.transaction(c, [:b, :a], fn -> :got end) end)
    Process.sleep(20)
    Process.exit(holder, :kill)
    assert Task.await(waiting) == :got

    assert_raise ArgumentError, ~r/already/, fn ->
      C.transaction(c, [:a], fn -> C.transaction(c, [:a], fn -> 1 end) end)
    end

    assert_raise RuntimeError, fn -> C.transaction(c, [:a], fn -> raise "broken" end) end
    assert C.transaction(c, [:a], fn -> :free end) == :free
    assert no_rows?(c)
  end
end
