defmodule Vdr.PrebuiltTest do
  # A local HTTP server stands for the place of the releases.
  use ExUnit.Case, async: false

  alias Vdr.Mix.Prebuilt
  alias Vdr.Test.FileServer

  @moduletag :tmp_dir

  @library "\x7FELF, as it were"

  setup %{tmp_dir: directory} do
    served = Path.join(directory, "served")
    File.mkdir_p!(served)
    root = Path.join(directory, "package")
    File.mkdir_p!(root)
    File.write!(Path.join(root, "mix.exs"), ~s(  @version "1.2.3"\n))
    {url, stop} = FileServer.start!(served)
    variables(%{"VDR_PREBUILT_URL" => url, "CARGO_BUILD_TARGET" => nil, "NO_PROXY" => nil, "HTTP_PROXY" => nil})
    on_exit(stop)
    shell = Mix.shell()
    Mix.shell(Mix.Shell.Quiet)
    on_exit(fn -> Mix.shell(shell) end)

    {:ok, target} = Prebuilt.target()
    {:ok, root: root, served: served, url: url, name: Prebuilt.name("1.2.3", target)}
  end

  defp variables(values) do
    before = Map.new(values, fn {name, _} -> {name, System.get_env(name)} end)
    Enum.each(values, &put/1)
    on_exit(fn -> Enum.each(before, &put/1) end)
  end

  defp put({name, nil}), do: System.delete_env(name)
  defp put({name, value}), do: System.put_env(name, value)

  defp sum(bytes), do: Base.encode16(:crypto.hash(:sha256, bytes), case: :lower)

  defp checksums(root, checksums), do: File.write!(Path.join(root, "checksum-vdr_nif.exs"), inspect(checksums))

  # What a package names, and what the server has under that name.
  defp release(context, named, served) do
    checksums(context.root, %{context.name => sum(named)})
    if served, do: File.write!(Path.join(context.served, context.name), served)
    {:ok, prebuilt} = Prebuilt.find(context.root)
    prebuilt
  end

  defp refused(prebuilt) do
    error = assert_raise Mix.Error, fn -> Prebuilt.download(prebuilt) end
    assert error.message =~ "VDR_BUILD=1"
    assert error.message =~ prebuilt.url
    error.message
  end

  test "the library that the package names is downloaded and unpacked", context do
    packed = :zlib.gzip(@library)
    prebuilt = release(context, packed, packed)
    assert prebuilt == %{url: context.url <> "/" <> context.name, checksum: sum(packed)}
    assert Prebuilt.download(prebuilt) == @library
  end

  test "one with another checksum is refused", context do
    assert context |> release(:zlib.gzip(@library), :zlib.gzip("another")) |> refused() =~ "the package expects"
  end

  test "one that is cut off is refused", context do
    packed = :zlib.gzip(@library)
    assert context |> release(packed, binary_part(packed, 0, 10)) |> refused() =~ "the package expects"
  end

  test "garbage is refused", context do
    assert context |> release("garbage", "garbage") |> refused() =~ "it is not packed with gzip"
  end

  test "one that is not there is refused", context do
    assert context |> release("named", nil) |> refused() =~ "the server answers 404"
  end

  test "a server that is not there is named", context do
    prebuilt = %{release(context, "named", nil) | url: "http://127.0.0.1:1/library"}
    assert refused(prebuilt) =~ "127.0.0.1:1 cannot be reached (connection refused)"
  end

  test "a password in the address is shown nowhere", context do
    prebuilt = %{release(context, "named", nil) | url: "http://user:secret@127.0.0.1:1/library"}
    error = assert_raise Mix.Error, fn -> Prebuilt.download(prebuilt) end
    assert error.message =~ "from http://127.0.0.1:1/library"
    refute error.message =~ "secret"
  end

  test "what is no address is named", context do
    prebuilt = release(context, "named", nil)

    for url <- ["example.com/lib", "file:///lib", "https:///lib"],
        do: assert(refused(%{prebuilt | url: url}) =~ "no http")
  end

  test "without a checksum for this system there is nothing to download", context do
    assert {:none, "there is no checksum-vdr_nif.exs" <> _} = Prebuilt.find(context.root)
    checksums(context.root, %{Prebuilt.name("1.2.3", "mips-unknown-none") => "0"})
    assert Prebuilt.find(context.root) == {:none, "checksum-vdr_nif.exs does not name #{context.name}"}
  end

  test "without a base URL there is nothing to download", context do
    release(context, "named", "named")
    System.delete_env("VDR_PREBUILT_URL")
    assert Prebuilt.find(context.root) == :unset
  end

  test "a checksum file is data and no code", context do
    File.write!(Path.join(context.root, "checksum-vdr_nif.exs"), ~s|File.write!("/proc/none", "")|)
    assert_raise Mix.Error, ~r/no map from file names/, fn -> Prebuilt.find(context.root) end
  end

  test "a proxy of the environment is used, but not for what it excepts", context do
    packed = :zlib.gzip(@library)
    prebuilt = release(context, packed, packed)
    put({"HTTP_PROXY", "http://127.0.0.1:1"})
    assert refused(prebuilt) =~ "127.0.0.1:1 cannot be reached"
    # Many leave the scheme out.
    put({"HTTP_PROXY", "127.0.0.1:1"})
    assert refused(prebuilt) =~ "127.0.0.1:1 cannot be reached"

    for direct <- ["127.0.0.1", "example.com, 127.0.0.1", "*"] do
      put({"NO_PROXY", direct})
      assert Prebuilt.download(prebuilt) == @library
    end

    put({"NO_PROXY", ".example.com"})
    put({"HTTP_PROXY", "http://user:secret@127.0.0.1:1"})
    message = refused(prebuilt)
    assert message =~ "HTTP_PROXY names a user"
    refute message =~ "secret"
    # One that is not used does no harm.
    put({"NO_PROXY", "127.0.0.1"})
    assert Prebuilt.download(prebuilt) == @library
  end

  test "on ARM a library is for memory pages of 4 KB" do
    for target <- ~w(aarch64-unknown-linux-gnu aarch64-unknown-linux-musl) do
      assert Prebuilt.pages(target, 4096) == :ok
      assert {:none, "it would be for memory pages of 4 KB, and this system has 64 KB"} = Prebuilt.pages(target, 65_536)
    end

    # Apple's systems are built on themselves.
    assert Prebuilt.pages("aarch64-apple-darwin", 16_384) == :ok
    assert Prebuilt.pages("x86_64-unknown-linux-gnu", 4096) == :ok
  end

  test "systems are named as Rust names them" do
    assert Prebuilt.target("x86_64-pc-linux-gnu") == {:ok, "x86_64-unknown-linux-gnu"}
    assert Prebuilt.target("x86_64-alpine-linux-musl") == {:ok, "x86_64-unknown-linux-musl"}
    assert Prebuilt.target("aarch64-unknown-linux-gnu") == {:ok, "aarch64-unknown-linux-gnu"}
    assert Prebuilt.target("aarch64-apple-darwin23.2.0") == {:ok, "aarch64-apple-darwin"}
    assert Prebuilt.target("powerpc-ibm-aix") == {:none, "there is none for powerpc"}
    put({"CARGO_BUILD_TARGET", "riscv64gc-unknown-linux-gnu"})
    assert Prebuilt.target() == {:ok, "riscv64gc-unknown-linux-gnu"}
  end
end
