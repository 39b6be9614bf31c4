defmodule Vdr.Options.Url do
  @moduledoc false
  # The option `:url`: parses a server's URL into the options that it stands for.

  alias Vdr.Schema

  @tls %{"redis" => false, "valkey" => false, "rediss" => true, "valkeys" => true}
  @schemes "redis://, rediss://, valkey://, valkeys:// or unix://"

  @doc """
  Returns the options `:host`, `:port`, `:socket`, `:ssl`, `:username` and `:password` of a URL.

  The number of a database and a query are ignored, because a mirror holds every database. No error
  message shows a part of the URL, because a part that is in the wrong place may belong to the
  password.
  """
  @spec parse!(String.t(), String.t()) :: keyword
  def parse!(url, path) do
    check_unambiguous!(url, path)
    uri = URI.parse(url)
    if uri.scheme == "unix", do: socket!(uri, path), else: address!(uri, path)
  end

  @doc """
  Returns the number of the database that a URL names, or `nil`. A mirror ignores it; a cache and
  the Gleam package use one database, and compare or use it.
  """
  @spec database(String.t()) :: integer | nil
  def database(url) do
    with %URI{scheme: scheme, path: "/" <> number} when scheme != "unix" <- URI.parse(url),
         {database, ""} <- Integer.parse(number) do
      database
    else
      _none -> nil
    end
  end

  # `URI.parse/1` cuts a password at the first of these characters, and takes its beginning for the
  # host and the port.
  defp check_unambiguous!(url, path) do
    if String.contains?(url, "#"), do: Schema.refuse!(path, "no #, which is %23 in a password", "one")
    rest = url |> String.split("//", parts: 2) |> List.last()
    {user, address} = split_user(rest)

    if String.contains?(user, ["/", "?"]),
      do: Schema.refuse!(path, "no / and no ? before the host; they are %2F and %3F in a password", "one")

    host = address |> String.split(["/", "?"]) |> hd()
    if host =~ ~r/:(?!\d+$)[^\]]*$/, do: Schema.refuse!(path, "a number as the port after the host", "something else")
  end

  defp split_user(rest) do
    case rest |> String.split("@") |> Enum.split(-1) do
      {[], [address]} -> {"", address}
      {user, [address]} -> {Enum.join(user, "@"), address}
    end
  end

  defp socket!(uri, path) do
    unless uri.host in [nil, ""] and uri.port == nil,
      do: Schema.refuse!(path, "only a path after unix://", "a host or port")

    if uri.path in [nil, "", "/"], do: Schema.refuse!(path, "the path of a socket after unix://", "none")
    [socket: URI.decode(uri.path)] ++ user!(uri, path)
  end

  defp address!(uri, path) do
    unless is_map_key(@tls, uri.scheme), do: Schema.refuse!(path, @schemes, "another scheme")
    if uri.host in [nil, ""], do: Schema.refuse!(path, "a URL with a host", "one without")

    unless (uri.path || "") =~ ~r{^/?\d*$},
      do: Schema.refuse!(path, "at most the number of a database after the host", "something else")

    port = if uri.port, do: [port: uri.port], else: []
    [host: uri.host, ssl: Map.fetch!(@tls, uri.scheme)] ++ port ++ user!(uri, path)
  end

  defp user!(%URI{userinfo: nil}, _path), do: []

  defp user!(%URI{userinfo: userinfo}, path) do
    case userinfo |> String.split(":", parts: 2) |> Enum.map(&URI.decode/1) do
      ["", password] -> [password: password]
      [username, password] when password != "" -> [username: username, password: password]
      _no_password -> Schema.refuse!(path, "user:password@ or :password@ before the host", "one without a password")
    end
  end
end
