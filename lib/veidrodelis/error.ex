defmodule Veidrodelis.Error do
  @moduledoc """
  A reason of `{:error, reason}` as an exception, with a sentence for people.

      raise Veidrodelis.Error, reason: :not_ready
  """

  @enforce_keys [:reason]
  defexception [:reason]

  @type t :: %__MODULE__{reason: term}

  @impl Exception
  def message(%__MODULE__{reason: reason}), do: sentence(reason)

  # Reads
  defp sentence(:not_found), do: "there is no such instance or watch"
  defp sentence(:not_ready), do: "the first full sync is not complete yet"
  defp sentence(:wrong_type), do: "the key holds a value of another type than the command is for"
  defp sentence(:bad_argument), do: "an argument is not what the command takes"
  defp sentence({:bad_command, command}), do: "no read command with fitting arguments: #{inspect(command)}"
  defp sentence(:already_registered), do: "the process watches this key already"
  defp sentence(:timeout), do: "the time to wait was over"
  defp sentence(:not_connected), do: "no server is connected"
  defp sentence(other), do: "unexpected: #{inspect(other)}"
end
