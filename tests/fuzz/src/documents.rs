//! Indexes, manifests and configurations: read or refused, and what was read is used as a pull would.

#![no_main]

use devbox::oci::config::ImageConfig;
use devbox::oci::manifest::{self, Document};
use devbox::oci::platform::Platform;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    let declared = match first % 4 {
        0 => None,
        1 => Some("application/vnd.oci.image.manifest.v1+json"),
        2 => Some("application/vnd.oci.image.index.v1+json"),
        _ => Some("application/vnd.docker.distribution.manifest.v2+json"),
    };
    match manifest::parse(rest, declared) {
        Ok(Document::Index(index)) => {
            let _ = index.choose(&Platform::host());
            for platform in index.platforms() {
                // what is printed can be read again, or was no platform anyone can ask for
                let _ = platform.to_string().parse::<Platform>();
            }
        }
        Ok(Document::Manifest(manifest)) => {
            let _ = manifest.layers.iter().map(|layer| layer.size).max();
        }
        Err(error) => plain(&error.to_string()),
    }
    match ImageConfig::parse(rest) {
        Ok(config) => {
            let _ = config.platform().map(|platform| Platform::host().accepts(&platform));
        }
        Err(error) => plain(&error.to_string()),
    }
});

/// Errors are short, whatever they quote.
fn plain(text: &str) {
    assert!(text.len() < 4000, "{text}");
}
