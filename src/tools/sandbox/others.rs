//! System calls that reach other processes: their limits, priorities and processors, what programs
//! share by number, and names that they watch. A filter sees a process's number and not whose it is.
//! So where a program has its own PID namespace, calls may not name the first process, which is npast's;
//! elsewhere they may name only 0, the caller.

use std::collections::BTreeMap;

use seccompiler::{SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompRule};

use super::view::OwnView;

/// What is refused of each system call, by the call's number.
pub(super) type SyscallRules = BTreeMap<i64, Vec<SeccompRule>>;

/// Of setpriority(2) and ioprio_set(2): all processes of a user.
const PRIO_USER: u64 = 2;
const IOPRIO_WHO_USER: u64 = 3;
/// Of fcntl(2): who is sent signals about a file.
const F_SETOWN: u64 = 8;
const F_SETOWN_EX: u64 = 15;

/// Requests of ioctl(2) that set a file's flags, from linux/fs.h: no right to write is needed for
/// them.
pub(super) const SET_FLAGS: [u64; 3] = [0x4008_6602, 0x4004_6602, 0x401C_5820];
/// Newer calls of that kind, from asm-generic/unistd.h; each has the same number everywhere.
const SYS_SETXATTRAT: i64 = 463;
const SYS_REMOVEXATTRAT: i64 = 466;
const SYS_FILE_SETATTR: i64 = 469;

/// Calls that a file system may not support: attributes of files. Landlock has no right for them, so
/// where files outside are not mounted read-only there are none.
pub(super) fn unsupported(own: OwnView) -> SyscallRules {
    let calls: &[i64] = match own.mounts {
        true => &[],
        false => &[
            libc::SYS_setxattr,
            libc::SYS_lsetxattr,
            libc::SYS_fsetxattr,
            libc::SYS_removexattr,
            libc::SYS_lremovexattr,
            libc::SYS_fremovexattr,
            SYS_SETXATTRAT,
            SYS_REMOVEXATTRAT,
            SYS_FILE_SETATTR,
        ],
    };
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

/// Adds what is refused.
pub(super) fn refuse(
    rules: &mut SyscallRules,
    own: OwnView,
) -> Result<(), seccompiler::BackendError> {
    for call in [
        libc::SYS_migrate_pages,
        libc::SYS_move_pages,
        libc::SYS_process_mrelease,
        // Names below folders that cannot be listed.
        libc::SYS_fanotify_init,
        libc::SYS_fanotify_mark,
    ] {
        rules.insert(call, Vec::new());
    }
    let when = |at: u8, op: Op, value: u64| {
        SeccompRule::new(vec![SeccompCondition::new(at, Len::Dword, op, value)?])
    };
    // The argument that is a process's number, and the one that says what kind of number it is,
    // with the kind that is refused whatever the number.
    let calls = [
        (libc::SYS_prlimit64, 0, None),
        (libc::SYS_sched_setaffinity, 0, None),
        (libc::SYS_sched_setscheduler, 0, None),
        (libc::SYS_sched_setparam, 0, None),
        (libc::SYS_sched_setattr, 0, None),
        (libc::SYS_setpriority, 1, Some((0, PRIO_USER))),
        (libc::SYS_ioprio_set, 1, Some((0, IOPRIO_WHO_USER))),
    ];
    for (call, number, kind) in calls {
        let mut refused = vec![match own.processes {
            true => when(number, Op::Eq, 1)?,
            false => when(number, Op::Ne, 0)?,
        }];
        if let Some((at, kind)) = kind {
            refused.push(when(at, Op::Eq, kind)?);
        }
        rules.insert(call, refused);
    }
    if !own.processes {
        // Signals to all processes; those to one are held by Landlock where the kernel has that.
        rules.insert(libc::SYS_kill, vec![when(0, Op::Eq, u64::from(u32::MAX))?]);
        let owners = [F_SETOWN, F_SETOWN_EX].map(|command| when(1, Op::Eq, command));
        rules.insert(
            libc::SYS_fcntl,
            owners.into_iter().collect::<Result<_, _>>()?,
        );
    }
    if !own.ipc {
        for call in [
            libc::SYS_shmget,
            libc::SYS_shmat,
            libc::SYS_shmctl,
            libc::SYS_msgget,
            libc::SYS_msgsnd,
            libc::SYS_msgrcv,
            libc::SYS_msgctl,
            libc::SYS_semget,
            libc::SYS_semop,
            libc::SYS_semtimedop,
            libc::SYS_semctl,
            libc::SYS_mq_open,
            libc::SYS_mq_unlink,
        ] {
            rules.insert(call, Vec::new());
        }
    }
    Ok(())
}
