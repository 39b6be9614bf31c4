defmodule Vdr.Live.BrowserTest do
  # The page in a real browser: it shows the instance, runs no code of a key or a value, and asks no
  # other host. BROWSER_SHOTS=folder keeps pictures, which are to be looked at.
  use ExUnit.Case, async: true

  alias Veidrodelis.{Testing, Web}

  @moduletag :tmp_dir
  @moduletag timeout: 180_000

  @browser Enum.find_value(~w(chromium chromium-browser google-chrome), &System.find_executable/1)

  setup do
    hostile = ~s(<img src=x onerror="document.title='broken'">)

    data =
      for(n <- 1..400, do: ["HSET", "user:#{n}", "name", "Ona", "city", "Kaunas"]) ++
        for(n <- 1..200, do: ["SET", "session:#{n}", "token-#{n}", "EX", 3600]) ++
        [["SET", hostile, hostile], ["ZADD", "board" | Enum.flat_map(1..6000, &["#{&1}", "player#{&1}"])]]

    id = Testing.start_supervised!(data: data)
    pid = start_supervised!({Web, port: 0, ids: [id]})
    %{id: id, port: Web.port(pid)}
  end

  defp browser(port, dir, args) do
    always =
      ~w(--headless=new --no-sandbox --disable-gpu --hide-scrollbars --no-first-run --disable-extensions) ++
        ["--disable-background-networking", "--user-data-dir=#{dir}/profile", "--virtual-time-budget=6000"]

    System.cmd(@browser, always ++ args ++ ["http://127.0.0.1:#{port}/"], stderr_to_stdout: true)
  end

  if @browser == nil do
    test "in a real browser" do
      IO.puts("chromium is not on PATH: the page of Veidrodelis.Web was not looked at in a browser")
    end
  else
    test "it shows the instance, and names of keys as text", %{port: port, id: id, tmp_dir: dir} do
      writer =
        Task.async(fn ->
          for n <- 1..2000,
              do:
                (
                  Testing.put(id, ["INCR", "n"])
                  Process.sleep(if(rem(n, 5) == 0, do: 2, else: 0))
                )
        end)

      {dom, 0} = browser(port, dir, ["--dump-dom"])
      Task.shutdown(writer, :brutal_kill)
      assert dom =~ "streaming, primary-1.test:6379"
      assert dom =~ "user:"
      assert dom =~ ~r/<button class="key"[^>]*>board<\/button>/
      assert dom =~ ~r/<polyline class="line"/
      assert dom =~ "streaming after a full sync"
      refute dom =~ ~r/<img/
      refute dom =~ "<title>broken"
      # Everything that can be used has a name.
      assert [] == Regex.scan(~r/<button[^>]*><\/button>/, dom)
      for name <- ~w(instance prefix db), do: assert(dom =~ ~s(<label for="#{name}">))
    end

    if folder = System.get_env("BROWSER_SHOTS") do
      test "pictures: light and dark, wide and narrow", %{port: port, id: id, tmp_dir: dir} do
        writer =
          Task.async(fn ->
            for n <- 1..100_000,
                do:
                  (
                    Testing.put(id, ["INCR", "n"])
                    Process.sleep(rem(n, 3))
                  )
          end)

        File.mkdir_p!(unquote(folder))

        for {theme, number} <- [light: 1, dark: 0], {form, size} <- [wide: "1400,1700", narrow: "500,2600"] do
          picture = Path.join(unquote(folder), "#{theme}-#{form}.png")

          options = [
            "--blink-settings=preferredColorScheme=#{number}",
            "--window-size=#{size}",
            "--screenshot=#{picture}"
          ]

          assert {_out, 0} = browser(port, dir, options)
          assert File.stat!(picture).size > 10_000
        end

        Task.shutdown(writer, :brutal_kill)
      end
    end
  end
end
