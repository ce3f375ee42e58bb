//! One connection of a box: decided on, connected, relayed.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::network::Target;

use super::hello::{self, Hello};
use super::names::Names;
use super::{Gate, reach};

/// Where all speak TLS.
const HTTPS: u16 = 443;
/// How long a hello may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why a connection ends before it began.
enum Refusal {
    /// The box is not to have it.
    Refused {
        why: String,
        /// An entry of `allow` would change that.
        entry: bool,
    },
    /// It could not be had, or was given up.
    Failed(String),
    /// Nothing was asked for.
    Silence,
}

fn refuse(why: impl Into<String>) -> Refusal {
    Refusal::Refused { why: why.into(), entry: false }
}

/// The next connection; none when there was an error, after a pause where the error would come again at once.
pub(super) async fn accept(door: &TcpListener) -> Option<TcpStream> {
    match door.accept().await {
        Ok((stream, _)) => Some(stream),
        Err(error) => {
            if matches!(
                error.raw_os_error(),
                Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS)
            ) {
                sleep(Duration::from_millis(100)).await;
            }
            None
        }
    }
}

/// Ends a connection in a way that nobody takes for a proper end.
pub(super) fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

impl Gate {
    /// Takes one connection from its beginning to its end.
    pub(super) async fn pass(self: Arc<Self>, mut inner: TcpStream) {
        let Ok(local) = inner.local_addr() else { return };
        let (ip, port) = (local.ip().to_canonical(), local.port());
        let target = self.target(ip, port);
        let what = format!("{}:{port}", target.as_ref().unwrap_or(&Target::Address(ip)));
        let led = match &target {
            Some(target) => self.lead(&mut inner, target, port, &what).await,
            None => Err(refuse("no name that the box asked for has this address")),
        };
        match led {
            Ok(()) | Err(Refusal::Silence) => return,
            Err(Refusal::Refused { why, entry }) => self.notes.refused(&what, &why, entry.then_some(&*what)),
            Err(Refusal::Failed(why)) => self.notes.failed(&what, &why),
        }
        reset(&inner);
    }

    /// What the box means by an address of its own network.
    fn target(&self, ip: IpAddr, port: u16) -> Option<Target> {
        match ip {
            IpAddr::V4(ip) if Names::has_range(ip) => {
                self.names().name(ip).map(|name| Target::Name(name.to_owned()))
            }
            ip => {
                let here = Target::Name("localhost".to_owned());
                // what /etc/hosts says of that name
                let is_here = ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST;
                Some(if is_here && self.admits(&here, port) { here } else { Target::Address(ip) })
            }
        }
    }

    async fn lead(
        &self,
        inner: &mut TcpStream,
        target: &Target,
        port: u16,
        what: &str,
    ) -> Result<(), Refusal> {
        if !self.admits(target, port) {
            return Err(Refusal::Refused { why: "no entry of `allow` has it".to_owned(), entry: true });
        }
        // Names alone: whoever allowed an address allowed all that is there.
        let name = match target {
            Target::Name(name) if name != "localhost" => Some(name.as_str()),
            _ => None,
        };
        let mut first = Vec::new();
        if let Some(name) = name.filter(|_| port == HTTPS) {
            first = first_words(inner, name, true).await?;
        }
        let mut outer = reach::connect(target, port, &self.rules.proxies).await.map_err(Refusal::Failed)?;
        self.notes.allowed(what);
        if let Some(name) = name.filter(|_| port != HTTPS) {
            // Who speaks first? A server that does is no server of TLS.
            if client_is_first(inner, &outer).await {
                first = first_words(inner, name, false).await?;
            }
        }
        let _ = inner.set_nodelay(true);
        let _ = outer.set_nodelay(true);
        let relayed = async {
            outer.write_all(&first).await?;
            copy_bidirectional(inner, &mut outer).await
        };
        // How it ends is between the two: a reset of the one is one for the other.
        let relayed: io::Result<_> = relayed.await;
        if relayed.is_err() {
            reset(inner);
            reset(&outer);
        }
        Ok(())
    }
}

/// What the client says first, when that is a hello that names `name`, or, unless `strict`, no hello at all.
async fn first_words(client: &mut TcpStream, name: &str, strict: bool) -> Result<Vec<u8>, Refusal> {
    let read = async {
        let mut words = Vec::new();
        loop {
            match hello::read(&words) {
                Hello::Names(other) if other == name => return Ok(words),
                Hello::Names(other) => {
                    return Err(refuse(format!("its TLS hello names another host, `{other}`")));
                }
                Hello::Nameless => return Err(refuse("its TLS hello names no host")),
                Hello::No if strict => return Err(refuse("what it sends is no plain hello of TLS")),
                Hello::No if words.first() == Some(&hello::HANDSHAKE) => {
                    return Err(refuse("its TLS hello can be read in more than one way"));
                }
                Hello::No => return Ok(words),
                Hello::More if words.len() > 2 * hello::LONGEST => {
                    return Err(refuse("its TLS hello is too long"));
                }
                Hello::More => {}
            }
            match client.read_buf(&mut words).await {
                Ok(0) | Err(_) if strict || !words.is_empty() => return Err(Refusal::Silence),
                Ok(0) | Err(_) => return Ok(words),
                Ok(_) => {}
            }
        }
    };
    timeout(PATIENCE, read).await.unwrap_or_else(|_| Err(refuse("its TLS hello does not come")))
}

/// Waits for the first byte, or end, of either. Looked at, for a socket may be called readable that is not.
async fn client_is_first(client: &TcpStream, server: &TcpStream) -> bool {
    let has = |socket: &TcpStream, context: &mut Context<'_>| {
        let mut byte = [0];
        socket.poll_peek(context, &mut ReadBuf::new(&mut byte)).is_ready()
    };
    poll_fn(|context| match (has(client, context), has(server, context)) {
        // when both have, it is the one that has to be looked at
        (true, _) => Poll::Ready(true),
        (false, true) => Poll::Ready(false),
        (false, false) => Poll::Pending,
    })
    .await
}
