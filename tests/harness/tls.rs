//! An authority of the tests' own, and certificates by it.

use std::sync::OnceLock;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// A certificate and its key, both as PEM.
pub struct Certificate {
    pub certificate: String,
    pub key: String,
}

fn authority() -> &'static CertifiedIssuer<'static, KeyPair> {
    static AUTHORITY: OnceLock<CertifiedIssuer<KeyPair>> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    })
}

/// The authority's own certificate: who has it trusts the others.
pub fn ca() -> String {
    authority().pem()
}

/// A certificate for `name`, a host or an address.
pub fn certificate(name: &str) -> Certificate {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, authority()).unwrap();
    Certificate { certificate: certificate.pem(), key: key.serialize_pem() }
}
