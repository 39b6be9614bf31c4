defmodule Vdr.Options.Tls do
  @moduledoc false
  # The option `:ssl_opts`: the names and values of Erlang's `:ssl` that mean something to a link.

  alias Vdr.Schema

  @versions [:"tlsv1.2", :"tlsv1.3"]

  @spec type() :: Schema.type()
  def type do
    # A user may have given a key where its path belongs, so the paths are secret.
    schema = [
      verify: [
        type: {:one_of, [:verify_peer, :verify_none]},
        default: :verify_peer,
        doc: "whether the server's certificate is verified"
      ],
      cacertfile: [type: :text, secret: true, doc: "a PEM file of authorities, instead of the system's"],
      cacerts: [
        type: {:nonempty_list, :binary},
        secret: true,
        doc: "authorities in DER form, instead of the system's"
      ],
      certfile: [type: :text, secret: true, doc: "the client's certificate, a PEM file"],
      keyfile: [type: :text, secret: true, doc: "the key of the client's certificate, a PEM file"],
      server_name_indication: [
        type: {:either, [{:one_of, [:disable]}, :text]},
        doc: "the name that the certificate must have, instead of `:host`; `:disable` accepts any name"
      ],
      versions: [
        type: {:nonempty_list, {:one_of, @versions}},
        doc: "the TLS versions to use, of `#{inspect(@versions)}`"
      ],
      depth: [
        type: {:integer, 1..100},
        doc: "accepted because examples for `:ssl` have it; a chain may have six intermediate certificates"
      ],
      customize_hostname_check: [
        type:
          {:check, "[match_fun: :public_key.pkix_verify_hostname_match_fun(:https)]", quote(do: keyword()),
           &https_names?/1},
        doc: "accepted because examples for `:ssl` have it; names are always compared as for HTTPS"
      ],
      ciphers: unsupported("leave it out; TLS 1.3 and the forward-secret AEAD suites of TLS 1.2 are used"),
      cert: unsupported("write the certificate to a PEM file and give its path as :certfile"),
      key: unsupported("write the key to a PEM file and give its path as :keyfile"),
      password: unsupported("store the key of :keyfile without a password"),
      verify_fun: unsupported("use :cacertfile, :server_name_indication or verify: :verify_none"),
      partial_chain: unsupported("give the authority that the chain should end at as :cacertfile or :cacerts")
    ]

    {:options, schema, &check_together!/2}
  end

  defp unsupported(instead), do: [type: {:unsupported, instead}]

  # The function of `:public_key` compares names as the native library does. Any other may accept
  # other names.
  @doc false
  @spec https_names?(term) :: boolean
  def https_names?(match_fun: fun) when is_function(fun, 2),
    do: :erlang.fun_info(fun, :module) == {:module, :public_key}

  def https_names?(_other), do: false

  @doc false
  @spec check_together!(keyword, String.t()) :: :ok
  def check_together!(given, path) do
    Schema.need!(given, :certfile, :keyfile, path)
    Schema.need!(given, :keyfile, :certfile, path)
    Schema.exclude!(given, [:cacerts], [:cacertfile], path)
  end

  @doc "The checked option as the native library takes it."
  @spec config(keyword) :: map
  def config(value) do
    name = value[:server_name_indication]

    %{
      verify: verify(value[:verify], name),
      cacertfile: value[:cacertfile],
      cacerts: value[:cacerts],
      certfile: value[:certfile],
      keyfile: value[:keyfile],
      server_name: if(name != :disable, do: name),
      versions: versions(value[:versions])
    }
  end

  defp verify(:verify_none, _name), do: :none
  defp verify(_peer, :disable), do: :chain
  defp verify(_peer, _name), do: :peer

  defp versions(nil), do: :all

  defp versions(versions) do
    case Enum.uniq(versions) do
      [:"tlsv1.2"] -> :tls12
      [:"tlsv1.3"] -> :tls13
      _both -> :all
    end
  end
end
