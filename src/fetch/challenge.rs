//! What a registry asks for: the challenges of `WWW-Authenticate` (RFC 9110, section 11.6.1) that we can answer.

use http_auth::parser::ChallengeParser;

/// A challenge we know an answer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// Name and password.
    Basic,
    /// A token of the service at `realm`.
    Bearer {
        /// Where tokens are had; as it came, so perhaps no address at all.
        realm: Option<String>,
        /// What the service calls the registry.
        service: Option<String>,
    },
}

/// The challenges in the values of some headers; what can't be read or answered is left out.
pub fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Vec<Challenge> {
    let mut found = Vec::new();
    for header in headers {
        for challenge in ChallengeParser::new(header).map_while(Result::ok) {
            let value = |name: &str| {
                let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                found.push(Challenge::Bearer { realm: value("realm"), service: value("service") });
            } else if challenge.scheme.eq_ignore_ascii_case("basic") {
                found.push(Challenge::Basic);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_answered() {
        let bearer = |realm: &str, service: Option<&str>| Challenge::Bearer {
            realm: Some(realm.into()),
            service: service.map(Into::into),
        };
        for (headers, expected) in [
            (&["Basic realm=\"x\""][..], vec![Challenge::Basic]),
            (&["bearer REALM=\"https://a/t\",service=\"s\""], vec![bearer("https://a/t", Some("s"))]),
            (
                &["Digest realm=\"x\", Basic realm=\"y\"", "Bearer realm=\"r\""],
                vec![Challenge::Basic, bearer("r", None)],
            ),
            (&["Bearer service=\"s\""], vec![Challenge::Bearer { realm: None, service: Some("s".into()) }]),
            (&["Bearer realm=\"a\\\"b\""], vec![bearer("a\"b", None)]),
            (&["Negotiate"], vec![]),
            (&["", ",,,", "Basic realm=\"", "\u{7f}", "=\"x\""], vec![]),
        ] {
            assert_eq!(parse(headers.iter().copied()), expected, "{headers:?}");
        }
    }
}
