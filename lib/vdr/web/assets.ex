defmodule Vdr.Web.Assets do
  @moduledoc false
  # The files of the page, which are part of this module. It needs nothing from another host.

  @folder Path.join(__DIR__, "assets")
  @files [index: "index.html", script: "app.js", style: "app.css"]

  for {name, file} <- @files do
    path = Path.join(@folder, file)
    @external_resource path
    @doc false
    @spec unquote(name)() :: binary
    def unquote(name)(), do: unquote(File.read!(path))
  end

  @doc "The page, where its files and answers are below this path."
  @spec page(String.t()) :: binary
  def page(base), do: String.replace(index(), "@BASE@", escape(base))

  defp escape(text), do: Regex.replace(~r/[^A-Za-z0-9\/._~%-]/, text, "")
end
