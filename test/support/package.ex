defmodule Vdr.Test.Package do
  @moduledoc false
  # What a package of Hex would hold, made without Hex: the files that mix.exs names.

  @root Path.expand("../..", __DIR__)

  # Relative paths, in order. As Hex does it, a directory stands for everything in it, and a pattern
  # may match nothing.
  def files do
    Mix.Project.config()[:package][:files]
    |> Enum.flat_map(&Path.wildcard(Path.join(@root, &1), match_dot: true))
    |> Enum.flat_map(&within/1)
    |> Enum.map(&Path.relative_to(&1, @root))
    |> Enum.uniq()
    |> Enum.sort()
  end

  defp within(path) do
    if File.dir?(path),
      do: path |> Path.join("**") |> Path.wildcard(match_dot: true) |> Enum.reject(&File.dir?/1),
      else: [path]
  end

  # A tarball, and how many bytes it has.
  def pack!(tarball) do
    names = for file <- files(), do: {String.to_charlist(file), String.to_charlist(Path.join(@root, file))}
    :ok = :erl_tar.create(String.to_charlist(tarball), names, [:compressed])
    File.stat!(tarball).size
  end

  def unpack!(tarball, directory) do
    :ok = :erl_tar.extract(String.to_charlist(tarball), [:compressed, cwd: String.to_charlist(directory)])
  end
end
