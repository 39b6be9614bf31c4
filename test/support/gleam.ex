defmodule Vdr.Test.Gleam do
  @moduledoc """
  The compiler of Gleam for the sources in `gleam/`: the WebAssembly of an npm package, run by Node,
  as `gleam/check/README.md` describes.
  """

  @root Path.expand("../../gleam", __DIR__)
  @check Path.join(@root, "check")

  @doc """
  Whether there is a compiler. Installs it if npm is there, by the lock file and once for each
  version of it. If it is not to be had, this prints why; on a machine of CI, where it must be, it
  raises.
  """
  def ready? do
    case install() do
      :ok ->
        true

      {:error, reason} ->
        if System.get_env("CI"), do: raise("no compiler of Gleam: #{reason}")
        IO.puts("the sources in gleam/ are not compiled and not tested: #{reason}")
        false
    end
  end

  defp install do
    cond do
      missing = Enum.find(["npm", "node"], &(System.find_executable(&1) == nil)) ->
        {:error, "#{missing} is not on PATH"}

      installed?() ->
        :ok

      true ->
        install_by_npm()
    end
  end

  # npm writes what it has installed beside it.
  defp installed? do
    with {:ok, lock} <- File.read(Path.join(@check, "package-lock.json")),
         {:ok, installed} <- File.read(Path.join(@check, "node_modules/.package-lock.json")),
         do: integrity(lock) == integrity(installed),
         else: (_none -> false)
  end

  defp integrity(lock), do: Regex.run(~r/"integrity": "[^"]+"/, lock)

  defp install_by_npm do
    case System.cmd("npm", ["ci"], cd: @check, stderr_to_stdout: true) do
      {_output, 0} -> :ok
      {output, _status} -> {:error, "npm ci in gleam/check failed: #{String.trim(output)}"}
    end
  end

  @doc "The sources, their stand-ins and their tests, as `{path, text}`."
  def sources do
    for folder <- ["src", "check/stand-ins", "test"],
        path <- Path.wildcard(Path.join([@root, folder, "**/*.gleam"])),
        do: {Path.relative_to(path, Path.join(@root, folder)), File.read!(path)}
  end

  @doc "The blocks of a Markdown file or of a module's comments that are whole programs."
  def programs(path) do
    text = path |> File.read!() |> String.replace(~r{^////? ?}m, "")
    for [_, block] <- Regex.scan(~r/^```gleam\n(.*?)^```$/ms, text), block =~ "pub fn main()", do: block
  end

  @doc """
  Compiles sources to modules of the BEAM in a directory, and loads nothing: `{:ok, directory of the
  modules}`, or `{:error, message of a compiler}`.
  """
  def compile(sources, directory) do
    {from, erlang, ebin} = {Path.join(directory, "src"), Path.join(directory, "erl"), Path.join(directory, "ebin")}

    for {path, text} <- sources do
      path = Path.join(from, path)
      File.mkdir_p!(Path.dirname(path))
      File.write!(path, text)
    end

    File.mkdir_p!(ebin)

    with {_output, 0} <- run("node", [Path.join(@check, "compile.mjs"), from, erlang]),
         {_output, 0} <- run("erlc", ["-o", ebin | Path.wildcard(Path.join(erlang, "*.erl"))]) do
      {:ok, ebin}
    else
      {message, _status} -> {:error, message}
    end
  end

  defp run(command, args), do: System.cmd(command, args, stderr_to_stdout: true)

  @doc "Loads the modules of a directory, or those of these names, and returns their names."
  def load!(ebin, names \\ :all) do
    for path <- Path.wildcard(Path.join(ebin, "*.beam")),
        name = path |> Path.basename(".beam") |> String.to_atom(),
        names == :all or name in names do
      {:module, ^name} = path |> Path.rootname() |> String.to_charlist() |> :code.load_abs()
      name
    end
  end
end
