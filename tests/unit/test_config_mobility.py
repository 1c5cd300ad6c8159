"""Which EIDs may roam, and every mistake that would keep them from it."""

from __future__ import annotations

import pytest

from lisp_sdn.config import load
from lisp_sdn.errors import ConfigError

TEXT = """
sites:
  - name: a
    authentication_keys: [{key: secret-a}]
    allowed_rlocs: [192.0.2.0/24]
    eid_prefixes: [{prefix: 10.1.0.0/16, iid: 1, accept_more_specifics: true}]
  - name: b
    authentication_keys: [{key: secret-b}]
    eid_prefixes: [{prefix: 10.2.0.0/16, iid: 1, accept_more_specifics: true}]
xtrs:
  - name: xa
    site: a
    datapath_id: 1
    rlocs: [{rloc: 192.0.2.1}]
    eid_ports: [{name: p1, iid: 1, gateways: [10.1.0.254/24], allow_mobility: true}]
  - name: xb
    site: b
    datapath_id: 2
    rlocs: [{rloc: 192.0.2.2}]
    eid_ports:
      - {name: p1, iid: 1, gateways: [10.2.0.254/24], allow_mobility: true}
      - {name: p2, iid: 1, gateways: [10.2.9.254/24]}
"""


def problems(text: str) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return list(caught.value.problems)


def test_the_subnets_of_ports_that_allow_mobility_may_roam() -> None:
    config = load(TEXT + "mobility: {subnets: [{gateway: 10.1.7.254/24, iid: 1}]}")
    found = {str(s.eid): (str(s.gateway), s.homes) for s in config.mobile_subnets}
    assert found == {
        "[1] 10.1.7.0/24": ("10.1.7.254/24", ()),
        "[1] 10.1.0.0/24": ("10.1.0.254/24", ("xa",)),
        "[1] 10.2.0.0/24": ("10.2.0.254/24", ("xb",)),
    }
    assert not any(subnet.stretched for subnet in config.mobile_subnets)


def test_a_subnet_at_two_xtrs_is_stretched() -> None:
    text = TEXT.replace("site: b\n    datapath_id", "site: a\n    datapath_id")
    text = text.replace("10.2.0.254/24", "10.1.0.254/24").replace("10.2.9", "10.1.9")
    (subnet,) = load(text).mobile_subnets
    assert (subnet.homes, subnet.stretched) == (("xa", "xb"), True)


@pytest.mark.parametrize(
    ("old", "new", "path", "says"),
    [
        (
            "10.2.0.254/24], allow_mobility: true",
            "10.2.0.254/24], allow_mobility: true, mac: 02:00:00:00:00:01",
            "xtrs[1].eid_ports[0].mac",
            "02:00:00:00:00:01 differs from 02:00:5e:00:00:fe of xtrs[0].eid_ports[0]",
        ),
        (
            "10.2.0.0/16, iid: 1, accept_more_specifics: true",
            "10.2.0.0/16, iid: 1",
            "xtrs[1].eid_ports[0].gateways[0]",
            "[1] 10.2.0.0/16 of site b needs accept_more_specifics: true",
        ),
        (
            "rloc: 192.0.2.2",
            "rloc: 198.51.100.2",
            "xtrs[0].eid_ports[0].gateways[0]",
            "may roam to xTR xb, whose RLOC 198.51.100.2 is not in allowed_rlocs of site a",
        ),
        (
            "10.2.9.254/24]",
            "10.2.0.253/25], allow_mobility: true",
            "xtrs[1].eid_ports[1].gateways[0]",
            "10.2.0.253/25 and 10.2.0.254/24 may both roam in instance-ID 1 and overlap",
        ),
    ],
)
def test_mistakes(old: str, new: str, path: str, says: str) -> None:
    assert old in TEXT
    found = dict(problems(TEXT.replace(old, new, 1)))
    assert says in found[path]


def test_a_subnet_of_nobody() -> None:
    text = TEXT + "mobility: {subnets: [{gateway: 172.16.0.254/24, iid: 1}]}"
    (found,) = problems(text)
    assert found == (
        "mobility.subnets[0].gateway",
        "subnet [1] 172.16.0.0/24 may roam, but is in no EID-prefix of a site",
    )
