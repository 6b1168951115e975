//! Which cryptography mls-rs runs on. Chosen when building; see the features in Cargo.toml.

use mls_rs::{CipherSuite, CryptoProvider};

#[cfg(feature = "openssl")]
pub use mls_rs_crypto_openssl::OpensslCryptoProvider as Provider;

#[cfg(all(feature = "awslc", not(feature = "openssl")))]
pub use mls_rs_crypto_awslc::AwsLcCryptoProvider as Provider;

#[cfg(all(feature = "rustcrypto", not(any(feature = "awslc", feature = "openssl"))))]
pub use mls_rs_crypto_rustcrypto::RustCryptoProvider as Provider;

#[cfg(not(any(feature = "awslc", feature = "openssl", feature = "rustcrypto")))]
compile_error!("switch on one of the features rustcrypto, awslc, openssl, openssl-vendored");

/// The standard suites (RFC 9420 section 17.1) this build can run; a provider may also list private ones.
pub fn suites() -> Vec<CipherSuite> {
    let provider = Provider::default();
    (1..=7).map(CipherSuite::from).filter(|suite| provider.cipher_suite_provider(*suite).is_some()).collect()
}
