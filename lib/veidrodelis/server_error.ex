defmodule Veidrodelis.ServerError do
  @moduledoc """
  An error reply of the server, as `Veidrodelis.command/3` and its siblings return it, and as it
  stands among the replies of a pipeline or of a transaction.

    * `code` - the first word of the reply, such as `"WRONGTYPE"`, `"NOPERM"` or `"ERR"`
    * `message` - the whole reply
    * `cause` - for `"EXECABORT"`, the error of the first command that the server refused to queue;
      otherwise `nil`

  Functions that end in `!` raise it.
  """

  @enforce_keys [:code, :message]
  defexception [:code, :message, :cause]

  @type t :: %__MODULE__{code: String.t(), message: String.t(), cause: t | nil}

  @impl Exception
  def message(%__MODULE__{message: message, cause: nil}), do: text(message)
  def message(%__MODULE__{message: message, cause: cause}), do: "#{text(message)} (#{text(cause.message)})"

  # A server may quote any bytes.
  defp text(message), do: if(String.valid?(message), do: message, else: inspect(message))
end
