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
    # Of all kinds of keys, OTP's test certificates follow the standards only with this one: those
    # for RSA lack a NULL since OTP 29, those for ECDSA have parameters.
    key = [key: {:namedCurve, :ed25519}]

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
    {:ECPrivateKey, key} = config[:key]

    %{
      cert: pem(dir, name <> "-cert.pem", [{:Certificate, config[:cert], :not_encrypted}]),
      key: pem(dir, name <> "-key.pem", [{:PrivateKeyInfo, pkcs8(key), :not_encrypted}]),
      ca: pem(dir, name <> "-ca.pem", for(der <- config[:cacerts], do: {:Certificate, der, :not_encrypted}))
    }
  end

  # OTP writes the key in a form that no other program reads. RFC 8410, section 7.
  defp pkcs8(key) do
    <<private::binary-size(32)>> = :public_key.der_decode(:ECPrivateKey, key) |> elem(2)
    <<0x302E020100300506032B657004220420::128, private::binary>>
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
