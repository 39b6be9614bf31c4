defmodule Vdr.Link.Owner do
  @moduledoc false
  # Whose link it is: who is told how it stands, and remembers it over a crash of `Vdr.Link`.

  @typedoc "How the link stands: `attempts` and `links` count those begun and those that came to stream."
  @type report :: %{
          required(:link) => :connecting | :linked | :waiting | :stopped,
          required(:attempts) => non_neg_integer,
          required(:links) => non_neg_integer,
          required(:last_error) => nil | {atom, String.t()},
          optional(:primary) => {String.t(), :inet.port_number()}
        }

  @doc "What was reported so far."
  @callback report(name :: term) :: report
  @doc "Merges changes into the report."
  @callback report(name :: term, changes :: map) :: :ok
  @doc "There is data to be read."
  @callback ready(name :: term) :: :ok
  @doc "The server refuses us for a reason that trying again soon cannot help; `nil` when it no longer does."
  @callback refused(name :: term, reason :: term) :: :ok

  @doc "Under which id the link's events are told, and what is added to their details."
  @callback subject(name :: term, Vdr.Options.t()) :: {id :: term, details :: map}

  @spec new_report() :: report
  def new_report, do: %{link: :connecting, attempts: 0, links: 0, last_error: nil}
end
