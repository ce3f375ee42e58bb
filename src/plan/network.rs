//! Which network a box gets: what flags say over what the profile says over what the isolation is used to.

use super::{Error, Flags, Isolation, Network};
use crate::network::{Allow, Publish};
use crate::profile::{BadValue, Profile, grammar};

/// Ports that all entries of `allow` name together, at most: the box listens on each.
const MOST_PORTS: usize = 64;

/// What was chosen.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reach {
    pub(super) network: Network,
    pub(super) allow: Vec<Allow>,
    pub(super) ports: Vec<Publish>,
}

/// Chooses. Lists of flags are added to the profile's; a flag that says `host` or `none` leaves nothing of them.
pub(super) fn choose(profile: &Profile, flags: &Flags, isolation: Isolation) -> Result<Reach, Error> {
    let said = flags.network;
    let refuse = |flag, what: &str| {
        let hint = "use `--network private`, or leave `--network` out";
        Err(Error::Flag { flag, source: BadValue::new(what).or(hint) })
    };
    if let Some(mode @ (Network::Host | Network::None)) = said.filter(|_| !flags.allow.is_empty()) {
        return refuse("--allow", &format!("it does not go with `--network {mode}`"));
    }
    if said == Some(Network::Host) && !flags.publish.is_empty() {
        return refuse("-p", "with `--network host` what listens there is in reach already");
    }
    let (mut allow, mut ports) = Network::left_of(said, profile.allow.clone(), profile.ports.clone());
    allow.extend(read("--allow", &flags.allow, grammar::allow)?);
    ports.extend(read("-p", &flags.publish, grammar::publish)?);
    let implied = (!flags.allow.is_empty()).then_some(Network::Private);
    let usual = match isolation {
        // publishing is no reason to let it out
        Isolation::Untrusted => Network::None,
        Isolation::Dev if ports.is_empty() => Network::Host,
        Isolation::Dev => Network::Private,
    };
    let network = said.or(implied).or(profile.network).unwrap_or(usual);
    if network == Network::Host && !flags.publish.is_empty() {
        return refuse(
            "-p",
            "the profile asks for the host's network, where what listens is in reach already",
        );
    }
    if network == Network::Host {
        // a flag's word, or that of the isolation, over the lists of a base
        (allow, ports) = Default::default();
    }
    let mut once = Vec::new();
    for entry in allow {
        if !once.contains(&entry) {
            once.push(entry);
        }
    }
    let mut named: Vec<u16> = once.iter().flat_map(Allow::ports).copied().collect();
    named.sort_unstable();
    named.dedup();
    if named.len() > MOST_PORTS {
        return Err(Error::TooManyPorts { named: named.len(), most: MOST_PORTS });
    }
    let mut places: Vec<Publish> = Vec::new();
    for port in ports {
        places.retain(|other| other.host != port.host);
        places.push(port);
    }
    Ok(Reach { network, allow: once, ports: places })
}

fn read<T>(
    flag: &'static str,
    texts: &[String],
    rule: impl Fn(&str) -> Result<T, BadValue>,
) -> Result<Vec<T>, Error> {
    texts
        .iter()
        .map(|text| rule(text))
        .collect::<Result<_, _>>()
        .map_err(|source| Error::Flag { flag, source })
}

#[cfg(test)]
mod tests {
    use super::super::tests::project;
    use super::*;

    fn chosen(text: &str, flags: &Flags, isolation: Isolation) -> Result<(Network, String, String), String> {
        let text = if text.is_empty() { String::new() } else { format!("[network]\n{text}") };
        let shown = |error: Error| match error {
            Error::Flag { flag, source } => format!("{flag}: {source}"),
            other => other.to_string(),
        };
        let reach = choose(&project(&text).profile, flags, isolation).map_err(shown)?;
        let list = |items: Vec<String>| items.join(" ");
        let allow = list(reach.allow.iter().map(ToString::to_string).collect());
        Ok((reach.network, allow, list(reach.ports.iter().map(ToString::to_string).collect())))
    }

    fn flags(network: Option<Network>, allow: &[&str], publish: &[&str]) -> Flags {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Flags { network, allow: texts(allow), publish: texts(publish), ..Flags::default() }
    }

    #[test]
    fn flags_over_profile_over_what_is_usual() {
        use Isolation::{Dev, Untrusted};
        use Network::{Host, None, Private};
        let list = "allow = [\"a.example\"]\nports = [\"8080:80\"]";
        let port = "127.0.0.1:8080:80";
        for (text, flags, isolation, network, allow, ports) in [
            ("", flags(Option::None, &[], &[]), Dev, Host, "", ""),
            ("", flags(Option::None, &[], &[]), Untrusted, None, "", ""),
            ("", flags(Some(Private), &[], &[]), Untrusted, Private, "", ""),
            ("", flags(Option::None, &["a.example"], &[]), Dev, Private, "a.example", ""),
            ("", flags(Option::None, &[], &["8080:80"]), Dev, Private, "", port),
            ("", flags(Option::None, &[], &["8080:80"]), Untrusted, None, "", port),
            (list, flags(Option::None, &[], &[]), Untrusted, Private, "a.example", port),
            (
                list,
                flags(Option::None, &["b", "a.example"], &["8080:81"]),
                Dev,
                Private,
                "a.example b",
                "127.0.0.1:8080:81",
            ),
            (list, flags(Some(None), &[], &[]), Untrusted, None, "", port),
            (list, flags(Some(Host), &[], &[]), Dev, Host, "", ""),
            (list, flags(Some(Private), &[], &[]), Dev, Private, "a.example", port),
            ("mode = \"none\"", flags(Option::None, &["b"], &[]), Dev, Private, "b", ""),
        ] {
            let expected = Ok((network, allow.to_owned(), ports.to_owned()));
            assert_eq!(chosen(text, &flags, isolation), expected, "{text} {flags:?}");
        }
    }

    #[test]
    fn contradictions_are_named() {
        let many: Vec<String> = (1000..1070).map(|port| format!("a:{port}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (text, flags, wrong) in [
            ("", flags(Some(Network::None), &["a"], &[]), "--allow: it does not go with `--network none`"),
            ("", flags(Some(Network::Host), &["a"], &[]), "--allow: it does not go with `--network host`"),
            (
                "",
                flags(Some(Network::Host), &[], &["1:1"]),
                "-p: with `--network host` what listens there is in reach already",
            ),
            (
                "mode = \"host\"",
                flags(None, &[], &["1:1"]),
                "-p: the profile asks for the host's network, where what listens is in reach already",
            ),
            ("", flags(None, &["https://a"], &[]), "--allow: `https://a` is more than a host and a port"),
            ("", flags(None, &[], &["a"]), "-p: `a` does not say which port leads where"),
            ("", flags(None, &many, &[]), "`allow` names 70 ports, and 64 at most can be listened on"),
        ] {
            assert_eq!(chosen(text, &flags, Isolation::Dev).unwrap_err(), wrong);
        }
    }
}
