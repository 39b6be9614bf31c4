defmodule Vdr.Link.Emptied do
  @moduledoc false
  # Handles a primary that came back with far fewer keys than the mirror has; see the option
  # `:on_empty_primary`. The native library refuses such a full sync, and keeps the data. This
  # module decides whether the next full sync may replace the data.

  alias Vdr.Link.UserFunction
  alias Vdr.{Native, Options}

  # A user function is called if less than this fraction of the keys is left.
  @asked_below 0.5

  @typedoc """
  `nil`, or a reference and the counts while the user's function runs, or `:accept` if the next full
  sync is accepted.
  """
  @type t :: nil | {reference, counts} | :accept
  @type counts :: %{primary: {String.t(), :inet.port_number()}, keys: non_neg_integer, before: non_neg_integer}

  @doc "Returns a fraction: a full sync with less than this fraction of the keys is refused."
  @spec keep_below(option :: term, t) :: float
  def keep_below(_option, :accept), do: 0.0
  def keep_below({:keep, fun}, _emptied) when is_function(fun), do: @asked_below
  def keep_below({:keep, fraction}, _emptied), do: fraction * 1.0
  def keep_below(_accept, _emptied), do: 0.0

  @doc """
  Decides what follows a refused full sync: at once, or by the user's function. The function's
  answer arrives as a message `{reference, {:emptied, answer}}`.
  """
  @spec refused(store :: reference, primary :: term, Options.t()) :: {:keep, counts} | {:asked, t}
  def refused(store, primary, options) do
    counts = counts(store, primary)

    case options do
      %{reconnect: true, on_empty_primary: {:keep, fun}} when is_function(fun) -> {:asked, {ask(fun, counts), counts}}
      _keep -> {:keep, counts}
    end
  end

  @doc """
  Returns the decision for an answer of the user's function. Only `:accept` accepts the loss; a
  crash, a timeout and every other result keep the data.
  """
  @spec answered(t, {:ok, term} | :error) :: {:keep | :accept, counts}
  def answered({_ref, counts}, {:ok, :accept}), do: {:accept, counts}
  def answered({_ref, counts}, _answer), do: {:keep, counts}

  defp counts(store, primary) do
    %{loading_keys: keys, keys: by_db} = Native.status(store)
    %{primary: primary, keys: keys, before: by_db |> Map.values() |> Enum.sum()}
  end

  defp ask(fun, counts) do
    {process, ref} = {self(), make_ref()}
    UserFunction.start(fn -> fun.(counts) end, &send(process, {ref, {:emptied, &1}}))
    ref
  end
end
