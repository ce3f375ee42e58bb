//! The usual variables that name proxies, and which hosts go past them.
//!
//! There is no standard for them; what is read here is what curl, Go and reqwest agree on: `HTTPS_PROXY`, `HTTP_PROXY`,
//! `ALL_PROXY` and `NO_PROXY`, in capitals or not.

/// What a variable is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// Connections to port 443 and others by TLS.
    Https,
    /// Plain HTTP.
    Http,
    /// All.
    All,
}

/// The variables that are set. Values may hold a password, so there is no way to print them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables {
    /// Name of a variable as it was found, what for, and its value; in the order of their weight.
    pub proxies: Vec<(String, For, String)>,
    /// Hosts that are reached without.
    pub except: Option<String>,
}

impl Variables {
    /// Reads them by `variable`; empty ones are as good as none.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            let names = [name.to_owned(), name.to_ascii_lowercase()];
            names.into_iter().find_map(|name| Some((variable(&name)?, name))).filter(|it| !it.0.is_empty())
        };
        let kinds = [("HTTPS_PROXY", For::Https), ("HTTP_PROXY", For::Http), ("ALL_PROXY", For::All)];
        let proxies = kinds
            .into_iter()
            .filter_map(|(name, kind)| either(name).map(|(value, name)| (name, kind, value)));
        Self { proxies: proxies.collect(), except: either("NO_PROXY").map(|(hosts, _)| hosts) }
    }

    /// Name and value of the one for connections to `port`, without a look at the host.
    pub fn to(&self, port: u16) -> Option<(&str, &str)> {
        let kind = if port == 80 { For::Http } else { For::Https };
        let found = self.proxies.iter().find(|(_, of, _)| *of == kind || *of == For::All);
        found.map(|(name, _, value)| (name.as_str(), value.as_str()))
    }

    /// Whether `host`, a name or an address, is reached without a proxy: it is this machine, or `NO_PROXY` has it, a domain
    /// it is below, or a network its address is in.
    pub fn passes_by(&self, host: &str) -> bool {
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        self.except.iter().flat_map(|list| list.split(',')).map(str::trim).any(|entry| {
            if entry == "*" {
                return true;
            }
            if let Some(address) = address {
                return in_network(address, entry);
            }
            let domain = entry.trim_start_matches('.').to_ascii_lowercase();
            let rest = host.strip_suffix(domain.as_str()).filter(|_| !domain.is_empty());
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }
}

/// Whether `network` (`ADDRESS` or `ADDRESS/BITS`) has `address`.
fn in_network(address: std::net::IpAddr, network: &str) -> bool {
    use std::net::IpAddr;
    let (base, bits) = network.split_once('/').unwrap_or((network, "128"));
    let (Ok(base), Ok(bits)) = (base.parse(), bits.parse::<u32>()) else { return false };
    let same = |one: u128, other: u128, width: u32| {
        let bits = bits.min(width);
        bits == 0 || (one ^ other) >> (width - bits) == 0
    };
    match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            same(u32::from(base).into(), u32::from(address).into(), 32)
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => same(base.into(), address.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        let read = |set: &'static [(&str, &str)]| {
            Variables::read(&move |name| {
                set.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(read(&[]) == Variables::default());
        assert!(read(&[("HTTPS_PROXY", "")]).to(443).is_none());
        let all = read(&[("https_proxy", "a"), ("HTTP_PROXY", "b"), ("http_proxy", "c"), ("ALL_PROXY", "d")]);
        assert_eq!(all.to(443), Some(("https_proxy", "a")));
        assert_eq!(all.to(22), Some(("https_proxy", "a")));
        assert_eq!(all.to(80), Some(("HTTP_PROXY", "b")));
        assert_eq!(read(&[("all_proxy", "d")]).to(80), Some(("all_proxy", "d")));
    }

    #[test]
    fn hosts_that_pass_by() {
        let list = "example.org, .example.net,10.0.0.0/8,192.0.2.1,fd00::/8";
        let variables = Variables { except: Some(list.to_owned()), ..Variables::default() };
        for (host, passes) in [
            ("localhost", true),
            ("127.0.0.2", true),
            ("example.org", true),
            ("a.example.org", true),
            ("evilexample.org", false),
            ("example.net", true),
            ("10.1.2.3", true),
            ("11.1.2.3", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("fd00::1", true),
            ("2001:db8::1", false),
            ("registry.example", false),
        ] {
            assert_eq!(variables.passes_by(host), passes, "{host}");
        }
        assert!(Variables { except: Some("*".into()), ..Variables::default() }.passes_by("a"));
        assert!(!Variables { except: Some(",".into()), ..Variables::default() }.passes_by("a"));
    }
}
