defmodule Vdr.Application do
  @moduledoc false
  # Starts what all instances share. The instances themselves live in the supervision trees of those who start them.

  use Application

  @impl Application
  def start(_type, _args) do
    Supervisor.start_link([Vdr.Instances], strategy: :one_for_one, name: Vdr.Supervisor)
  end
end
