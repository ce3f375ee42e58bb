//! Registries as users have them: private ones, mirrors, logins, settings of podman's, and networks with faults.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::bad_registry::{Fault, serve};
use crate::harness::host::works;
use crate::harness::image::architecture;
use crate::harness::registry::{BASIC, Registry};
use crate::harness::{Image, Outcome, Packing, Pty, Test, tls};

/// The one the private registry knows.
const USER: &str = "devbox";
const PASSWORD: &str = "open sesame";

/// An image whose one layer does not fit into a few packets.
fn big() -> Image {
    let noise: String =
        (0..60_000).map(|number: u32| format!("{:08x}", number.wrapping_mul(2_654_435_761))).collect();
    Image::empty().layer(&format!("f 644 srv/noise {noise}"), Packing::Gzip).architecture(architecture())
}

fn trust(test: &Test, address: &str) {
    test.write(&format!("config/containers/certs.d/{address}/ca.crt"), &tls::ca());
}

fn registries_conf(test: &Test, text: &str) {
    test.write("config/containers/registries.conf", text);
}

fn login(test: &Test, address: &str, password: &str) -> Outcome {
    test.devbox(["login", "--username", USER, "--password-stdin", address])
        .stdin(format!("{password}\n"))
        .output()
}

/// The user's and the registry's secrets are nowhere to be seen.
#[track_caller]
fn tells_nothing(said: &Outcome) {
    for secret in [PASSWORD, BASIC, "sesame"] {
        assert!(!said.stderr.contains(secret) && !said.text().contains(secret), "{said}");
    }
}

#[test]
fn a_private_registry_through_a_mirror_that_dies_half_way() {
    needs!(images);
    let test = Test::new();
    let image = big();
    Registry::open().push("team/big:1", &image);
    let private = Registry::private();
    let reference = private.reference("team/big:1");
    let mirror = serve(&image.build(), Fault::DiesInTheMiddle);
    registries_conf(
        &test,
        &format!(
            "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{mirror}/copies\"\ninsecure = true\n",
            private.address
        ),
    );

    let said = test.devbox(["pull", &reference]).output().refused(&["certificate", &mirror]);
    tells_nothing(&said);
    trust(&test, &private.address);
    test.devbox(["pull", &reference]).output().refused(&["authentication is required", "devbox login"]);
    login(&test, &private.address, PASSWORD).ok().says(&["logged in"]);

    let said = test.devbox(["pull", "--verbose", &reference]).output().ok();
    let said = said.says(&[&format!("mirror {mirror}/copies/team/big"), "was cut after", "going on with"]);
    tells_nothing(&said);
    assert!(
        private.log().contains("http.response.status=206"),
        "the rest was asked for by its range: {}",
        private.log()
    );
    test.devbox(["images"]).output().ok().lists(&[&reference]);
    let blob = crate::harness::image::digest(&image.build().blobs[0]);
    let log = private.log();
    let whole = log
        .lines()
        .filter(|line| line.contains("status=200") && line.contains("GET") && line.contains(&blob));
    assert_eq!(whole.count(), 0, "nothing of the layer was fetched twice: {log}");
}

#[test]
fn login_and_logout() {
    needs!(images);
    let test = Test::new();
    Registry::open().push("team/small:1", &Image::busybox());
    let private = Registry::private();
    let address = private.address.as_str();
    trust(&test, address);
    let file = test.path("run/containers/auth.json");

    let said =
        login(&test, address, "wrong").refused(&[address, "authentication failed", "nothing was changed"]);
    assert!(!said.stderr.contains("wrong") && !file.exists(), "{said}");
    for bad in [
        &["login", "no registry"][..],
        &["login", address],
        &["login", "-u", "a:b", "--password-stdin", address],
    ] {
        test.devbox(bad).stdin("x").output().refused(&["nothing was changed"]);
        assert!(!file.exists());
    }

    test.write("run/containers/auth.json", r#"{"auths":{"other.example":{"auth":"eDp5"}},"kept":[1]}"#);
    tells_nothing(&login(&test, address, PASSWORD).ok().prints(""));
    let text = fs::read_to_string(&file).unwrap();
    for part in [address, "other.example", "eDp5", "kept"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let reference = private.reference("team/small:1");
    test.devbox(["pull", &reference]).output().ok();
    if works(&["skopeo", "--version"]) {
        test.plain(["skopeo", "login", "--get-login", address]).output().ok().prints(USER);
    }

    test.devbox(["logout", address]).output().ok().prints(address);
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains(address) && text.contains("other.example"), "{text}");
    test.devbox(["logout", address]).output().refused(&["not logged in", address]);
    test.write("home/.docker/config.json", &format!(r#"{{"auths":{{"{address}":{{"auth":"eDp5"}}}}}}"#));
    test.devbox(["logout", address]).output().refused(&["not logged in", ".docker/config.json has it"]);
    test.devbox(["logout", "--all"]).output().ok().prints("other.example");
    assert!(!fs::read_to_string(&file).unwrap().contains("other.example"));

    test.write("run/containers/auth.json", "{\"auths\": secret");
    let said = login(&test, address, PASSWORD).refused(&["auth.json", "line 1", "malformed"]);
    assert!(!said.stderr.contains("secret"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "{\"auths\": secret");
}

#[test]
fn a_password_typed_is_not_shown() {
    needs!(images);
    let test = Test::new();
    let private = Registry::private();
    trust(&test, &private.address);
    let mut pty = Pty::spawn(&test.devbox(["login", &private.address]));
    pty.screen.expect("user name for");
    pty.send(&format!("{USER}\n"));
    pty.screen.expect("password: ");
    crate::harness::within(5, || pty.is_raw());
    pty.send(&format!("nonsense\x15{PASSWORD}x\x7f\n"));
    pty.screen.expect("logged in");
    assert!(pty.wait().success());
    assert!(!pty.screen.so_far().contains("sesame") && pty.restored(), "{}", pty.screen.so_far());

    for (signal, keys) in [(None, "half\x03"), (Some(Signal::SIGTERM), "half")] {
        let mut pty = Pty::spawn(&test.devbox(["login", "-u", USER, &private.address]));
        pty.screen.expect("password: ");
        crate::harness::within(5, || pty.is_raw());
        pty.send(keys);
        signal.into_iter().for_each(|signal| pty.signal(signal));
        assert!(!pty.wait().success());
        assert!(pty.restored(), "{signal:?}");
    }
}

#[test]
fn credential_helpers_are_asked() {
    needs!(images);
    let test = Test::new();
    Registry::open().push("team/helped:1", &Image::busybox());
    let private = Registry::private();
    let address = private.address.as_str();
    trust(&test, address);
    let helper = test.write(
        "bin/docker-credential-vault",
        &format!(
            "#!/bin/sh\nread -r server; echo \"$1 $server\" >>'{0}'\ncase $1 in\n\
             get) test -e '{0}.kept' && cat '{0}.kept' || {{ echo 'credentials not found in native keychain'; exit 1; }};;\n\
             store) printf '%s' \"$server\" >'{0}.kept';;\nerase) rm '{0}.kept';;\nesac\n",
            test.path("asked").display()
        ),
    );
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", test.path("bin").display());
    test.write("run/containers/auth.json", &format!(r#"{{"credHelpers":{{"{address}":"vault"}}}}"#));
    let reference = private.reference("team/helped:1");
    let devbox = |args: &[&str]| test.devbox(args).env("PATH", &path);

    devbox(&["pull", &reference]).output().refused(&["authentication is required"]);
    let given = devbox(&["login", "-u", USER, "--password-stdin", address]).stdin(PASSWORD).output().ok();
    tells_nothing(&given.says(&["docker-credential-vault"]));
    assert!(!fs::read_to_string(test.path("run/containers/auth.json")).unwrap().contains("\"auth\""));
    tells_nothing(&devbox(&["pull", "--verbose", &reference]).output().ok());
    devbox(&["logout", address]).output().ok();
    devbox(&["rmi", &reference]).output().ok();
    devbox(&["pull", &reference]).output().refused(&["authentication is required"]);
    let asked = fs::read_to_string(test.path("asked")).unwrap();
    for word in ["get", "erase"] {
        assert!(asked.contains(&format!("{word} {address}\n")), "{asked}");
    }
    // one for all registries; what it does not know is asked of the file all the same
    test.write("run/containers/auth.json", r#"{"credsStore":"vault"}"#);
    let given = devbox(&["login", "-u", USER, "--password-stdin", address]).stdin(PASSWORD).output().ok();
    tells_nothing(&given.says(&["docker-credential-vault"]));
    tells_nothing(&devbox(&["pull", &reference]).output().ok());
    devbox(&["logout", address]).output().ok();
    devbox(&["rmi", &reference]).output().ok();
    devbox(&["pull", &reference]).output().refused(&["authentication is required"]);
    let file = format!(r#"{{"credsStore":"vault","auths":{{"{address}":{{"auth":"{BASIC}"}}}}}}"#);
    test.write("run/containers/auth.json", &file);
    tells_nothing(&devbox(&["pull", &reference]).output().ok());
    devbox(&["rmi", &reference]).output().ok();
    test.write("run/containers/auth.json", &format!(r#"{{"credHelpers":{{"{address}":"vault"}}}}"#));
    let relative = test.devbox(["pull", &reference]).env("PATH", "bin:/usr/bin:/bin").cwd(test.path(""));
    relative.output().refused(&["there is no program `docker-credential-vault`"]);
    // one that is broken is said, and is no reason to stop before the registry says no
    test.write("bin/docker-credential-vault", "#!/bin/sh\necho 'the \x1b[31m vault is shut'; exit 1\n");
    let said =
        devbox(&["pull", &reference]).output().refused(&["vault is shut", "authentication is required"]);
    assert!(!said.stderr.contains('\x1b'), "{said}");
}

#[test]
fn tls_by_ones_own_authority() {
    needs!(images);
    Registry::open().push("team/tls:1", &Image::busybox());
    let (private, choosy) = (Registry::private(), Registry::choosy());
    let test = Test::new();
    let ca = test.write("ca.pem", &tls::ca()).display().to_string();
    let reference = private.reference("team/tls:1");
    test.devbox(["pull", &reference]).output().refused(&["certificate", "certs.d"]);
    // trusted, so that it is the login that is missing
    test.devbox(["pull", &reference])
        .env("SSL_CERT_FILE", &ca)
        .output()
        .refused(&["authentication is required"]);
    registries_conf(&test, &format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", private.address));
    test.devbox(["pull", &reference]).output().refused(&["authentication is required"]);

    let reference = choosy.reference("team/tls:1");
    trust(&test, &choosy.address);
    test.devbox(["pull", &reference]).output().refused(&["TLS"]);
    let folder = format!("config/containers/certs.d/{}", choosy.address);
    let mine = tls::certificate("me");
    test.write(&format!("{folder}/client.cert"), &mine.certificate);
    test.devbox(["pull", &reference]).output().refused(&["client.cert", "client.key, is missing"]);
    test.write(&format!("{folder}/client.key"), &mine.key);
    test.devbox(["pull", &reference]).output().ok();
    for (name, why) in [("ca.crt", "PEM"), ("client.key", "goes with its key")] {
        let path = format!("{folder}/{name}");
        let whole = fs::read_to_string(test.path(&path)).unwrap();
        test.write(&path, "junk");
        test.devbox(["pull", &reference]).output().refused(&[&choosy.address, why]);
        test.write(&path, &whole);
    }
}

#[test]
fn names_are_moved_blocked_and_completed() {
    needs!(images);
    let test = Test::new();
    let open = Registry::open();
    let address = open.address.as_str();
    open.push("hub/library/tool:1", &Image::busybox());
    open.push("two/tool:1", &Image::busybox());
    registries_conf(
        &test,
        &format!(
            "unqualified-search-registries = [\"one.invalid\", \"two.invalid\"]\n\
             [[registry]]\nprefix = \"docker.io\"\nlocation = \"{address}/hub\"\n\
             [[registry]]\nprefix = \"one.invalid\"\nlocation = \"{address}/none\"\n\
             [[registry]]\nprefix = \"two.invalid\"\nlocation = \"{address}/two\"\n\
             [[registry]]\nprefix = \"*.bad.invalid\"\nblocked = true\n"
        ),
    );
    test.write(
        "config/containers/registries.conf.d/10.conf",
        "[aliases]\nnick = \"docker.io/library/tool\"\n",
    );

    let said = test
        .devbox(["pull", "tool:1"])
        .output()
        .refused(&["`tool:1` may be one.invalid/tool:1 or two.invalid/tool:1"]);
    assert!(said.stderr.contains("alias"), "{said}");
    test.devbox(["plan", "--image", "tool:1"]).output().refused(&["may be"]);
    test.devbox(["pull", "x.bad.invalid/a"]).output().refused(&["`*.bad.invalid` is blocked"]);
    test.devbox(["pull", "docker.io/tool:1"]).output().ok();
    test.devbox(["images"]).output().ok().lists(&["docker.io/library/tool:1"]);
    test.devbox(["plan", "--image", "nick:1"]).output().ok().lists(&["docker.io/library/tool:1"]);

    let mut pty = Pty::spawn(&test.devbox(["pull", "tool:1"]));
    pty.screen.expect("2  two.invalid/tool:1");
    pty.send("2\n");
    assert!(pty.wait().success(), "{}", pty.screen.so_far());
    // the one that is here settles it from now on
    test.devbox(["plan", "--image", "tool:1"]).output().ok().lists(&["two.invalid/tool:1"]);
    test.devbox(["rmi", "tool:1"]).output().ok();
    test.write("config/containers/registries.conf.d/20.conf", "short-name-mode = \"disabled\"\n");
    test.devbox(["pull", "tool:1"]).output().ok().says(&["two.invalid/tool:1"]);

    registries_conf(&test, "[[registry]]\nlocation = 3\n");
    test.devbox(["pull", "h.invalid/a"]).output().refused(&["registries.conf", "line 2"]);
    let elsewhere =
        test.write("elsewhere.conf", "[aliases]\nnick = \"h.invalid/other\"\n").display().to_string();
    let planned =
        test.devbox(["plan", "--image", "nick"]).env("CONTAINERS_REGISTRIES_CONF", &elsewhere).output();
    planned.ok().lists(&["docker.io/library/tool:latest"]);
}

#[test]
fn when_to_fetch() {
    needs!(boxes, images);
    let test = Test::new();
    let registry = Registry::open();
    let one = |text: &str| Image::busybox().layer(&format!("f 644 srv/which {text}"), Packing::Gzip);
    let reference = registry.push("moving:1", &one("old"));
    let which = |policy: &str, reference: &str| {
        let pull = format!("--pull={policy}");
        test.devbox(["run", "--rm", &pull, "--image", reference, "--", "cat", "/srv/which"]).output()
    };
    which("never", &reference).refused(&["is not here", "devbox pull"]);
    which("missing", &reference).ok().prints("old");
    registry.push("moving:1", &one("new"));
    which("missing", &reference).ok().prints("old");
    which("never", &reference).ok().prints("old");
    which("newer", &reference).ok().prints("new");
    registry.push("moving:1", &one("newest"));
    which("always", &reference).ok().prints("newest");

    let digest = test.devbox(["pull", "-q", &reference]).output().ok().text();
    let log = registry.log().lines().count();
    let pinned = format!("{}@{}", registry.reference("moving"), digest.trim());
    for policy in ["missing", "newer", "always", "never"] {
        which(policy, &pinned).ok().prints("newest");
    }
    assert_eq!(registry.log().lines().filter(|line| line.contains("moving")).count(), {
        let before: Vec<_> = registry.log().lines().take(log).map(str::to_owned).collect();
        before.iter().filter(|line| line.contains("moving")).count()
    });

    // a registry that has gone
    registries_conf(
        &test,
        &format!("[[registry]]\nprefix = \"{}\"\nlocation = \"127.0.0.1:9/x\"\n", registry.address),
    );
    which("newer", &reference).ok().prints("newest").says(&["warning: cannot pull", "is taken"]);
    which("always", &reference).refused(&["cannot connect"]);
}

#[test]
fn another_platform_of_an_index() {
    needs!(images);
    let test = Test::new();
    let of =
        |name| Image::empty().layer(&format!("f 644 srv/{name} x"), Packing::Gzip).architecture(name).build();
    let (alien, native) = (of("sparc64"), of(architecture()));
    let reference = Registry::open().push_index("both:1", &[("sparc64", &alien), (architecture(), &native)]);
    let digest = crate::harness::image::digest;
    for (flag, built) in
        [("--platform=linux/sparc64", &alien), ("--quiet", &native), ("--platform=linux/sparc64", &alien)]
    {
        test.devbox(["pull", flag, &reference]).output().ok().prints(&digest(&built.manifest));
    }
    test.devbox(["pull", "--platform", "linux/mips", &reference])
        .output()
        .refused(&["linux/mips", "linux/sparc64"]);
    test.devbox(["pull", "--platform", "mips", &reference]).output().refused(&["`mips` is not a platform"]);
}

#[test]
fn a_busy_registry_is_waited_for_aloud() {
    let test = Test::new();
    let image = Image::empty().layer("f 644 srv/a x", Packing::Gzip).architecture(architecture());
    let address = serve(&image.build(), Fault::Busy);
    let start = Instant::now();
    let said = test.devbox(["pull", &format!("{address}/busy:1")]).output().ok();
    said.says(&["status 429 and asks to wait 1 s", "trying again in 1.0 s"]);
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn the_interrupt_key_works_at_once() {
    let test = Test::new();
    let image = big();
    let address = serve(&image.build(), Fault::Stalls);
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut pull = test.devbox(["pull", &format!("{address}/slow:1")]).spawn();
        pull.stderr.expect("pulling");
        let start = Instant::now();
        pull.signal(signal);
        assert!(pull.ended(Duration::from_secs(10)).is_some(), "{signal}");
        assert!(start.elapsed() < Duration::from_secs(1), "{signal}: {:?}", start.elapsed());
    }
    test.devbox(["images", "--format", "json"]).output().ok().prints("[]");
}

/// A proxy that writes down the head of each request and says no.
fn proxy() -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heads = Arc::new(Mutex::new(String::new()));
    let log = heads.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            for line in lines.take_while(|line| !line.is_empty()) {
                log.lock().unwrap().push_str(&format!("{line}\n"));
            }
            let _ = stream.write_all(b"HTTP/1.1 502 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    (address, heads)
}

#[test]
fn proxies_of_the_environment() {
    needs!(images);
    let test = Test::new();
    let (address, heads) = proxy();
    let with_login = format!("http://bob:secret@{address}");
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        heads.lock().unwrap().clear();
        let said = test.devbox(["pull", "h.invalid/a:1"]).env(name, &with_login).output();
        let said = said.fails(125).says(&["h.invalid/a", "hint: the proxy refuses"]);
        assert!(!said.stderr.contains("secret"), "{said}");
        let head = heads.lock().unwrap().to_ascii_lowercase();
        assert!(head.contains("connect h.invalid:443"), "{name}: {head}");
        assert!(head.contains("proxy-authorization: basic ym9ionnly3jlda=="), "{name}: {head}");
    }
    heads.lock().unwrap().clear();
    let direct =
        test.devbox(["pull", "h.invalid/a:1"]).env("HTTPS_PROXY", &with_login).env("NO_PROXY", ".invalid");
    direct.output().refused(&["host is not known"]);
    let local = Registry::open().push("direct:1", &Image::busybox());
    for name in ["HTTP_PROXY", "ALL_PROXY"] {
        test.devbox(["pull", &local]).env(name, &with_login).output().ok();
    }
    assert_eq!(*heads.lock().unwrap(), "", "neither what is excepted nor this machine goes through it");
    let said = test.devbox(["pull", "h.invalid/a:1"]).env("HTTPS_PROXY", "http://bob:secret@[").output();
    let said = said.refused(&["HTTPS_PROXY", "not the address of a proxy"]);
    assert!(!said.stderr.contains("secret"), "{said}");
}

/// A SOCKS5 proxy (RFC 1928, with the login of RFC 1929) behind which every host is `to`; it writes down whom it was
/// asked for and by whom.
fn socks(to: &str) -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(Mutex::new(String::new()));
    let (log, to) = (asked.clone(), to.to_owned());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (log, to) = (log.clone(), to.clone());
            thread::spawn(move || relay(stream, &to, &log));
        }
    });
    (address, asked)
}

/// One connection through the proxy; an error only means that the client has gone.
fn relay(mut client: TcpStream, to: &str, log: &Mutex<String>) -> std::io::Result<()> {
    let counted = |client: &mut TcpStream| {
        let mut length = [0];
        client.read_exact(&mut length)?;
        let mut bytes = vec![0; length[0].into()];
        client.read_exact(&mut bytes)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let mut version = [0];
    client.read_exact(&mut version)?;
    let methods = counted(&mut client)?;
    assert!(version == [5] && methods.contains('\x02'), "a login is offered");
    client.write_all(&[5, 2])?;
    client.read_exact(&mut version)?;
    let login = [counted(&mut client)?, counted(&mut client)?].join(":");
    client.write_all(&[1, 0])?;
    let mut request = [0; 4];
    client.read_exact(&mut request)?;
    assert_eq!(request, [5, 1, 0, 3], "to connect, by name");
    let host = counted(&mut client)?;
    let mut port = [0; 2];
    client.read_exact(&mut port)?;
    log.lock().unwrap().push_str(&format!("{login} {host}:{}\n", u16::from_be_bytes(port)));
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let mut registry = TcpStream::connect(to)?;
    let (mut from, mut back) = (client.try_clone()?, registry.try_clone()?);
    thread::spawn(move || std::io::copy(&mut from, &mut back).and_then(|_| back.shutdown(Shutdown::Write)));
    std::io::copy(&mut registry, &mut client)?;
    client.shutdown(Shutdown::Both)
}

#[test]
fn through_a_socks_proxy() {
    needs!(images);
    let test = Test::new();
    let registry = Registry::open();
    registry.push("socks:1", &Image::busybox());
    let (address, asked) = socks(&registry.address);
    registries_conf(&test, "[[registry]]\nlocation = \"h.invalid:5000\"\ninsecure = true\n");
    // the name is for the proxy to look up: this machine knows no such host
    let through = |scheme: &str| {
        test.devbox(["pull", "h.invalid:5000/socks:1"])
            .env("ALL_PROXY", &format!("{scheme}://bob:secret@{address}"))
    };
    through("socks5h").output().ok();
    let asked_for = asked.lock().unwrap().clone();
    assert!(
        !asked_for.is_empty() && asked_for.lines().all(|line| line == "bob:secret h.invalid:5000"),
        "{asked_for}"
    );
    test.devbox(["rmi", "h.invalid:5000/socks:1"]).output().ok();
    let said = through("socks9").output().refused(&["ALL_PROXY", "not the address of a proxy"]);
    assert!(!said.stderr.contains("secret"), "{said}");
}
