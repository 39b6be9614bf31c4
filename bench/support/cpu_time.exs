defmodule Vdr.Bench.CpuTime do
  @moduledoc false
  # CPU time in nanoseconds, as Linux counts it for each thread.

  # The library's own threads, and the background threads of its allocator, which nothing else
  # brings into the VM. Schedulers do not count: while a bench counts, the library applies,
  # publishes and frees on its own threads, and only the bench itself calls `info/1`.
  @ours ["vdr", "jemalloc"]

  @doc """
  The CPU time of the native library's threads and its allocator's since an earlier `library/0`.
  """
  def library(since), do: spent(library(), since)
  def library, do: threads("self", &ours?(File.read(Path.join(&1, "comm"))))

  defp ours?({:ok, name}), do: String.starts_with?(name, @ours)
  defp ours?({:error, _gone}), do: false

  @doc "The CPU time of a whole process since an earlier `process/1`."
  def process(pid, since), do: spent(process(pid), since)
  def process(pid), do: threads(pid, fn _task -> true end)

  # A plain difference of sums would be too small if a thread has ended meanwhile.
  defp spent(now, since), do: Enum.sum(for {task, ns} <- now, do: ns - Map.get(since, task, 0))

  defp threads(pid, of_interest?) do
    for task <- Path.wildcard("/proc/#{pid}/task/*"), of_interest?.(task), into: %{}, do: {task, ran(task)}
  end

  defp ran(task) do
    case File.read(Path.join(task, "schedstat")) do
      {:ok, text} -> text |> String.split() |> hd() |> String.to_integer()
      {:error, _gone} -> 0
    end
  end
end
