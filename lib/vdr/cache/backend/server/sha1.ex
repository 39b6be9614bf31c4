defmodule Vdr.Cache.Backend.Server.Sha1 do
  @moduledoc false
  # SHA-1, for the digests that name scripts on a server. They are computed at compile time. OTP's
  # `:crypto` has SHA-1, too, but the library needs it for nothing else, and it would be in every
  # release.

  import Bitwise

  @word 0xFFFFFFFF

  @spec hex(binary) :: String.t()
  def hex(data) do
    bits = bit_size(data)
    zeros = Integer.mod(448 - bits - 1, 512)
    padded = <<data::binary, 1::1, 0::size(zeros), bits::64>>
    blocks = for <<block::binary-64 <- padded>>, do: block
    {a, b, c, d, e} = Enum.reduce(blocks, {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0}, &block/2)
    Base.encode16(<<a::32, b::32, c::32, d::32, e::32>>, case: :lower)
  end

  defp block(block, {a, b, c, d, e}) do
    words = for <<word::32 <- block>>, do: word

    {a1, b1, c1, d1, e1} =
      words |> Enum.reverse() |> expand(64) |> Enum.with_index() |> Enum.reduce({a, b, c, d, e}, &round/2)

    {a + a1 &&& @word, b + b1 &&& @word, c + c1 &&& @word, d + d1 &&& @word, e + e1 &&& @word}
  end

  # The latest word first.
  defp expand(words, 0), do: Enum.reverse(words)

  defp expand(words, left) do
    new = Enum.reduce([2, 7, 13, 15], 0, fn back, sum -> bxor(sum, Enum.at(words, back)) end)
    expand([rotate(new, 1) | words], left - 1)
  end

  defp round({word, n}, {a, b, c, d, e}) do
    {f, k} =
      cond do
        n < 20 -> {(b &&& c) ||| (bxor(b, @word) &&& d), 0x5A827999}
        n < 40 -> {bxor(bxor(b, c), d), 0x6ED9EBA1}
        n < 60 -> {(b &&& c) ||| (b &&& d) ||| (c &&& d), 0x8F1BBCDC}
        true -> {bxor(bxor(b, c), d), 0xCA62C1D6}
      end

    {rotate(a, 5) + f + e + k + word &&& @word, a, rotate(b, 30), c, d}
  end

  defp rotate(word, bits), do: (word <<< bits ||| word >>> (32 - bits)) &&& @word
end
