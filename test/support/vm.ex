defmodule Vdr.Test.Vm do
  @moduledoc false
  # A VM of its own for mirrors, so that no memory that others have freed hides what the data takes.

  alias Vdr.Test.{Resources, Server}

  defstruct [:peer, :pid]

  # Ends together with the process that starts it.
  # `file_blocks` is how large its files may become, in the shell's blocks of 512 or 1,024 bytes.
  def start!(opts \\ []) do
    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])
    {:ok, peer, _node} = :peer.start_link(Map.merge(exec(opts[:file_blocks]), %{args: paths, wait_boot: 60_000}))
    vm = %__MODULE__{peer: peer}
    {:ok, _started} = call(vm, :application, :ensure_all_started, [:veidrodelis])
    :ok = call(vm, Logger, :configure, [[level: :error]])
    %{vm | pid: call(vm, :os, :getpid, [])}
  end

  defp exec(nil), do: %{connection: :standard_io}

  # A write beyond the limit fails, as on a full disk, instead of ending the VM.
  defp exec(blocks) do
    script = "trap '' XFSZ; ulimit -f #{blocks}; exec erl \"$@\""
    %{connection: :standard_io, exec: {~c"/bin/sh", [~c"-c", String.to_charlist(script), ~c"erl"]}}
  end

  def stop(vm), do: :peer.stop(vm.peer)

  # A short-lived process makes each call.
  def call(vm, module, function, args), do: :peer.call(vm.peer, module, function, args, 300_000)

  # Returns when the mirror is ready. A stopped mirror must not be started again.
  def start_mirror(vm, id, server) do
    spec = Veidrodelis.child_spec(id: id, host: "127.0.0.1", port: Server.port(server))
    {:ok, _pid} = call(vm, :supervisor, :start_child, [:kernel_safe_sup, Map.put(spec, :restart, :temporary)])
    :ok = call(vm, Veidrodelis, :await_ready, [id, 120_000])
  end

  def stop_mirror(vm, id), do: :ok = call(vm, Veidrodelis, :stop, [id])

  def info(vm, id), do: call(vm, Veidrodelis, :info, [id])
  def memory_bytes(vm, id), do: call(vm, Veidrodelis, :info, [id, :memory_bytes])

  def resident(vm), do: Resources.resident(vm.pid)
end
