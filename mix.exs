Code.require_file("mix/compile_vdr.ex", __DIR__)

defmodule Veidrodelis.MixProject do
  use Mix.Project

  @version "1.0.0-dev"
  @description "An in-process mirror of a Redis or Valkey server for Elixir and Erlang"

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
      docs: &docs/0,
      package: package()
    ]
  end

  def application do
    [
      mod: {Vdr.Application, []},
      extra_applications: [:logger, telemetry: :optional, inets: :optional] ++ extra_applications(Mix.env())
    ]
  end

  # The tests make certificates.
  defp extra_applications(:test), do: [:public_key]
  defp extra_applications(_env), do: []

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_env), do: ["lib"]

  # For `mix docs` of ExDoc, which is no dependency: an application that has it builds the site.
  defp docs do
    guides =
      ~w(deployment operations consistency watches writes transactions lua handlers testing erlang cache)

    [
      main: "readme",
      extras:
        ["README.md"] ++
          Enum.map(guides ++ ~w(commands performance decisions), &"docs/#{&1}.md") ++
          ~w(CHANGELOG.md ARCHITECTURE.md CONTRIBUTING.md),
      groups_for_extras: [
        Guides: Enum.map(guides, &"docs/#{&1}.md"),
        Reference: ~w(docs/commands.md docs/performance.md CHANGELOG.md),
        Project: ~w(docs/decisions.md ARCHITECTURE.md CONTRIBUTING.md)
      ],
      groups_for_modules: [
        "Snapshots and scripts": [Vdr.Snapshot, Vdr.Script],
        Watches: [Vdr.WatchEvent],
        Handlers: ~r/^Vdr\.RedisStream\./,
        Caches: ~r/^Vdr\.Cache/,
        "Tests and operation": [Veidrodelis.Testing, Veidrodelis.Telemetry, Veidrodelis.Web],
        Erlang: [:veidrodelis]
      ],
      skip_undefined_reference_warnings_on: ["CHANGELOG.md", "docs/decisions.md"]
    ]
  end

  # What the package holds: everything that the build and the docs read, and nothing else. The fuzz
  # targets are a cargo workspace of their own and stay outside, as do the tests;
  # `test/package_test.exs` builds an application from it.
  defp package do
    crates = Enum.reject(Path.wildcard("native/*"), &(&1 == "native/fuzz" or not File.dir?(&1)))

    [
      licenses: ["Apache-2.0"],
      files:
        ~w(lib mix mix.exs .formatter.exs .cargo/config.toml Cargo.toml Cargo.lock) ++
          ~w(LICENSE README.md CHANGELOG.md ARCHITECTURE.md usage-rules.md) ++
          ["docs/*.md", "checksum-*.exs"] ++
          Enum.flat_map(crates, &["#{&1}/Cargo.toml", "#{&1}/build.rs", "#{&1}/src"])
    ]
  end
end
