defmodule Vdr.Options.Sentinel do
  @moduledoc false
  # What the option `:sentinel` takes.

  import Vdr.Options, only: [hide: 1, refuse: 3]

  @names [:sentinels, :group, :role, :connect_opts, :replica_connect_opts, :host_map]
  @timeout_ms 500
  @ms 1..2_147_483_647

  @connect %{
    timeout: :ms,
    ssl: :boolean,
    ssl_opts: :keyword,
    socket_opts: :list,
    username: :string,
    password: :password
  }

  @replica_connect %{
    host: :string,
    port: :port,
    timeout: :ms,
    ssl: :boolean,
    ssl_opts: :tls,
    username: :string,
    password: :password
  }

  @spec check!(String.t(), term) :: :ok
  def check!(name, value) do
    unless Keyword.keyword?(value), do: refuse(name, "a keyword list", "another term")

    for {sub, _value} <- value, sub not in @names do
      refuse(name, Enum.map_join(@names, ", ", &inspect/1), inspect(sub))
    end

    for sub <- [:sentinels, :group], not Keyword.has_key?(value, sub) do
      raise ArgumentError, "#{name} needs #{inspect(sub)}"
    end

    Enum.each(value, fn {sub, value} -> check_sub!("#{inspect(sub)} in #{name}", sub, value) end)
  end

  @doc "The checked option, and what of it holds for the server that is found, as options of their own."
  @spec new!(keyword) :: {Vdr.Sentinel.t(), keyword}
  def new!(value) do
    connect = Map.new(Keyword.get(value, :connect_opts, []))
    replica = Keyword.get(value, :replica_connect_opts, [])

    sentinel = %Vdr.Sentinel{
      sentinels: for(address <- value[:sentinels], do: {address[:host], address[:port]}),
      group: value[:group],
      role: Keyword.get(value, :role, :primary),
      connect:
        Map.merge(%{timeout: @timeout_ms, ssl: false, ssl_opts: [], socket_opts: [], username: nil}, connect)
        |> Map.put(:password, hide(connect[:password])),
      host_map: host_map(value[:host_map]),
      override: {replica[:host], replica[:port]}
    }

    {sentinel, Keyword.drop(replica, [:host, :port])}
  end

  defp host_map(nil), do: & &1
  defp host_map(%{} = map), do: &Map.get(map, &1, &1)
  defp host_map(fun), do: fun

  defp check_sub!(name, :sentinels, value) do
    unless is_list(value) and value != [] and Enum.all?(value, &address?/1),
      do: refuse(name, "a list of [host: string, port: integer], at least one", inspect(value))
  end

  defp check_sub!(name, :group, value) do
    unless is_binary(value) and value != "", do: refuse(name, "a string that is not empty", inspect(value))
  end

  defp check_sub!(name, :role, value) do
    unless value in [:primary, :replica], do: refuse(name, ":primary or :replica", inspect(value))
  end

  defp check_sub!(name, :connect_opts, value), do: check_connect!(name, @connect, value)
  defp check_sub!(name, :replica_connect_opts, value), do: check_connect!(name, @replica_connect, value)

  defp check_sub!(name, :host_map, value) do
    unless is_map(value) or is_function(value, 1),
      do: refuse(name, "a map or a function of one argument", inspect(value))
  end

  # These hold passwords, so what was got is not shown.
  defp check_connect!(name, known, value) do
    unless Keyword.keyword?(value), do: refuse(name, "a keyword list", "another term")

    for {sub, value} <- value do
      unless is_map_key(known, sub),
        do: refuse(name, known |> Map.keys() |> Enum.map_join(", ", &inspect/1), inspect(sub))

      if known[sub] == :tls, do: Vdr.Options.Tls.check!("#{inspect(sub)} of #{name}", value)
      unless takes?(known[sub], value), do: refuse("#{inspect(sub)} of #{name}", takes(known[sub]), "another term")
    end

    if value[:username] && !value[:password], do: raise(ArgumentError, ":username of #{name} needs :password beside it")
    :ok
  end

  defp takes?(:ms, value), do: is_integer(value) and value in @ms
  defp takes?(:port, value), do: is_integer(value) and value in 1..65_535
  defp takes?(:boolean, value), do: is_boolean(value)
  defp takes?(:keyword, value), do: Keyword.keyword?(value)
  defp takes?(:tls, _checked), do: true
  defp takes?(:list, value), do: is_list(value)
  defp takes?(:string, value), do: is_binary(value) and value != "" and String.valid?(value)
  defp takes?(:password, {m, f, a}), do: is_atom(m) and is_atom(f) and is_list(a)
  defp takes?(:password, value), do: value == nil or (is_binary(value) and value != "")

  defp takes(:ms), do: "an integer from 1, in ms"
  defp takes(:port), do: "an integer from 1 to 65535"
  defp takes(:boolean), do: "true or false"
  defp takes(:keyword), do: "a keyword list"
  defp takes(:list), do: "a list"
  defp takes(:string), do: "a string that is not empty"
  defp takes(:password), do: "a string that is not empty, or {module, function, arguments}"

  defp address?(address) do
    Keyword.keyword?(address) and takes?(:string, address[:host]) and takes?(:port, address[:port])
  end
end
