"""What the ITR is told: ingress policy and mapping."""

from __future__ import annotations

from typing import NoReturn

from lisp_sdn.alt_views import AltRoute
from lisp_sdn.model import UNUSABLE_PRIORITY, Act, Answer, Mapping, Requester
from lisp_sdn.trace import native
from lisp_sdn.trace.journal import Journal, duration, locators_text
from lisp_sdn.trace.places import Network, Place, longest, other_iids, owner
from lisp_sdn.trace.values import Packet, StepName
from lisp_sdn.views import MappingEntry, Origin


def ask(
    journal: Journal, network: Network, packet: Packet, place: Place, now: float
) -> Answer | None:
    """The answer to the xTR's Map-Request; None when another Map-Resolver gives it.

    Raises Ended where the packet stops.
    """
    xtr = place.xtr
    resolvers = xtr.map_resolvers
    if resolvers:
        names = ", ".join(map(str, resolvers))
        text = f"xTR {xtr.name} asks the Map-Resolver {names}"
        journal.note(StepName.POLICY, f"{text}, whose policies count", "not-embedded")
        journal.note(StepName.MAPPING, f"{text}, not this controller", "not-embedded")
        return None
    requester = network.requester(xtr.name, packet.source)
    told = network.answer(packet.destination, requester, now)
    if told.mapping.negative and owner(network.config, packet.destination) is None:
        route = network.alt_route(packet.destination)
        if route is not None:
            _over_the_alt(journal, route)
            return None
    _policy(journal, network, packet, requester, now)
    if place.outside and told.mapping.action is Act.NATIVELY_FORWARD:
        native.not_an_eid(journal, xtr, told.mapping)
    answer = native.used(network.config, xtr, told)
    way = native.how(xtr, told.mapping, answer.mapping)
    if way is None:
        _mapping(journal, network, packet, answer, now)
    else:
        text = f"{told.mapping.eid}: negative, {told.mapping.action.text}: it leaves {way}"
        journal.note(StepName.MAPPING, text, "not-lisp")
    return answer


def _over_the_alt(journal: Journal, route: AltRoute) -> None:
    """RFC 6836 section 5: another provider's Map-Server or ETR answers."""
    way = f"by neighbour {route.neighbour}" + (f", port {route.port}" if route.port else "")
    path = " ".join(map(str, route.as_path)) or "none"
    journal.note(StepName.POLICY, "the Map-Server of another provider decides", "alt")
    journal.note(
        StepName.MAPPING,
        f"the ALT has a route for {route.prefix}: the Map-Request goes {way}",
        "alt",
        "lispctl show alt",
        (f"AS path {path}", "the Map-Reply comes directly, not over the ALT"),
    )


def _policy(
    journal: Journal, network: Network, packet: Packet, requester: Requester, now: float
) -> None:
    step = StepName.POLICY
    explanation = network.policy.explain(packet.destination, requester, now)
    if explanation is None:
        journal.ok(step, "nothing is registered for the destination: no policy applies")
        return
    details = tuple(
        f"rule {rule.rule}: {rule.verdict.value}" + (f" ({rule.detail})" if rule.detail else "")
        for rule in explanation.steps
    )
    answer = explanation.answer
    if answer.rule is None:
        why = f" ({explanation.detail})" if explanation.detail else ""
        journal.ok(step, f"no rule decides: as registered{why}", details)
        return
    text = f"rule {answer.rule} of site {explanation.site} decides"
    if answer.mapping.negative:
        journal.stop(
            step,
            f"{text}: {answer.mapping.action.text}",
            "policy-denied",
            f"lispctl policy explain --to '{packet.destination}' --from '{packet.source}' "
            f"--xtr {requester.xtr}",
            details,
        )
    shown = f"{text}: {locators_text(answer.mapping.locators)}"
    if answer.warnings:
        journal.note(step, shown, "policy-warning", "; ".join(answer.warnings), details)
    else:
        journal.ok(step, shown, details)


def _mapping(
    journal: Journal, network: Network, packet: Packet, answer: Answer, now: float
) -> None:
    step, mapping = StepName.MAPPING, answer.mapping
    entry = longest(network, packet.destination, now)
    if mapping.negative:
        _unmapped(journal, network, packet, mapping, entry, now)
    static = entry is not None and entry.origin is Origin.STATIC
    owned = f"site {entry.site}" if entry is not None else "another mapping system"
    origin = "static" if static else f"registered by {owned}"
    text = f"{mapping.eid}, {origin}: {locators_text(mapping.locators)}"
    if not any(locator.usable for locator in mapping.locators):
        journal.stop(
            step,
            text + ": none of them may be used",
            "no-usable-rloc",
            f"priority {UNUSABLE_PRIORITY} and RLOCs reported down carry nothing: mend the "
            + ("static mapping" if static else f"registration or policy of {owned}"),
        )
    journal.ok(step, text)


def _unmapped(
    journal: Journal,
    network: Network,
    packet: Packet,
    mapping: Mapping,
    entry: MappingEntry | None,
    now: float,
) -> NoReturn:
    step, config = StepName.MAPPING, network.config
    negative = f"{mapping.eid}: negative, {mapping.action.text}"
    if entry is not None and entry.mapping.negative:
        journal.stop(
            step,
            f"{negative}, by a static mapping",
            "negative",
            f"lispctl mapping delete '{entry.eid}', if that is not wanted",
        )
    site = owner(config, packet.destination)
    if site is not None:
        last = network.site_state(site, now).last_registration
        ago = "never" if last is None else f"last {duration(now - last)} ago"
        journal.stop(
            step,
            f"{negative}: site {site} may register it and has not ({ago})",
            "not-registered",
            f"lispctl show site {site}; lispctl show refusals",
        )
    elsewhere = other_iids(config, packet.iid, packet.to_address)
    if elsewhere:
        journal.stop(
            step,
            f"{negative}: in instance-ID {packet.iid} nobody has it, but it is in "
            + " and ".join(elsewhere),
            "other-iid",
            "instance-IDs are separate: put both ports in one, or trace in the other",
        )
    journal.stop(
        step,
        f"{negative}: no site and no static mapping has this EID",
        "no-mapping",
        "configure a site with its EID-prefix, or lispctl mapping set",
    )
