defmodule Vdr.FiguresTest do
  # The documents show the last measurements.
  use ExUnit.Case, async: true

  Code.require_file("bench/support/paint.exs")
  Code.require_file("bench/support/report.exs")

  test "README.md shows the newest figures" do
    readme = File.read!("README.md")
    assert readme =~ "| ratio | aim |"
    assert Vdr.Bench.Report.with_table(readme, Vdr.Bench.Report.read()) == readme
  end

  test "docs/performance.md names every bench" do
    guide = File.read!("docs/performance.md")
    names = Regex.scan(~r/^  (\w+): &Vdr\.Bench\./m, File.read!("bench/run.exs"), capture: :all_but_first)
    assert length(names) > 10
    assert [] == for([name] <- names, not (guide =~ ~r/\b#{name}\b/), do: name)
  end
end
