defmodule Vdr.Cache.Topology.Replicated.Heard do
  @moduledoc false
  # Which writes of each writer a node has received.
  #
  # A writer is one run of a replicator process: `{node, number}`. The clock of its writes only
  # grows, and each of its messages has the clock of the message before it. So a missing message
  # shows. For each writer there is a record `{whole, run, until}`:
  #
  #   * `whole` - all writes up to this clock have arrived
  #   * `run` - `{previous, last}` of the newest messages without a gap, if a message between
  #     `whole` and `previous` is missing; otherwise `nil`
  #   * `until` - the time when a former peer is forgotten; `:infinity` for a peer

  @type writer :: {node, integer}
  @type clock :: {integer, integer}
  @type t :: %{writer => {clock, nil | {clock, clock}, integer | :infinity}}
  # What one node tells another: the clocks, and how much longer each writer is remembered.
  @type vector :: %{writer => {clock, integer | :infinity}}

  # The smallest clock. Entries that existed when a writer started have the clock `{0, 0}`.
  @none {-1, 0}

  @spec none() :: clock
  def none, do: @none

  @spec whole(t, writer) :: clock
  def whole(heard, writer) do
    case heard do
      %{^writer => {whole, _run, _until}} -> whole
      _unknown -> @none
    end
  end

  @spec peer?(t, writer) :: boolean
  def peer?(heard, writer), do: match?(%{^writer => {_whole, _run, :infinity}}, heard)

  @doc "Notes a message. `until` is for a writer that is not known yet."
  @spec note(t, writer, clock, clock, integer | :infinity) :: t
  def note(heard, writer, previous, last, until) do
    {whole, run, until} = Map.get(heard, writer, {@none, nil, until})

    record =
      cond do
        last <= whole -> {whole, run, until}
        previous <= whole -> close({last, run, until})
        match?({_first, ^previous}, run) -> {whole, {elem(run, 0), last}, until}
        true -> {whole, {previous, last}, until}
      end

    Map.put(heard, writer, record)
  end

  @doc "Notes that all writes that another node had are here."
  @spec merge(t, vector, until :: integer, now :: integer) :: t
  def merge(heard, vector, until, now) do
    Enum.reduce(vector, heard, fn {writer, {clock, left}}, heard ->
      {whole, run, known} = Map.get(heard, writer, {@none, nil, if(left == :infinity, do: until, else: now + left)})
      # The writer is a peer of the other node, and not of this one.
      known = if left == :infinity, do: max(known, until), else: known
      Map.put(heard, writer, close({max(whole, clock), run, known}))
    end)
  end

  defp close({whole, {previous, last}, until}) when previous <= whole, do: {max(whole, last), nil, until}
  defp close(record), do: record

  @doc "Notes that the writer is a peer."
  @spec met(t, writer) :: t
  def met(heard, writer), do: remember(heard, writer, :infinity)

  @doc "Notes that the writer is no longer a peer."
  @spec gone(t, writer, integer) :: t
  def gone(heard, writer, until), do: remember(heard, writer, until)

  defp remember(heard, writer, until) do
    {whole, run, _until} = Map.get(heard, writer, {@none, nil, until})
    Map.put(heard, writer, {whole, run, until})
  end

  @doc "Returns what other nodes are sent: the writers that are remembered for more than `least` ms."
  @spec vector(t, least :: integer, now :: integer) :: vector
  def vector(heard, least, now) do
    for {writer, {whole, _run, until}} <- heard, until == :infinity or until - now > least, into: %{} do
      {writer, {whole, if(until == :infinity, do: until, else: until - now)}}
    end
  end

  @doc """
  Gives up the missing writes of former peers. Returns whether there were any.
  """
  @spec give_up(t) :: {boolean, t}
  def give_up(heard) do
    case for {writer, {whole, {_, _}, until}} when until != :infinity <- heard, do: {writer, {whole, nil, until}} do
      [] -> {false, heard}
      records -> {true, Map.merge(heard, Map.new(records))}
    end
  end

  @doc "Forgets the writers whose time is over. Returns the clocks up to which their writes were here."
  @spec prune(t, integer) :: {%{writer => clock}, t}
  def prune(heard, now) do
    # In the order of terms, atoms are larger than numbers.
    {kept, old} = Enum.split_with(heard, fn {_writer, {_whole, _run, until}} -> until > now end)
    {Map.new(old, fn {writer, {whole, _run, _until}} -> {writer, whole} end), Map.new(kept)}
  end
end
