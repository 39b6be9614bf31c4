defmodule Vdr.BackoffTest do
  use ExUnit.Case, async: true

  alias Vdr.Backoff

  test "delays double up to the limit, each with a quarter of jitter" do
    {delays, _} = Enum.map_reduce(1..40, Backoff.new(100, 1000), fn _, backoff -> Backoff.next(backoff) end)

    for {delay, whole} <- Enum.zip(delays, [100, 200, 400, 800] ++ List.duplicate(1000, 36)) do
      assert delay in (whole - div(whole, 4))..whole
    end

    assert delays |> Enum.drop(4) |> Enum.uniq() |> length() > 1
  end

  test "a first delay of none is no endless rush" do
    {delays, _} = Enum.map_reduce(1..20, Backoff.new(0, 1000), fn _, backoff -> Backoff.next(backoff) end)
    assert hd(delays) == 0
    assert Enum.all?(Enum.drop(delays, 10), &(&1 >= 750))
  end

  test "a refusal waits for the longest delay and does not count" do
    {delay, backoff} = Backoff.slow(Backoff.new(100, 1000))
    assert delay in 750..1000
    assert {delay, _} = Backoff.next(backoff)
    assert delay in 75..100
  end

  test "a reset begins anew, and no delay is none" do
    {_, backoff} = Backoff.next(Backoff.new(100, 1000))
    assert {delay, _} = Backoff.next(Backoff.reset(backoff))
    assert delay in 75..100
    assert {0, _} = Backoff.next(Backoff.new(0, 0))
  end

  test "a link that streamed is no failure: the next attempt comes at once, and what fails then begins anew" do
    {_, backoff} = Enum.map_reduce(1..10, Backoff.new(100, 1000), fn _, backoff -> Backoff.next(backoff) end)
    assert {0, backoff} = Backoff.resume(backoff, 100)
    assert {delay, _} = Backoff.next(backoff)
    assert delay in 75..100
  end

  test "a server that ends each link at once is asked again after the first delay, which does not double" do
    for _ <- 1..20, reduce: Backoff.new(100, 1000) do
      backoff ->
        assert {delay, backoff} = Backoff.resume(backoff, 99)
        assert delay in 75..100
        backoff
    end
  end
end
