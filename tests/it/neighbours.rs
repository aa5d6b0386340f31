//! What a command can do to the programs beside it: their limits and priorities, what they share by
//! number, their sockets, and the names of their files. With numbers and memory of its own for the
//! command, and where the system gives none.

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};

use npast::tools::sandbox::Sandbox;
use serde_json::json;

use crate::yard::Yard;

fn run(yard: &Yard, sandbox: &Sandbox, command: &str) -> String {
    let arguments = json!({"command": command, "timeout": 30});
    let registry = yard.registry_of(sandbox.clone());
    yard.call(&registry, "c1", &arguments).text
}

fn python(yard: &Yard, sandbox: &Sandbox, lines: &str) -> String {
    let script = "import ctypes, os, resource, signal, socket, sys, time\nlibc = ctypes.CDLL(None, use_errno=True)\n\
                  def tried(what):\n    try: print(what(), 'DONE')\n    except OSError as e: print(e.strerror)\n";
    std::fs::write(yard.at("home/work/s.py"), format!("{script}{lines}")).expect("a file");
    run(yard, sandbox, "python3 s.py")
}

struct Victim(Child);

impl Victim {
    fn new() -> Victim {
        let mut command = Command::new("sleep");
        Victim(
            command
                .arg("100000")
                .stdout(Stdio::null())
                .spawn()
                .expect("a process"),
        )
    }

    /// Everything about it that another process can set.
    fn state(&self) -> String {
        let pid = self.0.id();
        let read =
            |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).expect("a file");
        let line = |line: &&str| line.starts_with("Cpus_allowed") || line.contains("(stopped)");
        let status = read("status");
        let stat = read("stat");
        // Priority, nice, real-time priority and policy, counted behind the name.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split(' ')
            .collect();
        let scheduled: Vec<&str> = [16, 17, 38, 39].map(|at| fields[at]).to_vec();
        let class = Command::new("ionice")
            .args(["-p", &pid.to_string()])
            .output();
        format!(
            "{}{:?}{scheduled:?}{:?}",
            read("limits"),
            status.lines().filter(line).collect::<Vec<_>>(),
            class.map(|c| c.stdout).unwrap_or_default()
        )
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_command_changes_no_limit_and_no_priority_of_a_process_outside() {
    let yard = Yard::default();
    for (own, sandbox) in yard.sandboxes() {
        let victim = Victim::new();
        let before = victim.state();
        let lines = "v = int(open('/dev/null').read() or PID)\n\
            tried(lambda: resource.prlimit(v, resource.RLIMIT_CPU, (1, 1)))\n\
            tried(lambda: resource.prlimit(v, resource.RLIMIT_FSIZE, (0, 0)))\n\
            tried(lambda: os.setpriority(os.PRIO_PROCESS, v, 19))\n\
            tried(lambda: os.setpriority(os.PRIO_PGRP, v, 19))\n\
            tried(lambda: os.setpriority(os.PRIO_USER, os.getuid(), 19))\n\
            tried(lambda: os.setpriority(os.PRIO_USER, 0, 19))\n\
            tried(lambda: os.sched_setaffinity(v, {0}))\n\
            tried(lambda: os.sched_setscheduler(v, os.SCHED_BATCH, os.sched_param(0)))\n\
            tried(lambda: os.sched_setscheduler(v, os.SCHED_IDLE, os.sched_param(0)))\n\
            tried(lambda: os.sched_setparam(v, os.sched_param(0)))\n\
            print(libc.syscall(251, 1, v, 3 << 13), libc.syscall(251, 3, os.getuid(), 3 << 13))\n\
            tried(lambda: os.kill(v, 9))\n\
            tried(lambda: os.kill(v, 19))\n\
            print(libc.syscall(279, v, 1, 0, 0, 0, 0), libc.syscall(256, v, 1, 0, 0))\n\
            for kind in (8, 15): print(libc.fcntl(0, kind, v))\n";
        let said = python(
            &yard,
            &sandbox,
            &lines.replace("PID", &victim.0.id().to_string()),
        );
        assert!(said.ends_with("Exit code 0."), "{said}");
        assert_eq!(victim.state(), before, "own processes: {own}: {said}");
        // The test's own process, npast in its place.
        let me = std::process::id();
        let before = std::fs::read_to_string("/proc/self/limits").expect("a file");
        let said = run(
            &yard,
            &sandbox,
            &format!("prlimit --pid {me} --nofile=7:7; prlimit --pid $PPID --core=1:1; echo over"),
        );
        assert!(said.contains("over"), "{said}");
        let after = std::fs::read_to_string("/proc/self/limits").expect("a file");
        assert_eq!(after, before);
    }
}

#[test]
fn a_command_sets_its_own_limits_and_those_of_its_children() {
    let yard = Yard::default();
    for (own, sandbox) in yard.sandboxes() {
        let said = run(
            &yard,
            &sandbox,
            "set -e; ulimit -n 99; nice -n 5 true; taskset -c 0 true; ionice -c 3 true; chrt -b 0 true; echo well",
        );
        assert_eq!(said, "well\nExit code 0.");
        if own {
            let said = run(
                &yard,
                &sandbox,
                "sleep 50 & set -e; prlimit --pid $! --nofile=77:77; renice -n 9 -p $! >&2; \
                 taskset -p 1 $! >&2; prlimit --pid $! --nofile -o SOFT --noheadings; kill $!",
            );
            assert!(said.contains("77\n"), "{said}");
        }
    }
}

#[test]
fn the_first_process_of_a_command_is_out_of_its_reach() {
    let yard = Yard::default();
    for (_, sandbox) in yard.sandboxes().into_iter().filter(|(own, _)| *own) {
        let said = python(
            &yard,
            &sandbox,
            "tried(lambda: resource.prlimit(1, resource.RLIMIT_CPU, (0, 0)))\n\
             tried(lambda: os.sched_setaffinity(1, {0}))\n\
             tried(lambda: os.setpriority(os.PRIO_PROCESS, 1, 19))\n\
             tried(lambda: os.kill(1, 9))\n\
             tried(lambda: open('/proc/1/fd/0', 'w'))\n\
             tried(lambda: open('/proc/1/environ').read())\n\
             tried(lambda: open('/proc/1/mem', 'rb'))\n\
             tried(lambda: os.listdir('/proc/1/cwd/'))\n\
             print(sorted(int(n) for n in os.listdir('/proc') if n.isdigit())[0])\n\
             sys.exit(7)\n",
        );
        assert!(!said.contains("DONE"), "{said}");
        assert!(said.ends_with("1\nExit code 7."), "{said}");
    }
}

#[test]
fn memory_and_queues_that_others_share_by_number_stay_theirs() {
    let yard = Yard::default();
    let made = Command::new("python3")
        .args([
            "-c",
            "import ctypes; l = ctypes.CDLL(None); l.shmat.restype = ctypes.c_void_p\n\
            m = l.shmget(0, 4096, 0o1600); a = l.shmat(m, None, 0)\n\
            ctypes.memmove(a, b'PRIVATE-KEY-7261', 16)\n\
            print(m, l.msgget(0, 0o1600), l.semget(0, 1, 0o1600))",
        ])
        .output()
        .expect("python");
    let text = String::from_utf8(made.stdout).expect("UTF-8");
    let key = std::process::id();
    let [memory, queue, set] = text.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("{text}");
    };
    for (own, sandbox) in yard.sandboxes() {
        let said = python(
            &yard,
            &sandbox,
            &format!(
                "libc.shmat.restype = ctypes.c_long\na = libc.shmat({memory}, None, 0)\n\
                 print(a, ctypes.string_at(a, 16) if a > 0 else b'')\n\
                 print(libc.msgsnd({queue}, b'x' * 16, 8, 0o4000), libc.shmctl({memory}, 0, None), \
                 libc.msgctl({queue}, 0, None), libc.semctl({set}, 0, 0))\n\
                 m = libc.shmget({key}, 4096, 0o1600); print('own', m >= 0)\n"
            ),
        );
        assert!(
            said.starts_with("-1 b''\n-1 -1 -1 -1\n"),
            "own: {own}: {said}"
        );
        assert!(
            said.contains(if own { "own True" } else { "own False" }),
            "{said}"
        );
    }
    let left = |kind: &str, number: &str| {
        let all = Command::new("ipcs").arg(kind).output().expect("ipcs");
        let all = String::from_utf8(all.stdout).expect("UTF-8");
        let there = all
            .lines()
            .any(|line| line.split_whitespace().nth(1) == Some(number));
        Command::new("ipcrm")
            .args([kind, number])
            .status()
            .expect("ipcrm");
        // What a command shared is gone with it.
        there && !all.contains(&format!("0x{key:08x}"))
    };
    let left = [left("-m", memory), left("-q", queue), left("-s", set)];
    assert_eq!(left, [true; 3]);
}

#[test]
fn a_pair_of_sockets_reaches_nobody_else() {
    let yard = Yard::default();
    let path = yard.at("home/log.sock");
    let log = UnixDatagram::bind(&path).expect("a socket");
    log.set_nonblocking(true).expect("a socket");
    let path = path.to_str().expect("UTF-8");
    for (_, sandbox) in yard.sandboxes() {
        let said = python(
            &yard,
            &sandbox,
            &format!(
                "def way(kind, family=1):\n    a, b = (socket.socket(fileno=f) for f in pair(family, kind))\n\
                 \x20   try: a.sendto(b'SECRET', {path:?})\n    except OSError: pass\n\
                 \x20   try: a.sendmsg([b'SECRET'], [], 0, {path:?})\n    except OSError: pass\n\
                 \x20   a.connect({path:?}); a.send(b'SECRET')\n\
                 def pair(family, kind):\n    f = (ctypes.c_int * 2)()\n\
                 \x20   if libc.socketpair(family, kind, 0, f): raise OSError(1, 'refused')\n    return list(f)\n\
                 for kind in range(16):\n    tried(lambda: way(kind)); tried(lambda: way(kind | 0x80800)); tried(lambda: way(kind, 30))\n"
            ),
        );
        assert!(!said.contains("DONE"), "{said}");
        let mut bytes = [0; 64];
        let came = log.recv(&mut bytes).map(|n| bytes[..n].to_vec());
        assert!(came.is_err(), "{came:?} came: {said}");
        // What programs use among themselves stays.
        let said = python(
            &yard,
            &sandbox,
            "import asyncio, subprocess\n\
             for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):\n    a, b = socket.socketpair(socket.AF_UNIX, kind); a.send(b'x'); print(b.recv(9))\n\
             async def both():\n    p = await asyncio.create_subprocess_exec('echo', 'hello', stdout=-1)\n    return (await p.communicate())[0]\n\
             print(asyncio.run(both()))\n",
        );
        assert_eq!(said, "b'x'\nb'x'\nb'hello\\n'\nExit code 0.");
    }
}

#[test]
fn no_watch_shows_the_names_of_hidden_files() {
    let yard = Yard::default();
    for (_, sandbox) in yard.sandboxes() {
        let said = python(
            &yard,
            &sandbox,
            "print(libc.inotify_init(), libc.inotify_init1(0), libc.syscall(300, 0x200, 0))\n",
        );
        assert_eq!(said, "-1 -1 -1\nExit code 0.");
        // A program that would watch looks again and again instead.
        let said = run(
            &yard,
            &sandbox,
            "echo a > log; (sleep 0.3; echo b >> log; sleep 1.5; kill $$) & exec timeout 5 tail -n 1 -s 0.1 -f log",
        );
        assert!(said.contains("a\n") && said.contains("b\n"), "{said}");
    }
}

#[test]
fn no_attribute_of_a_file_outside_is_set() {
    let yard = Yard::default();
    let file = yard.at("home/notes/a.txt");
    let text = |program: &str, options: &[&str]| {
        let ran = Command::new(program).args(options).arg(&file).output();
        ran.map(|ran| ran.stdout).unwrap_or_default()
    };
    // Not every system has these programs; the answers to the calls say it too.
    let named = || (text("getfattr", &["-d"]), text("lsattr", &[]));
    let before = named();
    for (own, mut sandbox) in yard.sandboxes() {
        sandbox.read.push(file.clone());
        let said = python(
            &yard,
            &sandbox,
            &format!(
                "import fcntl, struct\np = {file:?}\nf = os.open(p, os.O_RDONLY)\n\
                 tried(lambda: os.setxattr(p, 'user.x', b'y'))\n\
                 tried(lambda: os.setxattr(f, 'user.x', b'y'))\n\
                 tried(lambda: fcntl.ioctl(f, 0x40086602, struct.pack('l', 0x40)))\n\
                 v = ctypes.create_string_buffer(b'y')\n\
                 a = struct.pack('QII', ctypes.addressof(v), 1, 0)\n\
                 print(libc.syscall(463, -100, p.encode(), 0, b'user.x', a, 16))\n"
            ),
        );
        assert!(said.ends_with("-1\nExit code 0."), "own: {own}: {said}");
        assert!(!said.contains("DONE"), "own: {own}: {said}");
        assert_eq!(named(), before, "own: {own}: {said}");
        // In the project a copy with all attributes goes well, also where there are none.
        let said = run(
            &yard,
            &sandbox,
            "cp -a README copy && sed -i s/a/b/ copy && cat copy",
        );
        assert_eq!(said, "b project\nExit code 0.");
    }
}

/// Processes that work in the yard's project, whatever they are called.
fn at_work(yard: &Yard) -> Vec<String> {
    let work = yard.at("home/work");
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    let there = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path().join("cwd")).is_ok_and(|folder| folder.starts_with(&work))
    };
    all.filter(there)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn nothing_is_left_of_a_command_however_it_hides() {
    let yard = Yard::default();
    for (own, sandbox) in yard.sandboxes() {
        for (name, lines, left) in [
            (
                "a name that plays the kernel's list of processes",
                "libc.prctl(15, b') Z 1 1 (', 0, 0, 0)\nif os.fork() == 0:\n os.setsid()\n time.sleep(9876)\n",
                Some(1),
            ),
            (
                "parents of orphans of their own, deaf to all signals",
                "for n in range(2):\n if os.fork() == 0:\n  libc.prctl(36, 1, 0, 0, 0)\n  libc.prctl(1, 0, 0, 0, 0)\n  signal.pthread_sigmask(0, {1, 2, 3, 15})\n  os.setsid()\n  if os.fork(): os.execv('/bin/sleep', ['sleep', '9876'])\n",
                None,
            ),
            (
                "children that were stopped",
                "for n in range(3):\n if os.fork() == 0:\n  os.setsid()\n  os.kill(os.getpid(), signal.SIGSTOP)\n",
                Some(3),
            ),
            (
                "one that forks as fast as it is ended",
                "if os.fork() == 0:\n os.setsid()\n while True:\n  if os.fork(): os._exit(0)\n",
                None,
            ),
            (
                "hundreds",
                "for n in range(300):\n if os.fork() == 0: os.execv('/bin/sleep', ['sleep', '9876'])\n",
                Some(300),
            ),
        ] {
            let lines = format!("{lines}time.sleep(0.3); os._exit(7)\n");
            let said = python(&yard, &sandbox, &lines);
            let alive = at_work(&yard);
            assert!(
                alive.is_empty(),
                "own: {own}: {name}: {alive:?} run after: {said}"
            );
            assert!(said.starts_with("Exit code 7."), "{name}: {said}");
            if let Some(left) = left {
                let told = format!(" {left} process");
                assert!(said.contains(&told), "own: {own}: {name}: {said}");
            }
        }
    }
}

/// A command writes what ends would look like into every file that it can open.
#[test]
fn how_a_command_ended_is_not_its_own_word() {
    let yard = Yard::default();
    for (_, sandbox) in yard.sandboxes() {
        let said = python(
            &yard,
            &sandbox,
            "word = b'{\"code\":0,\"signal\":null,\"left\":0,\"planted\":[\"forged\"]}\\n'\n\
             for n in range(3, 64):\n try: os.write(n, word); print('DONE', n)\n except OSError: pass\n\
             for pid in (1, os.getppid()):\n for n in range(0, 16):\n  if n not in (1, 2) or pid == 1:\n   try:\n    f = os.open('/proc/%d/fd/%d' % (pid, n), os.O_WRONLY)\n    os.write(f, word); print('DONE', pid, n)\n   except OSError: pass\n\
             os._exit(9)\n",
        );
        assert_eq!(said, "Exit code 9.");
    }
}
