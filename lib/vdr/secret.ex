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

  @doc "The server's name for PSYNC as the options take it, hidden in a function of the server's address."
  @spec hide_psync_command(nil | String.t() | ({term, term} -> term)) :: nil | ({term, term} -> term)
  def hide_psync_command(name) when is_binary(name), do: fn _address -> name end
  def hide_psync_command(fun), do: fun

  @doc "The name of PSYNC at a server, `nil` for its own. A user's function may be behind it."
  @spec reveal_psync_command(nil | ({term, term} -> term), {term, term}) ::
          {:ok, String.t() | nil} | {:error, :bad_psync_command}
  def reveal_psync_command(nil, _address), do: {:ok, nil}

  def reveal_psync_command(fun, address) do
    case fun.(address) do
      name when is_binary(name) and name != "" -> {:ok, name}
      _other -> {:error, :bad_psync_command}
    end
  catch
    _kind, _reason -> {:error, :bad_psync_command}
  end

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
