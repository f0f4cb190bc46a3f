"""The state of a whole machine: files, packages, running units, and what its kernel says. States are compared as sets.

Which units are enabled is in the links below /etc/systemd.
"""

from __future__ import annotations

from support.driver import Fleet

State = dict[str, set[str]]
"""Lines by section."""

RUNNING = frozenset({"modules", "sysctl"})
"""What docs/reset.md says comes back with the next boot only."""

_SCRIPT = r"""
cd /
say() { printf '\001%s\n' "$1"; }
say files
find etc root home opt srv boot var usr/local -xdev -printf '/%p %y %m %u %g %l\n'
say content
find etc root home opt usr/local var/lib -xdev -type f ! -path 'var/lib/dpkg/*' ! -path 'var/lib/apt/*' \
    ! -path 'var/lib/selinux/*' ! -path 'var/lib/containerd/*' -exec cksum {} + | awk '{ print "/" $3, $1, $2 }'
say labels
find etc -xdev -printf '/%p %Z\n' | sed 's/ [a-z_]*:/ /'
say names
find usr lib sbin bin -xdev ! -path 'usr/local/*' -printf '/%p %y %m %l\n'
say packages
dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\n'
say active
systemctl list-units -t service,swap,socket,timer --state=active --plain --no-legend --no-pager |
    awk '$1 !~ /^user|^systemd-(hostnamed|timedated|localed|tmpfiles-clean)[.]service/ { print $1 }'
say failed
systemctl list-units --state=failed --plain --no-legend --no-pager | awk '{ print $1 }'
say swap
awk 'NR > 1 { print $1, $2, "priority", $5 }' /proc/swaps
say names-of-host
uname -n; cat /etc/hostname
say selinux
cat /sys/fs/selinux/enforce 2>/dev/null; cat /etc/selinux/config
say firewall
systemctl is-active firewalld
nft list ruleset 2>/dev/null | sed 's/ counter packets [0-9]* bytes [0-9]*//; s/^[ \t]*//'
say network
ip -o addr show | awk '{ print $2, $3, $4 }'; ip route; ip -o link | awk '{ print $2, $9 }'
say modules
awk '{ print $1 }' /proc/modules
say sysctl
sysctl -a 2>/dev/null
say mounts
findmnt -rn -o TARGET,FSTYPE | grep -v -e ' autofs$' -e '^/run/user' -e binfmt_misc
say clock
timedatectl show -p NTP -p CanNTP
"""

_VOLATILE = (
    "fs.aio-nr",
    "fs.dentry-state",
    "fs.file-nr",
    "fs.inode",
    "kernel.ns_last_pid",
    "kernel.pty.nr",
    "kernel.random",
    "net.netfilter.nf_conntrack_count",
)
"""What a running kernel changes by itself."""


def read(fleet: Fleet, host: str) -> State:
    """The state of a machine. It takes some seconds."""
    state: State = {}
    section: set[str] = set()
    done = fleet.run(host, _SCRIPT, timeout=300)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        if line.startswith("\x01"):
            section = state.setdefault(line[1:], set())
        else:
            section.add(line)
    state["sysctl"] = {line for line in state["sysctl"] if not line.startswith(_VOLATILE)}
    return state


def differences(before: State, after: State, *, but: tuple[str, ...] = (), sections: frozenset[str]) -> list[str]:
    """What is different, as lines of a diff. ``but`` are paths (and all below them) that do not count."""
    found = []
    for section in sorted(sections):
        for sign, lines in (("-", before[section] - after[section]), ("+", after[section] - before[section])):
            found += [f"{section}: {sign} {line}" for line in sorted(lines) if not _below(line.split(" ")[0], but)]
    return found


def _below(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)
