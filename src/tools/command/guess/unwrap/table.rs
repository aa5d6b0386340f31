//! The programs that run other programs, and how their options are told from the words of the program that they run.

/// A program whose arguments end in another command.
pub(super) struct Wrapper {
    pub name: &'static str,
    /// Letters of options that take the next word when nothing stands behind them.
    pub short: &'static str,
    /// Long options that take the next word.
    pub long: &'static [&'static str],
    /// Words before the command.
    pub before: usize,
}

const fn wrapper(name: &'static str, short: &'static str, before: usize) -> Wrapper {
    Wrapper {
        name,
        short,
        long: &[],
        before,
    }
}

/// From the programs' manuals.
pub(super) const WRAPPERS: &[Wrapper] = &[
    Wrapper {
        name: "env",
        short: "uCa",
        long: &["--unset", "--chdir", "--argv0"],
        before: 0,
    },
    Wrapper {
        name: "sudo",
        short: "ugpCDhRTrtU",
        long: &[
            "--user", "--group", "--prompt", "--chdir", "--host", "--chroot", "--role",
        ],
        before: 0,
    },
    Wrapper {
        name: "timeout",
        short: "ks",
        long: &["--kill-after", "--signal"],
        before: 1,
    },
    Wrapper {
        name: "xargs",
        short: "adEILnPs",
        long: &[
            "--arg-file",
            "--delimiter",
            "--max-args",
            "--max-procs",
            "--max-lines",
        ],
        before: 0,
    },
    Wrapper {
        name: "nice",
        short: "n",
        long: &["--adjustment"],
        before: 0,
    },
    Wrapper {
        name: "stdbuf",
        short: "ioe",
        long: &["--input", "--output", "--error"],
        before: 0,
    },
    Wrapper {
        name: "time",
        short: "fo",
        long: &["--format", "--output"],
        before: 0,
    },
    wrapper("doas", "uC", 0),
    wrapper("pkexec", "", 0),
    wrapper("nohup", "", 0),
    wrapper("setsid", "", 0),
    wrapper("ionice", "cnpPu", 0),
    wrapper("chrt", "TPD", 1),
    wrapper("taskset", "", 1),
    wrapper("numactl", "NCmipl", 0),
    wrapper("command", "", 0),
    wrapper("builtin", "", 0),
    wrapper("exec", "a", 0),
    wrapper("parallel", "jILnNPS", 0),
    wrapper("watch", "n", 0),
    wrapper("strace", "abeEoOpPsSuX", 0),
    wrapper("ltrace", "aAeFlnopsu", 0),
    wrapper("chroot", "", 1),
    wrapper("unshare", "RwSG", 0),
    wrapper("nsenter", "tSG", 0),
    wrapper("setpriv", "", 0),
    wrapper("prlimit", "p", 0),
    wrapper("busybox", "", 0),
    wrapper("toybox", "", 0),
    wrapper("flock", "wE", 1),
    wrapper("unbuffer", "", 0),
    wrapper("fakeroot", "lsi", 0),
    wrapper("chronic", "", 0),
    wrapper("systemd-run", "pEtMHu", 0),
    wrapper("script", "cIOBTmo", 0),
    wrapper("runuser", "cugGs", 1),
    wrapper("su", "cgGs", 1),
    wrapper("dbus-run-session", "", 0),
    wrapper("xvfb-run", "efnsp", 0),
];

pub(super) const SHELLS: &[&str] = &[
    "sh", "bash", "dash", "zsh", "ksh", "ash", "mksh", "fish", "rbash",
];
