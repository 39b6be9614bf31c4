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

  @doc """
  What to download for this system: `{:ok, prebuilt}`, `{:none, why}`, or `:unset` when there is no
  base URL.
  """
  def find(root) do
    with url when url not in [nil, ""] <- base_url(),
         {:ok, checksums} <- checksums(Path.join(root, @checksums)),
         {:ok, target} <- target(),
         :ok <- loads(:erlang.system_info(:nif_version)),
         :ok <- pages(target, page_bytes()),
         name = name(version(root), target),
         {:ok, checksum} <- checksum(checksums, name) do
      {:ok, %{url: String.trim_trailing(url, "/") <> "/" <> name, checksum: checksum}}
    else
      unset when unset in [nil, ""] -> :unset
      {:none, why} -> {:none, why}
    end
  end

  defp checksum(checksums, name) do
    with :error <- Map.fetch(checksums, name), do: {:none, "#{@checksums} does not name #{name}"}
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
  Whether a prebuilt library for this target works with memory pages of this size: `:ok` or `{:none,
  why}`. Its allocator is built for 4 KB. On a system with larger pages it would end the VM.
  """
  def pages("aarch64-unknown-linux" <> _, bytes) when bytes != 4096,
    do: {:none, "it would be for memory pages of 4 KB, and this system has #{div(bytes, 1024)} KB"}

  def pages(_target, _bytes), do: :ok

  @doc "Downloads the library; raises with what went wrong and with what to do."
  def download(%{url: url, checksum: checksum}) do
    shown = URI.to_string(%{URI.parse(url) | userinfo: nil})
    Mix.shell().info("Downloading the native library: #{shown}")

    with {:ok, packed} <- get(url), :ok <- verify(packed, checksum), {:ok, library} <- unpack(packed) do
      library
    else
      {:error, reason} ->
        Mix.raise("""
        Veidrodelis could not take the prebuilt native library from #{shown}: #{reason}.

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
      {:error, :enoent} -> {:none, "there is no #{@checksums}, which only a package of a release has"}
      _ -> Mix.raise("#{path} is no map from file names to SHA-256 checksums")
    end
  end

  defp version(root) do
    [_, version] = Regex.run(~r/@version "([^"]+)"/, File.read!(Path.join(root, "mix.exs")))
    version
  end

  defp loads(version) do
    {major, minor} = @nif
    [vm_major, vm_minor] = version |> to_string() |> String.split(".") |> Enum.map(&String.to_integer/1)
    if vm_major == major and vm_minor >= minor, do: :ok, else: {:none, "it would not load into NIF version #{version}"}
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
  defp machine(other), do: unknown(other)

  defp system(parts) do
    cond do
      "apple" in parts -> {:ok, "apple-darwin"}
      "linux" in parts and List.last(parts) == "gnu" -> {:ok, "unknown-linux-gnu"}
      "linux" in parts and List.last(parts) == "musl" -> {:ok, "unknown-linux-musl"}
      true -> unknown(Enum.join(parts, "-"))
    end
  end

  defp unknown(system), do: {:none, "there is none for #{system}"}

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
    uri = URI.parse(url)
    with {:ok, tls} <- tls(uri), :ok <- proxy_without_user(uri), do: fetch(url, tls, redirects)
  end

  defp fetch(url, tls, redirects) do
    http = [timeout: @timeout_ms, connect_timeout: @timeout_ms, autoredirect: false] ++ tls

    case :httpc.request(:get, {String.to_charlist(url), []}, http, [body_format: :binary], @client) do
      {:ok, {{_, 200, _}, _headers, body}} ->
        {:ok, body}

      {:ok, {{_, status, _}, headers, _body}} when status in [301, 302, 303, 307, 308] ->
        redirect(url, headers, redirects)

      {:ok, {{_, status, reason}, _headers, _body}} ->
        {:error, "the server answers #{status} #{reason}"}

      {:error, reason} ->
        {:error, failure(reason)}
    end
  end

  defp failure({:failed_connect, [{:to_address, {host, port}}, {_family, _options, reason}]}),
    do: "#{host}:#{port} cannot be reached (#{connecting(reason)})"

  defp failure(:timeout), do: "no answer came within #{div(@timeout_ms, 1000)} s"
  defp failure(:socket_closed_remotely), do: "the server closed the connection"
  defp failure(other), do: inspect(other)

  defp connecting({:tls_alert, {_alert, text}}), do: to_string(text)

  defp connecting(reason) do
    if is_atom(reason), do: to_string(:inet.format_error(reason)), else: inspect(reason)
  end

  defp redirect(url, headers, redirects) do
    case List.keyfind(headers, ~c"location", 0) do
      {_, location} -> url |> URI.merge(to_string(location)) |> URI.to_string() |> fetch(redirects - 1)
      nil -> {:error, "the server redirects to nowhere"}
    end
  end

  defp tls(%URI{scheme: "http", host: host}) when host not in [nil, ""], do: {:ok, []}

  defp tls(%URI{scheme: "https", host: host}) when host not in [nil, ""] do
    options = [
      verify: :verify_peer,
      cacerts: :public_key.cacerts_get(),
      depth: 5,
      customize_hostname_check: [match_fun: :public_key.pkix_verify_hostname_match_fun(:https)]
    ]

    {:ok, [ssl: options]}
  rescue
    _none -> {:error, "this system has no root certificates (Debian and Alpine: the package ca-certificates)"}
  end

  defp tls(_other), do: {:error, "that is no http or https address"}

  @proxies [http: "HTTP_PROXY", https: "HTTPS_PROXY"]

  defp proxies do
    for {scheme, option} <- [http: :proxy, https: :https_proxy],
        %URI{host: host, port: port} when is_binary(host) and is_integer(port) <- [proxy(@proxies[scheme])],
        do: {option, {{String.to_charlist(host), port}, Enum.map(direct(), &String.to_charlist/1)}}
  end

  # Many write the address of a proxy without `http://`.
  defp proxy(name) do
    address = variable(name) || ""
    if "*" not in direct(), do: URI.parse(if address =~ "://" or address == "", do: address, else: "http://" <> address)
  end

  defp proxy_without_user(%URI{scheme: scheme, host: host}) do
    name = @proxies[String.to_existing_atom(scheme)]

    with %URI{userinfo: user} when user != nil <- proxy(name), false <- Enum.any?(direct(), &direct?(host, &1)) do
      {:error, "#{name} names a user, and only proxies that ask for none are supported"}
    else
      _ -> :ok
    end
  end

  # As `:httpc` has it: a domain is `*.domain`.
  defp direct do
    for host <- String.split(variable("NO_PROXY") || "", [",", " "], trim: true),
        do: if(String.starts_with?(host, "."), do: "*" <> host, else: host)
  end

  defp direct?(host, "*" <> domain), do: String.ends_with?(host, domain)
  defp direct?(host, direct), do: host == direct

  defp variable(name), do: System.get_env(name) || System.get_env(String.downcase(name))
end
