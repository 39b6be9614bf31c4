defmodule Vdr.Names do
  @moduledoc false
  # A `Registry` that may be killed. The partitions and tables of one that was are there for a moment longer than it is, and
  # refuse its successor; a supervisor takes each refusal for another crash and comes to its limit within a millisecond, and all
  # instances with it. So the start waits here until the place is free.

  @tries 100
  @try_ms 10

  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options),
    do: %{id: Keyword.fetch!(options, :name), start: {__MODULE__, :start_link, [options]}, type: :supervisor}

  @spec start_link(keyword, non_neg_integer) :: {:ok, pid} | {:error, term}
  def start_link(options, tries \\ @tries) do
    with {:error, _not_yet} when tries > 0 <- Registry.start_link(options) do
      Process.sleep(@try_ms)
      start_link(options, tries - 1)
    end
  end
end
