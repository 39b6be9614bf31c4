Code.require_file("mix/compile_vdr.ex", __DIR__)

defmodule Veidrodelis.MixProject do
  use Mix.Project

  @version "1.0.0-dev"
  @description "An in-process mirror of a Redis or Valkey server for Elixir and Erlang"

  def project do
    [
      app: :veidrodelis,
      name: "Veidrodelis",
      version: @version,
      description: @description,
      elixir: "~> 1.14",
      # Cargo goes on while Elixir is compiled.
      compilers: [:vdr_start] ++ Mix.compilers() ++ [:vdr],
      elixirc_paths: elixirc_paths(Mix.env()),
      elixirc_options: elixirc_options(),
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

  # The tests make certificates and compile templates. A VM that a test starts does without either.
  defp extra_applications(:test), do: [:public_key, eex: :optional]
  defp extra_applications(_env), do: []

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_env), do: ["lib"]

  # Newer Elixirs look for types in all the applications above, and warn of one that is not there.
  # An optional one may not be there.
  defp elixirc_options do
    if Version.match?(System.version(), ">= 1.19.0"), do: [infer_signatures: [:logger]], else: []
  end

  # For `mix docs` of ExDoc, which is no dependency. Links to the source need the address of the
  # repository, which whoever publishes the site gives as VDR_SOURCE_URL (RELEASE.md).
  defp docs do
    source = System.get_env("VDR_SOURCE_URL")
    start = ~w(README.md docs/getting-started.md docs/tour.livemd docs/cheatsheet.cheatmd)
    moving = ~w(docs/coming-from.md docs/upgrading.md)
    reference = ~w(docs/commands.md docs/performance.md bench/results/latest.md CHANGELOG.md)
    project = ~w(docs/decisions.md ARCHITECTURE.md CONTRIBUTING.md)

    guides =
      Enum.map(
        ~w(consistency transactions lua watches writes handlers recipes cache operations deployment testing erlang gleam),
        &"docs/#{&1}.md"
      )

    # A new guide is part of the site, whether this list knows it or not.
    guides =
      guides ++ (Path.wildcard("docs/*.{md,livemd,cheatmd}") -- (start ++ guides ++ moving ++ reference ++ project))

    [
      main: "readme",
      source_url: source,
      source_url_pattern: source && "#{source}/blob/v#{@version}/%{path}#L%{line}",
      extras: start ++ guides ++ moving ++ reference ++ project,
      groups_for_extras: [
        "First steps": start,
        Guides: guides,
        "Coming from elsewhere": moving,
        Reference: reference,
        Project: project
      ],
      groups_for_modules: [
        "Snapshots and scripts": [Vdr.Snapshot, Vdr.Script],
        Watches: ~r/^Vdr\.WatchEvent/,
        Handlers: ~r/^Vdr\.RedisStream\./,
        Caches: ~r/^Vdr\.Cache/,
        "Tests and operation": [
          Veidrodelis.Testing,
          Veidrodelis.Telemetry,
          Veidrodelis.Web,
          Veidrodelis.LiveDashboard,
          Vdr.NativeLibrary
        ],
        Erlang: [:veidrodelis]
      ],
      # In the order in which a reader needs them; the functions say which group is theirs.
      groups_for_docs:
        for group <- [
              "Lifecycle",
              "Strings",
              "Lists",
              "Sets",
              "Hashes",
              "Sorted sets",
              "Streams",
              "Keys and databases",
              "Snapshots and transactions",
              "Writes and positions",
              "Watches",
              "Observation"
            ] do
          {group, &(&1[:group] == group)}
        end,
      assets: %{"docs/plots" => "plots"},
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
          ["docs/*.{md,livemd,cheatmd}", "checksum-*.exs"] ++
          Enum.flat_map(crates, &["#{&1}/Cargo.toml", "#{&1}/build.rs", "#{&1}/src"])
    ]
  end
end
