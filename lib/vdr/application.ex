defmodule Vdr.Application do
  @moduledoc false
  # Starts what all instances share. The instances themselves live in the supervision trees of their
  # users, or under `Vdr.Unlinked`.

  use Application

  # Without its library the application refuses to start, instead of failing in the middle of a
  # call.
  @impl Application
  def start(_type, _args), do: with(:ok <- Vdr.NativeLibrary.check(), do: start_shared())

  defp start_shared do
    # The application's own process owns the tables, so they live as long as the application.
    Vdr.Reports.new_table()
    Vdr.Subscriptions.new_table()
    Vdr.Recent.new_table()
    Vdr.Watch.Relay.new_table()

    # None of them holds anything that its successor could not find again, except for the last one,
    # which is a supervisor. So one crash after another is no reason to give up all instances.
    restarts = [max_restarts: 100, max_seconds: 10]
    children = [Vdr.Cleaner, Vdr.Mirror.Stores, Vdr.Watch.Sampler, Vdr.Unlinked]
    Supervisor.start_link(children, [strategy: :one_for_one, name: Vdr.Supervisor] ++ restarts)
  end

  @impl Application
  def stop(_state) do
    ids = Vdr.Mirror.Stores.list()
    Vdr.Mirror.Stores.close_all()
    for id <- ids, do: Vdr.Link.suspend({:mirror, id})
  end
end
