defmodule Vdr.Live.BrowserTest do
  # The page in a real browser: it shows the instance, runs no code of a key or a value, and asks no
  # other host. BROWSER_SHOTS=folder keeps pictures, which are to be looked at.
  use ExUnit.Case, async: true

  alias Vdr.Test.Browser
  alias Veidrodelis.{Testing, Web}

  @moduletag :tmp_dir
  @moduletag timeout: 180_000

  @browser Browser.executable()

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

  if @browser == nil do
    test "in a real browser" do
      IO.puts("chromium is not on PATH: the page of Veidrodelis.Web was not looked at in a browser")
    end
  else
    defp browser(port, dir, args) do
      always =
        ~w(--headless=new --no-sandbox --disable-gpu --hide-scrollbars --no-first-run --disable-extensions) ++
          ["--disable-background-networking", "--user-data-dir=#{dir}/profile", "--virtual-time-budget=6000"]

      System.cmd(@browser, always ++ args ++ ["http://127.0.0.1:#{port}/"], stderr_to_stdout: true)
    end

    # The page while somebody writes. The node remembers its last thousand events, and other tests
    # have events, too. So a page without the events of this one is looked at again.
    defp written_page(id, port, dir, tries \\ 5) do
      writer =
        Task.async(fn ->
          for n <- 1..2000,
              do:
                (
                  Testing.put(id, ["INCR", "n"])
                  if rem(n, 200) == 0, do: Testing.full_sync(id)
                  Process.sleep(if(rem(n, 5) == 0, do: 2, else: 0))
                )
        end)

      {dom, 0} = browser(port, dir, ["--dump-dom"])
      Task.shutdown(writer, :brutal_kill)
      if dom =~ "streaming after a full sync" or tries == 1, do: dom, else: written_page(id, port, dir, tries - 1)
    end

    test "it shows the instance, and names of keys as text", %{port: port, id: id, tmp_dir: dir} do
      dom = written_page(id, port, dir)
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

    defp open!(port, dir), do: Browser.open!("http://127.0.0.1:#{port}/", dir)

    # What has the keyboard: id, or class, or the text of a key's button.
    @focus "(() => { const e = document.activeElement; return e.id || e.className || e.tagName; })()"

    defp tab_until!(browser, wanted, seen \\ []) do
      Browser.press!(browser, "Tab")
      focus = Browser.eval!(browser, @focus)

      cond do
        focus == wanted -> Enum.reverse([focus | seen])
        length(seen) > 80 -> flunk("the keyboard does not reach #{wanted}: #{inspect(Enum.reverse(seen))}")
        true -> tab_until!(browser, wanted, [focus | seen])
      end
    end

    @outlined "(() => { const s = getComputedStyle(document.activeElement); " <>
                "return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0; })()"

    test "the keyboard reaches everything in the order of the page, and shows where it is", %{port: port, tmp_dir: dir} do
      browser = open!(port, dir)
      Browser.eventually!(browser, "document.querySelector('#large button.key') !== null")
      Browser.press!(browser, "Tab")
      assert Browser.eval!(browser, @focus) == "skip"
      assert Browser.eval!(browser, @outlined)
      Browser.press!(browser, "Enter")
      assert Browser.eval!(browser, @focus) == "main"

      # From the top: what a person reaches, and in which order.
      Browser.eval!(browser, "document.activeElement.blur(), document.body.focus()")
      Browser.goto!(browser, "http://127.0.0.1:#{port}/")
      Browser.eventually!(browser, "document.querySelector('#large button.key') !== null")
      reached = tab_until!(browser, "db")
      assert ["skip", "instance", "pause" | _] = reached
      assert "key" in reached and "scroll" in reached
      assert Browser.eval!(browser, @outlined)
      assert tab_until!(browser, "prefix") == ["prefix"]

      # A search, without the mouse.
      Browser.type!(browser, "boa")
      Browser.press!(browser, "Enter")
      Browser.eventually!(browser, "document.querySelector('#found').textContent === '1 keys found.'")
      tab_until!(browser, "key")
      assert Browser.eval!(browser, "document.activeElement.textContent") == "board"
      Browser.press!(browser, "Enter")
      Browser.eventually!(browser, "document.activeElement.id === 'value'")
      assert Browser.eval!(browser, "document.querySelector('#about').textContent") == "zset, no expiry, 6,000 elements"
      assert tab_until!(browser, "preview") == ["preview"]
      assert Browser.eval!(browser, "document.activeElement.textContent") =~ "1.0  player1\n2.0  player2\n"
      Browser.press!(browser, "Tab", :shift)
      assert Browser.complaints(browser) == []
    end

    test "the pause is a switch, by a key and by a click", %{port: port, tmp_dir: dir} do
      browser = open!(port, dir)
      tab_until!(browser, "pause")
      Browser.press!(browser, " ")
      pressed = "document.querySelector('#pause').getAttribute('aria-pressed')"
      assert Browser.eval!(browser, pressed) == "true"
      assert Browser.eval!(browser, "document.querySelector('#pause').textContent") == "Go on"
      Browser.click!(browser, "#pause")
      assert Browser.eval!(browser, pressed) == "false"
      assert Browser.complaints(browser) == []
    end

    test "what has the keyboard keeps it while the page is drawn anew", %{id: id, port: port, tmp_dir: dir} do
      browser = open!(port, dir)
      Browser.eventually!(browser, "document.querySelector('#large button.key') !== null")
      tab_until!(browser, "key")
      Browser.eval!(browser, "window.before = document.activeElement")
      for n <- 1..5000, do: :ok = Testing.put(id, ["SADD", "another", n])

      Browser.eventually!(
        browser,
        "/another/.test(document.querySelector('#prefixes').textContent) || window.waited > 40 || (window.waited = (window.waited || 0) + 1, false)"
      )

      assert Browser.eval!(browser, "document.activeElement === window.before && document.contains(window.before)")
      # The table goes on once the keyboard has left it.
      tab_until!(browser, "prefix")
      Browser.eventually!(browser, "/another/.test(document.querySelector('#large').textContent)")
    end

    test "keys and values by clicks", %{port: port, tmp_dir: dir} do
      browser = open!(port, dir)
      Browser.eventually!(browser, "document.querySelector('#db').options.length === 1")
      Browser.click!(browser, "#search button")
      Browser.eventually!(browser, "document.querySelectorAll('#keys button.key').length >= 100")
      more = Browser.eval!(browser, "document.querySelectorAll('#keys button.key').length")
      Browser.click!(browser, "#more")
      Browser.eventually!(browser, "document.querySelectorAll('#keys button.key').length > #{more}")
      Browser.click!(browser, "#prefix")
      Browser.type!(browser, "<img")
      Browser.click!(browser, "#search button")
      Browser.eventually!(browser, "document.querySelector('#found').textContent === '1 keys found.'")
      Browser.click!(browser, "#keys button.key")
      Browser.eventually!(browser, "/onerror/.test(document.querySelector('#preview').textContent)")
      assert Browser.eval!(browser, "document.querySelectorAll('img').length") == 0
      assert Browser.eval!(browser, "document.title") == "Veidrodelis"
      assert Browser.complaints(browser) == []
    end

    test "a screen reader gets names, headings, tables and what changes", %{port: port, id: id, tmp_dir: dir} do
      browser = open!(port, dir)
      # New events: the node may have forgotten the old ones while the browser started.
      :ok = Testing.full_sync(id)
      Browser.eventually!(browser, "document.querySelector('#large button.key') !== null")
      Browser.eventually!(browser, "document.querySelector('#types tbody') !== null")
      Browser.eventually!(browser, "document.querySelector('#events tbody') !== null")
      nodes = Browser.accessible!(browser)
      named = fn role -> for(%{role: ^role, name: name} <- nodes, do: name) end

      # Whatever can have the keyboard has a name.
      assert [] ==
               for(
                 %{role: role, name: "", properties: %{"focusable" => true}} <- nodes,
                 role not in ["RootWebArea"],
                 do: role
               ) -- ["main"]

      assert "Instance" in named.("combobox") and "Database" in named.("combobox")
      assert named.("textbox") == ["Keys that begin with"]
      assert ["Pause", "board", "Look"] -- named.("button") == []

      assert ["Now", "Last minutes", "Types", "Prefixes", "Largest keys", "Slow scripts", "Keys", "Events"] --
               named.("heading") == []

      assert ["Type", "Keys, about", "Memory, about", "Key", "Size", "Time", "Event"] -- named.("columnheader") == []
      images = named.("image") ++ named.("img")
      assert Enum.any?(images, &(&1 =~ "Commands per second")) and Enum.any?(images, &(&1 =~ "Lag: "))
      assert length(named.("status")) == 2
      assert [_page] = named.("main")
      assert Enum.any?(nodes, &(&1.role == "RootWebArea" and &1.name == "Veidrodelis"))
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
