defmodule Vdr.Cache.Backend.Server.Lease do
  @moduledoc false
  # A lease is the right to store a fetched value, on all nodes: a key on the server that holds a
  # token. A put or a delete of the entry deletes the lease. A fetched value is stored only if the
  # token, the entry, and the generations of the tags are unchanged.
  #
  # A lease expires if its node does not renew it. A helper process renews it, and gives it back
  # when the fetching process dies.

  alias Vdr.Cache.Backend.Server
  alias Vdr.Cache.Backend.Server.{Bytes, Read}
  alias Vdr.Cache.{Entry, Write}

  @poll_ms 20
  @poll_max_ms 250

  def acquire(h, key, %{tags: tags, refresh: refresh?}) do
    {entry, lease} = {Server.entry_key(h, key), Server.lease_key(h, key)}
    token = Server.nonce()
    tags = Enum.map(tags, &Bytes.key/1)

    arguments =
      [h.prefix, entry, lease, token, Integer.to_string(h.lease), if(refresh?, do: "refresh", else: "")] ++
        Enum.flat_map(tags, &[&1, Server.nonce()])

    # Nothing here waits for the mirror: it is enough that the lease is on the server. Waiting
    # processes learn of its end from their mirrors.
    case Server.script(h, :acquire, [entry, lease], arguments, %Write{consistency: :server}) do
      {:ok, ["granted", seen, count | generations]} ->
        renewer = renew(h, lease, token)
        generations = tags |> Enum.zip(generations) |> Map.new()
        {:ok, %{token: token, seen: seen || "", count: count, generations: generations, renewer: renewer}}

      {:ok, ["hit", bytes]} ->
        hit(h, key, bytes)

      {:ok, ["held", ms]} ->
        {:wait, {key, max(ms, 0), @poll_ms}}

      error ->
        error
    end
  end

  defp hit(h, key, bytes) do
    with {:ok, opened} <- Bytes.open(bytes), {:ok, value} <- Read.value(h, key, opened) do
      kind = if opened.flag == :negative, do: :negative, else: :value
      {:hit, %Entry{value: value, version: bytes, kind: kind, fresh: kind == :value}}
    else
      :error -> {:error, {:undecodable, key}}
      error -> error
    end
  end

  # ---- waiting

  # With a mirror, the process watches the entry and the lease. Without one, it polls the server.
  def await_lease(%{mirror: true} = h, {key, held, _poll}, timeout) do
    {entry, lease} = {Server.entry_key(h, key), Server.lease_key(h, key)}
    ref = make_ref()

    with :ok <- Veidrodelis.watch(h.id, h.db, entry, ref), :ok <- Veidrodelis.watch(h.id, h.db, lease, ref) do
      # The entry may have arrived before the watch.
      answer =
        if match?({:ok, %Entry{fresh: true}}, Read.entry(h, key)), do: :again, else: await_event(ref, held, timeout)

      unwatch(h, [entry, lease], ref)
      answer
    else
      # The calling process has a watch of its own on the key, or there is no mirror.
      _other ->
        Veidrodelis.unwatch(h.id, h.db, entry)
        poll(held, @poll_ms, timeout)
    end
  end

  def await_lease(_h, {_key, held, poll}, timeout), do: poll(held, poll, timeout)

  # Not every server sends an event when a lease expires, so the wait ends with the lease's time.
  defp await_event(ref, held, timeout) do
    receive do
      {^ref, _event} -> :again
    after
      min(held + 1, timeout) -> if held < timeout, do: :again, else: :timeout
    end
  end

  defp unwatch(h, keys, ref) do
    Enum.each(keys, &Veidrodelis.unwatch(h.id, h.db, &1))
    flush(ref)
  end

  defp flush(ref) do
    receive do
      {^ref, _event} -> flush(ref)
    after
      0 -> :ok
    end
  end

  defp poll(held, poll, timeout) do
    wait = Enum.min([held + 1, poll + :rand.uniform(poll), @poll_max_ms])
    Process.sleep(min(wait, timeout))
    if wait < timeout, do: :again, else: :timeout
  end

  # ---- storing

  def commit(h, key, lease, _answer, :nothing) do
    release(h, key, lease)
    {:ok, :lost}
  end

  def commit(h, key, lease, {_kind, value}, %Write{} = write) do
    stop(lease)

    with {:ok, payload, flag} <- Bytes.encode_write(value, write, h.codec) do
      {entry, lock} = {Server.entry_key(h, key), Server.lease_key(h, key)}
      times = Bytes.times(write)

      tags =
        Enum.flat_map(write.tags, fn tag ->
          tag = Bytes.key(tag)
          [tag, Map.get(lease.generations, tag, ""), Server.nonce()]
        end)

      arguments = [h.prefix, entry, lock, lease.token, lease.seen, lease.count, payload, flag] ++ times ++ tags

      case Server.script(h, :commit, [entry, lock], arguments, write) do
        {:ok, 1} ->
          {:ok, :stored}

        {:ok, 0} ->
          {:ok, :lost}

        # The value was not stored, or the result is unknown. The next fetch need not wait until the
        # lease expires.
        error ->
          give_back(h, lock, lease.token)
          error
      end
    else
      error ->
        give_back(h, Server.lease_key(h, key), lease.token)
        error
    end
  end

  def release(h, key, lease) do
    stop(lease)
    give_back(h, Server.lease_key(h, key), lease.token)
  end

  defp give_back(h, lock, token) do
    Server.script(h, :renew, [lock], [h.prefix, lock, token, ""], %Write{consistency: :server})
    :ok
  end

  # ---- renewing

  defp renew(h, lock, token) do
    leader = self()
    # The option `:timeout` of the fetching call is not for this process.
    h = %{h | timeout: h.lease}

    spawn(fn ->
      ref = Process.monitor(leader)
      renew(h, lock, token, ref)
    end)
  end

  defp renew(h, lock, token, ref) do
    receive do
      :stop -> :ok
      {:DOWN, ^ref, :process, _pid, _reason} -> give_back(h, lock, token)
    after
      div(h.lease, 3) ->
        Server.script(h, :renew, [lock], [h.prefix, lock, token, Integer.to_string(h.lease)], %Write{
          consistency: :server
        })

        renew(h, lock, token, ref)
    end
  end

  defp stop(%{renewer: pid}), do: send(pid, :stop)
end
