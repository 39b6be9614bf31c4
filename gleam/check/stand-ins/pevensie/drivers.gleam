//// The types of Pevensie's module of this name, as its version 1.2.0 has them.
//// docs/decisions.md says when they were compared.

pub type Connected

pub type Disconnected

pub type ConnectError(driver_error) {
  ConnectDriverError(driver_error)
  AlreadyConnected
}

pub type DisconnectError(driver_error) {
  DisconnectDriverError(driver_error)
  NotConnected
}
