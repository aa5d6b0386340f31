//! Which addresses a request may go to: those of the host that was approved, and of them only
//! public ones. It stands where names become addresses, so that neither a redirect nor a name that
//! changes its address passes it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// The way to one host.
#[derive(Debug)]
pub(super) struct HostGate {
    host: String,
    private: bool,
    refused: Arc<Mutex<Option<String>>>,
    resolver: DefaultResolver,
}

impl HostGate {
    /// The way to the host of `uri`; with `private` also where it is here or near.
    pub fn new(uri: &Uri, private: bool) -> HostGate {
        HostGate {
            host: host(uri),
            private,
            refused: Arc::default(),
            resolver: DefaultResolver::default(),
        }
    }

    /// Why the way was refused, for the model.
    pub fn refused(&self) -> Arc<Mutex<Option<String>>> {
        self.refused.clone()
    }

    fn refuse(&self, reason: String) -> Error {
        if let Ok(mut refused) = self.refused.lock() {
            *refused = Some(reason);
        }
        Error::HostNotFound
    }
}

impl Resolver for HostGate {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        if host(uri) != self.host {
            return Err(self.refuse(format!(
                "The page redirects to {uri}, which is another host: call fetch_url with that."
            )));
        }
        let found = self.resolver.resolve(uri, config, timeout)?;
        if self.private {
            return Ok(found);
        }
        let mut public = self.empty();
        for address in found.iter().filter(|address| is_public(address.ip())) {
            public.push(*address);
        }
        match public.is_empty() {
            false => Ok(public),
            true => Err(self.refuse(format!(
                "{} is on this machine or in a private network: such addresses are not fetched.",
                self.host
            ))),
        }
    }
}

fn host(uri: &Uri) -> String {
    uri.host().unwrap_or_default().to_ascii_lowercase()
}

/// Whether an address belongs to the internet: none of the blocks of the IANA special-purpose
/// registries, and no form of IPv6 that carries an address of IPv4.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let special = matches!(
        (a, b, c),
        (0, _, _)
            | (100, 64..=127, _)
            | (192, 0, 0)
            | (192, 88, 99)
            | (198, 18..=19, _)
            | (240.., _, _)
    );
    !(special
        || v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_documentation()
        || v4.is_multicast())
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let [a, b, ..] = v6.segments();
    // Global unicast is 2000::/3; of it Teredo, ORCHID, benchmarks, 6to4 and documentation go.
    (a & 0xe000) == 0x2000
        && !(a == 0x2001 && (b < 0x200 || b == 0xdb8))
        && a != 0x2002
        && !(a == 0x3fff && b < 0x1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_and_its_networks_are_not_public() {
        let public = |text: &str| is_public(text.parse().unwrap());
        for here in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::7f00:1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
            "2002:7f00:1::",
            "2001:0:1::",
            "2001:db8::1",
        ] {
            assert!(!public(here), "{here}");
        }
        for there in [
            "8.8.8.8",
            "100.63.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "2606:4700::1111",
        ] {
            assert!(public(there), "{there}");
        }
    }
}
