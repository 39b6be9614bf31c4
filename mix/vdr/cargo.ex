defmodule Vdr.Mix.Cargo do
  @moduledoc """
  Builds the native library from source with `cargo build`.

  Cargo is asked only when an input of the library has changed. Its own variables and configuration
  are respected: cargo says where it put the library. `VDR_WITHOUT=lua,tls` leaves these out of the
  library. `VDR_NATIVE_DEBUG=1` keeps line tables and symbols in it; `VDR_PROFILE=quick` chooses the
  quick profile of `Cargo.toml`, for work on the project.
  """

  @sources ~w(Cargo.toml Cargo.lock rust-toolchain.toml .cargo/config.toml) ++
             ~w(native/*/Cargo.toml native/*/build.rs native/*/src/**/*.{rs,luau,cpp})
  # What `VDR_WITHOUT` may name: the features of vdr_nif.
  @features ~w(lua tls)
  # Each leads to another library from the same sources.
  @variables ~w(CARGO_BUILD_TARGET JEMALLOC_SYS_WITH_LG_PAGE RUSTFLAGS VDR_NATIVE_DEBUG VDR_PROFILE VDR_WITHOUT)

  @line_max 1_048_576

  @doc "Everything that decides what library comes out, by paths relative to the project."
  def inputs(root) do
    # The path of the project is no pattern, whatever characters it has.
    files =
      @sources
      |> Enum.flat_map(&:filelib.wildcard(String.to_charlist(&1), String.to_charlist(root)))
      |> Enum.map(&to_string/1)
      # Editors leave files with a dot beside the sources.
      |> Enum.reject(&(String.starts_with?(&1, "native/fuzz/") or String.starts_with?(Path.basename(&1), ".")))
      |> Enum.map(&[&1, File.read!(Path.join(root, &1))])

    [inspect(Enum.map(@variables, &System.get_env/1)) | files]
  end

  @doc "Starts a build. Raises when something is missing that it needs."
  def start(root) do
    refuse_system()
    cargo = cargo()
    features = features()
    need_compilers(features)
    need_plain_path(root)
    profile = profile()

    Mix.shell().info(
      "Building the native library (cargo build --profile #{profile}; the first time takes a few minutes)"
    )

    arguments =
      ~w(build --locked --profile #{profile} -p vdr_nif --message-format json-render-diagnostics) ++ arguments(features)

    caller = self()

    # It sends nothing until it is asked: Elixir's compiler runs in the caller's process, and a
    # message that it does not know, such as a task's, would end it.
    spawn(fn ->
      monitor = Process.monitor(caller)
      built = build(cargo, arguments, root, monitor)

      receive do
        {:await, from, ref} -> send(from, {ref, built})
        {:DOWN, ^monitor, :process, ^caller, _reason} -> :ok
      end
    end)
  end

  # The library is read at once, since another build may put one of its own in the same place.
  defp build(cargo, arguments, root, monitor) do
    options = [:binary, :exit_status, :stderr_to_stdout, line: @line_max, args: arguments, cd: root, env: debug()]

    with {:ok, path} <- {:spawn_executable, cargo} |> Port.open(options) |> follow(monitor, :none),
         {:error, reason} <- File.read(path),
         do: {:error, "made a library that cannot be read: #{:file.format_error(reason)}"}
  end

  # Cargo writes a line of JSON for each thing that it has built. All other lines are for people.
  defp follow(port, monitor, artifact) do
    receive do
      {^port, {:data, {_end, ~s({"reason":) <> _ = line}}} -> follow(port, monitor, artifact(line, artifact))
      {^port, {:data, {_end, line}}} -> show(line) && follow(port, monitor, artifact)
      {^port, {:exit_status, 0}} when artifact != :none -> {:ok, artifact}
      {^port, {:exit_status, 0}} -> {:error, "made no shared library: do RUSTFLAGS or a configuration forbid it?"}
      {^port, {:exit_status, status}} -> {:error, "ended with status #{status}; its output is above"}
      # Cargo ends when it next writes.
      {:DOWN, ^monitor, :process, _caller, _reason} -> exit(:normal)
    end
  end

  # Compilers may write in another encoding.
  defp show(line), do: IO.puts(if String.valid?(line), do: line, else: :unicode.characters_to_binary(line, :latin1))

  defp artifact(line, before) do
    with true <- line =~ ~s("kind":["cdylib"]),
         [_, paths] <- Regex.run(~r/"filenames":\[((?:"(?:[^"\\]|\\.)*",?)*)\]/, line),
         [path] <- Regex.run(~r/(?<=")(?:[^"\\]|\\.)*\.(?:so|dylib)(?=")/, paths) do
      String.replace(path, ~r/\\(.)/, "\\1")
    else
      _ -> before
    end
  end

  @doc "Gives a build up. Cargo ends when it next writes."
  def stop(build), do: Process.exit(build, :kill)

  @doc "Waits for the build, and answers the library."
  def await(build) do
    ref = Process.monitor(build)
    send(build, {:await, self(), ref})

    receive do
      {^ref, built} ->
        Process.demonitor(ref, [:flush])
        with {:error, what} <- built, do: Mix.raise("cargo build of Veidrodelis #{what}")
        elem(built, 1)

      {:DOWN, ^ref, :process, ^build, reason} ->
        Mix.raise("cargo build of Veidrodelis ended with #{inspect(reason)}")
    end
  end

  @doc "Whether the environment asks for what no prebuilt library has."
  def chosen?, do: features() != @features or profile() != "release" or debug() != []

  defp arguments(@features), do: []
  defp arguments(features), do: ["--no-default-features", "--features", Enum.join(features, ",")]

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
          {key, value} <- [{"DEBUG", ~c"line-tables-only"}, {"STRIP", ~c"none"}],
          do: {~c"CARGO_PROFILE_#{profile}_#{key}", value}
        )
  end

  defp cargo do
    # Where rustup puts it, for shells that were opened before.
    System.find_executable("cargo") || System.find_executable(Path.expand("~/.cargo/bin/cargo")) ||
      Mix.raise(missing("cargo, which builds its native library,", cargo_advice()))
  end

  defp refuse_system do
    if match?({:win32, _}, :os.type()),
      do: Mix.raise("Veidrodelis runs on Linux and macOS. On Windows use the Windows Subsystem for Linux.")
  end

  # The allocator's `configure` takes no path with a space in it.
  defp need_plain_path(root) do
    named = Enum.find_value(~w(CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR), &System.get_env/1)
    target = Path.expand(named || "target", root)

    if target =~ ~r/\s/ do
      Mix.raise("""
      the native library of Veidrodelis cannot be built in #{target}, because that path has a space in it.

      Set CARGO_TARGET_DIR to a directory without one, for example CARGO_TARGET_DIR=/tmp/veidrodelis.
      """)
    end
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

    and see that ~/.cargo/bin is in PATH. Debian 12 and newer have it as the package cargo-web.

    Or take a library that is built: VDR_NATIVE_PATH names a file, VDR_PREBUILT_URL a place for downloads.\
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
end
