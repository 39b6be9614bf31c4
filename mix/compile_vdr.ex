defmodule Mix.Tasks.Compile.Vdr do
  @moduledoc """
  Builds the native library with `cargo build --release` and puts it into `priv/native`.

  `mix.exs` requires this file, so that the compiler is there before anything of the project is compiled: here, and in
  an application that depends on it.

  Cargo is asked only when something that goes into the library has changed, which a digest of the sources beside the
  library tells. `CARGO_TARGET_DIR` and `CARGO_BUILD_TARGET` are respected.
  """

  use Mix.Task.Compiler

  @recursive true

  @root Path.expand("..", __DIR__)
  @sources ~w(Cargo.toml Cargo.lock rust-toolchain.toml .cargo/config.toml) ++
             ~w(native/*/Cargo.toml native/*/build.rs native/*/src/**/*.{rs,luau})
  # `:erlang.load_nif/2` looks for `.so` on macOS too.
  @library Path.join(@root, "priv/native/libvdr_nif.so")
  @stamp Path.join(@root, "priv/native/libvdr_nif.digest")

  @impl Mix.Task.Compiler
  def run(_args) do
    digest = digest()

    if File.exists?(@library) and File.read(@stamp) == {:ok, digest} do
      # The library is common to all environments; the way to it is not.
      Mix.Project.build_structure()
      {:noop, []}
    else
      build()
      install()
      File.write!(@stamp, digest)
      Mix.Project.build_structure()
      {:ok, []}
    end
  end

  @impl Mix.Task.Compiler
  def manifests, do: [@stamp]

  @impl Mix.Task.Compiler
  def clean do
    File.rm(@library)
    File.rm(@stamp)
    :ok
  end

  defp digest do
    @sources
    |> Enum.flat_map(&Path.wildcard(Path.join(@root, &1), match_dot: true))
    |> Enum.reject(&String.starts_with?(&1, Path.join(@root, "native/fuzz/")))
    |> Enum.map(&[Path.relative_to(&1, @root), File.read!(&1)])
    |> List.insert_at(0, inspect(environment()))
    |> :erlang.md5()
    |> Base.encode16(case: :lower)
  end

  # What leads to another library from the same sources.
  defp environment, do: Enum.map(~w(CARGO_BUILD_TARGET RUSTFLAGS), &System.get_env/1)

  defp build do
    cargo = cargo() || Mix.raise(missing("cargo, which builds its native library,", cargo_advice()))

    compiler?("CC", ~w(cc)) ||
      Mix.raise(missing("a C compiler (cc), which links its native library,", compiler_advice()))

    compiler?("CXX", ~w(c++)) ||
      Mix.raise(missing("a C++ compiler (c++), which builds the Lua engine of its native library,", compiler_advice()))

    System.find_executable("make") ||
      Mix.raise(missing("make, which builds the memory allocator of its native library,", compiler_advice()))

    Mix.shell().info("Building the native library (cargo build --release; the first time takes a few minutes)")

    case System.cmd(cargo, ~w(build --release -p vdr_nif),
           cd: @root,
           into: IO.stream(:stdio, :line),
           stderr_to_stdout: true
         ) do
      {_output, 0} -> :ok
      {_output, status} -> Mix.raise("cargo build of Veidrodelis ended with status #{status}; its output is above")
    end
  end

  defp cargo do
    # Where rustup puts it, for shells that were opened before.
    System.find_executable("cargo") || System.find_executable(Path.expand("~/.cargo/bin/cargo"))
  end

  # A compiler in the environment may come with options.
  defp compiler?(variable, names) do
    named = variable |> System.get_env("") |> String.split() |> Enum.take(1)
    Enum.any?(named ++ names, &System.find_executable/1)
  end

  defp missing(what, advice), do: "Veidrodelis needs #{what} and did not find it.\n\n#{advice}\n"

  defp cargo_advice do
    """
    Install Rust 1.91 or newer, say with rustup:

        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh

    and see that ~/.cargo/bin is in PATH.\
    """
  end

  defp compiler_advice do
    """
    Debian, Ubuntu:   apt install build-essential
    Fedora, RHEL:     dnf install gcc gcc-c++
    Alpine:           apk add build-base
    macOS:            xcode-select --install\
    """
  end

  # By rename: a VM that has the old library mapped must not see its bytes change.
  defp install do
    File.mkdir_p!(Path.dirname(@library))
    File.cp!(built(), @library <> ".new")
    File.rename!(@library <> ".new", @library)
  end

  defp built do
    target = Path.expand(System.get_env("CARGO_TARGET_DIR") || "target", @root)
    release = Path.join([target, System.get_env("CARGO_BUILD_TARGET") || "", "release"])

    ~w(libvdr_nif.so libvdr_nif.dylib)
    |> Enum.map(&Path.join(release, &1))
    |> Enum.find(&File.exists?/1) || Mix.raise("cargo built no vdr_nif library in #{release}")
  end
end
