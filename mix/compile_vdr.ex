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
  Puts the native library into `priv/native`: a given one, a prebuilt one, or one built by cargo.

  `mix.exs` requires this file, so that the compiler exists before anything of the project is
  compiled, both here and in an application that depends on the project. The first of these that
  applies decides:

    * `VDR_NATIVE_PATH=file`: copies that file.
    * `VDR_BUILD=1`, or `VDR_WITHOUT=lua,tls` for a library without one of them: builds from source
      (`Vdr.Mix.Cargo`).
    * The package holds the checksum of a prebuilt library for this system, and a base URL is
      configured: downloads and verifies that library (`Vdr.Mix.Prebuilt`).
    * Otherwise: builds from source.

  The stamp beside the library holds a digest of what the library was made from and a digest of the
  library itself. A library that fits its stamp is left alone. Two builds at once do not hurt each
  other: cargo locks its own directory, files appear by rename from names that no other build uses,
  and a stamp that does not belong to the library beside it counts as none.
  """

  use Mix.Task.Compiler

  alias Vdr.Mix.{Cargo, Prebuilt}

  @recursive true

  @root Path.expand("..", __DIR__)
  # `:erlang.load_nif/2` looks for `.so` on macOS too.
  @library Path.join(@root, "priv/native/libvdr_nif.so")
  @stamp Path.join(@root, "priv/native/libvdr_nif.digest")

  @doc false
  def start do
    stop(Process.get(__MODULE__))
    source = source()
    # The digest is of what cargo reads now. What changes while it builds is built the next time.
    inputs = digest(inputs(source))
    Process.put(__MODULE__, if(stands?(inputs), do: :stands, else: {started(source), inputs}))
  end

  @impl Mix.Task.Compiler
  def run(_args) do
    Process.get(__MODULE__) || start()

    case Process.delete(__MODULE__) do
      :stands ->
        # All environments share the library; the link to it in the build directory is not shared.
        Mix.Project.build_structure()
        {:noop, []}

      {source, inputs} ->
        place(library(source), inputs)
    end
  end

  defp started(:cargo), do: {:build, Cargo.start(@root)}
  defp started(source), do: source

  # A build is left where Elixir's compiler failed.
  defp stop({{:build, build}, _inputs}), do: Cargo.stop(build)
  defp stop(_none), do: :ok

  defp place(library, inputs) do
    File.mkdir_p!(Path.dirname(@library))
    write(@library, library)
    write(@stamp, [inputs, ?\n, digest(library), ?\n])
    Mix.Project.build_structure()
    {:ok, []}
  end

  @impl Mix.Task.Compiler
  def manifests, do: [@stamp]

  @impl Mix.Task.Compiler
  def clean do
    File.rm(@library)
    File.rm(@stamp)
    :ok
  end

  defp source do
    given = System.get_env("VDR_NATIVE_PATH", "")

    cond do
      given != "" -> {:given, Path.expand(given)}
      System.get_env("VDR_BUILD", "") not in ["", "0", "false"] or Cargo.partial?() -> :cargo
      prebuilt = Prebuilt.find(@root) -> {:prebuilt, prebuilt}
      true -> :cargo
    end
  end

  defp inputs({:given, path}) do
    case File.read(path) do
      {:ok, bytes} -> bytes
      {:error, reason} -> Mix.raise("VDR_NATIVE_PATH names #{path}: #{:file.format_error(reason)}")
    end
  end

  defp inputs({:prebuilt, prebuilt}), do: inspect(prebuilt)
  defp inputs(:cargo), do: Cargo.inputs(@root)

  defp library({:given, path}), do: File.read!(path)
  defp library({:prebuilt, prebuilt}), do: Prebuilt.download(prebuilt)
  defp library({:build, build}), do: build |> Cargo.await(@root) |> File.read!()

  defp stands?(inputs) do
    with {:ok, stamp} <- File.read(@stamp),
         [^inputs, library] <- String.split(stamp),
         {:ok, bytes} <- File.read(@library) do
      digest(bytes) == library
    else
      _ -> false
    end
  end

  defp digest(data), do: data |> :erlang.md5() |> Base.encode16(case: :lower)

  # By rename: a VM that has the old library mapped must not see its bytes change.
  defp write(path, bytes) do
    new = "#{path}.#{System.pid()}-#{System.unique_integer([:positive])}"
    File.write!(new, bytes)
    File.chmod!(new, 0o755)
    File.rename!(new, path)
  end
end
