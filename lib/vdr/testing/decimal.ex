defmodule Vdr.Testing.Decimal do
  @moduledoc false
  # Adds decimal numbers, and writes the sum as a server does. A server adds floats with a mantissa
  # of 64 bits, which Elixir lacks, and writes up to 17 decimal places. If the server's text is the
  # exact sum in spite of the rounding, this module adds whole numbers. Otherwise it adds floats,
  # and the sum is only near the server's.

  # Below this bound, rounding changes none of the written decimal places.
  @small 16
  @places_max 15
  # Multiples of this fraction below the bound are exact in the server's format and in a float.
  @fraction 1024
  @bound 1_000_000_000_000

  @doc "The sum as text. `{:near, text}` is a sum of floats. `:error`: an argument is not a number."
  @spec add(String.t(), String.t()) :: {:exact | :near, String.t()} | :error
  def add(a, b) do
    with {:ok, left} <- parse(a), {:ok, right} <- parse(b) do
      places = max(elem(left, 1), elem(right, 1))
      sum = scale(left, places) + scale(right, places)

      if Enum.all?([left, right, {sum, places}], &exact?/1),
        do: {:exact, text(sum, places)},
        else: add_near(a, b)
    else
      :none -> add_near(a, b)
    end
  end

  @doc "The text of a float, if all servers write the float in the same way."
  @spec plain(float) :: {:ok, String.t()} | :error
  def plain(float) do
    scaled = float * @fraction

    # Servers write -0 differently, too.
    if abs(scaled) < 1.0e10 and scaled == trunc(scaled) and <<float::float>> != <<-0.0::float>>,
      do: {:ok, text(trunc(scaled) * div(10_000_000_000, @fraction), 10)},
      else: :error
  end

  # `{digits, places}`: the number is digits / 10^places.
  defp parse(text) do
    case Regex.run(~r/\A(-?)(\d{1,19})(?:\.(\d{1,17}))?\z/, text) do
      [_, sign, whole] -> {:ok, {String.to_integer(sign <> whole), 0}}
      [_, sign, whole, fraction] -> {:ok, {String.to_integer(sign <> whole <> fraction), byte_size(fraction)}}
      nil -> :none
    end
  end

  defp scale({digits, places}, wanted), do: digits * Integer.pow(10, wanted - places)

  defp exact?({digits, 0}), do: abs(digits) < 4_611_686_018_427_387_904

  defp exact?({digits, places}) do
    one = Integer.pow(10, places)

    (abs(digits) < @small * one and places <= @places_max) or
      (abs(digits) < @bound * one and rem(digits * @fraction, one) == 0)
  end

  defp text(digits, places) do
    one = Integer.pow(10, places)
    sign = if digits < 0, do: "-", else: ""
    whole = digits |> abs() |> div(one) |> Integer.to_string()

    fraction =
      digits |> abs() |> rem(one) |> Integer.to_string() |> String.pad_leading(places, "0") |> String.trim_trailing("0")

    if places == 0 or fraction == "", do: sign <> whole, else: sign <> whole <> "." <> fraction
  end

  # A server writes no more digits than needed, and a whole number without a fraction.
  defp add_near(a, b) do
    with {a, ""} <- Float.parse(a), {b, ""} <- Float.parse(b) do
      sum = a + b

      {:near,
       if(sum == trunc(sum) and abs(sum) < 1.0e17, do: Integer.to_string(trunc(sum)), else: Float.to_string(sum))}
    else
      _no_number -> :error
    end
  end
end
