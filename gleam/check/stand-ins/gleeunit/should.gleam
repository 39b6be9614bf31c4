//// What the checks need of the package's module of this name.

pub fn equal(one: a, other: a) -> Nil {
  case one == other {
    True -> Nil
    False -> differ(#("should be equal", one, other))
  }
}

@external(erlang, "erlang", "error")
fn differ(reason: #(String, a, a)) -> Nil
