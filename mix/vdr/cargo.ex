defmodule Vdr.Mix.Cargo do
  @moduledoc """
  Builds the native library from source with `cargo build`.

  Cargo is asked only when an input of the library has changed. `CARGO_TARGET_DIR` and
  `CARGO_BUILD_TARGET` are respected. `VDR_WITHOUT=lua,tls` leaves these out of the library.
  `VDR_NATIVE_DEBUG=1` keeps line tables and symbols in it; `VDR_PROFILE=quick` chooses the quick
  profile of `Cargo.toml`, for work on the project.
  """

  @sources ~w(Cargo.toml Cargo.lock rust-toolchain.toml .cargo/config.toml) ++
             ~w(native/*/Cargo.toml native/*/build.rs native/*/src/**/*.{rs,luau,cpp})
  # What `VDR_WITHOUT` may name: the features of vdr_nif.
  @features ~w(lua tls)
  # Each leads to another library from the same sources.
  @variables ~w(CARGO_BUILD_TARGET RUSTFLAGS VDR_NATIVE_DEBUG VDR_PROFILE VDR_WITHOUT)

  @doc "Everything that decides what library comes out, by paths relative to the project."
  def inputs(root) do
    files =
      @sources
      |> Enum.flat_map(&Path.wildcard(Path.join(root, &1), match_dot: true))
      |> Enum.reject(&String.starts_with?(&1, Path.join(root, "native/fuzz/")))
      |> Enum.map(&[Path.relative_to(&1, root), File.read!(&1)])

    [inspect(Enum.map(@variables, &System.get_env/1)) | files]
  end

  @doc "Starts a build. Raises when something is missing that it needs."
  def start(root) do
    cargo = cargo()
    features = features()
    need_compilers(features)
    profile = profile()

    Mix.shell().info(
      "Building the native library (cargo build --profile #{profile}; the first time takes a few minutes)"
    )

    options = [cd: root, env: debug(), into: IO.stream(:stdio, :line), stderr_to_stdout: true]
    arguments = ~w(build --locked --profile #{profile} -p vdr_nif) ++ chosen(features)

    # It sends nothing until it is asked: Elixir's compiler runs in the caller's process, and a
    # message that it does not know, such as a task's, would end it.
    spawn(fn ->
      {_output, status} = System.cmd(cargo, arguments, options)
      receive(do: ({:await, from, ref} -> send(from, {ref, status, profile})))
    end)
  end

  @doc "Gives a build up. Cargo ends when it next writes."
  def stop(build), do: Process.exit(build, :kill)

  @doc "Waits for the build, and answers the path of the library."
  def await(build, root) do
    ref = Process.monitor(build)
    send(build, {:await, self(), ref})

    receive do
      {^ref, status, profile} ->
        Process.demonitor(ref, [:flush])
        status == 0 || Mix.raise("cargo build of Veidrodelis ended with status #{status}; its output is above")
        built(root, profile)

      {:DOWN, ^ref, :process, ^build, reason} ->
        Mix.raise("cargo build of Veidrodelis ended with #{inspect(reason)}")
    end
  end

  @doc "Whether the environment asks for a library that lacks something, which no prebuilt one does."
  def partial?, do: features() != @features

  defp chosen(@features), do: []
  defp chosen(features), do: ["--no-default-features", "--features", Enum.join(features, ",")]

  defp features do
    without = "VDR_WITHOUT" |> System.get_env("") |> String.split([",", " "], trim: true)

    case without -- @features do
      [] -> @features -- without
      [other | _] -> Mix.raise("VDR_WITHOUT names #{other}: what can be left out is #{Enum.join(@features, " and ")}")
    end
  end

  defp profile do
    case System.get_env("VDR_PROFILE", "") do
      "" -> "release"
      profile when profile in ~w(release quick) -> profile
      other -> Mix.raise("VDR_PROFILE is #{other}: it is release or quick")
    end
  end

  defp debug do
    if System.get_env("VDR_NATIVE_DEBUG", "") in ["", "0", "false"],
      do: [],
      else:
        for(
          profile <- ~w(RELEASE QUICK),
          {key, value} <- [{"DEBUG", "line-tables-only"}, {"STRIP", "none"}],
          do: {"CARGO_PROFILE_#{profile}_#{key}", value}
        )
  end

  defp cargo do
    # Where rustup puts it, for shells that were opened before.
    System.find_executable("cargo") || System.find_executable(Path.expand("~/.cargo/bin/cargo")) ||
      Mix.raise(missing("cargo, which builds its native library,", cargo_advice()))
  end

  defp need_compilers(features) do
    compiler?("CC", "cc") ||
      Mix.raise(missing("a C compiler (cc), which links its native library,", compiler_advice()))

    "lua" not in features || compiler?("CXX", "c++") ||
      Mix.raise(missing("a C++ compiler (c++), which builds the Lua engine of its native library,", compiler_advice()))

    System.find_executable("make") ||
      Mix.raise(missing("make, which builds the memory allocator of its native library,", compiler_advice()))
  end

  # A compiler in the environment may come with options.
  defp compiler?(variable, name) do
    named = variable |> System.get_env("") |> String.split() |> Enum.take(1)
    Enum.any?(named ++ [name], &System.find_executable/1)
  end

  defp missing(what, advice), do: "Veidrodelis needs #{what} and did not find it.\n\n#{advice}\n"

  defp cargo_advice do
    """
    Install Rust 1.91 or newer, for example with rustup:

        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh

    and see that ~/.cargo/bin is in PATH.\
    """
  end

  defp compiler_advice do
    """
    Debian, Ubuntu:   apt install build-essential
    Fedora, RHEL:     dnf install gcc gcc-c++ make
    Alpine:           apk add build-base
    macOS:            xcode-select --install\
    """
  end

  defp built(root, profile) do
    target = Path.expand(System.get_env("CARGO_TARGET_DIR") || "target", root)
    directory = Path.join([target, System.get_env("CARGO_BUILD_TARGET") || "", profile])

    ~w(libvdr_nif.so libvdr_nif.dylib)
    |> Enum.map(&Path.join(directory, &1))
    |> Enum.find(&File.exists?/1) || Mix.raise("cargo built no vdr_nif library in #{directory}")
  end
end
