//// What the checks need of the standard library's module of this name.

pub type Option(a) {
  Some(a)
  None
}

pub fn unwrap(option: Option(a), default: a) -> a {
  case option {
    Some(value) -> value
    None -> default
  }
}
