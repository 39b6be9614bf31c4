defmodule Vdr.Test.Browser do
  @moduledoc """
  A headless Chromium that a test drives: keys and clicks as a person makes them, the state of the
  page, and the tree that a screen reader gets. It speaks the DevTools protocol over a pipe, and
  ends with the process that opened it.
  """

  alias Vdr.Json
  alias Vdr.Test.Json, as: Reader

  @executable Enum.find_value(~w(chromium chromium-browser google-chrome), &System.find_executable/1)
  @answer_ms 60_000

  defstruct [:port, :session]

  @doc "The browser, `nil` where there is none."
  def executable, do: @executable

  # The browser reads from descriptor 3 and writes to 4, and its own output is of no interest.
  @start ~S(exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>/dev/null 2>/dev/null)

  @doc "Opens a browser with a page at this address. Its files are in `dir`."
  def open!(url, dir, options \\ []) do
    args =
      ~w(--headless=new --no-sandbox --disable-gpu --no-first-run --disable-extensions --remote-debugging-pipe) ++
        ~w(--disable-background-networking --disable-backgrounding-occluded-windows --force-renderer-accessibility) ++
        ["--user-data-dir=#{dir}/profile" | options]

    port = Port.open({:spawn_executable, "/bin/sh"}, [:binary, args: ["-c", @start, @executable | args]])
    browser = %__MODULE__{port: port}
    %{"targetId" => target} = call!(browser, "Target.createTarget", url: "about:blank")
    %{"sessionId" => session} = call!(browser, "Target.attachToTarget", targetId: target, flatten: true)
    browser = %{browser | session: session}
    for domain <- ~w(Page Runtime Log Accessibility), do: call!(browser, domain <> ".enable", [])
    # The window of a headless browser has no keyboard otherwise.
    call!(browser, "Emulation.setFocusEmulationEnabled", enabled: true)
    goto!(browser, url)
    browser
  end

  @doc "Goes to an address, and waits until the page is loaded."
  def goto!(browser, url) do
    call!(browser, "Page.navigate", url: url)
    eventually!(browser, "document.readyState === 'complete' && location.href !== 'about:blank'")
  end

  @doc "The value of an expression of JavaScript."
  def eval!(browser, expression) do
    case eval(browser, expression) do
      {:ok, value} -> value
      {:error, problem} -> raise "#{expression}: #{inspect(problem)}"
    end
  end

  defp eval(browser, expression) do
    case call(browser, "Runtime.evaluate", expression: expression, returnByValue: true, awaitPromise: true) do
      {:ok, %{"exceptionDetails" => raised}} -> {:error, raised}
      {:ok, %{"result" => result}} -> {:ok, result["value"]}
      refused -> refused
    end
  end

  @doc "Waits until an expression is true."
  def eventually!(browser, expression, tries \\ 400) do
    cond do
      # While it goes to another address, there is nothing to evaluate in.
      eval(browser, expression) == {:ok, true} ->
        :ok

      tries == 0 ->
        raise "not true: #{expression}; the page says: #{eval!(browser, "document.body.innerText")}"

      true ->
        Process.sleep(50)
        eventually!(browser, expression, tries - 1)
    end
  end

  @keys %{
    "Tab" => {9, ""},
    "Enter" => {13, "\r"},
    "Escape" => {27, ""},
    " " => {32, " "},
    "ArrowDown" => {40, ""},
    "End" => {35, ""}
  }

  @doc "Presses a key: a name such as `Tab`, or a character. With `:shift`, together with that key."
  def press!(browser, key, modifier \\ nil) do
    {code, text} = Map.get_lazy(@keys, key, fn -> {key |> String.upcase() |> :binary.first(), key} end)
    shift = if modifier == :shift, do: 8, else: 0
    about = [key: key, windowsVirtualKeyCode: code, nativeVirtualKeyCode: code, modifiers: shift]
    down = if text == "", do: [type: "rawKeyDown"], else: [type: "keyDown", text: text]
    call!(browser, "Input.dispatchKeyEvent", down ++ about)
    call!(browser, "Input.dispatchKeyEvent", [type: "keyUp"] ++ about)
    :ok
  end

  @doc "Types a text."
  def type!(browser, text), do: text |> String.graphemes() |> Enum.each(&press!(browser, &1))

  @doc "Clicks with the mouse on the middle of an element."
  def click!(browser, selector) do
    [x, y] =
      eval!(browser, """
      (() => { const element = document.querySelector(#{Json.encode(selector)});
        element.scrollIntoView({ block: 'center' });
        const box = element.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2]; })()
      """)

    about = [x: x, y: y, button: "left", clickCount: 1]
    for type <- ~w(mousePressed mouseReleased), do: call!(browser, "Input.dispatchMouseEvent", [type: type] ++ about)
    :ok
  end

  @doc "The nodes of the accessibility tree, as a screen reader gets them: role, name and properties."
  def accessible!(browser) do
    %{"nodes" => nodes} = call!(browser, "Accessibility.getFullAXTree", [])

    for %{"ignored" => false} = node <- nodes do
      properties =
        for %{"name" => name, "value" => value} <- node["properties"] || [], into: %{}, do: {name, value["value"]}

      %{role: node["role"]["value"], name: (node["name"] || %{})["value"] || "", properties: properties}
    end
  end

  @doc "A picture of the page."
  def screenshot!(browser, path) do
    %{"data" => data} = call!(browser, "Page.captureScreenshot", format: "png", captureBeyondViewport: true)
    File.write!(path, Base.decode64!(data))
  end

  @doc "What the page has complained about so far: exceptions, and errors in its log."
  def complaints(%{port: port}) do
    for %{"method" => method, "params" => params} <- Process.get({__MODULE__, :events, port}, []),
        method == "Runtime.exceptionThrown" or
          (method == "Log.entryAdded" and params["entry"]["level"] == "error"),
        do: params
  end

  @doc "One call of the DevTools protocol."
  def call!(browser, method, params) do
    case call(browser, method, params) do
      {:ok, result} -> result
      {:error, problem} -> raise "#{method} was refused: #{inspect(problem)}"
    end
  end

  defp call(%{port: port, session: session}, method, params) do
    id = System.unique_integer([:positive])
    target = if session, do: [sessionId: session], else: []
    Port.command(port, [Json.encode({:object, [id: id, method: method, params: {:object, params}] ++ target}), 0])
    answer(port, id, method)
  end

  defp answer(port, id, method) do
    case next!(port, method) do
      %{"id" => ^id, "result" => result} ->
        {:ok, result}

      %{"id" => ^id, "error" => problem} ->
        {:error, problem}

      event ->
        Process.put({__MODULE__, :events, port}, [event | Process.get({__MODULE__, :events, port}, [])])
        answer(port, id, method)
    end
  end

  defp next!(port, method) do
    buffer = Process.get({__MODULE__, :buffer, port}, "")

    case :binary.split(buffer, <<0>>) do
      [message, rest] ->
        Process.put({__MODULE__, :buffer, port}, rest)
        Reader.decode!(message)

      [_part] ->
        receive do
          {^port, {:data, bytes}} ->
            Process.put({__MODULE__, :buffer, port}, buffer <> bytes)
            next!(port, method)
        after
          @answer_ms -> raise "the browser does not answer to #{method}"
        end
    end
  end
end
