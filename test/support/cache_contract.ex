defmodule Vdr.Test.CacheContract do
  @moduledoc """
  The behaviour that all caches have in common, as tests. `use` it in a test case whose `setup`
  starts a cache and returns its name as `cache`, and a function as `pass` that lets a number of ms
  pass.

  `except:` is a list of the groups that the cache does not have: `:terms` (pids and functions as
  values), `:at_once` (all of `put_many` is seen together).
  """

  defmodule Cache do
    @moduledoc false
    use Vdr.Cache
  end

  defmodule Clock do
    @moduledoc false
    # A clock that a test moves.
    def new, do: :counters.new(1, [])
    def reader(clock), do: fn -> :counters.get(clock, 1) end
    def pass(clock, ms), do: :counters.add(clock, 1, ms)
  end

  @doc """
  Runs what has to be over before a time to live of `ms` ends. Some caches have a clock that does
  not stop, and a loaded machine may take longer. Then a failed assertion says nothing, and an empty
  cache is asked once more.
  """
  def in_time(cache, ms, fun, tries \\ 20) do
    started = System.monotonic_time(:millisecond)

    try do
      fun.()
    rescue
      error in [ExUnit.AssertionError, MatchError] ->
        late? = System.monotonic_time(:millisecond) - started >= ms
        if not late? or tries == 0, do: reraise(error, __STACKTRACE__)
        :ok = Vdr.Cache.flush(cache)
        in_time(cache, ms, fun, tries - 1)
    end
  end

  defmacro __using__(opts) do
    except = Keyword.get(opts, :except, [])

    quote location: :keep do
      import Vdr.Test.CacheContract, only: [in_time: 3]
      alias Vdr.Cache, as: C

      describe "contract: values" do
        test "a key without an entry is not found", %{cache: c} do
          assert C.get(c, :missing) == {:error, :not_found}
          assert_raise KeyError, fn -> C.get!(c, :missing) end
          refute C.exists?(c, :missing)
          assert C.ttl(c, :missing) == {:error, :not_found}
          assert C.take(c, :missing) == {:error, :not_found}
          assert C.delete(c, :missing) == :ok
        end

        test "a value comes back as it was", %{cache: c} do
          values =
            [nil, false, 0, -1, 2 ** 70, 1.5, "", "text", <<0, 255>>, <<5::3>>, [], [1 | 2], %{a: %{"b" => [1]}}] ++
              [{}, {:a, "b"}, ~D[2026-11-28], MapSet.new([1])]

          for value <- values do
            assert C.put(c, :key, value) == :ok
            assert C.get(c, :key) == {:ok, value}
            assert C.get!(c, :key) === value
            assert C.exists?(c, :key)
          end
        end

        test "keys are the same if === says so", %{cache: c} do
          keys =
            [
              1,
              1.0,
              :a,
              "a",
              ~c"a",
              {:a, 1},
              {:a, 1.0},
              "1",
              nil,
              "",
              %{1 => 2},
              [],
              {},
              :_,
              :"$1",
              {:_, :"$2"},
              [:_],
              %{_: 1}
            ] ++
              [true, "\x83a", :"$$", {:"$_"}]

          for {key, n} <- Enum.with_index(keys), do: assert(C.put(c, key, n) == :ok)
          for {key, n} <- Enum.with_index(keys), do: assert({key, C.get(c, key)} == {key, {:ok, n}})
          assert C.size(c) == length(keys)
          assert c |> C.keys() |> Enum.to_list() |> MapSet.new() == MapSet.new(keys)
          for key <- keys, do: assert(C.update(c, key, 0, &(&1 + 100)) |> elem(0) == :ok)
          for {key, n} <- Enum.with_index(keys), do: assert(C.take(c, key) == {:ok, n + 100})
          assert C.size(c) == 0
        end

        test "put replaces, and delete removes", %{cache: c} do
          assert C.put(c, "k", 1) == :ok
          assert C.put(c, "k", 2) == :ok
          assert C.get(c, "k") == {:ok, 2}
          assert C.size(c) == 1
          assert C.delete(c, "k") == :ok
          assert C.get(c, "k") == {:error, :not_found}
          assert C.size(c) == 0
        end

        test "flush removes everything", %{cache: c} do
          for n <- 1..50, do: C.put(c, n, n, ttl: 60_000, tags: [:all])
          assert C.flush(c) == :ok
          assert C.size(c) == 0
          for n <- 1..50, do: assert(C.get(c, n) == {:error, :not_found})
          assert C.put(c, 1, 2) == :ok
          assert C.get(c, 1) == {:ok, 2}
        end
      end

      describe "contract: times" do
        test "an entry past its time is absent", %{cache: c, pass: pass} do
          in_time(c, 200, fn ->
            C.put(c, "short", 1, ttl: 200)
            C.put(c, "long", 2, ttl: 60_000)
            C.put(c, "ever", 3, ttl: :infinity)
            assert C.get(c, "short") == {:ok, 1}
            assert {:ok, ms} = C.ttl(c, "short")
            assert ms in 1..200
          end)

          assert {:ok, ms} = C.ttl(c, "long")
          assert ms in 50_000..60_000
          assert C.ttl(c, "ever") == {:ok, :infinity}
          pass.(260)
          assert C.get(c, "short") == {:error, :not_found}
          assert C.ttl(c, "short") == {:error, :not_found}
          assert C.get_many(c, ["short", "long"]) == {:ok, %{"long" => 2}}
          refute C.exists?(c, "short")
          assert C.get(c, "long") == {:ok, 2}
          assert Enum.sort(Enum.to_list(C.keys(c))) == ["ever", "long"]
          assert {:ok, n} = C.sweep(c)
          assert n in 0..1
          assert C.size(c) == 2
        end

        test "a time of 0 stores nothing, and removes what was there", %{cache: c} do
          assert C.put(c, "k", 1) == :ok
          assert C.put(c, "k", 2, ttl: 0) == :ok
          assert C.get(c, "k") == {:error, :not_found}
          assert C.size(c) == 0
        end

        test "a put without ttl ends the time of the old value", %{cache: c, pass: pass} do
          C.put(c, "k", 1, ttl: 100)
          C.put(c, "k", 2)
          pass.(150)
          assert C.get(c, "k") == {:ok, 2}
        end

        test "expire, persist and touch", %{cache: c, pass: pass} do
          assert C.expire(c, "k", 100) == {:ok, false}
          assert C.persist(c, "k") == {:ok, false}
          assert C.touch(c, "k") == {:ok, false}

          in_time(c, 100, fn ->
            C.put(c, "k", 1)
            assert C.expire(c, "k", 100) == {:ok, true}
            assert C.persist(c, "k") == {:ok, true}
          end)

          assert C.ttl(c, "k") == {:ok, :infinity}
          assert C.touch(c, "k", ttl: 60_000) == {:ok, true}
          assert {:ok, ms} = C.ttl(c, "k")
          assert ms in 50_000..60_000
          assert C.expire(c, "k", 100) == {:ok, true}
          pass.(150)
          assert C.get(c, "k") == {:error, :not_found}
          C.put(c, "k", 1)
          assert C.expire(c, "k", 0) == {:ok, true}
          assert C.get(c, "k") == {:error, :not_found}
        end

        test "what is no time to live raises", %{cache: c} do
          for ttl <- [-1, 1.5, nil, :never, "1"] do
            assert_raise ArgumentError, fn -> C.put(c, "k", 1, ttl: ttl) end
            assert_raise ArgumentError, fn -> C.expire(c, "k", ttl) end
          end
        end

        test "jitter takes a part off", %{cache: c} do
          for n <- 1..20, do: C.put(c, n, n, ttl: 100_000, ttl_jitter: 0.5)
          times = for n <- 1..20, {:ok, ms} = C.ttl(c, n), do: ms
          assert Enum.all?(times, &(&1 in 40_000..100_000))
          assert length(Enum.uniq(times)) > 1
        end
      end

      describe "contract: conditions" do
        test "put_new and replace", %{cache: c, pass: pass} do
          assert C.replace(c, "k", 1) == {:ok, false}
          assert C.get(c, "k") == {:error, :not_found}

          in_time(c, 100, fn ->
            assert C.put_new(c, "k", 1, ttl: 100) == {:ok, true}
            assert C.put_new(c, "k", 2) == {:ok, false}
            assert C.get(c, "k") == {:ok, 1}
            assert C.replace(c, "k", 3, ttl: 100) == {:ok, true}
            assert C.get(c, "k") == {:ok, 3}
          end)

          pass.(150)
          assert C.replace(c, "k", 4) == {:ok, false}
          assert C.put_new(c, "k", 5) == {:ok, true}
          assert C.get(c, "k") == {:ok, 5}
        end

        test "of many that put_new, one does", %{cache: c} do
          answers = 1..20 |> Enum.map(&Task.async(fn -> C.put_new(c, "k", &1) end)) |> Task.await_many(30_000)
          assert Enum.frequencies(answers) == %{{:ok, true} => 1, {:ok, false} => 19}
        end

        test "of many that take, one gets it", %{cache: c} do
          C.put(c, "k", :v)
          answers = 1..20 |> Enum.map(fn _ -> Task.async(fn -> C.take(c, "k") end) end) |> Task.await_many(30_000)
          assert Enum.frequencies(answers) == %{{:ok, :v} => 1, {:error, :not_found} => 19}
        end
      end

      describe "contract: many" do
        test "get_many, put_many and delete_many", %{cache: c} do
          assert C.get_many(c, []) == {:ok, %{}}
          assert C.put_many(c, []) == :ok
          assert C.put_many(c, %{"a" => 1, "b" => nil}) == :ok
          assert C.put_many(c, [{"c", 3}, {"d", 4}], ttl: 60_000, tags: [:t]) == :ok
          assert C.get_many(c, ["a", "b", "c", "x", "a"]) == {:ok, %{"a" => 1, "b" => nil, "c" => 3}}
          assert {:ok, ms} = C.ttl(c, "c")
          assert ms in 50_000..60_000
          assert C.delete_many(c, ["a", "x", "b"]) == {:ok, 2}
          assert C.delete_many(c, []) == {:ok, 0}
          assert c |> C.stream() |> Enum.sort() == [{"c", 3}, {"d", 4}]
          assert C.invalidate_tag(c, :t) == {:ok, 2}
          assert C.size(c) == 0
        end

        test "keys by their beginning", %{cache: c} do
          C.put_many(c, %{"a:1" => 1, "a:2" => 2, "b:1" => 3, {:a, 1} => 4})
          assert c |> C.keys("a:") |> Enum.sort() == ["a:1", "a:2"]
          assert c |> C.keys() |> Enum.count() == 4
        end

        if :at_once not in unquote(except) do
          test "readers see all of put_many or none", %{cache: c} do
            keys = Enum.to_list(1..20)
            C.put_many(c, Map.new(keys, &{&1, 0}))
            writer = Task.async(fn -> for n <- 1..200, do: C.put_many(c, Map.new(keys, &{&1, n})) end)

            reads =
              Stream.repeatedly(fn ->
                seen = for key <- [1, 20], {:ok, value} = C.get(c, key), do: value
                # The second read is later: it may be newer, and never older.
                [first, second] = seen
                assert second >= first
              end)

            Enum.take(reads, 500)
            Task.await(writer, 60_000)
          end
        end
      end

      describe "contract: numbers and updates" do
        test "incr and decr", %{cache: c} do
          assert C.incr(c, "n") == {:ok, 1}
          assert C.incr(c, "n", 41) == {:ok, 42}
          assert C.decr(c, "n", 2) == {:ok, 40}
          assert C.decr(c, "n") == {:ok, 39}
          assert C.get(c, "n") == {:ok, 39}
          assert C.incr(c, "m", 1, default: 10) == {:ok, 11}
          assert C.incr(c, "o", default: 5) == {:ok, 6}
          C.put(c, "t", "text")
          assert C.incr(c, "t") == {:error, :not_an_integer}
          assert C.get(c, "t") == {:ok, "text"}
        end

        test "incr keeps the time and the tags", %{cache: c} do
          C.put(c, "n", 1, ttl: 60_000, tags: [:t])
          assert C.incr(c, "n") == {:ok, 2}
          assert {:ok, ms} = C.ttl(c, "n")
          assert ms in 50_000..60_000
          assert C.invalidate_tag(c, :t) == {:ok, 1}
          assert C.get(c, "n") == {:error, :not_found}
        end

        test "no incr of many is lost", %{cache: c} do
          1..8
          |> Enum.map(fn _ -> Task.async(fn -> for _ <- 1..50, do: {:ok, _} = C.incr(c, "n") end) end)
          |> Task.await_many(60_000)

          assert C.get(c, "n") == {:ok, 400}
        end

        test "update and get_and_update", %{cache: c} do
          assert C.update(c, "k", [], &[1 | &1]) == {:ok, []}
          assert C.update(c, "k", [], &[1 | &1]) == {:ok, [1]}
          assert C.get_and_update(c, "k", &{hd(&1), [2]}) == {:ok, {1, [2]}}
          assert C.get_and_update(c, "k", fn [2] -> :pop end) == {:ok, {[2], nil}}
          assert C.get(c, "k") == {:error, :not_found}
          assert C.get_and_update(c, "k", fn nil -> {:got, :new} end) == {:ok, {:got, :new}}
          assert C.get_and_update(c, "x", fn nil -> :pop end) == {:ok, {nil, nil}}
          assert C.get(c, "k") == {:ok, :new}
          assert_raise ArgumentError, ~r/returns/, fn -> C.get_and_update(c, "k", fn _ -> :what end) end
        end

        test "update keeps the time and the tags, unless it gives others", %{cache: c} do
          C.put(c, "k", 1, ttl: 60_000, tags: [:t])
          assert C.update(c, "k", 0, &(&1 + 1)) == {:ok, 2}
          assert {:ok, ms} = C.ttl(c, "k")
          assert ms in 50_000..60_000
          assert C.update(c, "k", 0, &(&1 + 1), ttl: :infinity) == {:ok, 3}
          assert C.ttl(c, "k") == {:ok, :infinity}
          assert C.invalidate_tag(c, :t) == {:ok, 0}
          C.put(c, "k", 1, tags: [:t])
          C.update(c, "k", 0, &(&1 + 1))
          assert C.invalidate_tag(c, :t) == {:ok, 1}
        end

        test "no update of many is lost", %{cache: c} do
          update = fn update -> if C.update(c, "n", 1, &(&1 + 1)) == {:error, :contended}, do: update.(update) end

          1..4
          |> Enum.map(fn _ -> Task.async(fn -> for _ <- 1..50, do: update.(update) end) end)
          |> Task.await_many(60_000)

          assert C.get(c, "n") == {:ok, 200}
        end
      end

      describe "contract: tags" do
        test "an invalidated tag takes its entries, and counts them", %{cache: c} do
          C.put(c, :user_1, 1, tags: [:users])
          C.put(c, :user_2, 2, tags: [:users, :active])
          C.put(c, :product_1, 3, tags: [:products])
          assert c |> C.tagged(:users) |> Enum.sort() == [:user_1, :user_2]
          assert C.invalidate_tag(c, :users) == {:ok, 2}
          assert C.get(c, :user_1) == {:error, :not_found}
          assert C.get(c, :user_2) == {:error, :not_found}
          assert C.get(c, :product_1) == {:ok, 3}
          assert C.invalidate_tag(c, :users) == {:ok, 0}
          assert C.invalidate_tag(c, :active) == {:ok, 0}
          assert C.invalidate_tag(c, :unknown) == {:ok, 0}
          assert c |> C.tagged(:users) |> Enum.to_list() == []
          assert C.size(c) == 1
        end

        test "tags are any terms, the same if === says so", %{cache: c} do
          tags = [:a, "a", 1, 1.0, {:a, 1}, nil, :_, :"$1", "", [1], %{a: 1}]
          for tag <- tags, do: C.put(c, {:key, tag}, tag, tags: [tag])
          for tag <- tags, do: assert({tag, C.invalidate_tag(c, tag)} == {tag, {:ok, 1}})
        end

        test "a put replaces the tags", %{cache: c} do
          C.put(c, "k", 1, tags: [:old])
          C.put(c, "k", 2, tags: [:new])
          assert C.invalidate_tag(c, :old) == {:ok, 0}
          assert C.get(c, "k") == {:ok, 2}
          assert c |> C.tagged(:new) |> Enum.to_list() == ["k"]
          C.put(c, "k", 3)
          assert C.invalidate_tag(c, :new) == {:ok, 0}
          assert C.get(c, "k") == {:ok, 3}
        end

        test "what is put after the invalidation stays", %{cache: c} do
          C.put(c, "k", 1, tags: [:t])
          C.invalidate_tag(c, :t)
          C.put(c, "k", 2, tags: [:t])
          assert C.get(c, "k") == {:ok, 2}
          assert C.invalidate_tag(c, :t) == {:ok, 1}
        end

        test "an entry past its time does not count", %{cache: c, pass: pass} do
          C.put(c, "a", 1, tags: [:t], ttl: 100)
          C.put(c, "b", 1, tags: [:t])
          pass.(150)
          assert c |> C.tagged(:t) |> Enum.to_list() == ["b"]
          assert C.invalidate_tag(c, :t) == {:ok, 1}
        end

        test "against writers: what was put before is gone, what was put after stays", %{cache: c} do
          stop = :counters.new(1, [])

          writers =
            for w <- 1..2 do
              Task.async(fn ->
                Stream.iterate(1, &(&1 + 1))
                |> Enum.find(fn n ->
                  C.put(c, {w, rem(n, 5)}, n, tags: [:t])
                  :counters.get(stop, 1) == 1
                end)
              end)
            end

          for n <- 1..40 do
            C.put(c, :mine, {:before, n}, tags: [:t, :u])
            assert {:ok, count} = C.invalidate_tag(c, :t)
            assert count >= 1
            assert C.get(c, :mine) == {:error, :not_found}
            C.put(c, :mine, {:after, n}, tags: [:t])
            assert C.get(c, :mine) == {:ok, {:after, n}}
          end

          :counters.put(stop, 1, 1)
          Task.await_many(writers, 30_000)
          {:ok, _count} = C.invalidate_tag(c, :t)
          assert C.size(c) == 0
        end
      end

      describe "contract: fetching" do
        test "fetches once, and then answers what is there", %{cache: c} do
          assert C.get_or_fetch(c, "k", fn "k" -> {:ok, 1} end) == {:ok, 1}
          assert C.get_or_fetch(c, "k", fn -> flunk("called again") end) == {:ok, 1}
          assert C.get(c, "k") == {:ok, 1}
          assert C.get_or_fetch(c, "e", fn -> {:error, :nope} end) == {:error, :nope}
          assert C.get(c, "e") == {:error, :not_found}
        end

        test "the function's own options count", %{cache: c} do
          assert C.get_or_fetch(c, "k", fn -> {:ok, 1, ttl: 60_000, tags: [:t]} end) == {:ok, 1}
          assert {:ok, ms} = C.ttl(c, "k")
          assert ms in 50_000..60_000
          assert C.invalidate_tag(c, :t) == {:ok, 1}
          # What the function leaves out is as the call says.
          assert C.get_or_fetch(c, "k", fn -> {:ok, 1, ttl: 60_000} end, tags: [:t]) == {:ok, 1}
          assert C.invalidate_tag(c, :t) == {:ok, 1}
          assert C.get_or_fetch(c, "k", fn -> {:ok, 2, store: false} end) == {:ok, 2}
          assert C.get(c, "k") == {:error, :not_found}
        end

        test "of many processes, one fetches", %{cache: c} do
          calls = :counters.new(1, [])

          fetch = fn ->
            :counters.add(calls, 1, 1)
            Process.sleep(50)
            {:ok, :value}
          end

          answers =
            1..100
            |> Enum.map(fn _ -> Task.async(fn -> C.get_or_fetch(c, "k", fetch) end) end)
            |> Task.await_many(30_000)

          assert Enum.uniq(answers) == [{:ok, :value}]
          assert :counters.get(calls, 1) == 1
        end

        test "a delete, a put or an invalidation voids a fetch", %{cache: c} do
          slow = fn during -> fn -> during.() && {:ok, :old} end end
          assert C.get_or_fetch(c, "k", slow.(fn -> C.delete(c, "k") end)) == {:ok, :old}
          assert C.get(c, "k") == {:error, :not_found}
          assert C.get_or_fetch(c, "k", slow.(fn -> C.put(c, "k", :new) end)) == {:ok, :old}
          assert C.get(c, "k") == {:ok, :new}
          C.delete(c, "k")
          assert C.get_or_fetch(c, "k", slow.(fn -> C.invalidate_tag(c, :t) end), tags: [:t]) == {:ok, :old}
          assert C.get(c, "k") == {:error, :not_found}
          late = fn -> C.invalidate_tag(c, :t) && {:ok, :old, tags: [:t]} end
          assert C.get_or_fetch(c, "k", late) == {:ok, :old}
          assert C.get(c, "k") == {:error, :not_found}
          assert C.get_or_fetch(c, "k", slow.(fn -> C.flush(c) end)) == {:ok, :old}
          assert C.get(c, "k") == {:error, :not_found}
          assert C.stats(c).lease_lost == 5
        end

        test "an error is remembered for negative_ttl", %{cache: c, pass: pass} do
          opts = [negative_ttl: 200]

          in_time(c, 200, fn ->
            assert C.get_or_fetch(c, "k", fn -> {:error, :gone} end, opts) == {:error, :gone}
            assert C.get_or_fetch(c, "k", fn -> flunk("called") end, opts) == {:error, :gone}
          end)

          assert C.get(c, "k") == {:error, :not_found}
          assert C.put_new(c, "k", 1) == {:ok, true}
          C.delete(c, "k")
          assert C.get_or_fetch(c, "k", fn -> {:error, :gone} end, opts) == {:error, :gone}
          pass.(250)
          assert C.get_or_fetch(c, "k", fn -> {:ok, 1} end, opts) == {:ok, 1}
        end

        test "stale_if_error answers the old value where fetching fails", %{cache: c, pass: pass} do
          opts = [ttl: 100, stale_if_error: 60_000]
          C.get_or_fetch(c, "k", fn -> {:ok, :old} end, opts)
          pass.(150)
          assert C.get(c, "k") == {:error, :not_found}
          assert C.get_or_fetch(c, "k", fn -> {:error, :down} end, opts) == {:ok, :old}
          assert C.get_or_fetch(c, "k", fn -> {:ok, :new} end, opts) == {:ok, :new}
          assert C.stats(c).stale_served == 1
        end

        test "refresh_after answers what is there, and refreshes once", %{cache: c, pass: pass} do
          test = self()
          opts = [ttl: 60_000, refresh_after: 100]
          C.get_or_fetch(c, "k", fn -> {:ok, 1} end, opts)
          pass.(150)

          fetch = fn ->
            send(test, {:fetching, self()})
            receive do: (:go -> {:ok, 2})
          end

          for _ <- 1..10, do: assert(C.get_or_fetch(c, "k", fetch, opts) == {:ok, 1})
          assert_receive {:fetching, pid}
          refute_receive {:fetching, _other}, 50
          send(pid, :go)
          Vdr.Test.Mirror.eventually("the new value is there", fn -> C.get(c, "k") == {:ok, 2} end)
        end
      end

      describe "contract: observation" do
        test "stats count", %{cache: c} do
          C.put(c, "k", 1)
          C.get(c, "k")
          C.get(c, "x")
          C.get_many(c, ["k", "x", "y"])
          C.delete(c, "k")
          stats = C.stats(c)
          assert %{hits: 2, misses: 3, writes: 1, deletes: 1, evictions: 0, errors: 0, size: 0, enabled: true} = stats
          assert_in_delta stats.hit_rate, 0.4, 0.001
          C.get(c, "k", stats: false)
          assert C.stats(c).misses == 3
          assert C.reset_stats(c) == :ok
          assert C.stats(c).misses == 0
        end

        test "info names what the cache is made of", %{cache: c} do
          info = C.info(c)
          assert info.name == c
          assert info.size == 0
          assert is_atom(info.backend) and is_atom(info.topology)
          assert node() in info.members
        end

        if :terms not in unquote(except) do
          test "any term is a value", %{cache: c} do
            for value <- [self(), make_ref(), fn -> :ok end] do
              assert C.put(c, "k", {:in, value}) == :ok
              assert C.get(c, "k") == {:ok, {:in, value}}
            end
          end
        end

        if :terms in unquote(except) do
          test "what does not outlive its process is refused", %{cache: c} do
            for value <- [self(), make_ref(), fn -> :ok end, hd(Port.list())] do
              assert C.put(c, "k", [%{in: {value}}]) == {:error, {:not_storable, value}}
              assert C.get_or_fetch(c, "k", fn -> {:ok, value} end) == {:ok, value}
            end

            assert C.get(c, "k") == {:error, :not_found}
          end
        end
      end
    end
  end
end
