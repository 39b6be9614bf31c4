if Vdr.Test.Gleam.ready?() do
  defmodule Vdr.Live.PevensieGleamTest do
    # The sources in gleam/, type-checked and compiled by a compiler of Gleam: the contract of
    # Pevensie, the package's own tests, and the programs of the guides.
    use Vdr.Test.LiveCase, async: true
    use Vdr.Test.PevensieContract, driver: :compiled

    alias Vdr.Test.Gleam

    @moduletag :tmp_dir
    @tests :veidrodelis_pevensie_test
    @documents ~w(docs/gleam.md gleam/README.md gleam/src/veidrodelis/mirror.gleam gleam/src/veidrodelis/pevensie.gleam)

    setup_all do
      directory = Path.join(System.tmp_dir!(), "vdr_gleam_#{System.pid()}_#{System.unique_integer([:positive])}")
      on_exit(fn -> File.rm_rf!(directory) end)
      {:ok, ebin} = Gleam.compile(Gleam.sources(), directory)
      loaded = Gleam.load!(ebin)
      for module <- [:veidrodelis@mirror, :veidrodelis@pevensie, @tests], do: assert(module in loaded)
      :ok
    end

    # The sources name the server's usual port.
    defp at(sources, port), do: for({path, text} <- sources, do: {path, String.replace(text, "6379", "#{port}")})

    live_test "the package's own tests pass", %{port: port, redis: redis, tmp_dir: directory}, mirror: false do
      {path, text} = List.keyfind(Gleam.sources(), "#{@tests}.gleam", 0)
      name = "#{@tests}_#{port}"
      sources = List.keyreplace(Gleam.sources(), path, 0, {"#{name}.gleam", text}) |> at(port)
      assert {:ok, ebin} = Gleam.compile(sources, directory)
      [module] = Gleam.load!(ebin, [String.to_atom(name)])

      tests = for {name, 0} <- module.module_info(:exports), name |> to_string() |> String.ends_with?("_test"), do: name
      assert length(tests) > 8
      for test <- tests, do: apply(module, test, [])
      assert Redix.command!(redis, ["DBSIZE"]) == 0
    end

    test "the programs of the guides do what they say", %{tmp_dir: directory} do
      server = Server.start!()
      port = Server.port(server)
      programs = for path <- @documents, program <- Gleam.programs(path), do: {path, program}
      assert programs |> Enum.map(&elem(&1, 0)) |> Enum.uniq() == @documents

      # The mirror of the guides' supervisor.
      start_supervised!({Veidrodelis, id: :shop, host: "127.0.0.1", port: port})
      :ok = Veidrodelis.await_ready(:shop, 20_000)

      programs = for {{_path, program}, n} <- Enum.with_index(programs), do: {"program_#{n}", program}
      sources = Gleam.sources() ++ for({name, program} <- programs, do: {"#{name}.gleam", program})
      assert {:ok, ebin} = Gleam.compile(at(sources, port), directory)
      # The library, too: the default port is in it.
      Gleam.load!(ebin)

      for {name, program} <- programs do
        printed = ExUnit.CaptureIO.capture_io(fn -> apply(String.to_existing_atom(name), :main, []) end)
        # What a program prints, it says in a comment.
        said = for [_, line] <- Regex.scan(~r{// prints (.*)}, program), do: line <> "\n"
        assert printed == Enum.join(said)
      end

      # So does one in a VM that has not started the application.
      paths = [ebin | for(app <- [:veidrodelis, :elixir, :logger], do: :code.lib_dir(app, :ebin))]
      arguments = Enum.flat_map(paths, &["-pa", to_string(&1)]) ++ ["-eval", "program_0:main(), halt(0)."]
      environment = [{"ERL_LIBS", nil}]
      assert {out, 0} = System.cmd("erl", ["-noshell" | arguments], env: environment, stderr_to_stdout: true)
      assert out =~ "42 EUR"
    end

    test "what breaks the contract is refused by the compiler", %{tmp_dir: directory} do
      path = "veidrodelis/pevensie.gleam"
      {^path, text} = List.keyfind(Gleam.sources(), path, 0)

      for {{right, wrong}, n} <-
            Enum.with_index([
              {"Error(cache.GotTooFewRecords)", "Error(cache.GotNoRecords)"},
              {"Error(drivers.AlreadyConnected)", "Error(drivers.NotConnected)"},
              {"set: set,", "set: get,"},
              {"Ok(Some(value)) -> Ok(value)", "Ok(Some(value)) -> Ok(Some(value))"}
            ]) do
        assert text =~ right
        sources = List.keyreplace(Gleam.sources(), path, 0, {path, String.replace(text, right, wrong)})
        assert {:error, message} = Gleam.compile(sources, Path.join(directory, "#{n}"))
        assert message =~ path
      end
    end

    # Gleam checks nothing about functions of other languages.
    test "each function of the border that Gleam calls is there" do
      text = for {"veidrodelis/" <> _, text} <- Gleam.sources(), into: "", do: text

      declared =
        for [_, module, name, arguments] <-
              Regex.scan(~r/@external\(erlang, "(\w+)", "(\w+)"\)\n(?:pub )?fn \w+\((.*?)\) ->/s, text) do
          assert module == "veidrodelis_gleam"
          {String.to_atom(name), length(Regex.scan(~r/\b\w+: /, arguments))}
        end

      assert length(declared) == length(Regex.scan(~r/@external/, text))
      assert Enum.sort(declared) == Enum.sort(:veidrodelis_gleam.__info__(:functions))
    end
  end
end
