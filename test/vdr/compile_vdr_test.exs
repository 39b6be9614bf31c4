defmodule Vdr.CompileVdrTest do
  # Where the native library comes from and where it is put. `mix compile.vdr` runs in an unpacked
  # package, and a script plays cargo: it says where the library is, as cargo does.
  use ExUnit.Case, async: true

  alias Vdr.Test.Package

  @moduletag :tmp_dir
  @moduletag timeout: 900_000

  setup_all do
    tarball = Path.join(System.tmp_dir!(), "vdr-compile-#{System.pid()}.tar.gz")
    Package.pack!(tarball)
    on_exit(fn -> File.rm(tarball) end)
    {:ok, tarball: tarball}
  end

  setup %{tarball: tarball, tmp_dir: directory} = context do
    root = Path.join(directory, context[:within] || "package")
    File.mkdir_p!(root)
    Package.unpack!(tarball, root)
    # Whoever has built a release has it.
    File.rm(Path.join(root, "checksum-vdr_nif.exs"))
    tools = Path.join(directory, "tools")
    File.mkdir_p!(tools)
    for tool <- ~w(cc c++ make), do: script(tools, tool, "exit 0")

    script(tools, "cargo", """
    echo cargo was called >&2
    mkdir -p "$(dirname "$BUILT")"
    printf '\\177ELF %s' "$LIBRARY" >"$BUILT"
    path=$(printf %s "$BUILT" | sed 's/"/\\\\"/g')
    printf '%s%s%s\\n' '{"reason":"compiler-artifact","target":{"kind":["cdylib"],"name":"vdr_nif"},"filenames":["' \\
      "$path" '"],"fresh":false}'
    """)

    {:ok, root: root, tools: tools, built: Path.join(root, ~S{target of "cargo"/[release]/libvdr_nif.so})}
  end

  defp script(directory, name, text) do
    File.write!(Path.join(directory, name), "#!/bin/sh\n" <> text)
    File.chmod!(Path.join(directory, name), 0o755)
  end

  @unset ~w(MIX_TARGET CARGO_BUILD_TARGET CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR VDR_NATIVE_PATH VDR_BUILD VDR_WITHOUT) ++
           ~w(VDR_NATIVE_DEBUG VDR_PROFILE VDR_PREBUILT_URL)

  defp compile(context, variables \\ [], tasks \\ ["compile.vdr"]) do
    own = %{
      "PATH" => context.tools <> ":" <> System.fetch_env!("PATH"),
      "MIX_ENV" => "prod",
      "BUILT" => context.built,
      "LIBRARY" => "of cargo"
    }

    environment = @unset |> Map.new(&{&1, nil}) |> Map.merge(own) |> Map.merge(Map.new(variables))
    System.cmd("mix", tasks, cd: context.root, env: environment, stderr_to_stdout: true)
  end

  defp placed(context, build \\ "prod"),
    do: File.read(Path.join(context.root, "_build/#{build}/lib/veidrodelis/priv/native/libvdr_nif.so"))

  defp refused(context, variables) do
    {output, 1} = compile(context, variables)
    assert placed(context) == {:error, :enoent}
    output
  end

  test "cargo says where the library is; it is asked again when a source is another", context do
    assert {output, 0} = compile(context)
    assert output =~ "cargo was called"
    assert placed(context) == {:ok, "\x7FELF of cargo"}
    assert {output, 0} = compile(context, %{"LIBRARY" => "another"})
    refute output =~ "cargo was called"
    File.write!(Path.join(context.root, "native/vdr_nif/src/lib.rs"), "// changed")
    assert {output, 0} = compile(context, %{"LIBRARY" => "another"})
    assert output =~ "cargo was called"
    assert placed(context) == {:ok, "\x7FELF another"}
  end

  @tag within: "[a]{b,c}*"
  test "a path with characters of patterns is a path", context do
    assert {_output, 0} = compile(context)
    File.write!(Path.join(context.root, "native/vdr_nif/src/lib.rs"), "// changed")
    assert {_output, 0} = compile(context, %{"LIBRARY" => "another"})
    assert placed(context) == {:ok, "\x7FELF another"}
  end

  @tag within: "a package"
  test "a path with a space is refused, with a way out", context do
    assert refused(context, []) =~ "Set CARGO_TARGET_DIR"
    assert {_output, 0} = compile(context, %{"CARGO_TARGET_DIR" => "/tmp/none"})
  end

  test "environments and targets have libraries of their own", context do
    assert {_output, 0} = compile(context)
    assert {_output, 0} = compile(context, %{"MIX_ENV" => "dev", "VDR_WITHOUT" => "lua", "LIBRARY" => "of dev"})
    rpi = %{"MIX_TARGET" => "rpi4", "CARGO_BUILD_TARGET" => "aarch64-unknown-linux-gnu", "LIBRARY" => "of rpi4"}
    assert {_output, 0} = compile(context, rpi)
    assert {output, 0} = compile(context)
    refute output =~ "cargo was called"

    assert [{:ok, "\x7FELF of cargo"}, {:ok, "\x7FELF of dev"}, {:ok, "\x7FELF of rpi4"}] ==
             for(build <- ~w(prod dev rpi4_prod), do: placed(context, build))
  end

  for within <- ["_build/default/lib/veidrodelis", "_checkouts/veidrodelis"] do
    @tag within: within
    test "as a dependency of rebar3 in #{within} it lies beside the sources", context do
      rebar3(context)
    end
  end

  defp rebar3(context) do
    assert {_output, 0} = compile(context)
    assert File.read(Path.join(context.root, "priv/native/libvdr_nif.so")) == {:ok, "\x7FELF of cargo"}
    # rebar_mix removes what Mix has built.
    File.rm_rf!(Path.join(context.root, "_build"))
    assert {output, 0} = compile(context)
    refute output =~ "cargo was called"
  end

  test "another target of Mix needs a target of Rust, or a library", context do
    assert refused(context, %{"MIX_TARGET" => "rpi4"}) =~ "Set CARGO_BUILD_TARGET"
  end

  test "a build beside another one, with other parts and in the same directory, keeps its own library", context do
    [built, over] = for name <- ~w(built over), do: Path.join(context.tools, name)

    # Elixir's compiler runs between these two tasks.
    code = """
    Mix.Task.run("compile.vdr_start")
    Process.sleep(1_000)
    File.touch!(#{inspect(built)})
    until_over = fn until_over -> File.exists?(#{inspect(over)}) || (Process.sleep(50) && until_over.(until_over)) end
    until_over.(until_over)
    Mix.Task.run("compile.vdr")
    """

    tasks = ["run", "--no-compile", "--no-start", "-e", code]
    first = Task.async(fn -> compile(context, [], tasks) end)
    await(built)
    other = %{"MIX_ENV" => "dev", "VDR_WITHOUT" => "lua", "LIBRARY" => "of dev"}
    assert {_output, 0} = compile(context, other)
    File.touch!(over)
    assert {_output, 0} = Task.await(first, 60_000)
    assert placed(context) == {:ok, "\x7FELF of cargo"}
    assert placed(context, "dev") == {:ok, "\x7FELF of dev"}
  end

  defp await(path), do: File.exists?(path) || (Process.sleep(50) && await(path))

  test "a library beside the sources, of a former version, is removed before Mix copies it", context do
    former = Path.join(context.root, "priv/native")
    File.mkdir_p!(former)
    for name <- ~w(libvdr_nif.so libvdr_nif.digest), do: File.write!(Path.join(former, name), "of before")
    assert {_output, 0} = compile(context)
    refute File.exists?(Path.join(context.root, "priv"))
    assert placed(context) == {:ok, "\x7FELF of cargo"}
  end

  test "what editors leave beside the sources is no source", context do
    File.ln_s!("nobody@nowhere", Path.join(context.root, "native/vdr_nif/src/.#lib.rs"))
    assert {_output, 0} = compile(context)
  end

  test "a cargo that makes no shared library is reported", context do
    script(context.tools, "cargo", "echo '{\"reason\":\"build-finished\",\"success\":true}'")
    assert refused(context, []) =~ "made no shared library"
    script(context.tools, "cargo", "printf 'gr\\374n: no such crate\\n' >&2; exit 101")
    assert refused(context, []) =~ ~r/no such crate.*ended with status 101/s
  end

  test "a library that is given", context do
    given = Path.join(context.tools, "given.so")
    File.write!(given, "\x7FELF given")
    assert {_output, 0} = compile(context, %{"VDR_NATIVE_PATH" => given})
    assert placed(context) == {:ok, "\x7FELF given"}
    File.write!(given <> ".gz", :zlib.gzip("\x7FELF packed"))
    assert {output, 0} = compile(context, %{"VDR_NATIVE_PATH" => given <> ".gz", "VDR_WITHOUT" => "lua"})
    assert output =~ "VDR_NATIVE_PATH names the library: VDR_WITHOUT"
    assert placed(context) == {:ok, "\x7FELF packed"}
  end

  test "what is given and is no library is refused", context do
    file = Path.join(context.tools, "given")
    given = &refused(context, %{"VDR_NATIVE_PATH" => &1})
    assert given.(file) =~ "VDR_NATIVE_PATH names #{file}: no such file or directory"
    assert given.("./given.so") =~ "VDR_NATIVE_PATH is ./given.so: it takes an absolute path"

    for bytes <- ["", "text", <<0x1F, 0x8B>>, :zlib.gzip("text")] do
      File.write!(file, bytes)
      assert given.(file) =~ "VDR_NATIVE_PATH names #{file}, which is no native library"
    end
  end

  test "a place for downloads that has nothing for this build is named, and why", context do
    assert {output, 0} = compile(context, %{"VDR_PREBUILT_URL" => "http://127.0.0.1:1"})
    assert output =~ "There is no prebuilt native library to download: there is no checksum-vdr_nif.exs"
    assert output =~ "cargo was called"
  end

  test "a directory that cannot be written is named", context do
    File.mkdir_p!(Path.join(context.root, "_build/prod/lib/veidrodelis"))
    File.write!(Path.join(context.root, "_build/prod/lib/veidrodelis/priv"), "a file")
    {output, 1} = compile(context)
    assert output =~ ~r"cannot be written to .*priv/native: not a directory"
  end

  test "a link of a former version, and leftovers of a build that was killed, are removed", context do
    application = Path.join(context.root, "_build/prod/lib/veidrodelis")
    File.mkdir_p!(application)
    File.ln_s!("../../../../priv", Path.join(application, "priv"))
    assert {_output, 0} = compile(context)
    left = Path.join(application, "priv/native/libvdr_nif.so.0123456789ABCDEF")
    File.write!(left, "cut off")
    File.touch!(left, System.os_time(:second) - 3600)
    assert {_output, 0} = compile(context, %{"VDR_WITHOUT" => "lua"})

    assert ["libvdr_nif.digest", "libvdr_nif.so"] ==
             application |> Path.join("priv/native") |> File.ls!() |> Enum.sort()
  end
end
