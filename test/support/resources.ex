defmodule Vdr.Test.Resources do
  @moduledoc "What this VM holds of the machine: sockets, threads, processes, resident memory in bytes."

  def now do
    Enum.each(Process.list(), &:erlang.garbage_collect/1)

    sockets =
      Enum.count(File.ls!("/proc/self/fd"), &match?({:ok, "socket:" <> _}, File.read_link("/proc/self/fd/" <> &1)))

    %{
      sockets: sockets,
      threads: length(File.ls!("/proc/self/task")),
      processes: length(Process.list()),
      memory: resident("self")
    }
  end

  @doc "The resident bytes of an operating system's process."
  def resident(pid) do
    [_size, resident | _rest] = "/proc/#{pid}/statm" |> File.read!() |> String.split()
    String.to_integer(resident) * 4096
  end
end
