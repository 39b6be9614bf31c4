defmodule Vdr.Test.Failures do
  @moduledoc "An ExUnit formatter: what failed, once more at the very end, where it is still to be seen in a log that was cut."
  use GenServer

  @impl true
  def init(_opts), do: {:ok, []}

  @impl true
  def handle_cast({:test_finished, %ExUnit.Test{state: {:failed, failures}} = test}, reports) do
    text = ExUnit.Formatter.format_test_failure(test, failures, length(reports) + 1, 140, fn _part, text -> text end)
    {:noreply, [text | reports]}
  end

  def handle_cast({:suite_finished, _times}, [_ | _] = reports) do
    # Lets the other formatter print its last lines first.
    Process.sleep(500)
    IO.puts(["\nfailed, in short:\n" | Enum.reverse(reports)])
    {:noreply, reports}
  end

  def handle_cast(_event, reports), do: {:noreply, reports}
end
