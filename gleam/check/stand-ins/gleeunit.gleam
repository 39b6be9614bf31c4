//// What the checks need of the package of this name. The project's own tests
//// call the test functions themselves.

pub fn main() -> Nil {
  Nil
}
