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
      ]
    ]

    {:options, schema, &check_together!/2}
  end

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
