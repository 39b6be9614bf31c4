defmodule Vdr.Options.Sentinel do
  @moduledoc false
  # What the option `:sentinel` takes.

  import Vdr.Options, only: [refuse: 3]

  @names [:sentinels, :group, :role, :connect_opts, :replica_connect_opts, :host_map]

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

  # These hold passwords, so what was got is not shown.
  defp check_sub!(name, options, value) when options in [:connect_opts, :replica_connect_opts] do
    unless Keyword.keyword?(value), do: refuse(name, "a keyword list", "another term")
  end

  defp check_sub!(name, :host_map, value) do
    unless is_map(value) or is_function(value, 1),
      do: refuse(name, "a map or a function of one argument", inspect(value))
  end

  defp address?(address) do
    Keyword.keyword?(address) and is_binary(address[:host]) and is_integer(address[:port]) and
      address[:port] in 1..65_535
  end
end
