defmodule Veidrodelis.ErrorTest do
  use ExUnit.Case, async: true

  doctest Veidrodelis.Error

  test "every code of the native library has its sentence" do
    codes = Vdr.Native.error_codes()
    assert :wrong_type in codes

    for code <- codes do
      message = Exception.message(%Veidrodelis.Error{reason: code})
      refute message == inspect(code), "no sentence for #{inspect(code)}"
    end
  end

  # Reasons of reads, watches and callers. All others are ends of a link, which an operator looks
  # up.
  @not_of_links ~w(already_registered bad_argument no_instance not_built not_found not_ready process_gone stale stopped superseded unknown_value wrong_type)a
  @of_calls ~w(bad_host_map bad_password_function lost_history no_offset no_primary not_connected overloaded reply_too_deep reply_too_long reply_too_many_elements request_too_large)a
  @of_sentinel ~w(no_sentinel_reachable sentinel_refused unknown_group no_usable_replica bad_host_map)a

  test "every reason of a link's end is in the guide for operators" do
    guide = File.read!(Path.expand("../docs/operations.md", __DIR__))

    for code <- (Vdr.Native.error_codes() -- (@not_of_links ++ @of_calls)) ++ @of_sentinel do
      assert guide =~ "`#{inspect(code)}`", "#{inspect(code)} is not in docs/operations.md"
      refute Exception.message(%Veidrodelis.Error{reason: code}) == inspect(code)
    end
  end

  test "an unknown reason is inspected" do
    assert Exception.message(%Veidrodelis.Error{reason: {:odd, 1}}) == "{:odd, 1}"
  end

  test "the last error of an instance is a reason, too" do
    message = Exception.message(Veidrodelis.Error.exception({:connection_refused, "ECONNREFUSED"}))
    assert message == "nothing listens at the host and port (ECONNREFUSED)"
  end

  test "a bad command of a list is told by its place" do
    assert {:error, reason} = Vdr.Snapshot.from_commands([["SET", "a", "1"], ["GET", "a"]])
    assert Exception.message(%Veidrodelis.Error{reason: reason}) =~ "command 1 of the list"
    assert Exception.message(%Veidrodelis.Error{reason: {:bad_command, {:nope}}}) =~ "not a read"
  end

  test "raise takes a reason" do
    assert_raise Veidrodelis.Error, ~r/full sync/, fn -> raise Veidrodelis.Error, reason: :not_ready end
    assert_raise Veidrodelis.Error, ~r/full sync/, fn -> raise Veidrodelis.Error, :not_ready end
  end
end
