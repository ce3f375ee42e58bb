//! References, digests, platforms: what is read is printed as something that reads the same.

#![no_main]

use devbox::oci::digest::Digest;
use devbox::oci::platform::Platform;
use devbox::oci::reference::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
        assert!(
            !reference.to_string().contains("..")
                || !reference.repository.split('/').any(|part| part == "..")
        );
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse::<Platform>().unwrap(), platform);
    }
});
