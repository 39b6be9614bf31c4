//! Asks the linker for a library that is never unmapped. Threads of the library (the runtime of the
//! links, the dropper of old snapshots, those of the allocator) run until the system process ends,
//! also when the VM purges the module that loaded the library. Apple's loader keeps every library
//! with thread-local values that need a destructor, which Rust's standard library has, so nothing
//! needs to be said there.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let unix = env::var_os("CARGO_CFG_UNIX").is_some();
    let apple = env::var("CARGO_CFG_TARGET_VENDOR").is_ok_and(|vendor| vendor == "apple");
    if unix && !apple {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
