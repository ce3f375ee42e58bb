//! The words of the OCI image and distribution specifications: digests, references, descriptors, manifests,
//! configurations. Plain data with strict parsers; nothing here touches disk or network.

pub mod digest;
pub mod reference;
