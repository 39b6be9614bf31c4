ExUnit.start(timeout: 120_000, formatters: [ExUnit.CLIFormatter, Vdr.Test.Failures])
