# Plug is optional, and the tests need no Hex package. This module stands in for the few functions
# that Veidrodelis.Web calls.
defmodule Plug.Conn do
  @moduledoc false
  def fetch_query_params(conn), do: conn
  def put_resp_header(conn, name, value), do: %{conn | resp_headers: [{name, value} | conn.resp_headers]}
  def send_resp(conn, status, body), do: Map.merge(conn, %{status: status, body: body})
end
