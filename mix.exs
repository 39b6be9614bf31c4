Code.require_file("mix/compile_vdr.ex", __DIR__)

defmodule Veidrodelis.MixProject do
  use Mix.Project

  @version "0.1.0"
  @description "An in-process, read-only mirror of a Redis or Valkey server for Elixir and Erlang"

  def project do
    [
      app: :veidrodelis,
      version: @version,
      description: @description,
      elixir: "~> 1.14",
      compilers: [:vdr | Mix.compilers()],
      elixirc_paths: elixirc_paths(Mix.env()),
      start_permanent: Mix.env() == :prod,
      deps: [],
      package: package()
    ]
  end

  def application do
    [mod: {Vdr.Application, []}, extra_applications: [:logger, telemetry: :optional] ++ extra_applications(Mix.env())]
  end

  # The tests make certificates.
  defp extra_applications(:test), do: [:public_key]
  defp extra_applications(_env), do: []

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_env), do: ["lib"]

  defp package do
    [
      licenses: ["Apache-2.0"],
      files: ~w(lib mix mix.exs .formatter.exs Cargo.toml Cargo.lock LICENSE README.md CHANGELOG.md) ++ ~w(native)
    ]
  end
end
