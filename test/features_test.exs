defmodule Vdr.FeaturesTest do
  # A library without its optional parts: it builds, loads, and says what it lacks.
  use ExUnit.Case, async: true

  alias Vdr.Test.Package

  @moduletag :tmp_dir
  @moduletag timeout: 900_000

  test "without Lua and TLS scripts answer :not_built and links :tls_not_built; reads work", %{tmp_dir: directory} do
    # The development profile, because nothing here measures time.
    args = ~w(build --locked --quiet -p vdr_nif --no-default-features)
    assert {_output, 0} = System.cmd("cargo", args, stderr_to_stdout: true, into: IO.stream())
    library = Path.expand("#{System.get_env("CARGO_TARGET_DIR") || "target"}/debug/libvdr_nif.so")

    package = Path.join(directory, "veidrodelis")
    File.mkdir_p!(package)
    Package.pack!(Path.join(directory, "package.tar.gz"))
    Package.unpack!(Path.join(directory, "package.tar.gz"), package)

    script = """
    {:ok, snapshot} = Vdr.Snapshot.from_commands([["SET", "key", "value"]])
    {:ok, "value"} = Veidrodelis.get(snapshot, 0, "key")
    {:error, :not_built} = Veidrodelis.read_tx(snapshot, 0, "return 1")
    {:error, :not_built} = Veidrodelis.lua_load(snapshot, "return 1")
    {:ok, _pid} = Veidrodelis.start_link(id: :m, host: "127.0.0.1", port: 1, ssl: true)
    {:error, reason} = Veidrodelis.await_ready(:m, 20_000)
    IO.inspect(reason)
    IO.puts(Exception.message(%Veidrodelis.Error{reason: :not_built}))
    """

    environment = [{"VDR_NATIVE_PATH", library}, {"MIX_ENV", "prod"}]
    options = [cd: package, env: environment, stderr_to_stdout: true]
    assert {output, 0} = System.cmd("mix", ["run", "-e", script], options)
    assert output =~ ":tls_not_built"
    assert output =~ "built without Lua"
  end
end
