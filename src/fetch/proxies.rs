//! The proxies of the usual variables (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, in capitals or not),
//! given to the client explicitly. Nothing for this very machine goes through one.

use std::path::PathBuf;

use reqwest::{ClientBuilder, NoProxy, Proxy};

use super::error::Fault;
use crate::dirs::variable;
use crate::network::proxy::{For, Variables};

const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// Kinds of proxies; without one an address is of the first.
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// Which requests go through which proxy. Addresses may hold a password, so there is no way to print them.
#[derive(Clone, Default)]
pub struct Proxies(Vec<Proxy>);

impl Proxies {
    /// Those of the environment.
    pub(super) fn from_environment() -> Result<Self, Fault> {
        Self::new(&|name| variable(name)?.into_string().ok())
    }

    fn new(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Fault> {
        let variables = Variables::read(variable);
        let except = match variables.except {
            Some(hosts) => format!("{LOOPBACK},{hosts}"),
            None => LOOPBACK.to_owned(),
        };
        let mut proxies = Vec::new();
        for (name, of, address) in variables.proxies {
            let why = "it is not the address of a proxy";
            let wrong = || Fault::Settings { place: PathBuf::from(&name), why: why.to_owned() };
            // one of a kind the client does not know it would leave out, and go without
            let scheme = address.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
            if scheme.is_some_and(|scheme| !SCHEMES.contains(&&*scheme)) {
                return Err(wrong());
            }
            let proxy = match of {
                For::Https => Proxy::https(&address),
                For::Http => Proxy::http(&address),
                For::All => Proxy::all(&address),
            };
            let proxy = proxy.map_err(|_| wrong())?;
            proxies.push(proxy.no_proxy(NoProxy::from_string(&except)));
        }
        Ok(Self(proxies))
    }

    /// Tells `builder` of them; it looks at no variable itself any more.
    pub(super) fn give(&self, builder: ClientBuilder) -> ClientBuilder {
        self.0.iter().fold(builder.no_proxy(), |builder, proxy| builder.proxy(proxy.clone()))
    }
}
