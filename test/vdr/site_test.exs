defmodule Vdr.SiteTest do
  # What `mix docs` of ExDoc makes of mix.exs and of the documents, as far as it can be seen without
  # ExDoc.
  use ExUnit.Case, async: true

  @documents ~w(README.md CHANGELOG.md ARCHITECTURE.md CONTRIBUTING.md bench/results/latest.md) ++
               Path.wildcard("docs/*.{md,livemd,cheatmd}")

  defp docs, do: Mix.Project.config()[:docs].()

  test "every document is a page of the site, once, and in one group" do
    extras = docs()[:extras]
    assert Enum.sort(extras) == Enum.sort(@documents)
    assert Enum.sort(Enum.flat_map(docs()[:groups_for_extras], fn {_group, files} -> files end)) == Enum.sort(extras)
  end

  test "every document is in the package" do
    files = Vdr.Test.Package.files()
    # These speak to whoever has a checkout.
    assert [] == (@documents -- files) -- ["CONTRIBUTING.md", "bench/results/latest.md"]
  end

  test "every module with documentation is in a group, or is one of the few at the top" do
    {:ok, modules} = :application.get_key(:veidrodelis, :modules)
    groups = docs()[:groups_for_modules]

    alone =
      for module <- modules,
          {:docs_v1, _, _, _, %{"en" => _}, _, _} <- [Code.fetch_docs(module)],
          name = inspect(module),
          not String.starts_with?(name, ["Mix.Tasks.", "Vdr.Test", "Redix"]),
          not Enum.any?(groups, fn {_group, members} -> member?(members, module, name) end),
          do: module

    assert Enum.sort(alone) == [Veidrodelis, Veidrodelis.Error, Veidrodelis.ServerError]
  end

  defp member?(%Regex{} = regex, _module, name), do: name =~ regex
  defp member?(modules, module, _name), do: module in modules

  test "the groups of the functions of Veidrodelis are those of mix.exs, and each has a function" do
    {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(Veidrodelis)
    used = for {{:function, _, _}, _, _, %{}, %{group: group}} <- docs, uniq: true, do: group
    assert Enum.sort(used) == Enum.sort(for {group, _member?} <- docs()[:groups_for_docs], do: group)
    for {group, member?} <- docs()[:groups_for_docs], do: assert(member?.(%{group: group}))
  end

  test "links between documents lead to a document, and to a heading in it" do
    for path <- @documents, [_, target] <- Regex.scan(~r/\]\(([^)\s]+)\)/, prose(path)) do
      case String.split(target, "#", parts: 2) do
        ["http" <> _] -> :ok
        ["http" <> _, _anchor] -> :ok
        [file] -> assert File.exists?(resolve(path, file)), "#{path} links to #{target}"
        ["", anchor] -> assert anchor in anchors(path), "#{path} links to #{target}"
        [file, anchor] -> assert anchor in anchors(resolve(path, file)), "#{path} links to #{target}"
      end
    end
  end

  defp resolve(path, file), do: path |> Path.dirname() |> Path.join(file) |> Path.expand() |> Path.relative_to_cwd()

  # Without the blocks and words of code.
  defp prose(path), do: path |> File.read!() |> String.replace(~r/^```.*?^```|`[^`\n]*`/ms, "")

  # As ExDoc and the forges name headings.
  defp anchors(path) do
    for [_, heading] <- Regex.scan(~r/^\#{2,6} (.+)$/m, File.read!(path)),
        do: heading |> String.downcase() |> String.replace(~r/[^\w\s-]/u, "") |> String.replace(" ", "-")
  end
end
