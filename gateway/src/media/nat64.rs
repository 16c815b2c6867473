//! Addresses of version 4 inside of those of version 6. A network with NAT64 reaches its
//! own private addresses also under a prefix that looks public, so what is inside is what
//! has to be looked at. Which prefixes a network has is found out as RFC 7050 does: by what
//! its resolver makes of a name that has addresses of version 4 alone.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{Guard, Lookup};

/// What everybody's resolver says of this name: <https://www.rfc-editor.org/rfc/rfc7050>.
const WELL_KNOWN_NAME: &str = "ipv4only.arpa";
const WELL_KNOWN: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];
/// Networks are renumbered seldom.
const KNOWN_FOR: Duration = Duration::from_secs(600);
/// A resolver that failed is asked again sooner; what was known before counts until then.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(3);
/// A network has one or two.
const MOST: usize = 16;

/// What a network puts before addresses of version 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    address: Ipv6Addr,
    /// In bytes.
    length: usize,
}

/// How long prefixes may be, in bytes: <https://www.rfc-editor.org/rfc/rfc6052#section-2.2>.
const LENGTHS: [usize; 6] = [4, 5, 6, 7, 8, 12];

impl Prefix {
    /// That of all networks which have none of their own.
    pub(super) const WELL_KNOWN: Self = Self {
        address: Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0),
        length: 12,
    };

    /// Where networks have their own, if not in what is theirs: RFC 8215.
    fn is_local(self) -> bool {
        matches!(self.address.segments(), [0x64, 0xff9b, 1, ..])
    }

    /// The prefixes that this address of the well-known name may have.
    fn before(address: Ipv6Addr) -> impl Iterator<Item = Self> {
        LENGTHS.into_iter().filter_map(move |length| {
            let prefix = Self { address, length };
            let inside = prefix.inside(address)?;
            WELL_KNOWN.contains(&inside).then_some(prefix)
        })
    }

    /// The address of version 4 inside of one that begins with this prefix.
    pub(super) fn inside(self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        let (prefix, bytes) = (self.address.octets(), address.octets());
        if prefix[..self.length] != bytes[..self.length] {
            return None;
        }
        // The ninth byte is left out: it is zero in all of these addresses.
        let mut rest = (self.length..16).filter(|at| *at != 8).map(|at| bytes[at]);
        let mut next = || rest.next();
        Some(Ipv4Addr::new(next()?, next()?, next()?, next()?))
    }
}

/// The prefixes of the network that the gateway is in.
pub(super) struct Nat64 {
    lookup: Lookup,
    known: Mutex<Known>,
}

struct Known {
    prefixes: Arc<[Prefix]>,
    until: Option<Instant>,
}

impl Nat64 {
    pub(super) fn new(lookup: Lookup) -> Self {
        Self {
            lookup,
            known: Mutex::new(Known {
                prefixes: Arc::default(),
                until: None,
            }),
        }
    }

    /// What is known of them; looked up when it is old. Whoever comes meanwhile waits for it.
    pub(super) async fn prefixes(&self) -> Arc<[Prefix]> {
        let mut known = self.known.lock().await;
        if known.until.is_some_and(|until| Instant::now() < until) {
            return Arc::clone(&known.prefixes);
        }
        let found = timeout(PATIENCE, (self.lookup)(WELL_KNOWN_NAME.to_owned())).await;
        let fresh_for = match found {
            Ok(Ok(addresses)) => {
                known.prefixes = prefixes_of(&addresses);
                KNOWN_FOR
            }
            Ok(Err(_)) | Err(_) => UNKNOWN_FOR,
        };
        known.until = Some(Instant::now() + fresh_for);
        Arc::clone(&known.prefixes)
    }
}

fn prefixes_of(addresses: &[IpAddr]) -> Arc<[Prefix]> {
    let of = |address: &IpAddr| match address {
        IpAddr::V6(address) => Some(Prefix::before(*address)),
        IpAddr::V4(_) => None,
    };
    let all = addresses.iter().filter_map(of).flatten();
    all.take(MOST).collect()
}

/// Whether an address may be reached in a network with these prefixes: both it, and what is
/// inside of it.
pub(super) fn lets(guard: Guard, prefixes: &[Prefix], address: IpAddr) -> bool {
    let IpAddr::V6(v6) = address else {
        return guard(address);
    };
    let inside = |prefix: &Prefix| Some((*prefix, prefix.inside(v6)?));
    let mut all = prefixes.iter().filter_map(inside);
    let Some(first) = all.next() else {
        return guard(address);
    };
    let mut is_local = false;
    let inside = std::iter::once(first).chain(all).all(|(prefix, inside)| {
        is_local |= prefix.is_local();
        guard(inside.into())
    });
    inside && (is_local || guard(address))
}

#[cfg(test)]
mod tests {
    use super::{super::is_public, *};

    fn v6(text: &str) -> Ipv6Addr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_is_inside_where_the_standard_says() {
        // The examples of RFC 6052, section 2.4.
        for (length, prefix, address) in [
            (4, "2001:db8::", "2001:db8:c000:221::"),
            (5, "2001:db8:100::", "2001:db8:1c0:2:21::"),
            (6, "2001:db8:122::", "2001:db8:122:c000:2:2100::"),
            (7, "2001:db8:122:300::", "2001:db8:122:3c0:0:221::"),
            (8, "2001:db8:122:344::", "2001:db8:122:344:c0:2:2100::"),
            (12, "2001:db8:122:344::", "2001:db8:122:344::192.0.2.33"),
        ] {
            let address = v6(address);
            let prefix = Prefix {
                address: v6(prefix),
                length,
            };
            assert_eq!(prefix.inside(address), Some(Ipv4Addr::new(192, 0, 2, 33)));
            assert_eq!(prefix.inside(v6("2001:db9::")), None);
        }
    }

    #[test]
    fn prefixes_are_found_where_the_well_known_address_is() {
        for (address, lengths) in [
            ("2a01:4f8:c000:aa::", vec![4]),
            ("2a01:4f8:1:2::c000:ab", vec![12]),
            ("64:ff9b:1::c000:aa", vec![12]),
            ("64:ff9b:1:c000:0:aa00::", vec![6]),
            ("2a01:4f8:1:2::c000:ac", vec![]),
            ("2001:4860:4860::8888", vec![]),
        ] {
            let found: Vec<usize> = Prefix::before(v6(address)).map(|it| it.length).collect();
            assert_eq!(found, lengths, "{address}");
        }
        let flood = vec![IpAddr::V6(v6("2a01:4f8:1:2::c000:ab")); 1000];
        assert_eq!(prefixes_of(&flood).len(), MOST);
    }

    #[test]
    fn what_is_inside_is_looked_at() {
        let own = [v6("2a01:64::c000:aa"), v6("64:ff9b:1::c000:aa")].map(IpAddr::V6);
        let own = prefixes_of(&own);
        for (address, bare, translated) in [
            ("2a01:64::8.8.8.8", true, true),
            ("2a01:64::10.0.0.1", true, false),
            ("2a01:64::169.254.169.254", true, false),
            ("2a01:64:1::10.0.0.1", true, true),
            ("64:ff9b::8.8.8.8", true, true),
            ("64:ff9b::10.0.0.1", false, false),
            ("64:ff9b:1::8.8.8.8", false, true),
            ("64:ff9b:1::10.0.0.1", false, false),
            ("fd00::8.8.8.8", false, false),
            ("10.0.0.1", false, false),
            ("8.8.8.8", true, true),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(lets(is_public, &[], address), bare, "{address}");
            assert_eq!(lets(is_public, &own, address), translated, "{address}");
        }
    }
}
