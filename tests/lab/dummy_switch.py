"""An Open vSwitch of its own with the dummy datapath: no root, no interface, only its tables."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from lisp_sdn.rules import (
    CheckPktLarger,
    DecTtl,
    FieldValue,
    FlowRule,
    GroupRule,
    MeterRule,
    MoveField,
    Multipath,
    Output,
    Port,
    Resubmit,
    RuleAction,
    Ruleset,
    SetField,
    ToController,
    ToGroup,
)

PROGRAMS = ("ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-ofctl", "ovs-appctl")
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
TUNNEL = 100
_WAY = r"^ +(output:\d+|IN_PORT|CONTROLLER:\d+|group:\d+)$"


def missing() -> str | None:
    """What this machine lacks to run one."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"{', '.join(absent)} not installed (Debian: openvswitch-switch)"
    return None if SCHEMA.exists() else f"no {SCHEMA}"


class DummySwitch:
    """One bridge br0 with ports 1 and 2, native port 3 and the LISP tunnel port 100."""

    def __enter__(self) -> Self:
        self._dir = Path(tempfile.mkdtemp(prefix="lsd", dir="/tmp"))
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()

    def _run(self, *words: str, given: str | None = None) -> str:
        names = ("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR")
        env = {**os.environ, **dict.fromkeys(names, str(self._dir))}
        done = subprocess.run(
            words, input=given, env=env, capture_output=True, text=True, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)[:200]}: {done.stderr.strip()[:2000]}")
        return done.stdout

    def _start(self) -> None:
        here = self._dir
        database = f"unix:{here}/db.sock"
        detach = ("--detach", "--no-chdir")
        self._run("ovsdb-tool", "create", f"{here}/conf.db", str(SCHEMA))
        self._run(
            "ovsdb-server", f"{here}/conf.db", f"--remote=p{database}",
            f"--pidfile={here}/db.pid", f"--unixctl={here}/db.ctl", f"--log-file={here}/db.log",
            *detach,
        )  # fmt: skip
        self._run("ovs-vsctl", f"--db={database}", "--no-wait", "init")
        self._run(
            "ovs-vswitchd", database, "--enable-dummy=override", "--disable-system",
            f"--pidfile={here}/switch.pid", f"--unixctl={here}/switch.ctl",
            f"--log-file={here}/switch.log", *detach,
        )  # fmt: skip
        self._run(
            "ovs-vsctl", f"--db={database}", "add-br", "br0", "--", "set", "bridge", "br0",
            "datapath_type=dummy", "fail_mode=secure", "protocols=OpenFlow13",
            "--", "add-port", "br0", "p1", "--", "set", "interface", "p1", "type=dummy",
            "ofport_request=1",
            "--", "add-port", "br0", "p2", "--", "set", "interface", "p2", "type=dummy",
            "ofport_request=2",
            "--", "add-port", "br0", "native0", "--", "set", "interface", "native0", "type=dummy",
            "ofport_request=3",
            "--", "add-port", "br0", "lisp0", "--", "set", "interface", "lisp0", "type=vxlan",
            "options:exts=gpe", "options:dst_port=4341", "options:remote_ip=flow",
            "options:local_ip=flow", "options:key=flow", "options:packet_type=legacy_l3",
            f"ofport_request={TUNNEL}",
        )  # fmt: skip

    def _end(self) -> None:
        for name in ("switch", "db"):
            pid = self._dir / f"{name}.pid"
            if pid.exists():
                _stop(int(pid.read_text()))
        shutil.rmtree(self._dir, ignore_errors=True)

    def _ofctl(self, command: str, lines: Iterable[str] | None = None) -> None:
        words = ["ovs-ofctl", "-O", "OpenFlow13", command, f"unix:{self._dir}/br0.mgmt"]
        if lines is None:
            self._run(*words)
        else:
            self._run(*words, "-", given="\n".join(lines) + "\n")

    def program(self, ruleset: Ruleset) -> None:
        """Hold exactly these rules."""
        for command in ("del-flows", "del-groups", "del-meters"):
            self._ofctl(command)
        for meter in ruleset.meters:
            self._run(
                "ovs-ofctl", "-O", "OpenFlow13", "add-meter", f"unix:{self._dir}/br0.mgmt",
                meter_text(meter),
            )  # fmt: skip
        if ruleset.groups:
            self._ofctl("add-groups", map(group_text, ruleset.groups))
        self._ofctl("add-flows", map(flow_text, ruleset.flows))

    def trace(self, packet: str, frame: bytes) -> tuple[list[tuple[int, int]], list[str], str]:
        """(table, priority) of every rule met, the ways out, and the whole text.

        packet: the metadata of the packet as ofproto/trace takes it, beginning with "in_port=".
        Behind check_pkt_larger Open vSwitch shows both ways; this is the one of the frame.
        """
        text = self._run(
            "ovs-appctl", "-t", f"{self._dir}/switch.ctl", "ofproto/trace", "br0", packet,
            frame.hex(),
        )  # fmt: skip
        # What comes after is the same packet again, recirculated behind a group.
        first = text.split("Final flow")[0]
        met: list[tuple[int, int]] = []
        ways: list[str] = []
        branch: tuple[int, bool] | None = None
        indent, other_way = 0, False
        for line in first.splitlines():
            if rule := re.match(r"^( *)(\d+)\. .*?priority (\d+)", line):
                indent = len(rule[1]) + len(rule[2])
                other_way = branch is not None and (indent > branch[0]) != branch[1]
                if not other_way:
                    met.append((int(rule[2]), int(rule[3])))
            elif size := re.match(r"^ +check_pkt_larger\((\d+)\)", line):
                branch = (indent, len(frame) > int(size[1]))
            elif not other_way and (way := re.match(_WAY, line)):
                ways.append(way[1])
        return met, ways, text


def _stop(pid: int) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, sign)
            for _ in range(50):
                os.kill(pid, 0)
                time.sleep(0.02)
        except ProcessLookupError:
            return


# --- rules in the words of ovs-ofctl ---

_FIELDS = {
    "eth_dst": "dl_dst",
    "eth_src": "dl_src",
    "ipv4_src": "nw_src",
    "ipv4_dst": "nw_dst",
    "ip_proto": "nw_proto",
    "icmpv4_type": "icmp_type",
    "ipv6_nd_target": "nd_target",
    "tunnel_id": "tun_id",
    "tun_ipv4_src": "tun_src",
    "tun_ipv4_dst": "tun_dst",
}
_MOVED = {
    "eth_src": "NXM_OF_ETH_SRC[]",
    "eth_dst": "NXM_OF_ETH_DST[]",
    "arp_sha": "NXM_NX_ARP_SHA[]",
    "arp_tha": "NXM_NX_ARP_THA[]",
    "arp_spa": "NXM_OF_ARP_SPA[]",
    "arp_tpa": "NXM_OF_ARP_TPA[]",
}


def _value(value: FieldValue) -> str:
    return f"{value[0]:#x}/{value[1]:#x}" if isinstance(value, tuple) else str(value)


def _action(action: RuleAction) -> str:
    match action:
        case Output(Port.IN_PORT):
            return "IN_PORT"
        case Output(port):
            return f"output:{port}"
        case ToController(max_len, int(meter)):
            return f"controller(max_len={max_len},meter_id={meter})"
        case ToController(max_len):
            return f"controller:{max_len}"
        case ToGroup(number):
            return f"group:{number}"
        case SetField(name, value):
            return f"set_field:{_value(value)}->{_FIELDS.get(name, name)}".replace(
                "->dl_", "->eth_"
            )
        case MoveField(source, destination):
            return f"move:{_MOVED[source]}->{_MOVED[destination]}"
        case DecTtl():
            return "dec_ttl"
        case Multipath(register, buckets, _, basis):
            hashing = f"symmetric_l3l4+udp,{basis},modulo_n,{buckets},0"
            return f"multipath({hashing},NXM_NX_{register.upper()}[])"
        case CheckPktLarger(octets, register):
            return f"check_pkt_larger({octets})->NXM_NX_{register.upper()}[0]"
        case Resubmit(table):
            return f"resubmit(,{table})"
    raise NotImplementedError(action)


def flow_text(rule: FlowRule) -> str:
    """A flow as `ovs-ofctl add-flow` takes it."""
    words = [f"table={rule.table}", f"priority={rule.priority}", f"cookie={rule.cookie:#x}"]
    # The prerequisites first: ovs-ofctl wants to know what a field belongs to.
    fields = sorted(rule.match, key=lambda item: item[0] not in ("eth_type", "ip_proto"))
    for name, value in fields:
        if name == "eth_type" and isinstance(value, int):
            words.append(f"dl_type={value:#x}")
        else:
            words.append(f"{_FIELDS.get(name, name)}={_value(value)}")
    actions = [f"meter:{rule.meter}"] if rule.meter else []
    actions += map(_action, rule.actions)
    if rule.metadata:
        actions.append(f"write_metadata:{rule.metadata[0]:#x}/{rule.metadata[1]:#x}")
    if rule.goto is not None:
        actions.append(f"goto_table:{rule.goto}")
    return ",".join(words) + ",actions=" + (",".join(actions) or "drop")


def group_text(rule: GroupRule) -> str:
    """A group as `ovs-ofctl add-group` takes it."""
    buckets = []
    for bucket in rule.buckets:
        weight = f"weight:{bucket.weight}," if bucket.weight else ""
        buckets.append(f"bucket={weight}actions=" + ",".join(map(_action, bucket.actions)))
    return f"group_id={rule.group_id},type={rule.type.value}," + ",".join(buckets)


def meter_text(rule: MeterRule) -> str:
    """A meter as `ovs-ofctl add-meter` takes it."""
    band = f"band=type=drop,rate={rule.rate},burst_size={rule.burst}"
    return f"meter={rule.meter_id},pktps,burst,{band}"
