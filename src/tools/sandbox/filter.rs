//! System calls that are refused whatever file they name, by seccomp: sockets, other processes'
//! memory, mounts, and ways around a filter.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, sock_filter,
};

use super::others::{self, SyscallRules};
use super::view::OwnView;

/// Refuses the calls of this process and all that come of it.
pub(super) fn apply(network: bool, own: OwnView) -> io::Result<()> {
    let filter = filter(network, own).map_err(io::Error::other)?;
    seccompiler::apply_filter(&filter).map_err(io::Error::other)?;
    // Calls that glibc must believe to be missing, so that it takes older ones.
    let missing = missing().map_err(io::Error::other)?;
    seccompiler::apply_filter(&missing).map_err(io::Error::other)?;
    let unsupported = others::unsupported(own);
    if !unsupported.is_empty() {
        let unsupported = compile(unsupported, libc::EOPNOTSUPP).map_err(io::Error::other)?;
        seccompiler::apply_filter(&unsupported).map_err(io::Error::other)?;
    }
    #[cfg(target_arch = "x86_64")]
    seccompiler::apply_filter(&no_x32()).map_err(io::Error::other)?;
    Ok(())
}

/// Requests of ioctl(2) that type into a terminal, from asm-generic/ioctls.h.
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541C;

/// Flags of open(2) with which it makes a file; the second is the kernel's own part of O_TMPFILE,
/// from asm-generic/fcntl.h.
const MAKES: [u64; 2] = [libc::O_CREAT as u64, 0o20_000_000];
/// Kinds of sockets, the lower four bits of socketpair(2)'s second argument.
const KINDS: u64 = 0xf;

fn filter(network: bool, own: OwnView) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: SyscallRules = BTreeMap::new();
    let never = [
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_getfd,
        libc::SYS_process_madvise,
        libc::SYS_kcmp,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_mount_setattr,
        libc::SYS_setns,
        libc::SYS_unshare,
        libc::SYS_open_by_handle_at,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_kexec_load,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_acct,
        libc::SYS_quotactl,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_clock_adjtime,
        libc::SYS_adjtimex,
        libc::SYS_sethostname,
        libc::SYS_setdomainname,
        // Landlock has no right for owners; a program that is not root cannot give files away.
        libc::SYS_fchown,
        libc::SYS_fchownat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_chown,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_lchown,
    ];
    for call in never {
        rules.insert(call, Vec::new());
    }
    // Sockets by family. Local ones too: behind them are agents with keys, containers' daemons and
    // the session's bus, each of which starts programs outside of the sandbox.
    let families: &[i32] = match network {
        true => &[libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK],
        false => &[],
    };
    let other = families
        .iter()
        .map(|f| SeccompCondition::new(0, Len::Dword, Op::Ne, *f as u64));
    let other: Vec<_> = other.collect::<Result<_, _>>()?;
    rules.insert(
        libc::SYS_socket,
        match other.is_empty() {
            true => Vec::new(),
            false => vec![SeccompRule::new(other)?],
        },
    );
    // Pairs stay, of the kinds that stay connected to each other: a datagram can be sent to any
    // other socket by its name. A raw local socket is one of datagrams.
    let connected = [libc::SOCK_STREAM, libc::SOCK_SEQPACKET].map(|kind| kind as u64);
    let mut pairs = vec![SeccompRule::new(vec![SeccompCondition::new(
        0,
        Len::Dword,
        Op::Ne,
        libc::AF_UNIX as u64,
    )?])?];
    for kind in (0..=KINDS).filter(|kind| !connected.contains(kind)) {
        pairs.push(SeccompRule::new(vec![SeccompCondition::new(
            1,
            Len::Dword,
            Op::MaskedEq(KINDS),
            kind,
        )?])?);
    }
    rules.insert(libc::SYS_socketpair, pairs);
    // The set-user-id and set-group-id bits.
    let modes = [
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_chmod, 1),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_creat, 1),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_mknod, 1),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_open, 2),
        (libc::SYS_fchmod, 1),
        (libc::SYS_fchmodat, 2),
        (libc::SYS_fchmodat2, 2),
        (libc::SYS_mknodat, 2),
        (libc::SYS_openat, 3),
    ];
    for (call, at) in modes {
        // An open that makes no file has whatever in this register.
        let makes: &[u64] = match call {
            libc::SYS_openat => &MAKES,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => &MAKES,
            _ => &[],
        };
        let mut refused = Vec::new();
        for bit in [libc::S_ISUID, libc::S_ISGID].map(u64::from) {
            let set = SeccompCondition::new(at, Len::Dword, Op::MaskedEq(bit), bit)?;
            if makes.is_empty() {
                refused.push(SeccompRule::new(vec![set.clone()])?);
            }
            for flag in makes {
                let flag = SeccompCondition::new(at - 1, Len::Dword, Op::MaskedEq(*flag), *flag)?;
                refused.push(SeccompRule::new(vec![set.clone(), flag])?);
            }
        }
        rules.insert(call, refused);
    }
    // A new user namespace would give rights back; typing into a terminal is a command outside.
    let user = libc::CLONE_NEWUSER as u64;
    let user = SeccompCondition::new(0, Len::Qword, Op::MaskedEq(user), user)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![user])?]);
    let mut requests = vec![TIOCSTI, TIOCLINUX];
    if !own.mounts {
        requests.extend(others::SET_FLAGS);
    }
    let requests = requests.into_iter().map(|request| {
        SeccompRule::new(vec![SeccompCondition::new(1, Len::Dword, Op::Eq, request)?])
    });
    rules.insert(libc::SYS_ioctl, requests.collect::<Result<_, _>>()?);
    others::refuse(&mut rules, own)?;
    compile(rules, libc::EPERM)
}

fn missing() -> Result<BpfProgram, seccompiler::BackendError> {
    let calls = [
        // The flags of this call are in memory, where a filter cannot look.
        libc::SYS_clone3,
        libc::SYS_openat2,
        // What goes through a ring is not seen by a filter.
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        // A watch shows the names below folders that cannot be listed. Programs that miss it look
        // again and again instead.
        #[cfg(target_arch = "x86_64")]
        libc::SYS_inotify_init,
        libc::SYS_inotify_init1,
        libc::SYS_inotify_add_watch,
    ];
    compile(
        calls.into_iter().map(|call| (call, Vec::new())).collect(),
        libc::ENOSYS,
    )
}

fn compile(rules: SyscallRules, error: i32) -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = std::env::consts::ARCH.try_into()?;
    let refuse = SeccompAction::Errno(error as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()
}

/// The x32 calls of x86_64 have other numbers: all of them are missing.
#[cfg(target_arch = "x86_64")]
fn no_x32() -> BpfProgram {
    const X32: u32 = 0x4000_0000;
    let op = |code: u32, jt, jf, k| sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    vec![
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32),
        op(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
        ),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}
