defmodule Vdr.Reads.Keys do
  @moduledoc false
  use Vdr.Reads.Row, group: "Keys and databases"

  @doc "Whether `key` exists. O(1)."
  read exists(key :: key) :: boolean

  @doc "The type of the value at `key`, or `nil`; a module's value is `:other`. O(1)."
  read type(key :: key) :: kind | nil

  @doc """
  The seconds until `key` expires, rounded as the server rounds them, or `nil` without such a key.
  O(1).
  """
  read ttl(key :: key) :: non_neg_integer | :infinity | nil

  @doc "The milliseconds until `key` expires, or `nil` without such a key. O(1)."
  read pttl(key :: key) :: non_neg_integer | :infinity | nil

  @doc "The time at which `key` expires, in Unix seconds, or `nil` without such a key. O(1)."
  read expiretime(key :: key) :: non_neg_integer | :infinity | nil

  @doc "The time at which `key` expires, in Unix milliseconds, or `nil` without such a key. O(1)."
  read pexpiretime(key :: key) :: non_neg_integer | :infinity | nil

  @doc """
  The number of keys of the database. As on the server, it includes expired keys that the primary
  has not deleted yet. O(1).
  """
  read dbsize() :: non_neg_integer

  @doc """
  The keys that match the glob `pattern`, in byte order. O(log n + keys with the literal prefix of
  the pattern). The first such call [takes longer](`m:Veidrodelis#module-keys-in-order`).

  A range such as `[a-z]` compares bytes, beyond ASCII, too. Servers differ there: on x86 they
  order the bytes from 128 on before all others.
  """
  read keys(pattern :: binary) :: [key]

  @doc """
  A portion of the keys, and the cursor of the next portion. Begin with cursor 0, and stop when 0
  comes back.

  Options: `:match` (a glob as in `keys/3`), `:count` (about how many keys a call looks at, 10),
  `:type`. A key that exists from the first call to the last is returned exactly once, even while
  the data changes, and even when a full sync replaces it. A cursor is valid until the VM ends.
  O(count + log n).
  """
  read scan(cursor :: non_neg_integer, opts :: [scan_option] \\ []) :: {cursor :: non_neg_integer, [key]}

  @doc """
  The first `count` keys in byte order. O(log n + count). The first such call [takes
  longer](`m:Veidrodelis#module-keys-in-order`).
  """
  read first(count :: non_neg_integer) :: [key]

  @doc """
  The last `count` keys, in descending byte order. O(log n + count). The first such call
  [takes longer](`m:Veidrodelis#module-keys-in-order`).
  """
  read last(count :: non_neg_integer) :: [key]

  @doc """
  Up to `count` keys after `key` in byte order; `key` need not exist. O(log n + count). The first
  such call [takes longer](`m:Veidrodelis#module-keys-in-order`).
  """
  read next(key :: key, count :: non_neg_integer) :: [key]

  @doc """
  Up to `count` keys before `key`, in descending byte order; `key` need not exist. O(log n +
  count). The first such call [takes longer](`m:Veidrodelis#module-keys-in-order`).
  """
  read prev(key :: key, count :: non_neg_integer) :: [key]
end
