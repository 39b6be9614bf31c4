defmodule Vdr.Cache.Backend.DETS do
  @moduledoc """
  Stores entries in memory and in a file, so they survive a restart. Reads are those of
  `Vdr.Cache.Backend.ETS`, so all entries must fit into memory. A write returns when it is in the
  file.

  ## Options

    * `:data_dir` - the directory of the file (`"vdr_data"`). It is created if it does not exist
    * `:auto_save` - after how many ms without a write the file is saved (60,000). If the VM is
      killed, at most the writes since the last save are lost
    * `:sync` - whether every write waits for the disk (`false`)
    * `:clock` - the option of `Vdr.Cache.Backend.ETS`

  ## Errors

  If the file cannot be used, the start fails with `{:error, {:disk, reason}}`. A file that was not
  closed is repaired at the start, which can take minutes for a large file.

  If a write fails, because the disk is full or the file has reached its limit of 2 GB, it returns
  `{:error, {:disk, reason}}`. Its entry is absent afterwards, and reads of other entries continue.
  Once a second, the cache then tries to write a new file with all entries in memory. Until that
  succeeds, every write is refused.

  Keys and values with pids, references, ports or functions are refused with
  `{:error, {:not_storable, term}}`. The file has times of the wall clock. If the clock changes
  while the cache is stopped, the entries live for a longer or shorter time.

  One process writes the file, so all writes of the cache take turns.
  """

  @behaviour Vdr.Cache.Backend

  alias Vdr.Cache.Backend.{DETS, ETS}
  alias Vdr.Cache.{Storable, Write}

  @timeout_ms 5_000
  @schema [
    data_dir: [type: :text, default: "vdr_data", doc: "the directory of the file"],
    auto_save: [type: {:integer, 1..0x7FFFFFFF}, default: 60_000, doc: "after how many ms without a write it is saved"],
    sync: [type: :boolean, default: false, doc: "whether every write waits for the disk"],
    clock: [type: {:check, "a function of no arguments", quote(do: (... -> integer)), &ETS.clock?/1}, doc: "the time"]
  ]

  @impl true
  def check!(config) do
    options!(config)
    :ok
  end

  defp options!(config), do: Vdr.Schema.validate!(config.opts, @schema, ":backend_opts of #{inspect(config.name)}")

  @impl true
  def start(config) do
    opts = options!(config)
    path = Path.join(opts[:data_dir], file_name(config.name))

    case File.mkdir_p(opts[:data_dir]) do
      :ok ->
        name = Module.concat(config.name, "Vdr.Cache.File")
        # An entry that expires or is evicted is removed from the file, too.
        also = config[:changed] || fn _key, _what -> :ok end

        changed = fn key, what ->
          if what == :removed, do: GenServer.cast(name, {:changed, key})
          also.(key, what)
        end

        ets = ETS.new(%{config | opts: Keyword.take(opts, [:clock])}, changed)
        {:ok, [{DETS.File, {name, path, ets, opts}}], %{ets: ets, file: name}}

      {:error, reason} ->
        {:error, {:disk, reason}}
    end
  end

  defp file_name(name), do: (name |> inspect() |> String.replace(~r/[^A-Za-z0-9_.-]/, "_")) <> ".dets"

  # ---- reads

  @impl true
  def get(h, key), do: ETS.get(h.ets, key)
  @impl true
  def entry(h, key), do: ETS.entry(h.ets, key)
  @impl true
  def get_many(h, keys), do: ETS.get_many(h.ets, keys)
  @impl true
  def ttl(h, key), do: ETS.ttl(h.ets, key)
  @impl true
  def size(h), do: ETS.size(h.ets)
  @impl true
  def stream(h, what), do: ETS.stream(h.ets, what)
  @impl true
  def tagged(h, tag), do: ETS.tagged(h.ets, tag)

  @impl true
  def info(h), do: Map.merge(ETS.info(h.ets), call(h, :info, %{}))

  @doc false
  def dump(h, key), do: ETS.dump(h.ets, key)

  # ---- writes: to the table first; then the file gets what the table has

  @impl true
  def put(h, key, value, %Write{} = write) do
    with :ok <- Storable.check({key, value, write.tags}),
         {:ok, true} <- ETS.put(h.ets, key, value, write),
         do: save(h, key, {:ok, true})
  end

  @impl true
  def put_many(h, entries, write) do
    with :ok <- Storable.check({entries, write.tags}), :ok <- ETS.put_many(h.ets, entries, write) do
      entries |> Enum.map(&elem(&1, 0)) |> save_all(h, :ok)
    end
  end

  @impl true
  def delete(h, key), do: save(h, key, ETS.delete(h.ets, key))

  @impl true
  def delete_many(h, keys), do: save_all(keys, h, ETS.delete_many(h.ets, keys))

  @impl true
  def take(h, key), do: save(h, key, ETS.take(h.ets, key))

  @impl true
  def incr(h, key, n, default, write) do
    with :ok <- Storable.check({key, write.tags}),
         {:ok, _sum} = answer <- ETS.incr(h.ets, key, n, default, write),
         do: save(h, key, answer)
  end

  @impl true
  def expire(h, key, ttl), do: save(h, key, ETS.expire(h.ets, key, ttl))

  # The file's process got a message for each entry that the table removed. `settle/2` waits until
  # it has handled them.
  @impl true
  def invalidate_tag(h, tag), do: invalidate_tag(h, tag, mark(h))

  @doc false
  def mark(h), do: ETS.mark(h.ets)

  @doc false
  def invalidate_tag(h, tag, mark), do: settle(h, ETS.invalidate_tag(h.ets, tag, mark))

  @impl true
  def flush(h), do: flush(h, mark(h))

  @doc false
  def flush(h, mark) do
    ETS.flush(h.ets, mark)
    call(h, :rewrite, :ok)
  end

  @impl true
  def sweep(h), do: settle(h, ETS.sweep(h.ets))

  # ---- leases

  @impl true
  def acquire(h, key, how), do: ETS.acquire(h.ets, key, how)
  @doc false
  def acquire_for(h, key, how, pid), do: ETS.acquire_for(h.ets, key, how, pid)
  @impl true
  def await_lease(h, wait, timeout), do: ETS.await_lease(h.ets, wait, timeout)
  @impl true
  def release(h, key, lease), do: ETS.release(h.ets, key, lease)

  @impl true
  def commit(h, key, lease, answer, :nothing), do: ETS.commit(h.ets, key, lease, answer, :nothing)

  def commit(h, key, lease, answer, write) do
    case Storable.check({key, elem(answer, 1), write.tags}) do
      :ok ->
        with {:ok, :stored} <- ETS.commit(h.ets, key, lease, answer, write), do: save(h, key, {:ok, :stored})

      error ->
        ETS.release(h.ets, key, lease)
        error
    end
  end

  # ---- the file

  defp save(h, key, answer), do: save_all([key], h, answer)

  defp save_all(keys, h, answer) do
    case call(h, {:save, Enum.map(keys, &ETS.Key.wrap/1)}, answer) do
      {:error, _reason} = error ->
        # The file does not have the entry, so no reader may rely on it.
        Enum.each(keys, &ETS.delete(h.ets, &1))
        error

      answer ->
        answer
    end
  end

  defp settle(h, answer), do: call(h, :settle, answer)

  # Returns `answer` if the process returns `:ok`.
  defp call(h, request, answer) do
    case GenServer.call(h.file, request, @timeout_ms) do
      :ok -> answer
      other -> other
    end
  catch
    :exit, {:timeout, _call} -> {:error, :timeout}
    :exit, _reason -> {:error, {:disk, :closed}}
  end
end
