defmodule Vdr.Application do
  @moduledoc false
  # Starts what all instances share. The instances themselves live in the supervision trees of those who start them.

  use Application

  @impl Application
  def start(_type, _args) do
    # Owned by a process that lives as long as the application.
    Vdr.Instances.new_table()
    children = [Vdr.Events, {Registry, keys: :unique, name: Vdr.Registry}, Vdr.Instances]
    Supervisor.start_link(children, strategy: :one_for_one, name: Vdr.Supervisor)
  end
end
