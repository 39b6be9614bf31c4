defmodule Vdr.Reads.Strings do
  @moduledoc false
  use Vdr.Reads.Row, group: "Strings"

  @doc "The value at `key`, or `nil`. O(1); values of 512 bytes or more are not copied."
  read get(key :: key) :: binary | nil

  @doc """
  The values at `keys`, in their order, with `nil` for each key that is missing or holds another
  type. O(keys asked for).
  """
  read mget(keys :: [key]) :: [binary | nil]

  @doc "The length in bytes of the string at `key`, 0 if there is none. O(1)."
  read strlen(key :: key) :: non_neg_integer

  @doc """
  The bytes from `start` to `stop` of the string at `key`, both included. Negative positions count
  from the end. O(bytes returned).
  """
  read getrange(key :: key, start :: integer, stop :: integer) :: binary

  @doc "The bit at `offset` of the string at `key`, 0 beyond its end. O(1)."
  read getbit(key :: key, offset :: non_neg_integer) :: 0 | 1

  @doc "The number of set bits in the string at `key`. O(bytes)."
  read bitcount(key :: key) :: non_neg_integer

  @doc """
  The number of set bits between `start` and `stop`, both included. `unit` says whether these
  positions are bytes or bits; negative ones count from the end. O(bytes).
  """
  read bitcount(key :: key, start :: integer, stop :: integer, unit :: :byte | :bit \\ :byte) :: non_neg_integer

  @doc """
  The position of the first `bit` in the string at `key`, or -1. A search for 0 that finds none
  within the string returns the position after its last byte. O(bytes).
  """
  read bitpos(key :: key, bit :: 0 | 1) :: integer

  @doc "As `bitpos/4`, beginning at byte `start`. O(bytes)."
  read bitpos(key :: key, bit :: 0 | 1, start :: integer) :: integer

  @doc """
  As `bitpos/4`, between `start` and `stop`, both included. `unit` says whether these positions
  are bytes or bits. A search for 0 does not look beyond `stop`. O(bytes).
  """
  read bitpos(key :: key, bit :: 0 | 1, start :: integer, stop :: integer, unit :: :byte | :bit \\ :byte) :: integer
end
