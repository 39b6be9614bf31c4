defmodule Vdr.Deadline do
  @moduledoc false
  # The end of a time that several waits share.

  @typedoc "In monotonic ms."
  @type t :: integer | :infinity

  @doc "The deadline of a timeout that begins now."
  @spec after_timeout(timeout) :: t
  def after_timeout(:infinity), do: :infinity
  def after_timeout(ms) when is_integer(ms), do: now() + ms

  @doc "The timeout that is left: 0 once the deadline has passed."
  @spec left(t) :: timeout
  def left(:infinity), do: :infinity
  def left(deadline) when is_integer(deadline), do: max(deadline - now(), 0)

  defp now, do: System.monotonic_time(:millisecond)
end
