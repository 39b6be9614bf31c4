defmodule Vdr.Test.Tls do
  @moduledoc "Certificates and servers for tests of TLS."

  alias Vdr.Test.Server

  @doc """
  An authority, a server's certificate for "localhost" and a client's, as files that end with the
  test.
  """
  def certificates! do
    dir = Path.join(System.tmp_dir!(), "vdr-tls-#{System.pid()}-#{System.unique_integer([:positive])}")
    File.mkdir_p!(dir)
    ExUnit.Callbacks.on_exit(fn -> File.rm_rf!(dir) end)
    name = {:Extension, {2, 5, 29, 17}, false, [dNSName: String.to_charlist("localhost")]}
    key = [digest: :sha256, key: {:rsa, 2048, 65_537}]

    data =
      :public_key.pkix_test_data(%{
        server_chain: %{root: key, intermediates: [], peer: key ++ [extensions: [name]]},
        client_chain: %{root: key, intermediates: [], peer: key}
      })

    server = files(dir, "server", data.server_config)
    client = files(dir, "client", data.client_config)
    # Each side's `cacerts` are those that it trusts: the other's.
    %{server: server, client: client}
  end

  defp files(dir, name, config) do
    {kind, key} = config[:key]

    %{
      cert: pem(dir, name <> "-cert.pem", [{:Certificate, config[:cert], :not_encrypted}]),
      key: pem(dir, name <> "-key.pem", [{kind, key, :not_encrypted}]),
      ca: pem(dir, name <> "-ca.pem", for(der <- config[:cacerts], do: {:Certificate, der, :not_encrypted}))
    }
  end

  defp pem(dir, name, entries) do
    path = Path.join(dir, name)
    File.write!(path, :public_key.pem_encode(entries))
    path
  end

  @doc "A server, and the port on which it takes TLS."
  def server!(binary, files, auth_clients) do
    tls_port = Server.free_port()

    server =
      Server.start!(
        binary: binary,
        config: [
          {"tls-port", tls_port},
          {"tls-cert-file", files.server.cert},
          {"tls-key-file", files.server.key},
          {"tls-ca-cert-file", files.server.ca},
          {"tls-auth-clients", auth_clients}
        ]
      )

    {server, tls_port}
  end
end
