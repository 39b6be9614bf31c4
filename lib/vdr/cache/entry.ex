defmodule Vdr.Cache.Entry do
  @moduledoc """
  One entry, as `c:Vdr.Cache.Backend.entry/2` returns it.

    * `value` - the value. For a `:negative` entry, the reason of the failed fetch
    * `kind` - `:value`, or `:negative` for a fetch that failed
    * `fresh` - whether `get` returns the entry. An entry that is past its time to live, and is kept
      for `stale_if_error:`, is not fresh. Neither is a negative entry
    * `refresh` - whether the time of `refresh_after:` is over
    * `version` - a term that changes with every change of the entry
  """

  @enforce_keys [:value]
  defstruct [:value, :version, kind: :value, fresh: true, refresh: false]

  @type t :: %__MODULE__{value: term, version: term, kind: :value | :negative, fresh: boolean, refresh: boolean}
end

defmodule Vdr.Cache.Write do
  @moduledoc """
  How `c:Vdr.Cache.Backend.put/4` stores one entry.

    * `ttl` - the time to live in ms, or `:infinity`. With 0, nothing is stored, and an existing
      entry is removed
    * `keep` - for how many ms past the time to live `c:Vdr.Cache.Backend.entry/2` returns the entry
    * `soft` - after how many ms `refresh` of the entry is true, or `nil` for never
    * `tags` - the tags
    * `kind` - `:value`, or `:negative` for a failed fetch. Only `entry/2` returns a negative entry,
      for `keep` ms
    * `mode` - when the value is stored: `:always`; `:new`, if the key has no entry; `:existing`, if
      it has one; `{:version, v}`, if its version is `v`, where `nil` stands for no entry
    * `inherit` - whether the new entry keeps the expiry and the tags of the existing one
    * `consistency` - for backends that use a network
  """

  defstruct ttl: :infinity,
            keep: 0,
            soft: nil,
            tags: [],
            kind: :value,
            mode: :always,
            inherit: false,
            consistency: :local

  @type t :: %__MODULE__{
          ttl: timeout,
          keep: non_neg_integer,
          soft: non_neg_integer | nil,
          tags: [term],
          kind: :value | :negative,
          mode: :always | :new | :existing | {:version, term},
          inherit: boolean,
          consistency: :local | :server | :async
        }
end
