defmodule Vdr.Options.Socket do
  @moduledoc false
  # The option `:socket_opts`, which examples for other clients have. The native library sets what
  # is needed, so only options that it sets anyway are accepted.

  alias Vdr.Schema

  @always [:inet6, keepalive: true, nodelay: true]

  @spec spec() :: keyword
  def spec do
    [
      type: {:check, "only #{inspect(@always)}, which hold anyway", quote(do: list()), &always?/1},
      doc: "accepted because examples for other clients have it: the addresses of IPv6 and IPv4 are tried in any case"
    ]
  end

  @doc false
  @spec always?(term) :: boolean
  def always?(value), do: is_list(value) and not List.improper?(value) and Enum.all?(value, &(&1 in @always))

  @spec type() :: Schema.type()
  def type, do: spec()[:type]
end
