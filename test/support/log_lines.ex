defmodule Vdr.Test.LogLines do
  @moduledoc """
  The log lines about some instances, as messages to the test: `{:line, id, level, text, time_us}`.
  A handler of Erlang's logger, which runs in the process that logs.
  """

  @doc "Sends the lines about these ids to the calling test until it ends."
  def listen(ids) do
    name = :"lines of #{inspect(make_ref())}"
    :ok = :logger.add_handler(name, __MODULE__, %{level: :all, config: %{to: self(), ids: ids}})
    ExUnit.Callbacks.on_exit(fn -> :logger.remove_handler(name) end)
    name
  end

  @doc "From now on a line of this process is held back, and the process with it, until `release/2`."
  def hold(name, pid), do: :ok = :logger.set_handler_config(name, :config, Map.put(config(name), :held, pid))

  @doc "Lets the process go on."
  def release(name, pid) do
    :ok = :logger.set_handler_config(name, :config, Map.delete(config(name), :held))
    send(pid, :released)
  end

  defp config(name) do
    {:ok, %{config: config}} = :logger.get_handler_config(name)
    config
  end

  @doc "The texts of the lines about an id that the test has received."
  def texts(id), do: for({_level, text, _time_us} <- lines(id), do: text)

  @doc "The lines about an id that the test has received: `{level, text, time_us}`."
  def lines(id, lines \\ []) do
    receive do
      {:line, ^id, level, text, time_us} -> lines(id, [{level, text, time_us} | lines])
    after
      0 -> Enum.reverse(lines)
    end
  end

  @doc false
  def log(%{level: level, msg: {:string, text}, meta: %{vdr: id, time: time_us}}, %{
        config: %{to: test, ids: ids} = config
      }) do
    if id in ids do
      if config[:held] == self() do
        send(test, :held)
        receive(do: (:released -> :ok))
      end

      send(test, {:line, id, level, IO.chardata_to_string(text), time_us})
    end
  end

  def log(_event, _config), do: :ok
end
