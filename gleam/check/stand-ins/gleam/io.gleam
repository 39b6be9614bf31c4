//// What the checks need of the standard library's module of this name.

pub fn println(text: String) -> Nil {
  write("~ts~n", [text])
  Nil
}

@external(erlang, "io", "format")
fn write(format: String, arguments: List(String)) -> Nil
