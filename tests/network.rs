//! Networks of a box's own: what `allow` lets through and what it does not, seen from inside by `tests/probes/escape.c`.
//! All there is to reach is on this machine's loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::signal::Signal;

use crate::harness::{Outcome, Test, host, probes, within};

const WORDS: &[u8] = b"reached\n";

/// Answers whoever says anything to a port of `address`; gives the port.
fn service(address: IpAddr) -> u16 {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut heard = [0; 4096];
                if stream.read(&mut heard).is_ok_and(|length| length > 0) {
                    let _ = stream.write_all(WORDS);
                }
                let _ = stream.read(&mut heard);
            });
        }
    });
    port
}

/// A proxy on loopback that says it connected and answers what comes then; gives its port and the requests it got.
fn proxy() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let kept = requests.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let kept = kept.clone();
            thread::spawn(move || answer(&stream, &kept));
        }
    });
    (port, requests)
}

fn answer(stream: &TcpStream, requests: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        if reader.read_line(&mut request).ok()? == 0 {
            return None;
        }
    }
    let mut writer = stream;
    writer.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").ok()?;
    let speaks_first = request.contains(":22 ");
    requests.lock().ok()?.push(request);
    if speaks_first {
        writer.write_all(WORDS).ok()?;
        let _ = reader.read(&mut [0; 4096]);
        return Some(());
    }
    let mut first = [0; 1];
    reader.read_exact(&mut first).ok()?;
    writer.write_all(WORDS).ok()?;
    let _ = reader.read(&mut [0; 4096]);
    Some(())
}

/// An address of this machine that is not on its loopback; one that is, where there is no other.
fn other_address() -> IpAddr {
    let source = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    source.map_or(IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1)), |source| source.ip())
}

/// What the box's log says, a line each: `+ what` for what was allowed, `- what` for what was not.
fn decisions(test: &Test, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(test.path(&format!("data/devbox/boxes/{name}/audit.log")))
        .unwrap_or_default();
    let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let network = events.filter(|event| event["kind"] == "network");
    network
        .map(|event| {
            let sign = if event["allowed"] == true { '+' } else { '-' };
            format!("{sign} {}", event["what"].as_str().unwrap())
        })
        .collect()
}

/// A run of the probes in a box of this isolation, and what its log says then.
fn escape(isolation: &str) -> (Outcome, Vec<String>, Vec<String>) {
    let test = Test::busybox();
    let volume = format!("{}:/escape:ro", probes::build_named(&test.path(""), "escape").display());
    let (open, closed) = (service(Ipv4Addr::LOCALHOST.into()), service(Ipv4Addr::UNSPECIFIED.into()));
    let (port, requests) = proxy();
    let abstract_name = format!("devbox-test-{}-{isolation}", std::process::id());
    let _listener =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap()).unwrap();
    let (local, other) = (format!("localhost:{open}"), other_address().to_string());
    let (open, closed) = (open.to_string(), closed.to_string());
    let call = test.devbox([
        "run",
        "--isolation",
        isolation,
        "--name",
        "demo",
        "--allow",
        "registry.example:443",
        "--allow",
        "*.example.org",
        "--allow",
        &local,
        "-v",
        &volume,
        "--",
        "/escape",
        &open,
        &closed,
        &other,
        &abstract_name,
    ]);
    let address = format!("http://me:s3cret@127.0.0.1:{port}");
    let outcome = call.env("https_proxy", &address).env("http_proxy", &address).output();
    let requests = requests.lock().unwrap().clone();
    // the gate ends after the command has
    let marker = format!("{abstract_name}\0");
    assert!(within(5, || host::processes(&marker).is_empty()));
    (outcome, decisions(&test, "demo"), requests)
}

#[test]
fn only_what_is_allowed_is_reached() {
    needs!(boxes, images, compiler);
    for isolation in ["untrusted", "dev"] {
        let (outcome, log, requests) = escape(isolation);
        assert!(outcome.text().lines().count() > 15, "{isolation}: {outcome}");
        outcome.ok();
        for line in [
            "+ registry.example:443",
            "+ a.b.example.org:443",
            "+ c.example.org:80",
            "- evil.example",
            "- evilexample.org",
            "- example.org",
            "- registry.example:80",
            "- registry.example:443",
            "- 192.0.2.1:443",
            "- 169.254.169.254:80",
            "- registry.example:22",
            "- registry.example:443/udp",
            "- 8.8.8.8:53/udp",
            "- [2001:db8::1]:443",
        ] {
            assert!(log.iter().any(|found| found == line), "{isolation}: no `{line}` in {log:#?}");
        }
        let mut once = log.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), log.len(), "each is written down once");
        // the caller's login goes to the proxy, and the names there are those that were let through
        let host =
            |request: &String| request.split(' ').nth(1).unwrap().rsplit_once(':').unwrap().0.to_owned();
        for request in &requests {
            assert!(request.contains("Proxy-Authorization: Basic bWU6czNjcmV0"), "{request}");
            let host = host(request);
            assert!(host == "registry.example" || host.ends_with(".example.org"), "{request}");
        }
        assert!(!requests.is_empty());
    }
}

#[test]
fn a_name_that_leads_here_is_refused() {
    needs!(boxes, images);
    let name = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let port = service(Ipv4Addr::UNSPECIFIED.into());
    let test = Test::busybox();
    let entry = format!("{name}:{port}");
    let script = format!("echo x | nc -w 3 {name} {port} | grep -c reached");
    test.devbox(["run", "--untrusted", "--hostname", "inside", "--allow", &entry, "--", "sh", "-c", &script])
        .output()
        .fails(1)
        .prints("0");
    let expected = format!("- {}", entry.to_lowercase());
    assert_eq!(decisions(&test, "demo-untrusted"), [expected]);
    if std::net::ToSocketAddrs::to_socket_addrs(&(name.as_str(), port)).is_ok() {
        let why = test.devbox(["why", "demo-untrusted"]).output().ok();
        assert!(why.text().contains("its name leads to"), "{why}");
    }
}

#[test]
fn work_goes_on_as_if_there_were_a_network() {
    needs!(boxes, images);
    let port = service(Ipv4Addr::LOCALHOST.into());
    let test = Test::busybox();
    test.project_file(&format!(
        "{}[network]\nallow = [\"localhost:{port}\"]\n",
        std::fs::read_to_string(test.project().join("devbox.toml")).unwrap()
    ));
    test.table(&[
        ("what is allowed", &format!("echo x | nc localhost {port}"), "reached"),
        ("resolver", "cat /etc/resolv.conf", "nameserver 127.0.0.1"),
        ("own loopback", "echo mine | nc -l -p 8000 & sleep 1; nc 127.0.0.1 8000 </dev/null", "mine"),
        ("no other device", "ls /sys/class/net >/dev/null; grep -c : /proc/net/dev", "1"),
    ]);
    // a project's own file may not open an untrusted box unasked
    test.devbox(["run", "--untrusted", "--", "true"]).output().refused(&["reaches localhost"]);
    let plan = test.devbox(["plan", "--untrusted", "--format", "json"]).output().ok().json();
    assert_eq!(
        (&plan["network"], &plan["allow"][0]),
        (&"private".into(), &format!("localhost:{port}").into())
    );
    // a flag closes what the file opens
    let closed =
        test.devbox(["run", "--untrusted", "--network", "none", "--", "sh", "-c", "cat /etc/resolv.conf"]);
    assert!(!closed.output().text().contains("127.0.0.1"));
}

/// As ssh does, and mail.
#[test]
fn a_server_may_speak_first() {
    needs!(boxes, images);
    let test = Test::busybox();
    let (port, requests) = proxy();
    let script = "sleep 5 | timeout 4 nc git.example.org 22 | head -n 1";
    let call = test.devbox(["run", "--allow", "git.example.org:22", "--", "sh", "-c", script]);
    call.env("https_proxy", &format!("127.0.0.1:{port}")).output().ok().prints("reached");
    assert!(requests.lock().unwrap()[0].starts_with("CONNECT git.example.org:22 HTTP/1.1\r\n"));
}

#[test]
fn the_gate_ends_with_the_box() {
    needs!(boxes, images);
    let test = Test::busybox();
    let marker = format!("8{}", std::process::id());
    let script = format!("echo ready; sleep {marker}");
    let start = || {
        let session = test.devbox(["run", "--allow", "registry.example", "--", "sh", "-c", &script]).spawn();
        session.stdout.expect("ready\n");
        session
    };
    let gone = || within(2, || host::processes(&marker).is_empty());
    let session = start();
    assert!(host::processes(&marker).len() >= 3, "devbox, its gate and the command");
    session.signal(Signal::SIGKILL);
    assert!(gone(), "left: {:?}", host::processes(&marker));
    drop(session);
    let session = start();
    test.devbox(["stop", "demo"]).output().ok();
    assert!(gone(), "left: {:?}", host::processes(&marker));
    drop(session);
    // nothing but its own: no pipe of ours, no terminal
    let session = start();
    let gates: Vec<i32> = host::processes(&marker)
        .into_iter()
        .filter(|pid| {
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
            tasks > 1
        })
        .collect();
    assert_eq!(gates.len(), 1, "{gates:?}");
    session.signal(Signal::SIGTERM);
    assert!(gone(), "left: {:?}", host::processes(&marker));
}

#[test]
fn a_proxy_that_can_not_be_used_is_named() {
    needs!(boxes, images);
    let test = Test::busybox();
    let call = test.devbox(["run", "--allow", "registry.example", "--", "true"]);
    let said = call
        .env("https_proxy", "socks5://me:s3cret@127.0.0.1:1")
        .output()
        .refused(&["https_proxy", "http://"]);
    assert!(!said.stderr.contains("s3cret"), "{said}");
}

/// Two network namespaces with a wire between: the near one, in which the command runs, has servers on all its addresses; the far
/// one, at 203.0.113.2, too. They end with their pid namespace.
const ELSEWHERE: &str = "\
ip link set lo up; ip link add d0 type veth peer name d1; unshare -n sleep 120 & far=$!; sleep 0.3
ip link set d1 netns $far; ip link set d0 up; ip addr add 203.0.113.1/24 dev d0
nsenter -t $far -n sh -c 'ip link set d1 up; ip addr add 203.0.113.2/24 dev d1; busybox nc -l -p 7000 -e echo reached' &
sleep 0.3; ip route add default via 203.0.113.2
(while true; do busybox nc -l -p 7001 -e echo reached; done) & sleep 0.2
\"$@\"";

#[test]
fn a_private_network_leads_out_and_not_here() {
    needs!(boxes, images, ip, way_out);
    let test = Test::busybox();
    test.sh("true").ok();
    let script = "cat /etc/resolv.conf; timeout 3 nc 203.0.113.2 7000 </dev/null | head -n 1
        for address in 127.0.0.1:7001 203.0.113.2:7001 203.0.113.1:7001 10.0.2.2:7001 198.18.2.2:7001 198.18.2.3:7001; do
          timeout 2 nc ${address%:*} ${address#*:} </dev/null; done
        echo mine | nc -l -p 7002 & sleep 0.5; timeout 2 nc 127.0.0.1 7002 </dev/null";
    let run = ["run", "--network", "private", "--user", "me", "--", "sh", "-c", script];
    let outcome = test
        .under(["unshare", "-rnpf", "--mount-proc", "--kill-child", "sh", "-c", ELSEWHERE, "sh"], run)
        .output()
        .ok();
    outcome.prints("nameserver 198.18.2.3\nreached\nmine");
}

#[test]
fn what_a_private_network_needs_is_named() {
    needs!(boxes, images);
    let test = Test::busybox();
    test.sh("true").ok();
    let call = test.devbox(["run", "--network", "private", "--", "true"]);
    call.env("PATH", "/nowhere").output().refused(&["pasta", "passt", "allow"]);
}

#[test]
fn ports_are_published_on_loopback() {
    needs!(boxes, images);
    let test = Test::busybox();
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let hello = |address: &str, port: u16| -> Option<String> {
        let mut stream = TcpStream::connect((address, port)).ok()?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(2))).ok()?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard).ok()?;
        Some(heard)
    };
    for (flags, inside) in
        [(&["--network", "none"][..], "8000"), (&["--untrusted"], "80"), (&["--allow", "a.example"], "8000")]
    {
        let port = free();
        let publish = format!("{port}:{inside}");
        let script = format!("echo ready; while true; do echo reached | nc -l -p {inside}; done");
        let command = [&["run"][..], flags, &["-p", &publish, "--", "sh", "-c", &script]].concat();
        let session = test.devbox(command).spawn();
        session.stdout.expect("ready\n");
        let mut heard = None;
        within(5, || {
            heard = hello("127.0.0.1", port).filter(|heard| !heard.is_empty());
            heard.is_some()
        });
        assert_eq!(heard.as_deref(), Some("reached\n"), "{flags:?}: {}", session.stderr.so_far());
        let other = other_address();
        assert!(other.is_loopback() || TcpStream::connect((other, port)).is_err(), "{other} is reached");
        // the place is taken as long as the box runs
        let taken = test.devbox(["run", "--rm", "--network", "none", "-p", &publish, "--", "true"]).output();
        taken.refused(&[&port.to_string(), "listen"]);
        session.signal(Signal::SIGKILL);
        assert!(within(2, || TcpListener::bind(("127.0.0.1", port)).is_ok()), "{port} is still taken");
        drop(session);
    }
}

#[test]
fn all_that_serves_a_network_ends_with_the_box() {
    needs!(boxes, images, way_out);
    let test = Test::busybox();
    let marker = format!("9{}", std::process::id());
    let script = format!("echo ready; sleep {marker}");
    let stacks = || {
        let folder = test.path("data").display().to_string();
        let log = |pid: &i32| {
            std::fs::read_link(format!("/proc/{pid}/fd/2"))
                .is_ok_and(|to| to.display().to_string().starts_with(&folder))
        };
        let mut pids: Vec<i32> =
            ["pasta", "slirp4netns"].iter().flat_map(|name| host::processes(name)).collect();
        pids.retain(log);
        pids
    };
    let session = test
        .devbox(["run", "--network", "private", "-p", "127.0.0.9:8099:80", "--", "sh", "-c", &script])
        .spawn();
    session.stdout.expect("ready\n");
    assert_eq!(stacks().len(), 1, "the program that leads out");
    session.signal(Signal::SIGKILL);
    let gone = || within(2, || host::processes(&marker).is_empty() && stacks().is_empty());
    assert!(gone(), "left: {:?} {:?}", host::processes(&marker), stacks());
}
