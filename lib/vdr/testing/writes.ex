defmodule Vdr.Testing.Writes do
  @moduledoc false
  # Sends the commands of `Vdr.Writes` to a simulated primary. The function of the option `:reply`
  # runs in the calling process.

  alias Vdr.Deadline
  alias Vdr.Testing.Primary

  # While the primary is away, a caller asks it again after this pause.
  @pause_ms 2

  @doc """
  The replies to commands, and the position after the commands. `:none`: this instance has no
  simulated primary.
  """
  @spec call(id :: term, db :: non_neg_integer, [[binary]], multi? :: boolean, Deadline.t()) ::
          {:ok, [term], Veidrodelis.position()} | {:error, term} | :none
  def call(id, db, commands, multi?, deadline) do
    with {:ok, primary} <- find(id) do
      reply = ask(primary, :reply)
      calls = Enum.map(commands, &given(reply, &1))
      wait(primary, {:ask, db, calls, multi?}, deadline)
    end
  end

  @doc "The position after everything that the primary has written."
  @spec position(id :: term, Deadline.t()) :: {:ok, nil, Veidrodelis.position()} | {:error, term} | :none
  def position(id, deadline), do: with({:ok, primary} <- find(id), do: wait(primary, {:position}, deadline))

  defp find(id), do: with({:error, :no_instance} <- Primary.find(id), do: :none)

  defp ask(primary, request) do
    Primary.call(primary, request)
  catch
    :exit, _ended -> {:error, :no_instance}
  end

  # A call to a real server waits for a connection in the same way.
  defp wait(primary, request, deadline) do
    case ask(primary, request) do
      {:away, code} ->
        if Deadline.left(deadline) == 0 do
          {:error, code}
        else
          Process.sleep(@pause_ms)
          wait(primary, request, deadline)
        end

      answer ->
        answer
    end
  end

  defp given(reply, words) when is_function(reply, 1) do
    case reply.(words) do
      :default -> {:known, words}
      {:reply, reply} -> {:given, check!(reply), []}
      {:reply, reply, commands} when is_list(commands) -> {:given, check!(reply), Enum.map(commands, &words!/1)}
      other -> refuse!(other)
    end
  end

  # The test gave no function for replies, or the primary has ended.
  defp given(_none, words), do: {:known, words}

  defp check!(%Veidrodelis.ServerError{} = error), do: error
  defp check!(reply), do: if(reply?(reply), do: reply, else: refuse!({:reply, reply}))

  defp reply?(list) when is_list(list), do: not List.improper?(list) and Enum.all?(list, &reply?/1)
  defp reply?(reply), do: is_binary(reply) or is_integer(reply) or is_nil(reply)

  defp words!([_name | _args] = words), do: Enum.map(words, &to_string/1)
  defp words!(other), do: refuse!(other)

  @spec refuse!(term) :: no_return
  defp refuse!(got) do
    raise ArgumentError,
          "option :reply of Veidrodelis.Testing takes a function that answers :default, {:reply, reply} or " <>
            "{:reply, reply, commands}, a reply as Veidrodelis.command/3 returns it, got: " <>
            inspect(got, limit: 10, printable_limit: 100)
  end
end
