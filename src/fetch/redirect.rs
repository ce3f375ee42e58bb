//! Where redirects may lead, and what may go along.

use reqwest::Url;

use super::error::Fault;

/// More than this is a circle.
pub(super) const MAX: usize = 10;

/// The address that `location`, an answer of `from`, leads to: HTTP or HTTPS, and never from HTTPS to HTTP.
pub(super) fn next(from: &Url, location: &str) -> Result<Url, Fault> {
    // what follows the host may hold signatures: it is not shown
    let refuse = |to: &str, why| Err(Fault::Redirect(format!("from {} to {to}, {why}", origin(from))));
    let Ok(to) = from.join(location) else { return refuse("no address at all", "which can't be followed") };
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => Ok(to),
        ("https", "http") => refuse(&origin(&to), "which is plain HTTP"),
        (_, other) => refuse(&format!("`{}:`", other.escape_debug()), "which is neither HTTPS nor HTTP"),
    }
}

/// True when what is meant for one of the two may be shown to the other: scheme, host and port are the same.
pub(super) fn same_origin(one: &Url, other: &Url) -> bool {
    (one.scheme(), one.host(), one.port_or_known_default())
        == (other.scheme(), other.host(), other.port_or_known_default())
}

/// `scheme://host:port`, which holds no secret.
pub(super) fn origin(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_it_is_no_less_safe() {
        for (from, location, to) in [
            ("https://h/v2/a", "/b", Ok("https://h/b")),
            ("https://h/v2/a", "c?x=1", Ok("https://h/v2/c?x=1")),
            ("https://h/a", "https://cdn.example/x", Ok("https://cdn.example/x")),
            ("http://127.0.0.1:5000/a", "http://127.0.0.1:6000/x", Ok("http://127.0.0.1:6000/x")),
            ("http://h/a", "https://h/x", Ok("https://h/x")),
            ("https://h/a", "http://h/x?signature=secret", Err("plain HTTP")),
            ("https://h/a", "//other/x", Ok("https://other/x")),
            ("https://h/a", "ftp://h/x", Err("`ftp:`")),
            ("https://h/a", "file:///etc/passwd", Err("`file:`")),
            ("https://h/a", "javascript:1", Err("neither")),
            ("https://h/a", "http://[::bad", Err("no address")),
        ] {
            match (next(&from.parse().unwrap(), location), to) {
                (Ok(got), Ok(to)) => assert_eq!(got.as_str(), to),
                (Err(fault), Err(words)) => {
                    let text = fault.to_string();
                    assert!(text.contains(words) && !text.contains("secret"), "{text}");
                }
                (got, to) => panic!("{from} {location}: {got:?}, not {to:?}"),
            }
        }
    }

    #[test]
    fn host_port_and_scheme_make_an_origin() {
        let base: Url = "https://user@h:443/a".parse().unwrap();
        for (other, same) in [
            ("https://h/b", true),
            ("https://H:443/b", true),
            ("https://h:444/b", false),
            ("https://h.example/b", false),
            ("http://h:443/b", false),
            ("http://h/b", false),
        ] {
            assert_eq!(same_origin(&base, &other.parse().unwrap()), same, "{other}");
        }
        assert_eq!(origin(&base), "https://h");
    }
}
