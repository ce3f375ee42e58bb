//! From a name that was let through to a connection: resolved and connected on the host, or by the caller's proxy.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use base64::Engine;
use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::dirs;
use crate::network::Target;
use crate::network::proxy::Variables;

/// How long one address may take to answer, and a proxy to connect.
const PATIENCE: Duration = Duration::from_secs(15);
/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 4;
/// Longest answer of a proxy.
const LONGEST_ANSWER: usize = 8 << 10;

/// Services of cloud providers that hand out keys to whoever asks from the machine, beyond the link-local ones.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// The caller's proxies, ready for use.
#[derive(Clone, Default)]
pub struct Proxies {
    https: Option<Proxy>,
    http: Option<Proxy>,
    variables: Variables,
}

/// One that can be asked to CONNECT.
#[derive(Clone)]
struct Proxy {
    host: String,
    port: u16,
    authorization: Option<String>,
}

/// A variable names a proxy that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("`{variable}` names no proxy that a box with `allow` can use")]
pub struct WrongProxy {
    variable: String,
}

impl WrongProxy {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let Self { variable } = self;
        Some(format!("it takes `http://[USER:PASSWORD@]HOST:PORT`; to do without, unset {variable}"))
    }
}

impl Proxies {
    /// Those of the environment.
    pub fn from_environment() -> Result<Self, WrongProxy> {
        Self::new(Variables::read(&|name| dirs::variable(name)?.into_string().ok()))
    }

    fn new(variables: Variables) -> Result<Self, WrongProxy> {
        let read = |port| match variables.to(port) {
            Some((name, text)) => {
                let wrong = || WrongProxy { variable: name.to_owned() };
                Proxy::read(text).map(Some).ok_or_else(wrong)
            }
            None => Ok(None),
        };
        Ok(Self { https: read(443)?, http: read(80)?, variables })
    }

    fn to(&self, target: &Target, port: u16) -> Option<&Proxy> {
        let proxy = if port == 80 { &self.http } else { &self.https };
        proxy.as_ref().filter(|_| !self.variables.passes_by(&target.to_string()))
    }
}

/// Nothing of them is shown, for there may be passwords.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxies")
    }
}

impl Proxy {
    fn read(text: &str) -> Option<Self> {
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&whole).ok().filter(|url| url.scheme() == "http")?;
        let authorization = match (decoded(url.username())?, url.password()) {
            (user, None) if user.is_empty() => None,
            (user, password) => {
                let pair = [&user[..], b":", &decoded(password.unwrap_or_default())?].concat();
                Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
            }
        };
        let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
        Some(Self { host, port: url.port_or_known_default()?, authorization })
    }

    /// A connection to `target` by this proxy (RFC 9110 §9.3.6).
    async fn connect(&self, target: &Target, port: u16) -> Result<TcpStream, String> {
        let failed = |error: io::Error| format!("the proxy can't be reached: {error}");
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(failed)?;
        let mut request = format!("CONNECT {target}:{port} HTTP/1.1\r\nHost: {target}:{port}\r\n");
        if let Some(authorization) = &self.authorization {
            request += &format!("Proxy-Authorization: {authorization}\r\n");
        }
        request += "\r\n";
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        // a byte at a time, for what follows the answer is the other side's
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() == LONGEST_ANSWER {
                return Err("the proxy's answer is too long".to_owned());
            }
            answer.push(stream.read_u8().await.map_err(failed)?);
        }
        let line = String::from_utf8_lossy(&answer);
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).unwrap_or_default();
        if status.len() == 3 && status.starts_with('2') {
            return Ok(stream);
        }
        Err(format!("the proxy answers {}", line.lines().next().unwrap_or_default().escape_debug()))
    }
}

/// Text of a URL without its `%` escapes; none when one is broken.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                (digit(bytes.next())? << 4 | digit(bytes.next())?) as u8
            }
            byte => byte,
        });
    }
    Some(decoded)
}

/// Connects to `port` of `target`; the error says why that can't be, in words.
pub(super) async fn connect(target: &Target, port: u16, proxies: &Proxies) -> Result<TcpStream, String> {
    let slow = |_| "nothing answers in time".to_owned();
    if let Some(proxy) = proxies.to(target, port) {
        return timeout(PATIENCE, proxy.connect(target, port)).await.map_err(slow)?;
    }
    let mut why = "it has no address".to_owned();
    for address in timeout(PATIENCE, addresses(target, port)).await.map_err(slow)?? {
        match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => why = format!("{} can't be reached: {error}", address.ip()),
            Err(_) => why = format!("{} does not answer", address.ip()),
        }
    }
    Err(why)
}

/// Where `target` is. A name may lead anywhere, and its owner can change that at any time: so not to this machine.
async fn addresses(target: &Target, port: u16) -> Result<Vec<SocketAddr>, String> {
    let name = match target {
        // the user's own word
        Target::Address(address) => return Ok(vec![SocketAddr::new(*address, port)]),
        Target::Name(name) if name == "localhost" => {
            return Ok([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
                .map(|address: IpAddr| SocketAddr::new(address, port))
                .into());
        }
        Target::Name(name) => name,
    };
    // as this machine has it: its resolver, its /etc/hosts
    let found = lookup_host((name.as_str(), port)).await;
    let found = found.map_err(|error| format!("its name can't be resolved: {error}"))?;
    acceptable(found.collect(), is_own)
}

/// Those of `found` that a name may lead to; when there is none, why.
fn acceptable(found: Vec<SocketAddr>, is_own: impl Fn(IpAddr) -> bool) -> Result<Vec<SocketAddr>, String> {
    let mut refused = None;
    let mut kept = Vec::new();
    for address in found.into_iter().take(MOST_ADDRESSES) {
        let ip = address.ip().to_canonical();
        match forbidden(ip).or_else(|| is_own(ip).then_some("an address of this machine")) {
            Some(what) => refused = Some(format!("its name leads to {ip}, {what}")),
            None => kept.push(address),
        }
    }
    match refused {
        Some(why) if kept.is_empty() => Err(why),
        _ => Ok(kept),
    }
}

/// What kind of address it is, where that is one no name may lead to.
fn forbidden(ip: IpAddr) -> Option<&'static str> {
    let v4 = |ip: Ipv4Addr| match ip {
        ip if ip.octets()[0] == 0 => Some("which is none"),
        ip if ip.is_loopback() => Some("the loopback of this machine"),
        ip if ip.is_link_local() => Some("an address of the link"),
        ip if ip.is_multicast() || ip.is_broadcast() => Some("which is no host's"),
        _ => None,
    };
    if METADATA.contains(&ip) {
        return Some("where a provider hands out keys");
    }
    match ip {
        IpAddr::V4(ip) => v4(ip),
        IpAddr::V6(ip) if ip.is_loopback() => Some("the loopback of this machine"),
        IpAddr::V6(ip) if ip.is_unspecified() => Some("which is none"),
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some("an address of the link"),
        IpAddr::V6(ip) if ip.is_multicast() => Some("which is no host's"),
        // ::a.b.c.d, of old
        IpAddr::V6(ip) if ip.segments()[..6] == [0; 6] => Some("which is none"),
        IpAddr::V6(_) => None,
    }
}

/// Whether it is an address of this machine: one to which it sends from that very address (ip(7)). Nothing is sent.
fn is_own(ip: IpAddr) -> bool {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 443)).collect()
    }

    #[test]
    fn names_do_not_lead_back() {
        for ip in [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::7f00:1",
            "fd00:ec2::254",
            "100.100.100.200",
            "192.0.2.7",
        ] {
            let own: IpAddr = "192.0.2.7".parse().unwrap();
            let why = acceptable(addresses(&[ip]), |ip| ip == own).unwrap_err();
            assert!(why.starts_with("its name leads to "), "{ip}: {why}");
        }
        for ip in ["192.0.2.1", "10.0.0.1", "2001:db8::1", "fd00::1"] {
            assert_eq!(acceptable(addresses(&[ip]), |_| false), Ok(addresses(&[ip])));
        }
        let mixed = acceptable(addresses(&["127.0.0.1", "192.0.2.1"]), |_| false);
        assert_eq!(mixed, Ok(addresses(&["192.0.2.1"])));
        assert_eq!(acceptable(Vec::new(), |_| true), Ok(Vec::new()));
    }

    #[test]
    fn this_machine_is_known() {
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_own("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn proxies() {
        let read = |text: &str| Proxy::read(text).map(|proxy| (proxy.host, proxy.port, proxy.authorization));
        assert_eq!(read("http://proxy.example:3128/"), Some(("proxy.example".into(), 3128, None)));
        assert_eq!(read("proxy.example:3128"), Some(("proxy.example".into(), 3128, None)));
        assert_eq!(read("http://[::1]:1"), Some(("::1".into(), 1, None)));
        let login = Some("Basic bWU6YSBi".to_owned());
        assert_eq!(read("http://me:a%20b@proxy.example"), Some(("proxy.example".into(), 80, login)));
        for wrong in ["https://proxy.example:1", "socks5://proxy.example:1", "", "http://", "http://a%zz@b"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        let variables =
            Variables::read(&|name| (name == "https_proxy").then(|| "socks5://u:secret@p".to_owned()));
        let wrong = Proxies::new(variables).unwrap_err();
        assert_eq!(wrong.to_string(), "`https_proxy` names no proxy that a box with `allow` can use");
    }
}
