defmodule Vdr.Link.Faults do
  @moduledoc false
  # Faults of the data that repeat. Each attempt costs the primary a full sync, so:
  #
  #   * If a snapshot file is refused twice in a row for the same reason, the next file will be
  #     refused, too. So the second time counts as a refusal.
  #   * If a contradiction repeats after a full sync, it may repeat for ever. So the pauses double
  #     without a limit, beyond the delays of the options.

  alias Vdr.Backoff

  @file_codes [
    :bad_rdb_transfer,
    :rdb_bad_magic,
    :rdb_unsupported_version,
    :rdb_unknown_type,
    :rdb_corrupt,
    :rdb_checksum,
    :rdb_truncated,
    :rdb_too_large
  ]

  @first_pause_ms 1_000

  # The longest timeout of a process.
  @pause_ms_max 4_294_967_295

  # If a link has streamed for this long, and for as long as the last pause, the next contradiction
  # counts as the first one again.
  @calm_ms 60_000

  @enforce_keys [:pauses]
  defstruct [:pauses, file: nil, pause_ms: 0]

  @typedoc "The reason why the last file was refused, and the pauses after contradictions."
  @type t :: %__MODULE__{file: nil | atom, pauses: Backoff.t(), pause_ms: non_neg_integer}

  @spec new() :: t
  def new, do: %__MODULE__{pauses: Backoff.new(@first_pause_ms, @pause_ms_max)}

  @doc "Notes the end of a link. `streamed_ms` is how long it streamed, or `nil` if it never did."
  @spec note(t, code :: atom, retry, streamed_ms :: nil | non_neg_integer) :: {retry, t}
        when retry: :soon | :slowly | :never
  def note(faults, code, retry, streamed_ms) do
    faults = if calm?(faults, streamed_ms), do: new(), else: faults
    note_code(faults, code, retry, streamed_ms)
  end

  @doc "Returns the number of contradictions in a row."
  @spec contradictions(t) :: non_neg_integer
  def contradictions(faults), do: faults.pauses.failures

  defp calm?(_faults, nil), do: false
  defp calm?(faults, streamed_ms), do: streamed_ms >= max(@calm_ms, faults.pause_ms)

  defp note_code(faults, :diverged, retry, _streamed_ms) do
    {pause_ms, pauses} = Backoff.next(faults.pauses)
    {retry, %{faults | file: nil, pauses: pauses, pause_ms: pause_ms}}
  end

  defp note_code(%{file: code} = faults, code, :soon, nil) when code in @file_codes, do: {:slowly, faults}
  defp note_code(faults, code, retry, nil) when code in @file_codes, do: {retry, %{faults | file: code}}
  defp note_code(faults, _code, retry, nil), do: {retry, faults}
  defp note_code(faults, _code, retry, _streamed_ms), do: {retry, %{faults | file: nil}}
end
