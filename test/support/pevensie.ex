defmodule Vdr.Test.Pevensie do
  @moduledoc """
  Pevensie's cache as its programs call it: a `CacheDriver` is a tuple with five functions, and
  `connect` and `disconnect` put the driver that they return into it.

  And the driver of `gleam/` by hand, for machines without a compiler of Gleam: the same tuple, on
  the same border.
  """

  # Loaded by the tests that have a compiler of Gleam.
  @compile {:no_warn_undefined, :veidrodelis@pevensie}

  # ---- Pevensie's part

  def connect({:cache_driver, driver, connect, _disconnect, _set, _get, _delete} = cache),
    do: with({:ok, driver} <- connect.(driver), do: {:ok, put_elem(cache, 1, driver)})

  def disconnect({:cache_driver, driver, _connect, disconnect, _set, _get, _delete} = cache),
    do: with({:ok, driver} <- disconnect.(driver), do: {:ok, put_elem(cache, 1, driver)})

  def set({:cache_driver, driver, _connect, _disconnect, set, _get, _delete}, resource_type, key, value, ttl),
    do: set.(driver, resource_type, key, value, ttl)

  def get({:cache_driver, driver, _connect, _disconnect, _set, get, _delete}, resource_type, key),
    do: get.(driver, resource_type, key)

  def delete({:cache_driver, driver, _connect, _disconnect, _set, _get, delete}, resource_type, key),
    do: delete.(driver, resource_type, key)

  # ---- drivers

  @doc """
  A driver of the Gleam sources, which are loaded. Options: `:port`, `:host`, `:username`,
  `:password`, `:timeout`, `:pool_size`, and those that have a function `with_...`.
  """
  def compiled(options) do
    driver = :veidrodelis@pevensie
    {config, settings} = Keyword.split(options, [:host, :port, :timeout, :pool_size, :username, :password])
    {mirror, settings} = Keyword.pop(settings, :mirror)
    cache = if mirror, do: driver.with_mirror(mirror), else: driver.new_cache_driver(config(driver, config))
    for {name, value} <- settings, reduce: cache, do: (cache -> apply(driver, :"with_#{name}", [cache, value]))
  end

  defp config(driver, given) do
    {:config, host, port, timeout, pool_size, :none, :none} = driver.default_config()
    given = Keyword.merge([host: host, port: port, timeout: timeout, pool_size: pool_size], given)

    {:config, given[:host], given[:port], given[:timeout], given[:pool_size], option(given[:username]),
     option(given[:password])}
  end

  defp option(nil), do: :none
  defp option(value), do: {:some, value}

  @doc "The same by hand."
  def by_hand(options) do
    # Whoever prints a driver must not print its password.
    {:cache_driver, {fn -> options end, :none}, &connect_by_hand/1, &disconnect_by_hand/1, &set_by_hand/5,
     &get_by_hand/3, &delete_by_hand/3}
  end

  @border :veidrodelis_gleam

  defp connect_by_hand({options, running}) do
    with false <- match?({:some, _}, running) and @border.is_running(elem(running, 1)),
         {:ok, handle} <- open(options.()) do
      {:ok, {options, {:some, handle}}}
    else
      true -> {:error, :already_connected}
      {:error, failure} -> {:error, {:connect_driver_error, failure}}
    end
  end

  defp open(options) do
    case Keyword.pop(options, :mirror) do
      {nil, options} ->
        without = if options[:url], do: [:host, :port, :pool_size], else: [:pool_size]
        options |> Keyword.drop(without) |> Enum.map(&setting/1) |> @border.start()

      {name, options} ->
        handle = name |> @border.named() |> @border.in_database(options[:database] || 0)
        with {:ok, nil} <- @border.await_ready(handle, options[:timeout] || 5000), do: {:ok, handle}
    end
  end

  defp setting({:prefix, prefix}), do: {:prefixes, [prefix]}
  defp setting(setting), do: setting

  defp disconnect_by_hand({_options, :none}), do: {:error, :not_connected}

  defp disconnect_by_hand({options, {:some, handle}}) do
    case if(options.()[:mirror], do: {:ok, nil}, else: @border.stop(handle)) do
      {:ok, nil} -> {:ok, {options, :none}}
      {:error, :not_running} -> {:error, :not_connected}
    end
  end

  defp set_by_hand(driver, resource_type, key, value, ttl) do
    with {:error, failure} <- on(driver, &@border.set(&1, key(driver, resource_type, key), value, ttl)),
         do: {:error, {:set_driver_error, failure}}
  end

  defp get_by_hand(driver, resource_type, key) do
    case on(driver, &@border.get(&1, key(driver, resource_type, key))) do
      {:ok, {:some, value}} -> {:ok, value}
      {:ok, :none} -> {:error, :got_too_few_records}
      {:error, failure} -> {:error, {:get_driver_error, failure}}
    end
  end

  defp delete_by_hand(driver, resource_type, key) do
    with {:error, failure} <- on(driver, &@border.delete(&1, key(driver, resource_type, key))),
         do: {:error, {:delete_driver_error, failure}}
  end

  defp on({_options, :none}, _call), do: {:error, :not_running}
  defp on({_options, {:some, handle}}, call), do: call.(handle)

  defp key({options, _running}, resource_type, key), do: @border.join(options.()[:prefix] || "", resource_type, key)
end
