defmodule Vdr.Test.CacheTraces do
  @moduledoc """
  Requests as real loads make them, and the hit ratios that exact policies have on them.

  A trace is a list of integers. The simulations are of our own and as simple as their policies
  allow, so that a cache can be held against them.
  """

  @doc "`n` requests of `keys` keys by Zipf's law with exponent `s`; the same for the same seed."
  def zipf(n, keys, s, seed \\ 1) do
    state = :rand.seed_s(:exsss, {seed, 2, 3})
    cumulated = cumulate(keys, s)
    total = elem(cumulated, keys - 1)

    {trace, _state} =
      Enum.map_reduce(1..n, state, fn _n, state ->
        {x, state} = :rand.uniform_s(state)
        {search(cumulated, x * total, 0, keys - 1), state}
      end)

    trace
  end

  defp cumulate(keys, s) do
    {sums, _sum} =
      Enum.map_reduce(1..keys, 0.0, fn rank, sum -> {sum + :math.pow(rank, -s), sum + :math.pow(rank, -s)} end)

    List.to_tuple(sums)
  end

  defp search(_sums, _x, low, high) when low >= high, do: low

  defp search(sums, x, low, high) do
    middle = div(low + high, 2)
    if elem(sums, middle) < x, do: search(sums, x, middle + 1, high), else: search(sums, x, low, middle)
  end

  @doc "A quarter of the requests are for keys that come once."
  def with_scans(trace) do
    {mixed, _next} =
      Enum.flat_map_reduce(Enum.with_index(trace), 1_000_000_000, fn {key, n}, next ->
        if rem(n, 3) == 2, do: {[key, next], next + 1}, else: {[key], next}
      end)

    mixed
  end

  @doc "The hot keys change `times` times."
  def moving(trace, times) do
    part = div(length(trace), times) + 1
    trace |> Enum.with_index() |> Enum.map(fn {key, n} -> key + div(n, part) * 317 end)
  end

  @doc "The part of the requests that `request`, called with each key, answers with true."
  def hit_ratio(trace, request), do: Enum.count(trace, request) / length(trace)

  @doc "The hit ratio of a policy on a trace: `:fifo`, `:lru`, `:s3_fifo` or `:w_tinylfu`."
  def simulate(trace, policy, capacity) do
    {hits, _state} =
      Enum.reduce(trace, {0, new(policy, capacity)}, fn key, {hits, state} ->
        case request(policy, state, key) do
          {:hit, state} -> {hits + 1, state}
          {:miss, state} -> {hits, state}
        end
      end)

    hits / length(trace)
  end

  # ---- first in, first out, and least recently used: keys by number, numbers by key

  defp new(policy, capacity) when policy in [:fifo, :lru],
    do: %{capacity: capacity, at: %{}, order: :gb_trees.empty(), next: 0}

  # Small and main queue as ordered trees, the ghosts as a third.
  defp new(:s3_fifo, capacity),
    do: %{
      capacity: capacity,
      at: %{},
      small: :gb_trees.empty(),
      main: :gb_trees.empty(),
      ghosts: %{},
      ghost_order: :gb_trees.empty(),
      next: 0
    }

  # A window of 1 % and a main part of LRU, of which 80 % are protected; a sketch with exact counts
  # that are halved.
  defp new(:w_tinylfu, capacity) do
    window = max(1, div(capacity, 100))
    main = capacity - window

    %{
      window: lru(window),
      probation: lru(main),
      protected: lru(div(main * 8, 10)),
      main: main,
      counts: %{},
      added: 0,
      reset: capacity * 10
    }
  end

  defp lru(capacity), do: %{capacity: capacity, at: %{}, order: :gb_trees.empty(), next: 0}

  defp request(:fifo, state, key),
    do: if(is_map_key(state.at, key), do: {:hit, state}, else: {:miss, insert(state, key)})

  defp request(:lru, state, key),
    do: if(is_map_key(state.at, key), do: {:hit, touch(state, key)}, else: {:miss, insert(state, key)})

  defp request(:s3_fifo, state, key) do
    case state.at do
      %{^key => {queue, place, uses}} -> {:hit, put_in(state.at[key], {queue, place, min(uses + 1, 3)})}
      _absent -> {:miss, s3_insert(state, key)}
    end
  end

  defp request(:w_tinylfu, state, key) do
    state = count(state, key)

    cond do
      is_map_key(state.window.at, key) -> {:hit, %{state | window: touch(state.window, key)}}
      is_map_key(state.protected.at, key) -> {:hit, %{state | protected: touch(state.protected, key)}}
      is_map_key(state.probation.at, key) -> {:hit, protect(state, key)}
      true -> {:miss, admit(state, key)}
    end
  end

  defp insert(state, key) do
    state = if map_size(state.at) >= state.capacity, do: state |> pop() |> elem(1), else: state
    push(state, key)
  end

  defp push(state, key),
    do: %{
      state
      | at: Map.put(state.at, key, state.next),
        order: :gb_trees.insert(state.next, key, state.order),
        next: state.next + 1
    }

  defp pop(state) do
    {_place, key, order} = :gb_trees.take_smallest(state.order)
    {key, %{state | at: Map.delete(state.at, key), order: order}}
  end

  defp drop(state, key),
    do: %{state | at: Map.delete(state.at, key), order: :gb_trees.delete(Map.fetch!(state.at, key), state.order)}

  defp touch(state, key), do: state |> drop(key) |> push(key)

  # ---- S3-FIFO

  defp s3_insert(state, key) do
    state = s3_make_room(state)

    {queue, state} =
      case Map.pop(state.ghosts, key) do
        {nil, _ghosts} -> {:small, state}
        {place, ghosts} -> {:main, %{state | ghosts: ghosts, ghost_order: :gb_trees.delete(place, state.ghost_order)}}
      end

    s3_enter(state, queue, key, 0)
  end

  defp s3_enter(state, queue, key, uses) do
    state
    |> Map.update!(queue, &:gb_trees.insert(state.next, key, &1))
    |> Map.merge(%{at: Map.put(state.at, key, {queue, state.next, uses}), next: state.next + 1})
  end

  defp s3_make_room(state) do
    if map_size(state.at) < state.capacity, do: state, else: state |> s3_evict() |> s3_make_room()
  end

  defp s3_evict(state) do
    if :gb_trees.size(state.small) * 10 >= map_size(state.at) do
      {_place, key, small} = :gb_trees.take_smallest(state.small)
      {_queue, _place, uses} = state.at[key]
      state = %{state | small: small}
      if uses > 1, do: s3_enter(state, :main, key, 0), else: ghost(%{state | at: Map.delete(state.at, key)}, key)
    else
      {_place, key, main} = :gb_trees.take_smallest(state.main)
      {_queue, _place, uses} = state.at[key]
      state = %{state | main: main}
      if uses > 0, do: s3_enter(state, :main, key, uses - 1), else: %{state | at: Map.delete(state.at, key)}
    end
  end

  defp ghost(state, key) do
    state = %{
      state
      | ghosts: Map.put(state.ghosts, key, state.next),
        ghost_order: :gb_trees.insert(state.next, key, state.ghost_order),
        next: state.next + 1
    }

    if map_size(state.ghosts) > state.capacity do
      {_place, oldest, order} = :gb_trees.take_smallest(state.ghost_order)
      %{state | ghosts: Map.delete(state.ghosts, oldest), ghost_order: order}
    else
      state
    end
  end

  # ---- W-TinyLFU

  defp count(state, key) do
    counts = Map.update(state.counts, key, 1, &min(&1 + 1, 15))

    if state.added + 1 >= state.reset,
      do: %{state | counts: for({k, n} <- counts, n > 1, into: %{}, do: {k, div(n, 2)}), added: 0},
      else: %{state | counts: counts, added: state.added + 1}
  end

  defp admit(state, key) do
    if map_size(state.window.at) < state.window.capacity do
      %{state | window: push(state.window, key)}
    else
      {candidate, window} = pop(state.window)
      compete(%{state | window: push(window, key)}, candidate)
    end
  end

  defp compete(state, candidate) do
    if map_size(state.probation.at) + map_size(state.protected.at) < state.main do
      %{state | probation: push(state.probation, candidate)}
    else
      part = if map_size(state.probation.at) > 0, do: :probation, else: :protected
      {victim, rest} = pop(state[part])

      if Map.get(state.counts, candidate, 0) > Map.get(state.counts, victim, 0),
        do: state |> Map.put(part, rest) |> Map.update!(:probation, &push(&1, candidate)),
        else: state
    end
  end

  defp protect(state, key) do
    state = %{state | probation: drop(state.probation, key), protected: push(state.protected, key)}

    if map_size(state.protected.at) > state.protected.capacity do
      {demoted, protected} = pop(state.protected)
      %{state | protected: protected, probation: push(state.probation, demoted)}
    else
      state
    end
  end
end
