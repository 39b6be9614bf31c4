defmodule Vdr.Cache.Backend.DETS.File do
  @moduledoc false
  # The file of a cache, and the process that writes it. For each changed key, the process writes
  # what the table has at that moment. So the last write of a key is also the last one in the file,
  # whatever the order of the requests.
  #
  # After a write has failed, the file takes no other write. Once a second, the process tries to
  # write a new file with the entries of the table. Until that succeeds, every write returns the
  # error.
  #
  # A row of the file is `{key, value, fresh_until, keep_until, soft_at, kind, tags}` with times of
  # the wall clock.

  use GenServer

  alias Vdr.Cache.Backend.ETS
  alias Vdr.Cache.Backend.ETS.{Key, Rows}
  alias Vdr.Cache.Write

  @close_ms 30_000
  @mend_ms 1_000

  def child_spec(arg), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [arg]}, shutdown: @close_ms}

  def start_link({name, _path, _ets, _opts} = arg),
    do: GenServer.start_link(__MODULE__, arg, name: name, timeout: :infinity)

  @impl GenServer
  def init({name, path, ets, opts}) do
    Process.flag(:trap_exit, true)
    args = [file: String.to_charlist(path), type: :set, auto_save: opts[:auto_save], repair: true]
    state = %{table: {__MODULE__, name}, args: args, ets: ets, sync: opts[:sync], path: path, broken: nil}

    with {:ok, _table} <- :dets.open_file(state.table, args), :ok <- load(state) do
      {:ok, state}
    else
      {:error, reason} -> {:stop, {:disk, reason}}
    end
  end

  # After a crash of this process the table in memory is newer than the file.
  defp load(state) do
    if ETS.size(state.ets) > 0 do
      rewrite(state)
    else
      wall = :os.system_time(:millisecond)

      case :dets.foldl(fn row, dead -> load_row(state, row, wall, dead) end, [], state.table) do
        {:error, reason} -> {:error, reason}
        dead -> first_error(dead, &:dets.delete(state.table, &1))
      end
    end
  end

  defp load_row(state, {key, value, fresh, keep, soft, kind, tags}, wall, dead) do
    ttl = left(fresh, wall)
    more = if keep == :infinity or fresh == :infinity, do: 0, else: max(0, keep - max(fresh, wall))

    if kind == :value and ttl == 0 and more == 0 do
      [key | dead]
    else
      write = %Write{ttl: ttl, keep: more, soft: soft && max(0, soft - wall), kind: kind, tags: tags}

      # If the file has more entries than the bound allows, the policy evicts some.
      case ETS.put(state.ets, Key.unwrap(key), value, write) do
        {:ok, true} -> dead
        _full -> [key | dead]
      end
    end
  end

  defp load_row(_state, _row_of_another_kind, _wall, dead), do: dead

  defp left(:infinity, _wall), do: :infinity
  defp left(time, wall), do: max(0, time - wall)

  @impl GenServer
  def handle_call({:save, keys}, _from, state),
    do: write(state, fn -> with(:ok <- first_error(keys, &save(state, &1)), do: sync(state)) end)

  def handle_call(:rewrite, _from, state), do: write(state, fn -> rewrite(state) end)
  # The process has handled every earlier cast before it replies.
  def handle_call(:settle, _from, state), do: {:reply, :ok, state}

  def handle_call(:info, _from, state) do
    info = %{
      file: state.path,
      file_bytes: with(bytes when not is_integer(bytes) <- :dets.info(state.table, :file_size), do: 0)
    }

    {:reply, info, state}
  end

  @impl GenServer
  def handle_cast({:changed, key}, state) do
    {:reply, _answer, state} = write(state, fn -> save(state, key) end)
    {:noreply, state}
  end

  @impl GenServer
  def handle_info(:mend, state), do: {:noreply, mend(state)}
  def handle_info(_message, state), do: {:noreply, state}

  @impl GenServer
  def terminate(_reason, %{broken: nil} = state), do: :dets.close(state.table)
  def terminate(_reason, state), do: state |> mend() |> Map.fetch!(:table) |> :dets.close()

  defp write(%{broken: nil} = state, fun) do
    case disk(fun.()) do
      :ok -> {:reply, :ok, state}
      error -> {:reply, error, broken(state, error)}
    end
  end

  defp write(state, _fun), do: {:reply, state.broken, state}

  defp broken(state, error) do
    Process.send_after(self(), :mend, @mend_ms)
    %{state | broken: error}
  end

  # After a failed write, the content of the old file is unknown. Deleting it frees room on the
  # disk.
  defp mend(state) do
    guarded(fn -> :dets.close(state.table) end)
    File.rm(state.path)

    with {:ok, _table} <- :dets.open_file(state.table, state.args),
         :ok <- rewrite(state),
         :ok <- guarded(fn -> :dets.sync(state.table) end) do
      %{state | broken: nil}
    else
      {:error, _reason} = error -> broken(state, disk(error))
    end
  end

  defp save(state, key) do
    guarded(fn ->
      case :ets.lookup(state.ets.data, key) do
        [row] -> :dets.insert(state.table, on_disk(row, Rows.now(state.ets), :os.system_time(:millisecond)))
        [] -> :dets.delete(state.table, key)
      end
    end)
  end

  defp on_disk({key, value, fresh, _version, _mark, _id, tags, meta} = row, now, wall) do
    {soft, kind} = if meta, do: {elem(meta, 1), elem(meta, 2)}, else: {nil, :value}
    fresh = if kind == :negative, do: 0, else: wall(fresh, now, wall)
    {key, value, fresh, wall(Rows.due(row), now, wall), soft && wall(soft, now, wall), kind, tags}
  end

  defp wall(:infinity, _now, _wall), do: :infinity
  defp wall(time, now, wall), do: time - now + wall

  defp rewrite(state) do
    guarded(fn ->
      with :ok <- :dets.delete_all_objects(state.table),
           do: state.ets |> all_keys() |> first_error(&save(state, &1))
    end)
  end

  defp all_keys(ets), do: :ets.select(ets.data, [{{:"$1", :_, :_, :_, :_, :_, :_, :_}, [], [:"$1"]}])

  defp sync(%{sync: false}), do: :ok
  defp sync(state), do: guarded(fn -> :dets.sync(state.table) end)

  # `:dets` raises on a table that an error has closed.
  defp guarded(fun) do
    disk(fun.())
  rescue
    error -> {:error, {:disk, error}}
  end

  defp disk({:error, {:disk, _reason}} = error), do: error
  defp disk({:error, reason}), do: {:error, {:disk, reason}}
  defp disk(_ok), do: :ok

  defp first_error(items, fun), do: Enum.find_value(items, :ok, &with(:ok <- fun.(&1), do: nil))
end
