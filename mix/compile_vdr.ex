for file <- ~w(cargo prebuilt), do: Code.require_file("vdr/#{file}.ex", __DIR__)

defmodule Mix.Tasks.Compile.VdrStart do
  @moduledoc """
  Starts the build of the native library, if cargo is to build it, so that it goes on while Elixir
  is compiled. `Mix.Tasks.Compile.Vdr` waits for it.
  """

  use Mix.Task.Compiler

  @recursive true

  @impl Mix.Task.Compiler
  def run(_args) do
    Mix.Tasks.Compile.Vdr.start()
    {:noop, []}
  end
end

defmodule Mix.Tasks.Compile.Vdr do
  @moduledoc """
  Puts the native library into `priv/native` of the build directory: a given one, a prebuilt one, or
  one built by cargo.

  `mix.exs` requires this file, so that the compiler exists before anything of the project is
  compiled, both here and in an application that depends on the project. The first of these that
  applies decides:

    * `VDR_NATIVE_PATH=file`: copies that file, or unpacks it if it is a `.gz`.
    * `VDR_BUILD=1`, or a variable that only a build from source can follow, such as
      `VDR_WITHOUT=lua,tls`: builds from source (`Vdr.Mix.Cargo`).
    * The package holds the checksum of a prebuilt library for this system, and a base URL is
      configured: downloads and verifies that library (`Vdr.Mix.Prebuilt`).
    * Otherwise: builds from source.

  Each environment and each target of Mix has a library of its own. As a dependency of rebar3 the
  library lies in `priv/native` of the sources. The stamp beside it holds a digest of what the
  library was made from and a digest of the library itself. A library that fits its stamp is left
  alone. Two builds at once do not hurt each other: cargo locks its own directory, what it built is
  read at once, files appear by rename from names that no other build uses, and a stamp that does
  not belong to the library beside it counts as none.
  """

  use Mix.Task.Compiler

  alias Vdr.Mix.{Cargo, Prebuilt}

  @recursive true

  @root Path.expand("..", __DIR__)

  # `:erlang.load_nif/2` looks for `.so` on macOS too.
  defp library_path, do: Path.join(directory(), "libvdr_nif.so")
  defp stamp_path, do: Path.join(directory(), "libvdr_nif.digest")
  defp directory, do: Path.join(priv(), "native")
  defp priv, do: Path.join(if(rebar?(), do: @root, else: Mix.Project.app_path()), "priv")

  # Rebar3 has its dependencies in such a directory. Its plugin `rebar_mix` takes the modules that
  # Mix has built, and removes the rest.
  defp rebar? do
    case @root |> Path.split() |> Enum.reverse() do
      [_name, "lib", _profile, "_build" | _] -> true
      [_name, "_checkouts" | _] -> true
      _ -> false
    end
  end

  @doc false
  # Until version 1.0 the library lay in the sources. Mix copies what is there over the one in
  # `_build`, before any compiler runs.
  def remove_former do
    unless rebar?() do
      native = Path.join(@root, "priv/native")
      for file <- ~w(libvdr_nif.so libvdr_nif.digest), do: File.rm(Path.join(native, file))
      for directory <- [native, Path.dirname(native)], do: File.rmdir(directory)
    end
  end

  @doc false
  def start do
    stop(Process.get(__MODULE__))
    source = source()
    # The digest is of what cargo reads now. What changes while it builds is built the next time.
    inputs = digest([system(), inputs(source)])
    Process.put(__MODULE__, if(stands?(inputs), do: :stands, else: {started(source), inputs}))
  end

  @impl Mix.Task.Compiler
  def run(_args) do
    Process.get(__MODULE__) || start()

    case Process.delete(__MODULE__) do
      :stands -> {:noop, []}
      {source, inputs} -> place(library(source), inputs)
    end
  end

  defp started({:cargo, no_prebuilt}) do
    no_prebuilt && Mix.shell().info("There is no prebuilt native library to download: #{no_prebuilt}.")
    {:build, Cargo.start(@root)}
  end

  defp started(source) do
    if match?({:given, _path}, source) and Cargo.chosen?() do
      Mix.shell().info("VDR_NATIVE_PATH names the library: VDR_WITHOUT, VDR_NATIVE_DEBUG and VDR_PROFILE do nothing")
    end

    source
  end

  # A build is left where Elixir's compiler failed.
  defp stop({{:build, build}, _inputs}), do: Cargo.stop(build)
  defp stop(_none), do: :ok

  defp place(library, inputs) do
    # Before version 1.0 the sources had a `priv`, and Mix made a link to it here.
    if match?({:ok, %{type: :symlink}}, File.lstat(priv())), do: File.rm!(priv())

    with :ok <- File.mkdir_p(directory()),
         :ok <- remove_unfinished(),
         :ok <- write(library_path(), library),
         :ok <- write(stamp_path(), [inputs, ?\n, digest(library), ?\n]) do
      {:ok, []}
    else
      {:error, reason} ->
        Mix.raise(
          "the native library of Veidrodelis cannot be written to #{directory()}: #{:file.format_error(reason)}"
        )
    end
  end

  @impl Mix.Task.Compiler
  def manifests, do: [stamp_path()]

  @impl Mix.Task.Compiler
  def clean do
    File.rm(library_path())
    File.rm(stamp_path())
    :ok
  end

  defp source do
    given = System.get_env("VDR_NATIVE_PATH", "")

    cond do
      given != "" ->
        {:given, absolute!(given)}

      System.get_env("VDR_BUILD", "") not in ["", "0", "false"] or Cargo.chosen?() ->
        refuse_other_target!()
        {:cargo, nil}

      true ->
        refuse_other_target!()

        case Prebuilt.find(@root) do
          {:ok, prebuilt} -> {:prebuilt, prebuilt}
          {:none, why} -> {:cargo, why}
          :unset -> {:cargo, nil}
        end
    end
  end

  # Mix compiles a dependency in the dependency's directory, so nobody knows where a relative path
  # begins.
  defp absolute!(path) do
    if Path.type(path) != :absolute, do: Mix.raise("VDR_NATIVE_PATH is #{path}: it takes an absolute path")
    path
  end

  # Nerves and others name the target to Mix. Without its name for Rust, the library would be for
  # this machine.
  defp refuse_other_target! do
    if Mix.target() != :host and System.get_env("CARGO_BUILD_TARGET", "") == "" do
      Mix.raise("""
      MIX_TARGET is #{Mix.target()}, and the native library of Veidrodelis would be built for this machine, #{system()}.

      Set CARGO_BUILD_TARGET to the name that Rust has for the target, or VDR_NATIVE_PATH to a library for it.
      """)
    end
  end

  defp inputs({:given, path}) do
    case File.read(path) do
      {:ok, bytes} -> bytes
      {:error, reason} -> Mix.raise("VDR_NATIVE_PATH names #{path}: #{:file.format_error(reason)}")
    end
  end

  defp inputs({:prebuilt, prebuilt}), do: inspect(prebuilt)
  defp inputs({:cargo, _no_prebuilt}), do: Cargo.inputs(@root)

  defp library({:given, path}), do: path |> File.read!() |> unpack() |> check!(path)
  defp library({:prebuilt, prebuilt}), do: Prebuilt.download(prebuilt)
  defp library({:build, build}), do: Cargo.await(build)

  defp unpack(<<0x1F, 0x8B, _::binary>> = packed) do
    :zlib.gunzip(packed)
  rescue
    ErlangError -> "cut off"
  end

  defp unpack(library), do: library

  # Which machine it is for is a question for the VM that loads it.
  defp check!(library, path) do
    native?(library) || Mix.raise("VDR_NATIVE_PATH names #{path}, which is no native library")
    library
  end

  defp native?(<<0x7F, "ELF", _::binary>>), do: true
  # Mach-O, for one machine and for several (a universal binary).
  defp native?(<<0xFEEDFACF::little-32, _::binary>>), do: true
  defp native?(<<0xCAFEBABE::32, _::binary>>), do: true
  defp native?(_other), do: false

  defp stands?(inputs) do
    with {:ok, stamp} <- File.read(stamp_path()),
         [^inputs, library] <- String.split(stamp),
         {:ok, bytes} <- File.read(library_path()) do
      digest(bytes) == library
    else
      _ -> false
    end
  end

  # Several systems may share the directory, such as a Mac and its containers.
  defp system, do: to_string(:erlang.system_info(:system_architecture))

  defp digest(data), do: data |> :erlang.md5() |> Base.encode16(case: :lower)

  # By rename: a VM that has the old library mapped must not see its bytes change.
  defp write(path, bytes) do
    new = "#{path}.#{Base.encode16(:crypto.strong_rand_bytes(8))}"

    with :ok <- File.write(new, bytes),
         :ok <- File.chmod(new, 0o755),
         do: File.rename(new, path)
  end

  # Removes the files that a killed build has left. A file that another build is writing now is
  # younger, because writing takes milliseconds.
  defp remove_unfinished do
    old = System.os_time(:second) - 60

    with {:ok, names} <- File.ls(directory()) do
      for name <- names,
          name =~ ~r/^libvdr_nif\.\w+\./,
          path = Path.join(directory(), name),
          {:ok, %{mtime: written}} <- [File.stat(path, time: :posix)],
          written < old,
          do: File.rm(path)

      :ok
    end
  end
end

Mix.Tasks.Compile.Vdr.remove_former()
