//! The machine as a fit sees it: how much memory each device has, and how much of it stays free for other
//! programs.

use std::fs;
use std::io::Read;
use std::path::Path;

use crate::llama;

/// Of the host's memory this part stays free, between these bytes: for other programs, and for the
/// page cache that the model's file is read through.
const HOST_PART: u64 = 8;
const HOST_LEAST: u64 = 512 << 20;
const HOST_MOST: u64 = 8 << 30;
/// Of a card's memory this part stays free, and these bytes at least: for the driver, whose own
/// buffers llama.cpp does not count, and for what else shows something on it.
const CARD_PART: u64 = 16;
const CARD_LEAST: u64 = 512 << 20;
/// The memory that is assumed where the system does not report it, in bytes.
const UNKNOWN: FreeMemory = FreeMemory {
    free: 4 << 30,
    total: 8 << 30,
};
/// From so many cores on, a second thread of a core is left idle.
const CORES: usize = 4;
/// CPUs of one range that are looked at.
const MOST_CPUS: usize = 4096;
/// Bytes of a file of the system that are read.
const MOST_BYTES: u64 = 1 << 16;

/// Bytes of one memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FreeMemory {
    /// That can be had without swapping.
    pub free: u64,
    /// In all.
    pub total: u64,
}

impl FreeMemory {
    /// Bytes of the host's memory that stay free.
    pub fn host_rest(&self) -> u64 {
        (self.total / HOST_PART).clamp(HOST_LEAST, HOST_MOST)
    }

    /// Bytes of a card's memory that stay free.
    pub fn card_rest(&self) -> u64 {
        (self.total / CARD_PART).max(CARD_LEAST)
    }
}

/// A card that layers can be put on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Card {
    /// llama.cpp's name for it.
    pub name: String,
    /// Its memory.
    pub place: FreeMemory,
    /// Its memory is the host's.
    pub shared: bool,
}

/// Memory of the host and of its cards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// The host's memory.
    pub host: FreeMemory,
    /// Cards that llama.cpp can use, in its order.
    pub cards: Vec<Card>,
}

impl Machine {
    /// This machine, now.
    pub fn here() -> Machine {
        let devices = llama::devices();
        let cards = devices.iter().filter(|device| device.gpu).map(|device| {
            let (free, total) = device.memory;
            Card {
                name: device.name.clone(),
                place: FreeMemory { free, total },
                shared: device.integrated,
            }
        });
        Machine {
            host: host(),
            cards: cards.collect(),
        }
    }

    /// Bytes that npast may fill of a place: a device by its name, or the host. Nothing of a device
    /// that is not there.
    pub fn room(&self, device: Option<&str>) -> u64 {
        let Some(name) = device else {
            return self.host.free.saturating_sub(self.host.host_rest());
        };
        let card = self.cards.iter().find(|card| card.name == name);
        card.map_or(0, Card::room)
    }

    /// Bytes that npast may fill of all cards together.
    pub fn cards_room(&self) -> u64 {
        self.cards.iter().map(Card::room).sum()
    }

    /// Whether what lies on a card lies in the host's memory.
    pub fn shares(&self) -> bool {
        self.cards.iter().any(|card| card.shared)
    }
}

impl Card {
    fn room(&self) -> u64 {
        self.place.free.saturating_sub(self.place.card_rest())
    }
}

/// Threads for decoding: as many as this process may use CPUs, but one for each core where there are
/// at least [`CORES`]. Two threads of one core share what a decode call waits for, so llama.cpp's own
/// programs count cores too.
pub fn threads() -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
    let allowed = read(Path::new("/proc/self/status")).unwrap_or_default();
    let siblings = |cpu: usize| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        read(Path::new(&path))
    };
    match cores(&allowed, siblings) {
        Some(cores) if cores >= CORES => cores.min(cpus),
        _ => cpus,
    }
}

/// Cores that a process with this `/proc/self/status` may use; `None` where a system does not say.
fn cores(status: &str, siblings: impl Fn(usize) -> Option<String>) -> Option<usize> {
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut seen = std::collections::BTreeSet::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        for cpu in first..=last.min(first + MOST_CPUS) {
            seen.insert(siblings(cpu)?);
        }
    }
    Some(seen.len())
}

/// The host's memory, as far as this process may use it.
fn host() -> FreeMemory {
    let Some(all) = read(Path::new("/proc/meminfo")).and_then(|text| meminfo(&text)) else {
        // Systems without that file say at least how much there is; three quarters of it can be had
        // when not much else runs.
        let cpu = llama::devices().into_iter().find(|device| !device.gpu);
        return match cpu.map_or(0, |device| device.memory.1) {
            0 => UNKNOWN,
            total => FreeMemory {
                free: total / 4 * 3,
                total,
            },
        };
    };
    group().map_or(all, |group| FreeMemory {
        free: group.free.min(all.free),
        total: group.total.min(all.total),
    })
}

fn meminfo(text: &str) -> Option<FreeMemory> {
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        number.checked_mul(1024)
    };
    Some(FreeMemory {
        free: kib("MemAvailable:")?,
        total: kib("MemTotal:")?,
    })
}

/// The narrowest limit of the control groups that this process is in, as containers have one.
fn group() -> Option<FreeMemory> {
    let own = read(Path::new("/proc/self/cgroup"))?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let own = root.join(own);
    let folders = own
        .ancestors()
        .take_while(|folder| folder.starts_with(root));
    let limits = folders.filter_map(|folder| {
        let text = |name: &str| read(&folder.join(name));
        limit(
            &text("memory.max")?,
            &text("memory.current")?,
            &text("memory.stat").unwrap_or_default(),
        )
    });
    limits.min_by_key(|place| place.free)
}

/// What one group allows; nothing where it has no limit. Pages of files that nobody used lately are
/// given up when something else needs them.
fn limit(max: &str, current: &str, stat: &str) -> Option<FreeMemory> {
    let total: u64 = max.trim().parse().ok()?;
    let used: u64 = current.trim().parse().ok()?;
    let inactive = stat
        .lines()
        .find_map(|line| line.strip_prefix("inactive_file "));
    let inactive = inactive.and_then(|number| number.trim().parse().ok());
    let held = used.saturating_sub(inactive.unwrap_or(0));
    Some(FreeMemory {
        free: total.saturating_sub(held),
        total,
    })
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = fs::File::open(path).ok()?;
    file.take(MOST_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_containers_limit_counts_and_pages_that_nobody_used_can_be_had() {
        let text = "MemTotal:       16384000 kB\nMemFree: 1 kB\nMemAvailable:    8192000 kB\n";
        let place = |free, total| Some(FreeMemory { free, total });
        assert_eq!(meminfo(text), place(8_192_000 << 10, 16_384_000 << 10));
        assert_eq!(meminfo("MemTotal: 1 kB\n"), None);
        let stat = "anon 1\ninactive_file 300\nactive_file 7\n";
        assert_eq!(limit("1000\n", "900\n", stat), place(400, 1000));
        assert_eq!(limit("1000\n", "900\n", ""), place(100, 1000));
        assert_eq!(limit("max\n", "900\n", stat), None);
    }

    #[test]
    fn two_threads_of_a_core_count_once_among_the_cpus_that_may_be_used() {
        let siblings = |cpu: usize| Some(format!("{},{}\n", cpu % 8, cpu % 8 + 8));
        let status = |list: &str| format!("Name:\tnpast\nCpus_allowed_list:\t{list}\nMems: 0\n");
        assert_eq!(cores(&status("0-15"), siblings), Some(8));
        assert_eq!(cores(&status("0,8,3-4"), siblings), Some(3));
        assert_eq!(cores(&status("0-15"), |_| None), None);
        assert_eq!(cores("Name:\tnpast\n", siblings), None);
        assert_eq!(cores(&status("0-x"), siblings), None);
        assert!(threads() >= 1);
    }

    #[test]
    fn an_eighth_of_the_host_and_a_sixteenth_of_a_card_stay_for_others() {
        let gib = 1 << 30;
        let rest = |total: u64| {
            let place = FreeMemory { free: 0, total };
            (place.host_rest() >> 20, place.card_rest() >> 20)
        };
        assert_eq!(rest(gib), (512, 512));
        assert_eq!(rest(16 * gib), (2048, 1024));
        assert_eq!(rest(256 * gib), (8192, 16_384));
        let machine = Machine {
            host: FreeMemory {
                free: 6 * gib,
                total: 16 * gib,
            },
            cards: vec![Card {
                name: "CUDA0".into(),
                place: FreeMemory {
                    free: 7 * gib,
                    total: 8 * gib,
                },
                shared: false,
            }],
        };
        assert_eq!(machine.room(None), 4 * gib);
        assert_eq!(machine.room(Some("CUDA0")), 7 * gib - (512 << 20));
        assert_eq!(machine.room(Some("CUDA1")), 0);
        // This one, whatever it is.
        let here = Machine::here();
        assert!(0 < here.host.free && here.host.free <= here.host.total);
    }
}
