defmodule Vdr.Bench.CpuTime do
  @moduledoc false
  # Nanoseconds on a processor, as Linux counts them for each thread.

  # Its own threads, and the background threads of its allocator, which nothing else brings into the VM. On the schedulers, which do not
  # count, nothing of it runs while a bench counts: applying, publishing and freeing go on elsewhere; `info/1` is the bench's own asking.
  @ours ["vdr", "jemalloc"]

  @doc "What the threads of the native library and of its allocator have taken since, `since` being an earlier `library/0`."
  def library(since), do: spent(library(), since)
  def library, do: threads("self", &ours?(File.read(Path.join(&1, "comm"))))

  defp ours?({:ok, name}), do: String.starts_with?(name, @ours)
  defp ours?({:error, _gone}), do: false

  @doc "The same of a whole process."
  def process(pid, since), do: spent(process(pid), since)
  def process(pid), do: threads(pid, fn _task -> true end)

  # A thread that has ended since would make the sum of all less.
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
