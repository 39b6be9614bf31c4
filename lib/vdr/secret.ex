defmodule Vdr.Secret do
  @moduledoc false
  # Secrets of options, as functions. No inspection and no crash report shows what a closure has
  # closed over.

  @type t :: nil | (... -> term)

  @doc "A password as the options take it, hidden in a function that returns it."
  @spec hide(nil | binary | {module, atom, list}) :: t
  def hide({module, function, arguments}), do: fn -> apply(module, function, arguments) end
  def hide(password) when is_binary(password), do: fn -> password end
  def hide(nil), do: nil

  @doc "The password for one attempt to connect. A user's function may be behind it."
  @spec reveal(t) :: {:ok, binary | nil} | {:error, :bad_password_function}
  def reveal(nil), do: {:ok, nil}

  def reveal(fun) do
    case fun.() do
      password when is_binary(password) -> {:ok, password}
      _other -> {:error, :bad_password_function}
    end
  catch
    # What the function raised may show the secret that it had in hand.
    _kind, _reason -> {:error, :bad_password_function}
  end
end
