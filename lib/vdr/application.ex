defmodule Vdr.Application do
  @moduledoc false
  # Starts what all instances share. The instances themselves live in the supervision trees of those who start them.

  use Application

  @impl Application
  def start(_type, _args) do
    # Owned by a process that lives as long as the application.
    Vdr.Instances.new_table()

    children = [
      Vdr.Events,
      {Vdr.Names, keys: :unique, name: Vdr.Registry},
      Vdr.Instances,
      Vdr.RedisStream.Standing
    ]

    # None of them holds what its successor could not find again, so a crash, and another, is no reason to give up all instances.
    restarts = [max_restarts: 100, max_seconds: 10]
    Supervisor.start_link(children, [strategy: :one_for_one, name: Vdr.Supervisor] ++ restarts)
  end
end
