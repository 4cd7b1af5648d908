"""A network of its own for a command: loopback, and one way out on which nothing ever answers.

Every packet for another machine leaves through the device `out`, whose other end drops it, and is counted by the
kernel: whichever process sends it, in whatever language, name servers included. (A UDP socket that only asks for a
route, as Ray and vLLM do to learn their own address, sends nothing.)
"""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_NAMESPACE = ["unshare", "--map-root-user", "--net"]
_NETWORK = """
set -e
ip link set lo up
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1  # or the kernel itself sends there
ip link add out type veth peer name nowhere
ip link set nowhere up
ip link set out arp off
ip address add 192.0.2.1/24 dev out
ip link set out up
ip route add default dev out
"""
_ONE_PACKET = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('198.51.100.1', 9))"


@dataclass(frozen=True)
class Sent:
    """Packets that left, first one that was sent on purpose, then by the command."""

    on_purpose: int
    by_command: int


@cache
def possible() -> bool:
    """Whether this user may make such a network here."""
    if not all(shutil.which(program) for program in ("unshare", "ip", "sysctl", "python3")):
        return False
    return subprocess.run([*_NAMESPACE, "sh", "-c", _NETWORK], capture_output=True).returncode == 0


def wrapped(command: Sequence[str], counts: Path) -> list[str]:
    """The command in such a network; it ends with the same code, and leaves in a file what `sent` reads."""
    script = f"""{_NETWORK}
sent() {{ awk '$1 == "out:" {{ print $11 }}' /proc/net/dev >> '{counts}'; }}
sent
python3 -c "{_ONE_PACKET}"
sent
set +e
"$@"
code=$?
sent
exit $code
"""
    return [*_NAMESPACE, "sh", "-c", script, "sh", *command]


def sent(counts: Path) -> Sent:
    before, probed, after = map(int, counts.read_text().split())
    return Sent(probed - before, after - probed)
