defmodule Vdr.Backoff do
  @moduledoc false
  # How long to wait before the next attempt: doubling, with jitter, so that many mirrors of one
  # server that went away do not all come back in the same moment.

  @enforce_keys [:first_ms, :max_ms]
  defstruct [:first_ms, :max_ms, failures: 0]

  @type t :: %__MODULE__{first_ms: non_neg_integer, max_ms: non_neg_integer, failures: non_neg_integer}

  # Beyond it doubling would only make large numbers.
  @max_doublings 31

  @spec new(non_neg_integer, non_neg_integer) :: t
  def new(first_ms, max_ms), do: %__MODULE__{first_ms: first_ms, max_ms: max_ms}

  @doc """
  The next delay: three quarters to all of the doubled delay. Only the first one may be zero,
  because zero doubled would stay zero.
  """
  @spec next(t) :: {delay_ms :: non_neg_integer, t}
  def next(%__MODULE__{} = backoff) do
    {jitter(min(double(backoff), backoff.max_ms)), %{backoff | failures: backoff.failures + 1}}
  end

  defp double(%{failures: 0, first_ms: first_ms}), do: first_ms
  defp double(%{failures: n, first_ms: first_ms}), do: max(first_ms, 1) * Integer.pow(2, min(n, @max_doublings))

  @doc """
  The delay after a link that streamed for `streamed_ms`, which is no failure. The first attempt
  comes at once, unless the link ended before the first delay would have: a server that ends each
  link is not asked without a pause.
  """
  @spec resume(t, non_neg_integer) :: {delay_ms :: non_neg_integer, t}
  def resume(%__MODULE__{first_ms: first_ms} = backoff, streamed_ms) when streamed_ms >= first_ms,
    do: {0, reset(backoff)}

  def resume(%__MODULE__{} = backoff, _streamed_ms), do: backoff |> reset() |> next()

  @doc "The delay after a refusal that trying again soon cannot help."
  @spec slow(t) :: {delay_ms :: non_neg_integer, t}
  def slow(%__MODULE__{} = backoff), do: {jitter(backoff.max_ms), backoff}

  @spec reset(t) :: t
  def reset(%__MODULE__{} = backoff), do: %{backoff | failures: 0}

  defp jitter(delay_ms) do
    spread = div(delay_ms, 4)
    delay_ms - :rand.uniform(spread + 1) + 1
  end
end
