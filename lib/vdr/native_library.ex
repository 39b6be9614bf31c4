defmodule Vdr.NativeLibrary do
  @moduledoc """
  Whether the native library fits the system on which the VM runs.

  The application refuses to start without its library, with the sentence of `check/0`. Call it to
  examine a build before it is deployed:

      MIX_ENV=prod mix run --no-start -e ':ok = Vdr.NativeLibrary.check()'
  """

  # The module of the NIFs loads even without its library, so that the application can refuse to
  # start with a sentence, where a failed `@on_load` would end a release before the first log line.

  @refusal {__MODULE__, :refusal}
  @version Mix.Project.config()[:version]

  @doc false
  # The path without the extension, as `:erlang.load_nif/2` wants it.
  def path do
    case :code.priv_dir(:veidrodelis) do
      {:error, :bad_name} -> Path.expand("../../priv/native/libvdr_nif", to_string(:code.which(__MODULE__)))
      priv -> Path.join(to_string(priv), "native/libvdr_nif")
    end
  end

  @doc false
  # Turns the answer of `:erlang.load_nif/2` into that of `@on_load`, and keeps a refusal for
  # `check/0`.
  def loaded(answer, path) do
    case answer do
      :ok ->
        :persistent_term.erase(@refusal)
        :ok

      # A module of the same name runs, with its library. It stays.
      {:error, {reason, _text}} when reason in [:upgrade, :reload] ->
        answer

      {:error, {_reason, text}} ->
        :persistent_term.put(@refusal, sentence(to_string(text), path <> ".so"))
        :ok
    end
  end

  @doc "`:ok`, or `{:error, sentence}`: what was found instead of a library that fits, and what to do."
  @spec check() :: :ok | {:error, sentence :: String.t()}
  def check do
    case Code.ensure_loaded(Vdr.Native) do
      {:module, _} ->
        with :ok <- :persistent_term.get(@refusal, :ok), {:version, @version} <- version() do
          :ok
        else
          other -> {:error, refusal(other)}
        end

      {:error, reason} ->
        {:error, "the module of the native library of Veidrodelis does not load: #{inspect(reason)}"}
    end
  end

  # A library of a version that had no such function loads, too, if it lacks nothing else.
  defp version do
    {:version, Vdr.Native.version()}
  rescue
    ErlangError -> {:version, "before #{@version}"}
  end

  defp refusal({:version, version}) do
    "the native library of Veidrodelis is of version #{version}, and the application of version #{@version}: " <>
      "#{path()}.so. #{advice()}"
  end

  defp refusal(sentence), do: sentence

  defp sentence(text, file) do
    "the native library of Veidrodelis was not loaded: #{found(file)} This VM runs on #{system()}, OTP " <>
      "#{System.otp_release()} with NIF version #{:erlang.system_info(:nif_version)}. The VM says: " <>
      "#{String.trim_trailing(text, ".")}. #{advice()}"
  end

  defp advice do
    "Build the library on the system that it is to run on, or for it: `mix deps.compile veidrodelis --force` where " <>
      "the application or its release is built, with VDR_BUILD=1 where a prebuilt library does not fit, or with " <>
      "VDR_NATIVE_PATH for one of your own."
  end

  defp found(file) do
    case File.open(file, [:read, :binary], &IO.binread(&1, 20)) do
      {:ok, <<head::binary-size(20)>>} -> "#{file} is #{format(head)}."
      {:ok, _short} -> "#{file} is not a library: it is empty or cut off."
      {:error, reason} -> "#{file} cannot be read (#{:file.format_error(reason)})."
    end
  end

  defp format(<<0x7F, "ELF", _class, 1, _::binary-size(12), machine::little-16>>),
    do: "for #{machine(machine)} with ELF"

  defp format(<<0x7F, "ELF", _::binary>>), do: "for a big-endian machine with ELF"
  defp format(<<0xFEEDFACF::little-32, 0x01000007::little-32, _::binary>>), do: "for macOS on x86_64"
  defp format(<<0xFEEDFACF::little-32, 0x0100000C::little-32, _::binary>>), do: "for macOS on arm64"
  defp format("MZ" <> _), do: "for Windows"
  defp format(_other), do: "no library"

  defp machine(62), do: "x86_64"
  defp machine(183), do: "aarch64"
  defp machine(243), do: "riscv64"
  defp machine(40), do: "arm"
  defp machine(number), do: "a machine of ELF number #{number}"

  defp system, do: to_string(:erlang.system_info(:system_architecture))
end
