//! How many connections each address has, so that one client cannot take every place.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// At most one line in this time tells of connections that were closed.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The addresses that have connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    connections: HashMap<IpAddr, usize>,
    /// Connections that were closed because their address had too many.
    refused: u64,
    /// How many of them had been told of, and when.
    told: u64,
    told_at: Option<Instant>,
}

/// A connection from an address that already has as many as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

/// Counts one connection until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    peers: Peers,
    address: Option<IpAddr>,
}

impl Peers {
    /// Counts a connection, if its address may have one more. `most` is how many it may have.
    ///
    /// # Errors
    /// It may not; the connection is to be closed.
    pub(crate) fn enter(&self, address: IpAddr, most: Option<usize>) -> Result<Place, TooMany> {
        let Some((address, most)) = counted(address).zip(most) else {
            return Ok(Place { peers: self.clone(), address: None });
        };
        let mut table = self.table();
        let connections = table.connections.entry(address).or_default();
        if *connections >= most {
            table.refused += 1;
            table.tell(address, most);
            return Err(TooMany);
        }
        *connections += 1;
        drop(table);
        Ok(Place { peers: self.clone(), address: Some(address) })
    }

    /// Returns how many connections were closed because their address had too many.
    pub(crate) fn refused(&self) -> u64 {
        self.table().refused
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        // No count is half changed when something panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn tell(&mut self, address: IpAddr, most: usize) {
        let now = Instant::now();
        if self.told_at.is_some_and(|at| now < at + LOG_INTERVAL) {
            return;
        }
        log::warn!(
            "closed {} connections of addresses with too many; the last came from {address}, which may have {most} \
             (`max_connections_per_ip` of [llm.limits])",
            self.refused - self.told
        );
        self.told = self.refused;
        self.told_at = Some(now);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut table = self.peers.table();
        if let Some(connections) = table.connections.get_mut(&address) {
            *connections -= 1;
            if *connections == 0 {
                table.connections.remove(&address);
            }
        }
    }
}

/// Returns what an address is counted as; nothing if it is this machine's, which all programs here and
/// a proxy in front share. Who has an IPv6 address has its /64, and could use another for each
/// connection.
fn counted(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V6(v6) => Some(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => Some(v4),
    }
}

#[cfg(test)]
mod tests {
    use gate_config::{Sources, load};

    use super::*;
    use crate::Gateway;

    /// Lets addresses in, one after the other, and tells which of them were.
    fn check(most: Option<usize>, addresses: &[&str], expected: &[bool]) {
        let peers = Peers::default();
        let places: Vec<_> =
            addresses.iter().map(|address| peers.enter(address.parse().unwrap(), most)).collect();
        let entered: Vec<bool> = places.iter().map(Result::is_ok).collect();
        assert_eq!(entered, expected, "{addresses:?}");
        let refused = expected.iter().filter(|is_in| !**is_in).count();
        assert_eq!(peers.refused(), u64::try_from(refused).unwrap());
        drop(places);
        assert!(peers.table().connections.is_empty());
    }

    // Spec: security S-30; security S-33.
    #[test]
    fn an_address_has_so_many_connections_and_no_more() {
        let twice = ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"];
        check(Some(2), &twice, &[true, true, false, true]);
        check(Some(1), &twice, &[true, false, false, true]);
        check(None, &twice, &[true; 4]);
        // The same address in both notations.
        check(Some(1), &["192.0.2.1", "::ffff:192.0.2.1"], &[true, false]);
        // One client's network, and the next.
        check(Some(1), &["2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"], &[true, false, true]);
        check(Some(1), &["127.0.0.1", "127.0.0.1", "::1", "::1", "::ffff:127.0.0.1"], &[true; 5]);
    }

    // Spec: security S-33; config C-59.
    #[test]
    fn a_gateway_counts_by_its_configuration_also_after_a_reload() {
        let config = |most: usize| {
            let text = format!("[llm.limits]\nmax_connections_per_ip = {most}\n");
            load(&Sources::empty().with_text("test", &text)).unwrap().config
        };
        let gateway = Gateway::builder(config(1)).build().unwrap();
        let address = "192.0.2.1".parse().unwrap();
        let _first = gateway.enter(address).unwrap();
        assert!(gateway.enter(address).is_err());
        gateway.reload(config(2)).unwrap();
        let _second = gateway.enter(address).unwrap();
        assert!(gateway.enter(address).is_err());
        assert_eq!(gateway.refused_connections(), 2);
    }

    // Spec: security S-33.
    #[test]
    fn a_closed_connection_makes_room() {
        let peers = Peers::default();
        let address = "192.0.2.1".parse().unwrap();
        let first = peers.enter(address, Some(1)).unwrap();
        assert!(peers.enter(address, Some(1)).is_err());
        drop(first);
        assert!(peers.enter(address, Some(1)).is_ok());
    }
}
