defmodule Vdr.Options.Tls do
  @moduledoc false
  # What the option `:ssl_opts` takes: the names and values of Erlang's `:ssl`, as far as they mean something to a link.

  import Vdr.Options, only: [refuse: 3]

  @names [:verify, :cacertfile, :cacerts, :certfile, :keyfile, :server_name_indication, :versions]

  @spec check!(String.t(), term) :: :ok
  def check!(name, value) do
    unless Keyword.keyword?(value), do: refuse(name, "a keyword list", "another term")

    for {sub, value} <- value do
      unless sub in @names, do: refuse(name, Enum.map_join(@names, ", ", &inspect/1), inspect(sub))
      check_sub!("#{inspect(sub)} in #{name}", sub, value)
    end

    for {one, other} <- [certfile: :keyfile, keyfile: :certfile], value[one] && !value[other] do
      raise ArgumentError, "#{inspect(one)} in #{name} needs #{inspect(other)} beside it"
    end

    if value[:cacerts] && value[:cacertfile],
      do: raise(ArgumentError, ":cacerts and :cacertfile in #{name} exclude each other")

    :ok
  end

  @doc "The checked option as the native library takes it."
  @spec config(keyword) :: map
  def config(value) do
    %{
      verify: verify(value[:verify], value[:server_name_indication]),
      cacertfile: text(value[:cacertfile]),
      cacerts: value[:cacerts],
      certfile: text(value[:certfile]),
      keyfile: text(value[:keyfile]),
      server_name: if(value[:server_name_indication] != :disable, do: text(value[:server_name_indication])),
      versions: versions(value[:versions])
    }
  end

  defp verify(:verify_none, _name), do: :none
  defp verify(_peer, :disable), do: :chain
  defp verify(_peer, _name), do: :peer

  defp versions(nil), do: :all

  defp versions(versions) do
    case Enum.sort(versions) do
      [:"tlsv1.2"] -> :tls12
      [:"tlsv1.3"] -> :tls13
      _both -> :all
    end
  end

  defp text(nil), do: nil
  defp text(text), do: to_string(text)

  defp check_sub!(name, :verify, value) do
    unless value in [:verify_peer, :verify_none], do: refuse(name, ":verify_peer or :verify_none", inspect(value))
  end

  # A key may have been given where its path belongs.
  defp check_sub!(name, file, value) when file in [:cacertfile, :certfile, :keyfile] do
    unless text?(value), do: refuse(name, "a path", "another term")
  end

  defp check_sub!(name, :cacerts, value) do
    unless is_list(value) and value != [] and Enum.all?(value, &is_binary/1),
      do: refuse(name, "a list of certificates in DER form", "another term")
  end

  defp check_sub!(name, :server_name_indication, value) do
    unless value == :disable or text?(value), do: refuse(name, "a host name or :disable", inspect(value))
  end

  defp check_sub!(name, :versions, value) do
    unless is_list(value) and value != [] and Enum.all?(value, &(&1 in [:"tlsv1.2", :"tlsv1.3"])),
      do: refuse(name, ~s(a list of :"tlsv1.2" and :"tlsv1.3"), inspect(value))
  end

  defp text?(value) when is_binary(value), do: value != ""
  defp text?(value), do: is_list(value) and value != [] and List.ascii_printable?(value)
end
