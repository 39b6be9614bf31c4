defmodule Vdr.Mix.Prebuilt do
  @moduledoc """
  Downloads a prebuilt native library and verifies it by the checksum file of the package.

  `bin/release` builds the libraries and writes `checksum-vdr_nif.exs`: a map from the name of each
  file to its SHA-256. A checkout of the repository has no such file, so it builds from source. A
  package of Hex has it.

  The base URL is `VDR_PREBUILT_URL` in the environment, or
  `config :veidrodelis, prebuilt_url: url`. The file's name is appended to it. `HTTPS_PROXY`,
  `HTTP_PROXY` and `NO_PROXY` are respected, in capitals or not. Certificates are verified against
  the system's roots.
  """

  @checksums "checksum-vdr_nif.exs"
  # As the feature of `rustler` in Cargo.toml says: any VM with this version or a newer one of the
  # same major loads it.
  @nif {2, 15}
  @timeout_ms 60_000
  @redirects_max 5
  @client :veidrodelis_download

  @doc "What to download for this system, or `nil` when the package names no library for it."
  def find(root) do
    with url when url not in [nil, ""] <- base_url(),
         {:ok, checksums} <- checksums(Path.join(root, @checksums)),
         {:ok, target} <- target(),
         true <- loads?(:erlang.system_info(:nif_version)),
         true <- pages?(target, page_bytes()),
         name = name(version(root), target),
         %{^name => checksum} <- checksums do
      %{url: String.trim_trailing(url, "/") <> "/" <> name, checksum: checksum}
    else
      _ -> nil
    end
  end

  @doc "The name of the file for a version and a target, as `bin/release` writes it."
  def name(version, target) do
    {major, minor} = @nif
    "vdr_nif-v#{version}-nif-#{major}.#{minor}-#{target}.so.gz"
  end

  @doc "The Rust target of the system on which this VM runs, or of the one that `CARGO_BUILD_TARGET` names."
  def target(architecture \\ to_string(:erlang.system_info(:system_architecture))) do
    case System.get_env("CARGO_BUILD_TARGET", "") do
      "" -> triple(String.split(architecture, "-"))
      named -> {:ok, named}
    end
  end

  @doc """
  Whether a prebuilt library for this target works with memory pages of this size. Its allocator is
  built for 4 KB. On a system with larger pages it would end the VM.
  """
  def pages?("aarch64-unknown-linux" <> _, bytes), do: bytes == 4096
  def pages?(_target, _bytes), do: true

  @doc "Downloads the library; raises with what went wrong and with what to do."
  def download(%{url: url, checksum: checksum}) do
    Mix.shell().info("Downloading the native library: #{url}")

    with {:ok, packed} <- get(url), :ok <- verify(packed, checksum), {:ok, library} <- unpack(packed) do
      library
    else
      {:error, reason} ->
        Mix.raise("""
        Veidrodelis could not take the prebuilt native library from #{url}: #{reason}.

        Set VDR_BUILD=1 to build the library from source, which needs Rust, a C and a C++ compiler and make.
        Or set VDR_NATIVE_PATH to a library that you have.
        """)
    end
  end

  defp base_url, do: System.get_env("VDR_PREBUILT_URL") || Application.get_env(:veidrodelis, :prebuilt_url)

  # Data, never code: only a map of strings is accepted.
  defp checksums(path) do
    with {:ok, text} <- File.read(path),
         {:ok, {:%{}, _, pairs}} <- Code.string_to_quoted(text),
         true <- Enum.all?(pairs, &match?({name, sum} when is_binary(name) and is_binary(sum), &1)) do
      {:ok, Map.new(pairs)}
    else
      {:error, :enoent} -> :none
      _ -> Mix.raise("#{path} is no map from file names to SHA-256 checksums")
    end
  end

  defp version(root) do
    [_, version] = Regex.run(~r/@version "([^"]+)"/, File.read!(Path.join(root, "mix.exs")))
    version
  end

  defp loads?(version) do
    {major, minor} = @nif
    [vm_major, vm_minor] = version |> to_string() |> String.split(".") |> Enum.map(&String.to_integer/1)
    vm_major == major and vm_minor >= minor
  end

  defp page_bytes do
    with path when is_binary(path) <- System.find_executable("getconf"),
         {text, 0} <- System.cmd(path, ["PAGESIZE"], stderr_to_stdout: true),
         {bytes, _} <- Integer.parse(text) do
      bytes
    else
      _ -> 4096
    end
  end

  defp triple([machine | rest]) do
    with {:ok, machine} <- machine(machine), {:ok, system} <- system(rest), do: {:ok, "#{machine}-#{system}"}
  end

  defp machine(machine) when machine in ~w(x86_64 amd64), do: {:ok, "x86_64"}
  defp machine(machine) when machine in ~w(aarch64 arm64), do: {:ok, "aarch64"}
  defp machine(_other), do: :unknown

  defp system(parts) do
    cond do
      "apple" in parts -> {:ok, "apple-darwin"}
      "linux" in parts and List.last(parts) == "gnu" -> {:ok, "unknown-linux-gnu"}
      "linux" in parts and List.last(parts) == "musl" -> {:ok, "unknown-linux-musl"}
      true -> :unknown
    end
  end

  defp verify(packed, checksum) do
    case :crypto.hash(:sha256, packed) |> Base.encode16(case: :lower) do
      ^checksum -> :ok
      found -> {:error, "its SHA-256 is #{found}, and the package expects #{checksum}"}
    end
  end

  defp unpack(packed) do
    {:ok, :zlib.gunzip(packed)}
  rescue
    ErlangError -> {:error, "it is not packed with gzip"}
  end

  defp get(url) do
    for application <- [:inets, :ssl, :public_key, :crypto] do
      # From Elixir 1.15 on, Mix hides applications that nothing depends on; before, it has no such
      # function.
      if function_exported?(Mix, :ensure_application!, 1), do: apply(Mix, :ensure_application!, [application])
      {:ok, _started} = Application.ensure_all_started(application)
    end

    # A client of our own, so that its proxies are nobody else's.
    {:ok, _pid} = :inets.start(:httpc, profile: @client)

    try do
      :ok = :httpc.set_options(proxies(), @client)
      fetch(url, @redirects_max)
    after
      :inets.stop(:httpc, @client)
    end
  end

  defp fetch(_url, 0), do: {:error, "there are too many redirects"}

  defp fetch(url, redirects) do
    http = [timeout: @timeout_ms, connect_timeout: @timeout_ms, autoredirect: false] ++ tls(url)

    case :httpc.request(:get, {String.to_charlist(url), []}, http, [body_format: :binary], @client) do
      {:ok, {{_, 200, _}, _headers, body}} ->
        {:ok, body}

      {:ok, {{_, status, _}, headers, _body}} when status in [301, 302, 303, 307, 308] ->
        redirect(url, headers, redirects)

      {:ok, {{_, status, reason}, _headers, _body}} ->
        {:error, "the server answers #{status} #{reason}"}

      {:error, reason} ->
        {:error, inspect(reason)}
    end
  end

  defp redirect(url, headers, redirects) do
    case List.keyfind(headers, ~c"location", 0) do
      {_, location} -> url |> URI.merge(to_string(location)) |> URI.to_string() |> fetch(redirects - 1)
      nil -> {:error, "the server redirects to nowhere"}
    end
  end

  defp tls("https:" <> _) do
    [
      ssl: [
        verify: :verify_peer,
        cacerts: :public_key.cacerts_get(),
        depth: 5,
        customize_hostname_check: [match_fun: :public_key.pkix_verify_hostname_match_fun(:https)]
      ]
    ]
  end

  defp tls(_plain), do: []

  defp proxies do
    direct =
      (variable("NO_PROXY") || "")
      |> String.split(",", trim: true)
      |> Enum.map(&(&1 |> String.trim() |> String.to_charlist()))

    for {option, name} <- [proxy: "HTTP_PROXY", https_proxy: "HTTPS_PROXY"],
        %URI{host: host, port: port} when is_binary(host) and is_integer(port) <- [URI.parse(variable(name) || "")] do
      {option, {{String.to_charlist(host), port}, direct}}
    end
  end

  defp variable(name), do: System.get_env(name) || System.get_env(String.downcase(name))
end
