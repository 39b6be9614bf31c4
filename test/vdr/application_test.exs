defmodule Vdr.ApplicationTest do
  use ExUnit.Case, async: true

  test "an application whose native library is missing or foreign refuses to start, and says so" do
    dir = Path.join(System.tmp_dir!(), "vdr-application-#{System.pid()}-#{System.unique_integer([:positive])}")
    on_exit(fn -> File.rm_rf!(dir) end)
    root = Path.join(dir, "veidrodelis")
    File.mkdir_p!(root)
    File.cp_r!(Application.app_dir(:veidrodelis, "ebin"), Path.join(root, "ebin"))

    for prepare <- [fn -> :ok end, fn -> put_library(root, "no library") end] do
      prepare.()
      {output, 0} = start(Path.join(root, "ebin"))
      assert output =~ ~r/{:error,\s+{:veidrodelis,/
      assert output =~ "the native library of Veidrodelis was not loaded"
      assert output =~ "mix deps.compile veidrodelis --force"
    end
  end

  defp put_library(root, bytes) do
    path = Path.join(root, "priv/native/libvdr_nif.so")
    File.mkdir_p!(Path.dirname(path))
    File.write!(path, bytes)
  end

  # A VM of its own, because this VM has loaded the library.
  defp start(ebin) do
    code = "IO.inspect(Application.ensure_all_started(:veidrodelis), limit: :infinity, printable_limit: :infinity)"
    System.cmd("elixir", ["-pa", ebin, "-e", code], stderr_to_stdout: true, cd: Path.dirname(ebin))
  end
end
