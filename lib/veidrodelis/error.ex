defmodule Veidrodelis.Error do
  @moduledoc """
  The reason of `{:error, reason}` as an exception, with a sentence for people.

      iex> Exception.message(Veidrodelis.Error.exception(:not_ready))
      "the first full sync is not complete yet"

  Functions that end in `!` raise it. The `last_error` of `Veidrodelis.info/1` is a reason, too.
  """

  @enforce_keys [:reason]
  defexception [:reason]

  @typedoc "Why a link could not begin, or why it ended; docs/operations.md lists the codes."
  @type code :: atom

  @typedoc "A reason as functions return it in `{:error, reason}`."
  @type reason ::
          Veidrodelis.reason()
          | :already_registered
          | :not_found
          | :timeout
          | :not_connected
          | :not_implemented
          | :not_built
          | {:bad_command, index_or_operation :: term}
          | {:bad_command, index :: non_neg_integer, code :: atom}
          | {:lua, :syntax | :runtime | :timeout | :memory | :result, message :: String.t()}
          | {:not_comparable, keys :: pos_integer}
          | {:unknown_command, name :: String.t()}
          | :lost_history
          | :no_offset
          | :overloaded
          | :request_too_large
          | {:not_allowed, name :: String.t()}
          | {:no_reply, name :: String.t()}
          | {:sent, code}
          | {:written, :not_visible | code}
          | code
          | {code, detail :: String.t()}
          | {code, %{offset: non_neg_integer, key: binary | nil, detail: String.t()}}

  @typedoc "Any term is shown, also one that is no reason of this library."
  @type t :: %__MODULE__{reason: reason | term}

  @impl Exception
  def exception(reason: reason), do: %__MODULE__{reason: reason}
  def exception(reason), do: %__MODULE__{reason: reason}

  @impl Exception
  def message(%__MODULE__{reason: reason}), do: sentence(reason)

  # Reads and watches.
  defp sentence(:no_instance), do: "there is no such instance"
  defp sentence(:not_found), do: "the process has no such watch, or there is no such process"
  defp sentence(:not_ready), do: "the first full sync is not complete yet"
  defp sentence(:stale), do: "the data is older than the option :stale_reads allows"
  defp sentence(:wrong_type), do: "the key holds a value of another type"
  defp sentence(:unknown_value), do: "a command that is not known may have changed the key"
  defp sentence(:bad_argument), do: "an argument is not valid for the command"

  defp sentence({:bad_command, index}) when is_integer(index),
    do: "command #{index} of the list, counted from 0, is not a write command of the stream, or has wrong arguments"

  defp sentence({:bad_command, operation}), do: "not a read, or a read with wrong arguments: #{inspect(operation)}"

  defp sentence({:bad_command, index, code}) when is_integer(index) and is_atom(code),
    do: "command #{index} of the list, counted from 0, would be refused by a server: #{refusal(code)}"

  defp sentence(:already_registered), do: "the process watches this key, prefix or pattern already"
  defp sentence(:timeout), do: "the timeout expired"
  defp sentence(:not_connected), do: "no server is connected"

  # Commands and positions.
  defp sentence(:lost_history),
    do: "the position is not part of the data's history: its writes may or may not be in the data"

  defp sentence(:not_visible), do: "the effect has not become visible in time"

  defp sentence(:no_offset),
    do:
      "the server does not tell offsets to the user, who needs the permissions +role and +info; sync: false is possible"

  defp sentence(:no_primary), do: "no server named a primary"
  defp sentence(:overloaded), do: "too many commands wait to be sent"
  defp sentence(:request_too_large), do: "the commands are longer than any server accepts"
  defp sentence(:reply_too_long), do: "the reply was longer than the library's limit"
  defp sentence(:reply_too_deep), do: "the reply was nested deeper than the library's limit"
  defp sentence(:reply_too_many_elements), do: "the reply had more elements than the library's limit"

  defp sentence({:not_allowed, name}) when is_binary(name),
    do: "#{name} must not be sent over a connection that other calls share"

  defp sentence({:no_reply, name}) when is_binary(name) do
    "the server that the test plays knows no reply to #{inspect(name, printable_limit: 100)} with these arguments, " <>
      "and has done nothing; give one by the option :reply of Veidrodelis.Testing"
  end

  defp sentence({:sent, reason}), do: "whether the commands ran is not known: #{sentence(reason)}"
  defp sentence({:written, reason}), do: "the commands ran: #{sentence(reason)}"

  # Handlers.
  defp sentence(:not_implemented), do: "the callback module does not implement handle_call/2"

  # Scripts.
  defp sentence(:not_built), do: "the native library was built without Lua; see VDR_WITHOUT in docs/deployment.md"
  defp sentence({:lua, kind, message}) when is_atom(kind) and is_binary(message), do: "#{script(kind)}: #{message}"

  # Digests and snapshot files.
  defp sentence({:not_comparable, keys}), do: "#{keys} keys hold values of modules, which have no digest"
  defp sentence(:enoent), do: "there is no such file"
  defp sentence(:eacces), do: "the file may not be read"
  defp sentence(:eisdir), do: "it is a directory"
  defp sentence(:not_a_file), do: "it is not a regular file"

  defp sentence({code, %{offset: offset, key: key, detail: detail}}) when is_atom(code) do
    where = if key, do: " in key #{inspect(key, printable_limit: 100)}", else: ""
    "#{sentence(code)}: #{detail} at byte #{offset}#{where}"
  end

  # The start of a link.
  defp sentence(:no_thread), do: "the system has no thread left for the link"
  defp sentence(:process_gone), do: "the process that owns the link is gone"
  defp sentence(:bad_link_config), do: "the native library refused the options; this is a bug"
  defp sentence(:bad_password_function), do: "the function for the password did not return a string"
  defp sentence(:bad_psync_command), do: "the function of the option :psync_command did not return a string"

  # The end of a link: the connection.
  defp sentence(:stopped), do: "the link was stopped"
  defp sentence(:host_not_found), do: "the host name has no address"
  defp sentence(:connection_refused), do: "nothing listens at the host and port"
  defp sentence(:host_unreachable), do: "no route leads to the host"
  defp sentence(:network_unreachable), do: "no route leads to the host's network"
  defp sentence(:socket_not_found), do: "there is no socket at the path"
  defp sentence(:permission_denied), do: "the operating system does not allow the connection"
  defp sentence(:connect_timeout), do: "connecting took too long"
  defp sentence(:connect_failed), do: "connecting failed"

  defp sentence(:handshake_timeout),
    do: "the server accepted the connection and then did not answer in time; with ssl: true, the port may speak no TLS"

  defp sentence(:read_timeout), do: "the server sent nothing for too long"
  defp sentence(:write_timeout), do: "the server accepted no data for too long"
  defp sentence(:closed), do: "the server closed the connection"

  defp sentence(:closed_in_handshake),
    do: "the server closed the connection instead of answering; a proxy does so when it does not know the command"

  defp sentence(:connection_reset), do: "the connection was reset"
  defp sentence(:connection_timed_out), do: "the connection timed out"
  defp sentence(:io_error), do: "reading from or writing to the server failed"

  # The end of a link: TLS.
  defp sentence(:tls_not_built), do: "the native library was built without TLS; see VDR_WITHOUT in docs/deployment.md"
  defp sentence(:tls_bad_config), do: "a value in :ssl_opts cannot be used"
  defp sentence(:tls_no_system_roots), do: "the system has no certificate authorities; give :cacertfile in :ssl_opts"
  defp sentence(:tls_certificate_expired), do: "the server's certificate has expired"
  defp sentence(:tls_certificate_not_yet_valid), do: "the server's certificate is not valid yet"
  defp sentence(:tls_certificate_revoked), do: "the server's certificate is revoked"

  defp sentence(:tls_unknown_ca),
    do: "the server's certificate comes from an unknown authority; see :cacertfile in :ssl_opts"

  defp sentence(:tls_wrong_name),
    do: "the server's certificate is issued to another name; see :server_name_indication in :ssl_opts"

  defp sentence(:tls_bad_certificate), do: "the server's certificate is not valid"

  defp sentence(:tls_client_certificate_required),
    do: "the server requires a client certificate; give :certfile and :keyfile in :ssl_opts"

  defp sentence(:tls_client_certificate_refused), do: "the server does not accept the client certificate"
  defp sentence(:tls_version_refused), do: "the server and the library have no TLS version in common"
  defp sentence(:tls_required), do: "the server speaks TLS there; give ssl: true"
  defp sentence(:tls_not_spoken), do: "the server does not speak TLS"
  defp sentence(:tls_handshake_failed), do: "the TLS handshake failed"
  defp sentence(:tls_protocol), do: "the TLS connection was damaged"

  # The end of a link: the server's replies.
  defp sentence(:not_redis), do: "the server does not speak the Redis protocol"
  defp sentence(:bad_reply), do: "the server sent an invalid reply"
  defp sentence(:wrong_password), do: "the server does not accept the username or password"
  defp sentence(:password_required), do: "the server requires a password; give the option :password"
  defp sentence(:no_password_set), do: "the server has no password set, but the option :password is given"

  defp sentence(:no_permission),
    do: "the user may not replicate; it needs the permissions +psync +replconf +ping"

  defp sentence(:protected_mode), do: "the server is in protected mode and accepts local clients only"

  defp sentence(:psync_forbidden),
    do: "the server does not offer PSYNC, as many managed services do not; without it there is no replication"

  defp sentence(:not_psync),
    do:
      "the server's PSYNC takes other arguments; with :psync_command, the name may be that of another command, such as SYNC"

  defp sentence(:other_replication), do: "the server has a replication protocol of its own"

  defp sentence(:active_replication),
    do: "the server is an active replica of KeyDB, whose stream of writes cannot be mirrored"

  defp sentence(:sentinel_port), do: "the host and port are those of a Sentinel; give them in the option :sentinel"

  defp sentence(:loading), do: "the server is still loading its data"
  defp sentence(:no_master_link), do: "the server is a replica without a link to its own primary"
  defp sentence(:master_down), do: "the server is a replica whose own primary is down"
  defp sentence(:busy), do: "the server is busy with a script"
  defp sentence(:misconf), do: "the server cannot save its data and refuses to continue"
  defp sentence(:bgsave_failed), do: "the server could not make the snapshot file"
  defp sentence(:pending_output), do: "the server still has output pending for the connection"
  defp sentence(:too_many_clients), do: "the server has too many clients"
  defp sentence(:wrong_role), do: "the server does not have the role that Sentinel reports, primary or replica"
  defp sentence(:refused), do: "the server refused to replicate"

  # Sentinel.
  defp sentence(:no_sentinel_reachable), do: "no Sentinel answers"

  defp sentence(:sentinel_refused),
    do: "the Sentinels that answer refuse the request; see :username and :password of :connect_opts"

  defp sentence(:unknown_group), do: "no Sentinel that answers knows the group"
  defp sentence(:no_usable_replica), do: "Sentinel knows no replica that is up and linked to its primary"
  defp sentence(:bad_host_map), do: "the option :host_map did not give a host"

  # The end of a link: the data.
  defp sentence(:protocol), do: "the server sent data that is not the replication protocol"
  defp sentence(:diverged), do: "a command does not fit the data: the mirror no longer equals the primary"

  defp sentence(:not_mirrored),
    do: "a key that :only keeps takes its value from a key that :only leaves out; only a full sync brings that value"

  defp sentence(:command_too_long), do: "a command was longer than any that a server sends"

  defp sentence(:string_too_long),
    do: "the primary holds or sent a string that is longer than the limit; see the option :max_string_bytes"

  defp sentence(:primary_emptied),
    do: "the primary came back with far fewer keys, and the data before is kept; see the option :on_empty_primary"

  defp sentence(:sync_aborted), do: "the server gave up sending the snapshot file"
  defp sentence(:bad_rdb_transfer), do: "the snapshot file arrived with invalid framing"
  defp sentence(:rdb_bad_magic), do: "the file is not a snapshot file"
  defp sentence(:rdb_unsupported_version), do: "the snapshot file has a version that the library does not know"
  defp sentence(:rdb_unknown_type), do: "the snapshot file holds a type of value that the library does not know"
  defp sentence(:rdb_corrupt), do: "the snapshot file is damaged"
  defp sentence(:rdb_checksum), do: "the snapshot file's checksum does not match"

  defp sentence(:rdb_no_offset),
    do:
      "the server answers the name of :psync_command like SYNC, and its snapshot file does not say where the stream begins"

  defp sentence(:rdb_truncated), do: "the snapshot file ended too early"
  defp sentence(:rdb_too_large), do: "the snapshot file holds something larger than the library's limits"
  defp sentence(:superseded), do: "another link of the instance took over"
  defp sentence(:switched), do: "Sentinel named another server"
  defp sentence(:link_crashed), do: "the process that keeps the link crashed"
  defp sentence(:application_restarted), do: "the application :veidrodelis was stopped and started again"
  defp sentence({:link_ended, reason}), do: "the link has ended for good: #{sentence(reason)}"
  defp sentence(:panicked), do: "the native library failed because of a bug"

  defp sentence({:unknown_command, name}),
    do: "the primary sent #{name}, which the library does not know, and :on_unknown_command is :stop"

  defp sentence({code, detail}) when is_atom(code) and is_binary(detail), do: "#{sentence(code)} (#{detail})"

  # A term that no clause knows is shown as it is.
  defp sentence(other), do: inspect(other)

  defp refusal(:unknown_command), do: "it is no write command"
  defp refusal(:bad_argument), do: "its arguments are wrong"
  defp refusal(:wrong_type), do: "the key holds a value of another type"
  defp refusal(:not_a_number), do: "it needs a number"
  defp refusal(:out_of_range), do: "a number is out of range"
  defp refusal(:not_found), do: "what must exist is not there"
  defp refusal(other), do: inspect(other)

  defp script(:syntax), do: "the script is not valid Lua"
  defp script(:runtime), do: "the script failed"
  defp script(:timeout), do: "the script took too long"
  defp script(:memory), do: "the script took too much memory"
  defp script(:result), do: "the script's result has no form in Elixir"
  defp script(other), do: inspect(other)
end
