defmodule Vdr.Bench.Install do
  @moduledoc false
  # What installing takes: the time from the unpacked package to compiled code, from source and with
  # a prebuilt library; the sizes of both; the memory of a mirror without data. INSTALL_PEER names a
  # checkout of another package with a native library in Rust, which then stands beside.
  alias Vdr.Bench.Measure
  alias Vdr.Mix.Prebuilt
  alias Vdr.Paint
  alias Vdr.Test.{FileServer, Package, Resources, Server, Vm}

  @aim_s 120
  @settle_ms 5_000
  @mb 1_000_000

  def run do
    Paint.title("Installing")
    directory = Path.join(System.tmp_dir!(), "vdr-install-#{System.pid()}")
    package = Path.join(directory, "package")
    File.mkdir_p!(package)

    try do
      tarball = Package.pack!(Path.join(directory, "package.tar.gz"))
      Package.unpack!(Path.join(directory, "package.tar.gz"), package)
      times(directory, package) ++ sizes(package, tarball) ++ memory()
    after
      File.rm_rf!(directory)
    end
  end

  # ---- time

  defp times(directory, package) do
    target = Path.join(directory, "target")
    source = compile(package, [{"VDR_BUILD", "1"}, {"CARGO_TARGET_DIR", target}])
    prebuilt = prebuilt(directory, package)
    File.rm_rf!(target)
    beside = beside(directory, package, source.cargo, System.get_env("INSTALL_PEER", ""))

    [
      Measure.figure(
        "install: from source, against two minutes",
        source.wall,
        @aim_s,
        "s",
        source.wall / @aim_s,
        1.0,
        "#{round(source.wall)} s on #{System.schedulers_online()} schedulers"
      ),
      Measure.figure(
        "install: CPU of a build from source, against its wall time",
        source.cpu,
        source.wall,
        "s",
        source.cpu / source.wall,
        nil,
        "#{round(source.cpu)} s of CPU in #{round(source.wall)} s"
      ),
      Measure.figure(
        "install: with a prebuilt library, against from source",
        prebuilt.wall,
        source.wall,
        "s",
        prebuilt.wall / source.wall,
        nil,
        "#{Float.round(prebuilt.wall, 1)} s, from source #{round(source.wall)} s"
      )
      | beside
    ]
  end

  defp beside(_directory, _package, _cargo, "") do
    IO.puts("INSTALL_PEER names no other package, so no other one stands beside")
    []
  end

  # The other package's Elixir part needs Hex, so only cargo is compared, each with its own
  # settings.
  defp beside(directory, package, cargo, peer) do
    [crate] = Path.wildcard(Path.join(peer, "native/*/Cargo.toml"))
    [name, crate] = [Path.basename(peer), Path.dirname(crate)]
    target = Path.join(directory, "peer")
    build = "cargo fetch --locked && TIMEFORMAT='%R %U %S' && time cargo build --release --locked 2>#{target}.log"
    options = [cd: crate, env: [{"CARGO_TARGET_DIR", target}], stderr_to_stdout: true]
    {text, 0} = System.cmd("bash", ["-c", build], options)
    theirs = text |> String.split("\n", trim: true) |> List.last() |> time()
    [library | _] = Path.wildcard(Path.join(target, "release/lib*.so"))
    [ours_mb, theirs_mb] = for path <- [library(package), library], do: File.stat!(path).size / @mb

    for {what, ours, theirs, unit} <- [
          {"cargo", cargo.wall, theirs.wall, "s"},
          {"CPU of cargo", cargo.cpu, theirs.cpu, "s"},
          {"the library", ours_mb, theirs_mb, "MB"}
        ] do
      text = "#{Float.round(ours, 1)} #{unit}, #{name} #{Float.round(theirs, 1)} #{unit}"
      Measure.figure("install: #{what}, against #{name}", ours, theirs, unit, ours / theirs, nil, text)
    end
  end

  # `mix compile` from nothing, in a process of its own. The VM does not count what its ports take,
  # so cargo runs under a command of its name that writes down its times.
  defp compile(package, environment) do
    beside = Path.join(Path.dirname(package), "cargo")
    File.mkdir_p!(beside)
    File.rm(Path.join(beside, "times"))
    File.write!(Path.join(beside, "cargo"), timed_cargo(Path.join(beside, "times")))
    File.chmod!(Path.join(beside, "cargo"), 0o755)

    environment =
      [{"MIX_ENV", "prod"}, {"VDR_NATIVE_PATH", nil}, {"VDR_PROFILE", nil}] ++
        [{"PATH", "#{beside}:#{System.fetch_env!("PATH")}"} | environment]

    File.rm_rf!(Path.join(package, "_build"))
    command = "TIMEFORMAT='%R %U %S'; time mix compile >compile.log 2>&1"

    case System.cmd("bash", ["-c", command], cd: package, env: environment, stderr_to_stdout: true) do
      {text, 0} ->
        mix = time(text)

        with {:ok, text} <- File.read(Path.join(beside, "times")),
             cargo = time(text),
             do: %{wall: mix.wall, cpu: mix.cpu + cargo.cpu, cargo: cargo},
             else: (_no_cargo -> mix)

      {_text, status} ->
        raise "mix compile ended with #{status}:\n#{File.read!(Path.join(package, "compile.log"))}"
    end
  end

  defp timed_cargo(file) do
    """
    #!/bin/bash
    TIMEFORMAT='%R %U %S'
    exec 3>&2
    { time #{System.find_executable("cargo")} "$@" 2>&3; } 2>#{file}
    """
  end

  defp time(text) do
    [wall, user, system] = text |> String.split() |> Enum.map(&String.to_float/1)
    %{wall: wall, cpu: user + system}
  end

  # The library of the build before, served from this machine.
  defp prebuilt(directory, package) do
    {:ok, target} = Prebuilt.target()
    name = Prebuilt.name(Mix.Project.config()[:version], target)
    packed = :zlib.gzip(File.read!(library(package)))
    served = Path.join(directory, "served")
    File.mkdir_p!(served)
    File.write!(Path.join(served, name), packed)
    sum = Base.encode16(:crypto.hash(:sha256, packed), case: :lower)
    File.write!(Path.join(package, "checksum-vdr_nif.exs"), inspect(%{name => sum}))
    {url, stop} = FileServer.start!(served)

    try do
      compile(package, [{"VDR_BUILD", nil}, {"VDR_PREBUILT_URL", url}])
    after
      stop.()
    end
  end

  defp library(package), do: Path.join(package, "_build/prod/lib/veidrodelis/priv/native/libvdr_nif.so")

  # ---- size

  defp sizes(package, tarball) do
    library = File.read!(library(package))
    [bytes, packed] = [byte_size(library), byte_size(:zlib.gzip(library))]

    [
      Measure.figure(
        "install: the library packed, against unpacked",
        packed / @mb,
        bytes / @mb,
        "MB",
        packed / bytes,
        nil,
        "#{mb(bytes)}, packed #{mb(packed)}"
      ),
      Measure.figure(
        "install: the package, against the packed library",
        tarball / @mb,
        packed / @mb,
        "MB",
        tarball / packed,
        nil,
        mb(tarball)
      )
    ]
  end

  # ---- memory

  defp memory do
    {:ok, server} = Server.start_link()
    {over, bare} = Measure.medians(for _ <- 1..3, do: empty_mirror(server))
    GenServer.stop(server)

    [
      Measure.figure(
        "install: a VM with an empty mirror, against the bare VM",
        (bare + over) / @mb,
        bare / @mb,
        "MB",
        (bare + over) / bare,
        nil,
        "#{mb(over)} over the bare VM's #{mb(bare)}"
      )
    ]
  end

  # The bare VM has Elixir and its logger, but not this library.
  defp empty_mirror(server) do
    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])
    {:ok, peer, _node} = :peer.start_link(%{connection: :standard_io, args: paths, wait_boot: 60_000})
    vm = %Vm{peer: peer}
    {:ok, _started} = Vm.call(vm, :application, :ensure_all_started, [:logger])
    :ok = Vm.call(vm, Logger, :configure, [[level: :error]])
    vm = %{vm | pid: Vm.call(vm, :os, :getpid, [])}
    bare = settled(vm)
    {:ok, _started} = Vm.call(vm, :application, :ensure_all_started, [:veidrodelis])
    Vm.start_mirror(vm, 1, server)
    over = settled(vm) - bare
    Vm.stop(vm)
    {over, bare}
  end

  defp settled(vm) do
    Process.sleep(@settle_ms)
    Resources.resident(vm.pid)
  end

  defp mb(bytes), do: "#{Float.round(bytes / @mb, 1)} MB"
end
