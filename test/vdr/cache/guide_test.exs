defmodule Vdr.Cache.GuideTest do
  # The examples of docs/cache.md, in order and with shared variables.
  use ExUnit.Case, async: false

  alias Vdr.Test.{Guide, Server}

  test "the guide runs" do
    dir = Path.join(System.tmp_dir!(), "vdr_guide_#{System.pid()}")
    on_exit(fn -> File.rm_rf!(dir) end)
    guide = File.read!("docs/cache.md")
    server = if guide =~ "redis://", do: Server.start!()

    Enum.reduce(Guide.blocks(guide), [], fn {line, code}, binding ->
      code = String.replace(code, ~s|Path.join(System.tmp_dir!(), "my_cache")|, inspect(dir))
      code = if server, do: String.replace(code, "localhost:6379", "127.0.0.1:#{Server.port(server)}"), else: code
      {_value, binding} = Code.eval_string(code, binding, file: "docs/cache.md", line: line)
      binding
    end)
  end
end
