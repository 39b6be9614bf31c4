defmodule Vdr.PackageTest do
  use ExUnit.Case, async: true

  alias Vdr.Test.Package

  @moduletag :tmp_dir
  @moduletag timeout: 900_000

  test "it holds what the build reads, and no leftovers" do
    files = Package.files()

    for wanted <-
          ~w(mix.exs mix/compile_vdr.ex mix/vdr/prebuilt.ex .formatter.exs Cargo.lock) ++
            ~w(.cargo/config.toml native/vdr_lua/build.rs native/vdr_lua/src/absent.cpp) ++
            ~w(native/vdr_nif/build.rs native/vdr_nif/src/lib.rs native/vdr_lua/src/prelude.luau) ++
            ~w(LICENSE README.md CHANGELOG.md docs/operations.md lib/veidrodelis_gleam.ex) do
      assert wanted in files
    end

    for file <- files do
      # The Gleam sources are a package of their own.
      refute file =~ ~r{^(test|priv|_build|deps|gleam)/|^native/[^/]+/tests/|/(target|corpus|artifacts|fuzz)/}
      refute file =~ ~r{\.(so|dylib|rdb|digest)$}
    end
  end

  test "each crate of the workspace is there", %{tmp_dir: directory} do
    Package.pack!(Path.join(directory, "package.tar.gz"))
    Package.unpack!(Path.join(directory, "package.tar.gz"), directory)
    options = [cd: directory, stderr_to_stdout: true]
    assert {_metadata, 0} = System.cmd("cargo", ~w(metadata --locked --offline --no-deps --format-version 1), options)
  end

  # Cargo runs beside Elixir's compiler. The test ends it before, during and after.
  for {what, seconds} <- [before: 0, during: 2, after: 15] do
    test "a cargo that fails #{what} Elixir's compiler does ends the build with a sentence", %{tmp_dir: directory} do
      Package.pack!(Path.join(directory, "package.tar.gz"))
      Package.unpack!(Path.join(directory, "package.tar.gz"), directory)

      File.write!(
        Path.join(directory, "cargo"),
        "#!/bin/sh\nsleep #{unquote(seconds)}\necho no such crate >&2\nexit 101\n"
      )

      File.chmod!(Path.join(directory, "cargo"), 0o755)
      cargo = [{"PATH", "#{directory}:#{System.fetch_env!("PATH")}"}, {"VDR_BUILD", "1"}, {"VDR_NATIVE_PATH", nil}]
      options = [cd: directory, env: [{"MIX_ENV", "prod"}, {"MIX_TARGET", nil} | cargo], stderr_to_stdout: true]
      assert {output, 1} = System.cmd("mix", ["compile"], options)
      assert output =~ "no such crate\n"
      assert output =~ "Generated veidrodelis app\n"
      assert output =~ "** (Mix) cargo build of Veidrodelis ended with status 101; its output is above"
    end
  end

  test "an application built from it reads a key, also as a release", %{tmp_dir: directory} do
    package = Path.join(directory, "veidrodelis")
    File.mkdir_p!(package)
    assert Package.pack!(Path.join(directory, "package.tar.gz")) < 2_000_000
    Package.unpack!(Path.join(directory, "package.tar.gz"), package)

    application = Path.join(directory, "shop")
    File.mkdir_p!(Path.join(application, "lib"))

    File.write!(Path.join(application, "mix.exs"), """
    defmodule Shop.MixProject do
      use Mix.Project

      def project, do: [app: :shop, version: "0.1.0", deps: [{:veidrodelis, path: "../veidrodelis"}]]
      def application, do: [mod: {Shop, []}, extra_applications: [:logger]]
    end
    """)

    File.write!(Path.join(application, "lib/shop.ex"), """
    defmodule Shop do
      use Application

      def start(_type, _args) do
        IO.inspect(price())
        spawn(fn -> Process.sleep(200) && System.halt(0) end)
        Supervisor.start_link([], strategy: :one_for_one)
      end

      def price do
        {:ok, snapshot} = Vdr.Snapshot.from_commands([["SET", "price", "42"]])
        Veidrodelis.get(snapshot, 0, "price")
      end
    end
    """)

    library = Application.app_dir(:veidrodelis, "priv/native/libvdr_nif.so")

    mix = fn args ->
      environment = [{"MIX_ENV", "prod"}, {"VDR_NATIVE_PATH", library}, {"MIX_TARGET", nil}]
      System.cmd("mix", args, cd: application, env: environment, stderr_to_stdout: true)
    end

    assert {output, 0} = mix.(["run", "--no-halt"])
    assert output =~ ~s({:ok, "42"})

    # Built anew only when the library is another.
    placed = Path.join(application, "_build/prod/lib/veidrodelis/priv/native/libvdr_nif.so")
    %{inode: inode} = File.stat!(placed)
    assert {_output, 0} = mix.(["release", "--quiet"])
    assert %{inode: ^inode} = File.stat!(placed)

    shop = Path.join(application, "_build/prod/rel/shop/bin/shop")
    # In a release all modules are loaded before anything is started.
    environment = [{"RELEASE_DISTRIBUTION", "none"}, {"MIX_ENV", nil}]
    assert {output, 0} = System.cmd(shop, ["start"], env: environment, stderr_to_stdout: true)
    assert output =~ ~s({:ok, "42"})
  end
end
