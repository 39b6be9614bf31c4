# The examples of docs/testing.md are test modules, and the modules that they test.
for {line, code} <- Vdr.Test.Guide.blocks(File.read!("docs/testing.md")) do
  Code.eval_string(code, [], file: "docs/testing.md", line: line)
end
