defmodule Veidrodelis.ErrorTest do
  use ExUnit.Case, async: true

  test "every code of the native library has its sentence" do
    codes = Vdr.Native.error_codes()
    assert :wrong_type in codes

    for code <- codes do
      message = Exception.message(%Veidrodelis.Error{reason: code})
      refute message == inspect(code), "no sentence for #{inspect(code)}"
    end
  end

  test "an unknown reason is shown as it is" do
    assert Exception.message(%Veidrodelis.Error{reason: {:odd, 1}}) == "{:odd, 1}"
  end

  test "the last error of an instance is a reason, too" do
    message = Exception.message(Veidrodelis.Error.exception({:connection_refused, "ECONNREFUSED"}))
    assert message == "nothing listens at the host and port (ECONNREFUSED)"
  end

  test "it is raised by its reason" do
    assert_raise Veidrodelis.Error, ~r/full sync/, fn -> raise Veidrodelis.Error, reason: :not_ready end
    assert_raise Veidrodelis.Error, ~r/full sync/, fn -> raise Veidrodelis.Error, :not_ready end
  end
end
