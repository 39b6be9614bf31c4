//// The contract of Pevensie's module of this name, as its version 1.2.0 has it.
//// docs/decisions.md says when they were compared.

import gleam/option
import pevensie/drivers

pub type CacheDriver(driver, driver_error) {
  CacheDriver(
    driver: driver,
    connect: fn(driver) -> Result(driver, drivers.ConnectError(driver_error)),
    disconnect: fn(driver) ->
      Result(driver, drivers.DisconnectError(driver_error)),
    set: fn(driver, String, String, String, option.Option(Int)) ->
      Result(Nil, SetError(driver_error)),
    get: fn(driver, String, String) -> Result(String, GetError(driver_error)),
    delete: fn(driver, String, String) -> Result(Nil, DeleteError(driver_error)),
  )
}

pub type GetError(driver_error) {
  GetDriverError(driver_error)
  GotTooFewRecords
  GotTooManyRecords
}

pub type SetError(driver_error) {
  SetDriverError(driver_error)
}

pub type DeleteError(driver_error) {
  DeleteDriverError(driver_error)
}

pub type PevensieCache(driver, driver_error, connected) {
  PevensieCache(driver: CacheDriver(driver, driver_error))
}

pub fn new(
  driver driver: CacheDriver(driver, driver_error),
) -> PevensieCache(driver, driver_error, drivers.Disconnected) {
  PevensieCache(driver: driver)
}

pub fn connect(
  pevensie_cache: PevensieCache(driver, driver_error, drivers.Disconnected),
) -> Result(
  PevensieCache(driver, driver_error, drivers.Connected),
  drivers.ConnectError(driver_error),
) {
  let driver = pevensie_cache.driver

  case driver.connect(driver.driver) {
    Ok(inner) -> Ok(PevensieCache(driver: CacheDriver(..driver, driver: inner)))
    Error(error) -> Error(error)
  }
}

pub fn disconnect(
  pevensie_cache: PevensieCache(driver, driver_error, drivers.Connected),
) -> Result(
  PevensieCache(driver, driver_error, drivers.Disconnected),
  drivers.DisconnectError(driver_error),
) {
  let driver = pevensie_cache.driver

  case driver.disconnect(driver.driver) {
    Ok(inner) -> Ok(PevensieCache(driver: CacheDriver(..driver, driver: inner)))
    Error(error) -> Error(error)
  }
}

pub fn set(
  pevensie_cache: PevensieCache(driver, driver_error, drivers.Connected),
  resource_type resource_type: String,
  key key: String,
  value value: String,
  ttl_seconds ttl_seconds: option.Option(Int),
) -> Result(Nil, SetError(driver_error)) {
  let driver = pevensie_cache.driver
  driver.set(driver.driver, resource_type, key, value, ttl_seconds)
}

pub fn get(
  pevensie_cache: PevensieCache(driver, driver_error, drivers.Connected),
  resource_type resource_type: String,
  key key: String,
) -> Result(String, GetError(driver_error)) {
  let driver = pevensie_cache.driver
  driver.get(driver.driver, resource_type, key)
}

pub fn delete(
  pevensie_cache: PevensieCache(driver, driver_error, drivers.Connected),
  resource_type resource_type: String,
  key key: String,
) -> Result(Nil, DeleteError(driver_error)) {
  let driver = pevensie_cache.driver
  driver.delete(driver.driver, resource_type, key)
}
