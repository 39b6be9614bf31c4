defmodule Vdr.Cache.Fetch do
  @moduledoc false
  # `get_or_fetch`: returns the stored value, or lets one process of the node fetch it while the
  # other processes wait. The user's function runs in the calling process. Its value is stored under
  # a lease, which every put and delete of the key ends.

  alias Vdr.Cache.{Entry, Flights, Handle, Options, Stats, Telemetry, Write}

  @type request :: %{key: term, fun: (term -> term), write: Write.t(), opts: keyword, deadline: timeout}

  @spec run(Handle.t(), term, function, Write.t(), keyword) :: {:ok, term} | {:error, term}
  # Without protection every caller fetches, and the value that is stored last remains.
  def run(%Handle{options: %{stampede_protection: false}, leases: true} = h, key, fun, write, opts),
    do: run(%{h | leases: false}, key, fun, write, opts)

  def run(h, key, fun, write, opts) do
    started = Telemetry.started(h.telemetry, :fetch)
    request = %{key: key, fun: fun, write: write, opts: opts, deadline: nil, ref: nil}

    {result, answer} =
      case peek(h, key) do
        {:ok, %Entry{fresh: true} = entry} ->
          Stats.add(h.stats, :hits, 1)
          if entry.refresh, do: refresh(h, request)
          {:hit, {:ok, entry.value}}

        {:ok, %Entry{kind: :negative} = entry} ->
          Stats.add(h.stats, :hits, 1)
          {:hit, {:error, entry.value}}

        {:error, reason} when reason != :not_found ->
          without_store(h, request)

        absent ->
          Stats.add(h.stats, :misses, 1)
          Telemetry.execute(h.telemetry, [:fetch, :start], %{system_time: System.system_time()}, %{key: key})
          fetch(h, request, stale(absent))
      end

    Telemetry.stop(h.telemetry, :fetch, started, %{key: key, result: result})
    answer
  end

  # An expired value that is kept for the case that fetching fails.
  defp stale({:ok, %Entry{kind: :value, value: value}}), do: {:ok, value}
  defp stale(_absent), do: nil

  # A near cache has no versions, so it offers `peek`. Versions are not needed here.
  defp peek(%Handle{bypass: false} = h, key) do
    if function_exported?(h.store, :peek, 2), do: h.store.peek(h.state, key), else: entry(h, key)
  end

  defp peek(h, key), do: entry(h, key)

  defp entry(%Handle{bypass: true}, _key), do: {:error, :not_found}

  defp entry(h, key) do
    if function_exported?(h.store, :entry, 2) do
      h.store.entry(h.state, key)
    else
      with {:ok, value} <- h.store.get(h.state, key), do: {:ok, %Entry{value: value}}
    end
  end

  # A cache that cannot be read must not stop its callers: they fetch without it.
  defp without_store(h, request) do
    Stats.add(h.stats, :degraded, 1)
    Stats.add(h.stats, :errors, 1)
    fly(h, request, fn _ref -> {:fetched, call_alone(h, request)} end)
  end

  defp call_alone(h, request) do
    case call(h, request) do
      {:store, answer, _write} -> answer
      {:keep_out, answer} -> answer
    end
  end

  defp fetch(%Handle{bypass: true} = h, request, _stale), do: {:fetched, call_alone(h, request)}

  defp fetch(h, request, stale) do
    # The call waits for the fetch of another node until this deadline.
    request = %{request | deadline: :erlang.monotonic_time(:millisecond) + h.options.stampede_timeout}
    fly(h, request, fn ref -> lead(h, %{request | ref: ref}, stale) end)
  end

  # A key has one flight at a time.
  defp fly(%Handle{options: %{stampede_protection: false}}, _request, lead), do: lead.(nil)

  defp fly(h, request, lead) do
    key = request.key

    case Flights.open(h.flights, key) do
      {:lead, ref} ->
        take_off(h, key, ref, lead)

      {:follow, leader, _ref} when leader == self() ->
        raise ArgumentError,
              "the function of get_or_fetch fetches its own key #{inspect(key, limit: 5, printable_limit: 100)}"

      {:follow, leader, ref} ->
        Stats.add(h.stats, :waits, 1)

        case Flights.follow(h.flights, key, leader, ref, h.options.stampede_timeout) do
          {:done, answer} -> {:waited, answer}
          :again -> again(h, request, lead)
          :timeout -> time_out(h, request)
        end
    end
  end

  # The fetch of another process has ended without a result. Another write may have stored a value.
  defp again(h, request, lead) do
    case entry(h, request.key) do
      {:ok, %Entry{fresh: true, value: value}} -> {:waited, {:ok, value}}
      _absent -> fly(h, request, lead)
    end
  end

  defp time_out(h, request) do
    if request.opts[:on_timeout] == :fetch do
      {:fetched, call_alone(h, request)}
    else
      Stats.add(h.stats, :errors, 1)
      {:error, {:error, :timeout}}
    end
  end

  defp take_off(h, key, ref, lead) do
    case lead.(ref) do
      # The key was written meanwhile. A caller that asked after the write must not get the value
      # that was fetched before it.
      {:voided, answer} ->
        Flights.close(h.flights, key, ref, :again)
        {:fetched, answer}

      # The leader found a stored value. It may have been written since then, so the waiting
      # processes read it themselves.
      {result, answer} when result in [:hit, :waited] ->
        Flights.close(h.flights, key, ref, :again)
        {result, answer}

      {result, answer} ->
        Flights.close(h.flights, key, ref, {:done, answer})
        {result, answer}
    end
  catch
    kind, reason ->
      Flights.close(h.flights, key, ref, :again)
      :erlang.raise(kind, reason, __STACKTRACE__)
  end

  # ---- the leader

  defp lead(h, request, stale) do
    case acquire(h, request) do
      {:hit, %Entry{kind: :negative, value: reason}} ->
        {:waited, {:error, reason}}

      {:hit, %Entry{value: value}} ->
        {:hit, {:ok, value}}

      {:ok, lease} ->
        under_lease(h, request, lease, stale)

      {:wait, wait} ->
        wait(h, request, wait, stale)

      {:error, _reason} ->
        Stats.add(h.stats, :degraded, 1)
        {:fetched, call_alone(h, request)}
    end
  end

  defp wait(h, request, wait, stale) do
    Stats.add(h.stats, :lease_waits, 1)
    left = max(0, request.deadline - :erlang.monotonic_time(:millisecond))

    case h.store.await_lease(h.state, wait, left) do
      {:done, answer} -> {:waited, answer}
      :again -> lead(h, request, stale)
      :timeout -> time_out(h, request)
    end
  end

  defp acquire(h, request, refresh? \\ false)

  defp acquire(%Handle{leases: false} = h, request, false) do
    # The value may have been stored between the first read and the flight.
    case entry(h, request.key) do
      {:ok, %Entry{fresh: true} = entry} -> {:hit, entry}
      _absent -> {:ok, nil}
    end
  end

  defp acquire(%Handle{leases: false}, _request, true), do: {:ok, nil}

  defp acquire(h, request, refresh?),
    do: h.store.acquire(h.state, request.key, %{tags: request.write.tags, refresh: refresh?})

  defp release(%Handle{leases: false}, _key, _lease), do: :ok
  defp release(h, key, lease), do: h.store.release(h.state, key, lease)

  defp under_lease(h, request, lease, stale) do
    outcome =
      try do
        call(h, request)
      catch
        kind, reason ->
          release(h, request.key, lease)
          :erlang.raise(kind, reason, __STACKTRACE__)
      end

    finish(h, request, lease, outcome, stale)
  end

  defp finish(h, request, lease, {:store, {:ok, _value} = answer, write}, _stale) do
    if request.ref, do: Flights.closing(h.flights, request.key, request.ref)

    case commit(h, request.key, lease, answer, write) do
      {:ok, :lost} -> {:voided, answer}
      _stored_or_failed -> {:fetched, answer}
    end
  end

  defp finish(h, request, lease, {:keep_out, answer}, _stale) do
    commit(h, request.key, lease, answer, :nothing)
    {:fetched, answer}
  end

  defp finish(h, request, lease, {:store, {:error, _reason}, _write}, {:ok, value}) do
    answer = {:ok, value}
    commit(h, request.key, lease, answer, :nothing)
    Stats.add(h.stats, :stale_served, 1)
    {:stale, answer}
  end

  # A refresh that failed leaves the stored value as it is.
  defp finish(h, request, lease, {:store, {:error, _reason} = answer, _write}, :refresh) do
    release(h, request.key, lease)
    {:error, answer}
  end

  defp finish(h, request, lease, {:store, {:error, _reason} = answer, write}, nil) do
    commit(h, request.key, lease, answer, write)
    {:error, answer}
  end

  defp commit(%Handle{leases: false}, _key, _lease, _answer, :nothing), do: :ok

  defp commit(%Handle{leases: false} = h, key, _lease, {_kind, value}, write),
    do: count_commit(h, with({:ok, _written} <- h.store.put(h.state, key, value, write), do: {:ok, :stored}), write)

  defp commit(h, key, lease, answer, write),
    do: count_commit(h, h.store.commit(h.state, key, lease, answer, write), write)

  defp count_commit(_h, result, :nothing), do: result

  defp count_commit(h, result, _write) do
    case result do
      {:ok, :stored} -> Stats.add(h.stats, :writes, 1)
      {:ok, :lost} -> Stats.add(h.stats, :lease_lost, 1)
      # The value is valid, but the cache could not store it.
      {:error, _reason} -> Stats.add(h.stats, :errors, 1)
    end

    result
  end

  # ---- the function

  # Returns `{:store, answer, write}`, or `{:keep_out, answer}` for an answer that is not stored.
  defp call(h, %{key: key, fun: fun, write: write, opts: opts}) do
    Stats.add(h.stats, :fetches, 1)
    started = Telemetry.started(h.telemetry, :fetch)

    answer =
      try do
        if is_function(fun, 1), do: fun.(key), else: fun.()
      catch
        kind, reason ->
          Stats.add(h.stats, :fetch_errors, 1)

          if started do
            measurements = %{duration: :erlang.monotonic_time() - started}
            metadata = %{key: key, kind: kind, reason: reason, stacktrace: __STACKTRACE__}
            Telemetry.execute(h.telemetry, [:fetch, :exception], measurements, metadata)
          end

          :erlang.raise(kind, reason, __STACKTRACE__)
      end

    case answer do
      {:ok, _value} ->
        {:store, answer, write}

      {:ok, value, more} when is_list(more) ->
        {store, more} = if Keyword.keyword?(more), do: Keyword.pop(more, :store, true), else: {true, more}
        Options.check!(more, :fetched)

        if store,
          do: {:store, {:ok, value}, Options.write(h.default_ttl, more, write)},
          else: {:keep_out, {:ok, value}}

      {:error, _reason} ->
        Stats.add(h.stats, :fetch_errors, 1)

        case opts[:negative_ttl] do
          ms when is_integer(ms) and ms > 0 -> {:store, answer, %{write | kind: :negative, keep: ms, ttl: :infinity}}
          _none -> error_write(answer)
        end

      other ->
        raise ArgumentError,
              "the function of get_or_fetch returns {:ok, value}, {:ok, value, options} or {:error, reason}, " <>
                "got: #{inspect(other, limit: 5, printable_limit: 100)}"
    end
  end

  defp error_write(answer), do: {:store, answer, :nothing}

  # ---- refreshing

  # A key has one refresh at a time, in a process of its own. After a failed refresh, the next one
  # waits for a delay.
  #
  #     {key, pid} or {key, not_before, delay}
  defp refresh(h, request) do
    if may_refresh?(h, request.key), do: start_refresh(h, request)
    :ok
  end

  defp may_refresh?(h, key) do
    case :ets.lookup(h.refreshes, key) do
      [] -> :ets.insert_new(h.refreshes, {key, self()})
      [{_key, pid}] -> not Process.alive?(pid) and :ets.take(h.refreshes, key) != []
      [{_key, not_before, _delay}] -> :erlang.monotonic_time(:millisecond) >= not_before
    end
  end

  defp start_refresh(h, request) do
    callers = [self() | Process.get(:"$callers", [])]
    delay = delay(h, request.key)

    Task.Supervisor.start_child(h.tasks, fn ->
      Process.put(:"$callers", callers)
      :ets.insert(h.refreshes, {request.key, self()})
      do_refresh(h, request, delay)
    end)
  end

  defp delay(h, key) do
    case :ets.lookup(h.refreshes, key) do
      [{_key, _not_before, delay}] -> delay
      _first -> h.options.refresh_backoff
    end
  end

  defp do_refresh(h, request, delay) do
    case Flights.open(h.flights, request.key) do
      {:lead, ref} -> lead_refresh(h, request, ref, delay)
      {:follow, _leader, _ref} -> :ets.delete(h.refreshes, request.key)
    end
  end

  # A caller that comes when the entry has expired, and the refresh still runs, waits for it.
  defp lead_refresh(h, request, ref, delay) do
    with {:ok, lease} <- acquire(h, request, true),
         {:fetched, answer} <- under_lease(h, %{request | ref: ref}, lease, :refresh) do
      :ets.delete(h.refreshes, request.key)
      Flights.close(h.flights, request.key, ref, {:done, answer})
    else
      {:error, _reason} ->
        back_off(h, request.key, delay)
        Flights.close(h.flights, request.key, ref, :again)

      _somebody_else_refreshes ->
        :ets.delete(h.refreshes, request.key)
        Flights.close(h.flights, request.key, ref, :again)
    end
  catch
    _kind, _reason ->
      back_off(h, request.key, delay)
      Flights.close(h.flights, request.key, ref, :again)
  end

  defp back_off(h, key, delay),
    do: :ets.insert(h.refreshes, {key, :erlang.monotonic_time(:millisecond) + delay, delay * 2})
end
