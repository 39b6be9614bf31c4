defmodule Vdr.Options.Definitions do
  @moduledoc false
  # The options of a mirror and of a handler, as schemas.

  alias Vdr.{Options, Schema}
  alias Vdr.RedisStream.{CommandFilter, Replica}

  @ms_max 2_147_483_647
  @db_max 0xFFFFFFFF
  @string_bytes 1_048_576..0xFFFFFFFFFF
  @types [:string, :list, :set, :zset, :hash, :stream, :other]

  @spec mirror() :: Schema.t()
  def mirror do
    [id: [type: :any, default: Veidrodelis, doc: "names the instance in every other call"]] ++
      server() ++ link() ++ mirrored()
  end

  @spec handler() :: Schema.t()
  def handler, do: server() ++ link() ++ handled()

  defp server do
    [
      name: [type: :name, doc: "registers the process that is started, as `GenServer` does"],
      host: [type: :host, default: "localhost", doc: "the server's host name or address"],
      port: [type: {:integer, 1..65_535}, default: 6379, doc: "the server's port"],
      url: [
        type: {:check, "a URL as a string", quote(do: String.t()), &is_binary/1},
        secret: true,
        doc:
          "`redis://`, `rediss://`, `valkey://` or `valkeys://user:password@host:port`, or `unix://user:password@/path`, " <>
            "instead of `:host`, `:port`, `:socket`, `:username`, `:password` and `:ssl`. The number of a database at its " <>
            "end (`redis://host:6379/2`) has no effect, because a mirror holds every database: a read takes the number as " <>
            "its second argument, and `command/3` as the option `:db`, 0 by default. A query has no effect either"
      ],
      socket: [type: :text, doc: "the path of the server's Unix socket, instead of `:host` and `:port`"],
      sentinel: [type: Options.Sentinel.type(), doc: "finds the server by Sentinel instead of `:host` and `:port`"],
      username: [type: :string, doc: "the ACL user; servers before 6.0 have none"],
      password: [
        type: :password,
        secret: true,
        doc: "a string, or `{module, function, arguments}` that returns one at each attempt"
      ],
      ssl: [type: :boolean, default: false, doc: "whether to use TLS, which verifies the server's certificate"],
      ssl_opts: [
        type: Options.Tls.type(),
        default: [],
        doc: "options of TLS by the names of Erlang's `:ssl`; each link reads the files anew"
      ],
      socket_opts: Options.Socket.spec()
    ]
  end

  defp link do
    [
      timeout: [type: {:integer, 1..@ms_max}, default: 5000, doc: "how long connecting may take, in ms"],
      read_timeout: [
        type: {:integer, 1..@ms_max},
        default: 30_000,
        doc: "how long the server may be silent, in ms; a server with default settings sends something every 10 s"
      ],
      reconnect: [type: :boolean, default: true, doc: "whether to connect again after a failure"],
      reconnect_delay_ms: [
        type: {:integer, 0..@ms_max},
        default: 1000,
        doc: "the first delay before connecting again"
      ],
      max_reconnect_delay_ms: [
        type: {:integer, 0..@ms_max},
        default: 30_000,
        doc: "the longest delay; each failure doubles the delay up to it"
      ],
      ack_interval_ms: [
        type: {:integer, 1..@ms_max},
        default: 1000,
        doc: "how often the mirror acknowledges its replication offset to the primary, in ms"
      ],
      ack: [
        type: {:one_of, [:truthful, :lagging]},
        default: :truthful,
        doc:
          "which replication offset the mirror acknowledges to the primary. `:truthful`: the real one; SHUTDOWN does not " <>
            "wait for the mirror, but WAIT and a FAILOVER without a target count it as a copy. `:lagging`: the other way " <>
            "round. Not related to `Veidrodelis.ack/3`, which acknowledges messages of watches"
      ],
      announce_port: [
        type: {:integer, 0..70_000},
        default: 70_000,
        doc:
          "the port that the server shows for the mirror in `ROLE` and `INFO replication`. The default is no valid port, so " <>
            "that Sentinel ignores the mirror; see docs/operations.md for clients that need a valid one"
      ],
      sync_by: [
        type: {:one_of, [:auto, :disk, :socket]},
        default: :auto,
        doc:
          "the way of the snapshot file of a full sync. `:disk`: the server writes the file to its disk and sends it at " <>
            "once; `:socket`: it sends the file straight from its memory, after a delay (5 s by default) in which it waits " <>
            "for others. `:auto` takes the disk if the user may call `INFO` and the data is small (64 MB), and the socket " <>
            "otherwise, or if the disk failed"
      ],
      psync_command: [
        type:
          {:check, "a string that is not empty, or a function of {host, port}",
           quote(do: String.t() | ({String.t(), :inet.port_number()} -> String.t())), &psync_command?/1},
        secret: true,
        doc:
          "the server's name for `PSYNC`, if it has another one: a string, or a function of `{host, port}` that returns one " <>
            "at each attempt"
      ],
      on_unknown_command: [
        type: {:one_of, [:continue, :stop]},
        default: :continue,
        doc:
          "what to do with a command of the stream that the library does not know: `:continue` counts it in `info/1` and " <>
            "logs its name once, `:stop` ends the link for good with `{:unknown_command, name}`"
      ],
      log: [
        type: {:one_of, Vdr.Log.levels()},
        default: :info,
        doc:
          "the least level of log lines about it, or `false` for none. `:debug` has each step of its connections, and " <>
            "`:trace` also each batch of commands, at the Logger's level `:debug`"
      ],
      max_string_bytes: [
        type: {:integer, @string_bytes},
        doc:
          "the longest string that is accepted, in bytes, in the snapshot file and in the stream. Without it, the limit is " <>
            "512 MB, the default of the server's `proto-max-bulk-len`. If a longer string comes, the link ends, and the next one " <>
            "asks the server for its setting, where the user may (`+config|get`)"
      ],
      only: [
        type: only_type(),
        doc:
          "keeps a part of the data instead of all of it, such as `[dbs: [0], prefixes: [\"user:\"], types: [:hash]]`"
      ]
    ]
  end

  defp only_type do
    schema = [
      dbs: [type: {:nonempty_list, {:integer, 0..@db_max}}, doc: "the databases to keep"],
      prefixes: [type: {:nonempty_list, :binary}, doc: "the beginnings of the keys to keep"],
      types: [type: {:nonempty_list, {:one_of, @types}}, doc: "the types to keep, of `#{inspect(@types)}`"]
    ]

    {:options, schema, fn _given, _path -> :ok end}
  end

  defp mirrored do
    [
      stale_reads: [
        type:
          {:check, ":allow, {:max_ms, n} or :deny", quote(do: :allow | {:max_ms, pos_integer()} | :deny),
           &stale_reads?/1},
        default: :allow,
        doc:
          "what reads answer while the data may be behind: `:allow` answers from the data at hand, `{:max_ms, n}` answers " <>
            "`{:error, :stale}` once the server has been silent for `n` ms (with default settings it sends something every " <>
            "10 s), `:deny` does so whenever no link is streaming"
      ],
      on_empty_primary: [
        type:
          {:check,
           ":accept, {:keep, fraction} with a fraction from 0 to 1, or {:keep, fun} with a function of one argument",
           quote(do: :accept | {:keep, number() | (map() -> :accept | :keep)}), &on_empty_primary?/1},
        default: :accept,
        doc:
          "what to do with a full sync that brings far fewer keys than there were, as from a primary that was restarted " <>
            "without its data: `:accept` follows the primary, as a replica does. `{:keep, fraction}` keeps the data if less " <>
            "than this fraction of the keys is left, and tries again slowly; each attempt is a full sync. `{:keep, fun}` " <>
            "keeps it if less than half is left, and calls `fun.(%{primary: {host, port}, keys: n, before: n})`, which " <>
            "answers `:accept` or `:keep`; the next attempt follows what it answers. The event is `:emptied`"
      ],
      on_link_end: [
        type: {:one_of, [:keep, :stop]},
        default: :keep,
        doc:
          "what to do when a link has ended for good, by `reconnect: false` or `on_unknown_command: :stop`: `:keep` keeps " <>
            "the data readable, `:stop` stops the instance with `{:link_ended, reason}`, so that its supervisor can act"
      ],
      guard_key: [
        type: {:check, "a string that is not empty, or false", quote(do: binary() | false), &guard_key?/1},
        default: "__vdr_tx",
        doc:
          "the key that holds back writes while it is set, so that they become visible together (see the guide on " <>
            "transactions); `false` for none"
      ]
    ]
  end

  defp handled do
    [
      command_filter: [
        type:
          {:check, "a module with pre_handle/1 or post_handle/1, or what CommandFilter.combine/2 returns",
           quote(do: CommandFilter.t()), &CommandFilter.filter?/1},
        doc: "a `Vdr.RedisStream.CommandFilter` that commands pass before the callback module gets them"
      ],
      callback_module: [
        type:
          {:check, "a module with init/1 and handle_commands/2 (Vdr.RedisStream.Callback)", quote(do: module()),
           &callback_module?/1},
        required: true,
        doc: "implements `Vdr.RedisStream.Callback`"
      ],
      callback_opts: [
        type: :any,
        required: true,
        secret: true,
        keep_nil: true,
        doc: "is the argument of its `init/1`"
      ],
      initial: [
        type:
          {:check, "{replication_id, offset} or {replication_id, offset, db}",
           quote(do: Vdr.RedisStream.Callback.position()), &Replica.position?/1},
        doc:
          "where to go on without a full sync: `{replication_id, offset}` or `{replication_id, offset, db}`, as " <>
            "`get_position/1` answers"
      ]
    ]
  end

  defp psync_command?(value), do: is_function(value, 1) or (is_binary(value) and value != "")

  defp stale_reads?({:max_ms, ms}), do: is_integer(ms) and ms in 1..@ms_max
  defp stale_reads?(value), do: value in [:allow, :deny]

  defp on_empty_primary?({:keep, keep}) when is_number(keep), do: keep > 0 and keep <= 1
  defp on_empty_primary?({:keep, keep}), do: is_function(keep, 1)
  defp on_empty_primary?(value), do: value == :accept

  defp guard_key?(value), do: value == false or (is_binary(value) and value != "")

  defp callback_module?(value) do
    is_atom(value) and Code.ensure_loaded?(value) and function_exported?(value, :handle_commands, 2) and
      function_exported?(value, :init, 1)
  end
end
