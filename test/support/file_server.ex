defmodule Vdr.Test.FileServer do
  @moduledoc false
  # Stands for the place from which users download: the files of a directory, over HTTP.

  # The base URL, and a function that ends the server.
  def start!(directory) do
    {:ok, _started} = Application.ensure_all_started(:inets)
    directory = String.to_charlist(directory)

    {:ok, server} =
      :inets.start(:httpd,
        port: 0,
        bind_address: {127, 0, 0, 1},
        server_name: ~c"localhost",
        server_root: directory,
        document_root: directory
      )

    {"http://127.0.0.1:#{:httpd.info(server)[:port]}", fn -> :inets.stop(:httpd, server) end}
  end
end
