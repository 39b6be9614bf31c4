defmodule Vdr.NativeLibraryTest do
  # Each case is a VM of its own, with a library of its own: what is loaded once stays.
  use ExUnit.Case, async: true

  @moduletag timeout: 120_000
  @moduletag :tmp_dir

  @library Application.app_dir(:veidrodelis, "priv/native/libvdr_nif.so")
  @beams Application.app_dir(:veidrodelis, "ebin")

  # An application directory of its own, with this library or with none.
  defp application(directory, library) do
    application = Path.join(directory, "veidrodelis")
    native = Path.join(application, "priv/native")
    File.mkdir_p!(native)
    File.ln_s!(@beams, Path.join(application, "ebin"))
    library.(Path.join(native, "libvdr_nif.so"))
    directory
  end

  defp run(directory, code, environment \\ []) do
    environment = [{"ERL_LIBS", directory}, {"MIX_ENV", nil}] ++ environment
    System.cmd("elixir", ["-e", code], env: environment, stderr_to_stdout: true)
  end

  @check "{:error, sentence} = Vdr.NativeLibrary.check(); IO.puts(sentence)"

  defp refusal(directory, library) do
    {output, 0} = directory |> application(library) |> run(@check)
    assert output =~ "the native library of Veidrodelis was not loaded: "
    assert output =~ "NIF version 2."
    assert output =~ "VDR_BUILD=1"
    output
  end

  test "a library that is missing is named, with what to do", %{tmp_dir: directory} do
    assert refusal(directory, fn _path -> :ok end) =~ "libvdr_nif.so cannot be read (no such file or directory)."
  end

  test "so is what is no library", %{tmp_dir: directory} do
    assert refusal(directory, &File.write!(&1, String.duplicate("garbage", 10))) =~ "libvdr_nif.so is no library."
  end

  test "so is one that was cut off", %{tmp_dir: directory} do
    assert refusal(directory, &File.write!(&1, "")) =~ "it is empty or cut off."
  end

  test "so is one for another machine", %{tmp_dir: directory} do
    other = fn path ->
      <<head::binary-size(18), _machine::16, rest::binary>> = File.read!(@library)
      File.write!(path, [head, <<0xF3, 0>>, rest])
    end

    assert refusal(directory, other) =~ "libvdr_nif.so is for riscv64 with ELF."
  end

  test "a library of another version of Veidrodelis is named with both versions", %{tmp_dir: directory} do
    version = Mix.Project.config()[:version]
    other = String.replace(version, ~r/^\d/, "9")

    {:ok, %{size: size}} = File.stat(@library)

    change = fn path ->
      changed = @library |> File.read!() |> :binary.replace(version, other, [:global])
      assert byte_size(changed) == size
      File.write!(path, changed)
    end

    {output, 0} = directory |> application(change) |> run(@check)
    assert output =~ "is of version #{other}, and the application of version #{version}: "
    assert output =~ "mix deps.compile veidrodelis --force"
  end

  test "a refused library ends no VM, and its functions say that it is not loaded", %{tmp_dir: directory} do
    code = "try do Vdr.Native.commands() rescue error -> IO.inspect(error) end"
    {output, 0} = directory |> application(fn _path -> :ok end) |> run(code)
    assert output =~ "native_library_not_loaded"
  end

  test "the library stays mapped when its module is purged, and serves the next load", %{tmp_dir: directory} do
    code = """
    mapped = fn -> File.read!("/proc/self/maps") =~ "libvdr_nif" end
    :ok = Vdr.NativeLibrary.check()
    commands = Vdr.Native.commands()
    true = mapped.()
    {:ok, snapshot} = Vdr.Snapshot.from_commands([["SET", "key", "value"]])
    {:ok, "value"} = Veidrodelis.get(snapshot, 0, "key")
    spawn(fn -> Veidrodelis.get(snapshot, 0, "key") end)
    Process.sleep(50)
    :code.delete(Vdr.Native)
    :code.purge(Vdr.Native)
    :erlang.garbage_collect()
    Process.sleep(500)
    if match?({:unix, :linux}, :os.type()), do: true = mapped.()
    :ok = Vdr.NativeLibrary.check()
    ^commands = Vdr.Native.commands()
    IO.puts("alive")
    """

    {output, status} = directory |> application(&File.ln_s!(@library, &1)) |> run(code)
    assert {"alive\n", 0} == {output, status}
  end

  test "huge pages are off when the environment says so", %{tmp_dir: directory} do
    directory = application(directory, &File.ln_s!(@library, &1))

    # Newer VMs ask for huge pages for themselves, too.
    code = """
    count = fn ->
      "/proc/self/smaps" |> File.read!() |> String.split("\\n") |> Enum.count(&(&1 =~ ~r/^VmFlags:.* hg/))
    end

    own = count.()
    :ok = Vdr.NativeLibrary.check()
    # More than a huge page, so that the allocator has something to ask for.
    {:ok, snapshot} = Vdr.Snapshot.from_commands(for n <- 1..50_000, do: ["SET", "key:\#{n}", "value"])
    IO.inspect(count.() - own)
    {:ok, "value"} = Veidrodelis.get(snapshot, 0, "key:1")
    """

    advised = fn environment ->
      {output, 0} = run(directory, code, environment)
      String.to_integer(String.trim(output))
    end

    if match?({:unix, :linux}, :os.type()) do
      assert advised.([{"_RJEM_MALLOC_CONF", "thp:never"}]) == 0
      assert advised.([]) > 0
    end
  end

  test "a VM that halts amid scripts and snapshots ends in order", %{tmp_dir: directory} do
    directory = application(directory, &File.ln_s!(@library, &1))

    code = """
    {:ok, snapshot} = Vdr.Snapshot.from_commands(for n <- 1..20_000, do: ["SET", "key:\#{n}", "value"])
    script = "local n = 0 for i = 1, 1e7 do n = n + #tostring(i) end return n"
    for _ <- 1..4, do: spawn(fn -> Veidrodelis.read_tx(snapshot, 0, script, []) end)
    Process.sleep(200)
    System.halt(0)
    """

    for _ <- 1..3, do: assert({"", 0} == run(directory, code))
  end
end
