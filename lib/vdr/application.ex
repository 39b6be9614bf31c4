defmodule Vdr.Application do
  @moduledoc false
  # Starts what all instances share. The instances themselves live in the supervision trees of those who start them.

  use Application

  @impl Application
  def start(_type, _args) do
    # Owned by a process that lives as long as the application.
    Vdr.Instances.new_table()
    Supervisor.start_link([Vdr.Instances, Vdr.RedisStream.Standing], strategy: :one_for_one, name: Vdr.Supervisor)
  end
end
