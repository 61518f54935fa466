//! What developing Keylatch takes besides cargo.

pub mod chromium;
pub mod debian;
pub mod nats_server;
pub mod python;
pub mod schemas;
pub mod softhsm;
pub mod tools;
pub mod vectors;

use std::path::{Path, PathBuf};

/// The environment variable that names another directory for what is fetched.
pub const CACHE_VARIABLE: &str = "KEYLATCH_CACHE";

/// Where fetched programs are kept: `.cache` in the checkout, or what [`CACHE_VARIABLE`] names.
pub fn cache_dir() -> PathBuf {
    let named = std::env::var_os(CACHE_VARIABLE).filter(|named| !named.is_empty()).map(PathBuf::from);
    named.unwrap_or_else(|| checkout().join(".cache"))
}

/// The checkout that this was built from.
pub fn checkout() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}
