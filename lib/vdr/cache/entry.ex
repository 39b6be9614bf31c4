defmodule Vdr.Cache.Entry do
  @moduledoc """
  What a backend answers about one entry to `c:Vdr.Cache.Backend.entry/2`.

    * `value` - the value; of a `:negative` entry, the reason that was remembered
    * `kind` - `:value`, or `:negative` for a fetch that failed
    * `fresh` - whether `get` answers it. An entry that is kept for `stale_if_error:` is not fresh
      any more, and neither is a negative one
    * `refresh` - whether its `refresh_after:` is over
    * `version` - a term that changes with every change of the entry
  """

  @enforce_keys [:value]
  defstruct [:value, :version, kind: :value, fresh: true, refresh: false]

  @type t :: %__MODULE__{value: term, version: term, kind: :value | :negative, fresh: boolean, refresh: boolean}
end

defmodule Vdr.Cache.Write do
  @moduledoc """
  How a backend stores one entry, for `c:Vdr.Cache.Backend.put/4`.

    * `ttl` - in ms, or `:infinity`. With 0 nothing is stored, and what was there goes
    * `keep` - for how many ms more the entry can be had by `c:Vdr.Cache.Backend.entry/2`
    * `soft` - after how many ms `refresh` is true, `nil` for never
    * `tags` - the tags
    * `kind` - `:value`, or `:negative`: an entry for `entry/2` only, for `keep` ms
    * `mode` - `:always`; `:new`: unless the key has an entry; `:existing`: if it has one;
      `{:version, v}`: if its version is `v`, where `nil` stands for no entry
    * `inherit` - whether expiry and tags stay those of the entry that is there
    * `consistency` and `timeout` - for backends that cross a network
  """

  defstruct ttl: :infinity,
            keep: 0,
            soft: nil,
            tags: [],
            kind: :value,
            mode: :always,
            inherit: false,
            consistency: :local,
            timeout: 5_000

  @type t :: %__MODULE__{
          ttl: timeout,
          keep: non_neg_integer,
          soft: non_neg_integer | nil,
          tags: [term],
          kind: :value | :negative,
          mode: :always | :new | :existing | {:version, term},
          inherit: boolean,
          consistency: :local | :server | :async,
          timeout: timeout
        }
end
