//! The words of the OCI image and distribution specifications: digests, references, descriptors, manifests,
//! configurations. Plain data with strict parsers; nothing here touches disk or network.

pub mod commit;
pub mod config;
pub mod digest;
pub mod docker_archive;
mod json;
pub mod layout;
pub mod manifest;
pub mod media_type;
pub mod platform;
pub mod reference;
pub mod source;

pub use json::NotJson;
