//! How often a caller may ask: so many requests a minute. Whoever asked little for a while may ask so many at
//! once; after that they come back one by one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Callers that are counted apart; of more, the one that asked longest ago is forgotten.
const MOST: usize = 4096;
const MINUTE: f64 = 60.0;

/// Counts the requests of each caller.
#[derive(Debug)]
pub struct Rates {
    /// Requests a minute.
    most: f64,
    callers: Mutex<HashMap<IpAddr, Allowance>>,
}

/// What a caller may still ask at once, at a moment.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    requests: f64,
    at: Instant,
}

impl Rates {
    /// So many requests a minute of each caller.
    pub fn new(most: u32) -> Rates {
        Rates {
            most: f64::from(most.max(1)),
            callers: Mutex::default(),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// When it is one too many: how long to wait.
    pub fn take(&self, caller: IpAddr, now: Instant) -> Result<(), Duration> {
        let caller = network(caller);
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= MOST && !callers.contains_key(&caller) {
            let longest = callers.iter().min_by_key(|(_, left)| left.at);
            if let Some(longest) = longest.map(|(caller, _)| *caller) {
                callers.remove(&longest);
            }
        }
        let all = Allowance {
            requests: self.most,
            at: now,
        };
        let left = callers.entry(caller).or_insert(all);
        let passed = now.saturating_duration_since(left.at).as_secs_f64();
        left.requests = (left.requests + passed * self.most / MINUTE).min(self.most);
        left.at = now;
        if left.requests >= 1.0 {
            left.requests -= 1.0;
            return Ok(());
        }
        let missing = (1.0 - left.requests) * MINUTE / self.most;
        Err(Duration::from_secs_f64(missing))
    }
}

/// Whoever has an IPv6 address has a network of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_may_ask_so_many_at_once_and_then_one_after_another() {
        let rates = Rates::new(3);
        let begin = Instant::now();
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let me = IpAddr::from([127, 0, 0, 1]);
        assert!((0..3).all(|_| rates.take(me, at(0)) == Ok(())));
        assert_eq!(rates.take(me, at(0)), Err(Duration::from_secs(20)));
        assert_eq!(rates.take(me, at(15)), Err(Duration::from_secs(5)));
        assert_eq!(rates.take(IpAddr::from([10, 0, 0, 1]), at(15)), Ok(()));
        assert_eq!(rates.take(me, at(21)), Ok(()));
        assert!(rates.take(me, at(21)).is_err());
        // No more at once, however long nobody asked.
        assert!((0..3).all(|_| rates.take(me, at(9_000)) == Ok(())));
        assert!(rates.take(me, at(9_000)).is_err());
    }

    #[test]
    fn a_network_of_addresses_is_one_caller_and_no_number_of_callers_takes_more_memory() {
        let rates = Rates::new(1);
        let now = Instant::now();
        let ask = |address: &str| rates.take(address.parse().expect("an address"), now);
        assert_eq!(ask("2001:db8::1"), Ok(()));
        assert!(ask("2001:db8::2").is_err());
        assert_eq!(ask("2001:db8:0:1::1"), Ok(()));
        assert_eq!(ask("::ffff:10.0.0.9"), Ok(()));
        assert!(ask("10.0.0.9").is_err());
        for n in 0..10_000_u32 {
            let _ = rates.take(IpAddr::from(n.to_be_bytes()), now);
        }
        assert_eq!(rates.callers.lock().expect("callers").len(), MOST);
    }
}
