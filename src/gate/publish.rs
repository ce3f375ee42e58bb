//! Published ports: connections from outside, relayed to servers in the network this process is in.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::{MOST_CONNECTIONS, listening, relay};

/// Serves for ever. Each socket leads to its port on loopback, where a server of the box listens that listens on all
/// addresses, too.
pub fn publish(ports: Vec<(TcpListener, u16)>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        for (door, port) in ports {
            tokio::spawn(open(listening(door)?, port, connections.clone()));
        }
        std::future::pending().await
    })
}

async fn open(door: tokio::net::TcpListener, port: u16, connections: Arc<Semaphore>) {
    loop {
        let Some(mut outer) = relay::accept(&door).await else { continue };
        let Ok(turn) = connections.clone().try_acquire_owned() else {
            relay::reset(&outer);
            continue;
        };
        tokio::spawn(async move {
            let _turn = turn;
            let inner = match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                Ok(inner) => Ok(inner),
                Err(_) => TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await,
            };
            let relayed = match inner {
                Ok(mut inner) => {
                    let _ = inner.set_nodelay(true);
                    let _ = outer.set_nodelay(true);
                    copy_bidirectional(&mut outer, &mut inner).await
                }
                Err(error) => Err(error),
            };
            if relayed.is_err() {
                relay::reset(&outer);
            }
        });
    }
}
