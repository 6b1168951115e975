//! Turns the interop interface into Rust: the messages, and a trait with one method for each of its calls.

use std::error::Error;

/// The one copy in this repository, shared by every peer.
const INTERFACE: &str = "../proto/mls_client.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={INTERFACE}");
    let described = protox::compile([INTERFACE], ["../proto"])?;
    tonic_prost_build::configure().build_client(false).build_transport(false).compile_fds(described)?;
    Ok(())
}
