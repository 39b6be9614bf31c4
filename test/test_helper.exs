# A loaded machine may stop a process for a second. Where a message comes, the limit costs nothing.
ExUnit.start(
  timeout: 120_000,
  assert_receive_timeout: 20_000,
  formatters: [ExUnit.CLIFormatter, Vdr.Test.Failures]
)

ExUnit.after_suite(fn _result ->
  with [_ | _] = differences <- Vdr.Test.Telemetry.differences() do
    IO.puts("events of telemetry that are not as Veidrodelis.Telemetry says: #{inspect(differences, pretty: true)}")
    System.at_exit(fn _status -> exit({:shutdown, 1}) end)
  end
end)
