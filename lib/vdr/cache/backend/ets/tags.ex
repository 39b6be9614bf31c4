defmodule Vdr.Cache.Backend.ETS.Tags do
  @moduledoc false
  # Tags and their invalidation.
  #
  # Every put takes a number from one counter, and so does every invalidation: the number of a tag's
  # last invalidation is its generation. An entry is valid if its number is larger than the
  # generations of all of its tags. So one write of a generation invalidates every older entry at
  # once. The entries are removed afterwards, with the help of an index:
  #
  #     generations: {tag, generation, pid that removes entries, or nil}     tags: {{tag, id}, key}

  alias Vdr.Cache.Backend.ETS.Rows

  @doc """
  Returns a stream of the index entries of a tag, up to a number. The table may change while the
  stream runs.
  """
  @spec index(map, tag :: term, last :: pos_integer | :infinity) :: Enumerable.t()
  def index(h, tag, last) do
    Stream.unfold({tag, 0}, fn place ->
      case :ets.next(h.tags, place) do
        {next_tag, id} = next when next_tag == tag and id <= last -> {next, next}
        _other_tag_or_end -> nil
      end
    end)
    |> Stream.flat_map(&:ets.lookup(h.tags, &1))
  end

  @doc """
  Returns whether a row has the tag. The index alone does not tell: `1` and `1.0` are two tags, but
  equal keys of an ordered table.
  """
  @spec has_tag?(Rows.row(), term) :: boolean
  def has_tag?(row, tag), do: Enum.any?(elem(row, 6), &(&1 === tag))

  @doc """
  Invalidates the entries with the tag whose number is not above the generation, and removes them.
  Returns how many of them were live.
  """
  @spec invalidate(map, tag :: term, generation :: pos_integer) :: {:ok, non_neg_integer}
  def invalidate(h, tag, generation) do
    # From here on, no entry that was put before is valid. The larger of two generations must
    # remain, so the counter is set to its maximum with this one: it is incremented, and then
    # decremented with this generation as the lower limit.
    :ets.update_counter(h.generations, tag, [{2, 1}, {2, -1, generation, generation}], {tag, 0, nil})
    :ets.update_element(h.generations, tag, {3, self()})
    count = drain(h, tag, generation)
    :ets.update_element(h.generations, tag, {3, nil})
    {:ok, count}
  end

  defp drain(h, tag, generation) do
    now = Rows.now(h)
    h |> index(tag, generation) |> Enum.count(&drain_one(h, tag, &1, now))
  end

  # Returns whether a live entry was removed. An entry that another of its tags has invalidated
  # before is not live.
  defp drain_one(h, tag, {{_tag, id} = index, key}, now) do
    case :ets.lookup(h.data, key) do
      [row] when elem(row, 5) == id ->
        live? = now < elem(row, 2) and live_but_for?(h, row, tag)
        has_tag?(row, tag) and Rows.remove(h, row) and live?

      _gone ->
        :ets.delete(h.tags, index)
        false
    end
  end

  defp live_but_for?(h, row, tag), do: not Rows.invalidated?(h, Enum.reject(elem(row, 6), &(&1 === tag)), elem(row, 5))

  @doc """
  Removes the row of a put if one of its tags was invalidated meanwhile. An invalidation between the
  put's number and its row does not see the row.
  """
  @spec recheck(map, key :: term, seq :: pos_integer) :: :ok | boolean
  def recheck(h, key, seq) do
    with [{_key, _value, _fresh, ^seq, _mark, _id, [_ | _], _meta} = row] <- :ets.lookup(h.data, key),
         false <- Rows.tags_valid?(h, row) do
      Rows.remove(h, row)
    else
      _fine -> :ok
    end
  end

  @doc """
  Forgets generations that are no longer needed. A generation is needed until its own call has
  removed the older entries, and while a fetch runs that began before it.
  """
  @spec sweep(map, oldest_lease :: pos_integer) :: [true]
  def sweep(h, oldest_lease) do
    for {tag, generation, drainer} = row <- :ets.tab2list(h.generations),
        generation < oldest_lease and not (is_pid(drainer) and Process.alive?(drainer)) do
      drain(h, tag, generation)
      :ets.delete_object(h.generations, row)
    end
  end
end
