defmodule Vdr.Live.ErlangTest do
  # docs/erlang.md as a reader does it: the sessions in a shell of Erlang, and the project.
  use ExUnit.Case, async: true

  alias Vdr.Test.{Mirror, Server}

  @moduletag :tmp_dir
  @guide "docs/erlang.md"

  setup do
    server = Server.start!(binary: Server.any())
    %{port: Server.port(server), redis: Server.connect!(server)}
  end

  # The fenced blocks whose first line begins with this, without that line.
  defp blocks(info) do
    for [_, block] <- Regex.scan(~r/^```#{Regex.escape(info)}\n(.*?)^```$/ms, File.read!(@guide)), do: block
  end

  defp paths, do: for(app <- [:veidrodelis, :elixir, :logger], do: :code.lib_dir(app, :ebin))

  # The shell prints a prompt with a number before each answer, and repeats nothing of its input.
  defp erl(inputs, directory) do
    file = Path.join(directory, "session")
    File.write!(file, Enum.join(inputs, "\n") <> "\n")
    pas = Enum.map_join(paths(), " ", &"-pa '#{&1}'")
    environment = [{"VDR_NATIVE_PATH", nil}, {"ERL_LIBS", nil}]
    {out, 0} = System.cmd("sh", ["-c", "exec erl +S1:1 #{pas} < '#{file}'"], env: environment, stderr_to_stdout: true)
    [_banner | answers] = String.split(out, ~r/^\d+> /m)
    Enum.map(answers, &String.trim/1)
  end

  # [{input, answer}]
  defp session(block) do
    [_ | pairs] = String.split(block, ~r/^\d+> /m)
    for pair <- pairs, [input, answer] = String.split(pair, "\n", parts: 2), do: {input, String.trim(answer)}
  end

  test "the sessions answer what the guide shows", %{port: port, redis: redis, tmp_dir: directory} do
    Redix.command!(redis, ["SET", "user:1:name", "Ona"])
    Redix.command!(redis, ["HSET", "user:1", "city", "Kaunas", "age", "36"])
    sessions = "erl" |> blocks() |> Enum.map(&session/1)
    assert [16, 2] = Enum.map(sessions, &length/1)

    for session <- sessions do
      inputs = for {input, _answer} <- session, do: String.replace(input, "6379", "#{port}")
      answers = erl(inputs, directory)

      for {{input, expected}, answer} <- Enum.zip(session, answers) do
        assert answer == expected, "#{input} answered #{answer}"
      end

      assert length(answers) >= length(session)
    end
  end

  test "the project compiles without a warning, and reads prices", %{port: port, redis: redis, tmp_dir: directory} do
    files = for [_, path, text] <- Regex.scan(~r/^```erlang (\S+)\n(.*?)^```$/ms, File.read!(@guide)), do: {path, text}

    assert Enum.map(files, &elem(&1, 0)) ==
             ~w(rebar.config src/shop.app.src src/shop_app.erl src/shop_sup.erl src/shop.erl)

    for {path, text} <- files do
      target = Path.join(directory, path)
      File.mkdir_p!(Path.dirname(target))
      File.write!(target, String.replace(text, "6379", "#{port}"))
    end

    Redix.command!(redis, ["HSET", "item:1", "price", "42"])
    ebin = compile(directory, System.find_executable("rebar3"))

    run = """
    {ok, _} = application:ensure_all_started(shop), ok = veidrodelis:await_ready(prices, 20000), \
    {ok, 42} = shop:price(<<"1">>), unknown = shop:price(<<"2">>), \
    Wait = fun(Self) -> case shop:last_change() of none -> timer:sleep(5), Self(Self); Last -> Last end end, \
    io:format("last ~p~n", [Wait(Wait)]), \
    \#{ref := Ref} = sys:get_state(shop), Missed = 'Elixir.Vdr.WatchEvent.Missed', \
    shop ! {Ref, \#{'__struct__' => Missed, from => 1, to => 2, count => 2}}, everything = shop:last_change(), \
    ok = application:stop(shop), {error, no_instance} = shop:price(<<"1">>), io:format("done~n"), halt(0).
    """

    pas = Enum.flat_map([ebin | paths()], &["-pa", to_string(&1)])
    assert {out, 0} = System.cmd("erl", ["-noshell" | pas] ++ ["-eval", run], stderr_to_stdout: true)
    assert out =~ "last everything"
    assert out =~ "done"
    Mirror.eventually("the instance has left the server", fn -> Redix.command!(redis, ["ROLE"]) |> Enum.at(2) == [] end)
  end

  defp compile(directory, nil) do
    IO.puts("rebar3 is not on PATH: erlc compiles the project of #{@guide}")
    ebin = Path.join(directory, "ebin")
    File.mkdir_p!(ebin)
    sources = Path.wildcard(Path.join(directory, "src/*.erl"))
    assert {"", 0} = System.cmd("erlc", ["-Werror", "-o", ebin | sources], stderr_to_stdout: true)
    File.cp!(Path.join(directory, "src/shop.app.src"), Path.join(ebin, "shop.app"))
    ebin
  end

  defp compile(directory, rebar3) do
    libs = Enum.map_join(paths(), ":", &(&1 |> Path.dirname() |> Path.dirname()))

    environment = [
      {"ERL_LIBS", libs},
      {"REBAR_GLOBAL_CONFIG_DIR", directory},
      {"REBAR_CACHE_DIR", directory},
      {"DEBUG", nil}
    ]

    assert {out, 0} = System.cmd(rebar3, ["compile"], cd: directory, env: environment, stderr_to_stdout: true)
    refute out =~ ~r/warning|error/i
    Path.join(directory, "_build/default/lib/shop/ebin")
  end
end
