defmodule Mix.Tasks.Vdr.Top do
  @shortdoc "Shows a server or a node's mirrors live in the terminal"

  @moduledoc """
  A live view of a Redis or Valkey server, or of the mirrors of a running node: state, lag, rate,
  keys and memory by type and prefix, the largest keys, syncs, slow scripts and events.

      mix vdr.top --url redis://localhost:6379
      mix vdr.top --node shop@host --cookie secret

    * `--url URL` - follows a server with a mirror of its own, which holds all of the data in
      memory. The password may be in the environment instead: `VDR_URL`
    * `--node NAME` - shows the instances of a node that runs this library
    * `--cookie COOKIE` - the node's cookie, that of this machine without it
    * `--interval MS` - how often to look, 1000
    * `--once` - prints once and ends; also where the output is no terminal
    * `--json` - with `--once`: one JSON object
    * `--timeout MS` - how long to wait for the first full sync, 60000

  Keys: `q` quits, `p` pauses, `s` sorts by keys, memory or name, `i` shows the next instance.

  It works in 80 columns and 24 rows. Numbers of keys and bytes by type and by prefix are estimates
  from a sample that grows to 10,000 keys, so that the view takes little of one processor however
  many keys there are. Largest keys are those with 4,096 elements or 64 KB and more.
  """

  use Mix.Task

  alias Vdr.{Json, Overview}
  alias Vdr.Top.{Screen, Source, Terminal}

  @switches [
    url: :string,
    node: :string,
    cookie: :string,
    interval: :integer,
    once: :boolean,
    json: :boolean,
    timeout: :integer
  ]
  @history 500
  @sorts [:keys, :bytes, :name]

  @impl Mix.Task
  def run(argv) do
    opts = parse!(argv)
    Mix.Task.run("compile")
    {:ok, _apps} = Application.ensure_all_started(:veidrodelis)

    case source(opts) do
      {:ok, source} -> show(source, opts)
      {:error, reason} -> Mix.raise(reason)
    end
  end

  defp parse!(argv) do
    case OptionParser.parse(argv, strict: @switches) do
      {opts, [], []} -> opts |> with_environment() |> check!()
      _other -> usage!()
    end
  end

  defp with_environment(opts) do
    url = System.get_env("VDR_URL")
    if url && opts[:node] == nil, do: Keyword.put_new(opts, :url, url), else: opts
  end

  defp check!(opts) do
    one? = opts[:url] == nil != (opts[:node] == nil)
    positive? = Enum.all?([:interval, :timeout], &(Keyword.get(opts, &1, 1) > 0))
    if one? and positive? and (opts[:once] == true or opts[:json] != true), do: opts, else: usage!()
  end

  @spec usage!() :: no_return
  defp usage! do
    Mix.raise(
      "usage: mix vdr.top --url URL | --node NAME [--cookie COOKIE] [--interval MS] [--timeout MS] [--once [--json]]"
    )
  end

  defp source(opts) do
    if opts[:node],
      do: Source.attach(opts[:node], opts[:cookie]),
      else: Source.follow(opts[:url], Keyword.get(opts, :timeout, 60_000))
  end

  defp show(source, opts) do
    cond do
      opts[:json] -> once(source, &json/1)
      opts[:once] || not Terminal.terminal?() -> once(source, &Enum.join(Screen.lines(view(&1, :keys, false)), "\n"))
      true -> live(source, Keyword.get(opts, :interval, 1000))
    end
  end

  defp json([overview | _] = history) do
    {:object, fields} = Overview.json(overview)
    Json.encode({:object, fields ++ [commands_per_second: Screen.rate(history)]})
  end

  # Twice, because a rate is the difference of two looks.
  @once_ms 500

  defp once(source, print) do
    with {:ok, before, source} <- Source.take(source),
         Process.sleep(@once_ms),
         {:ok, now, _source} <- Source.take(source) do
      Mix.shell().info(print.([now, before]))
    else
      {:error, reason} -> Mix.raise(reason)
    end
  end

  defp live(source, interval_ms) do
    Terminal.open()

    try do
      loop(%{source: source, history: [], sort: :keys, paused: false, interval_ms: interval_ms})
    after
      Terminal.close()
    end
    |> case do
      :quit -> :ok
      {:error, reason} -> Mix.raise(reason)
    end
  end

  defp loop(state) do
    with {:ok, state} <- look(state) do
      Terminal.draw(Screen.lines(view(state.history, state.sort, state.paused)))
      wait(state, System.monotonic_time(:millisecond) + state.interval_ms)
    end
  end

  defp look(%{paused: true} = state), do: {:ok, state}

  defp look(state) do
    with {:ok, overview, source} <- Source.take(state.source),
         do: {:ok, %{state | source: source, history: Enum.take([overview | state.history], @history)}}
  end

  # A key is answered at once, and does not shift the next look.
  defp wait(state, until_ms) do
    receive do
      {:key, "q"} -> :quit
      {:key, "p"} -> redraw(%{state | paused: not state.paused}, until_ms)
      {:key, "s"} -> redraw(%{state | sort: next_sort(state.sort)}, until_ms)
      {:key, "i"} -> loop(%{state | source: Source.next(state.source), history: [], paused: false})
      {:key, _other} -> wait(state, until_ms)
    after
      max(until_ms - System.monotonic_time(:millisecond), 0) -> loop(state)
    end
  end

  defp redraw(state, until_ms) do
    Terminal.draw(Screen.lines(view(state.history, state.sort, state.paused)))
    wait(state, until_ms)
  end

  defp next_sort(sort), do: Enum.at(@sorts, rem(Enum.find_index(@sorts, &(&1 == sort)) + 1, length(@sorts)))

  defp view(history, sort, paused) do
    {rows, columns} = Terminal.size()
    %{history: history, sort: sort, paused: paused, plain: not Terminal.unicode?(), rows: rows, columns: columns}
  end
end
