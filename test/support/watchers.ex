defmodule Vdr.Test.Watcher do
  @moduledoc """
  A process that watches, and keeps what it hears.

  `start/2` takes a function that sets the watches, which gets the process's pid. Options:
  `pause_ms`, how long it sleeps after each message; `on_event`, a function that is called with each
  event.
  """

  def start(set, opts \\ []) do
    test = self()

    pid =
      spawn_link(fn ->
        send(test, {:set, self(), set.(self())})
        loop([], opts)
      end)

    receive do
      {:set, ^pid, :ok} -> pid
      {:set, ^pid, other} -> raise ExUnit.AssertionError, message: "no watch: #{inspect(other)}"
    end
  end

  defp loop(heard, opts) do
    receive do
      {:heard, from, ref} ->
        send(from, {ref, Enum.reverse(heard)})
        loop(heard, opts)

      :hold ->
        receive(do: (:go_on -> :ok))
        loop(heard, opts)

      {:run, from, fun} ->
        send(from, {:ran, self(), fun.()})
        loop(heard, opts)

      {_tag, _event} = message ->
        if opts[:on_event], do: opts[:on_event].(message)
        if opts[:pause_ms], do: Process.sleep(opts[:pause_ms])
        loop([message | heard], opts)
    end
  end

  @doc "From now on it does not read its mailbox."
  def hold(pid), do: send(pid, :hold)

  @doc "Ends `hold/1`."
  def go_on(pid), do: send(pid, :go_on)

  @doc "Runs a function in the process."
  def run(pid, fun) do
    send(pid, {:run, self(), fun})

    receive do
      {:ran, ^pid, result} -> result
    after
      20_000 -> raise ExUnit.AssertionError, message: "the watcher does not answer"
    end
  end

  @doc "What it has heard so far, oldest first."
  def heard(pid) do
    ref = make_ref()
    send(pid, {:heard, self(), ref})

    receive do
      {^ref, heard} -> heard
    after
      20_000 -> raise ExUnit.AssertionError, message: "the watcher does not answer"
    end
  end

  @doc "The events under one tag."
  def heard(pid, tag), do: for({^tag, event} <- heard(pid), do: event)
end

defmodule Vdr.Test.RemoteReader do
  @moduledoc "Runs on a node without this library and without Elixir: passes on what it gets."

  def loop(to) do
    receive do
      message -> :erlang.send(to, {:passed_on, message})
    end

    loop(to)
  end
end
