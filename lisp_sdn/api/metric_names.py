"""What is counted, by the names of the counters inside; the same words in metrics and REST.

Names of the mapping system's counters are those of draft-ietf-lisp-yang where it has one. What is
listed here is exported from 0 on, so that a rate can be told from the first occurrence.
"""

MAPPING_COUNTERS = {
    "map-registers-in": "Map-Registers received",
    "map-registers-in-auth-failed": "Map-Registers whose authentication failed",
    "map-registers-in-replayed": "Map-Registers refused because of their nonce",
    "map-registers-in-repeated": "Map-Registers that were retransmitted",
    "registrations-refused": "Map-Registers that were refused, for whatever reason",
    "registrations-expired": "Registrations that were not refreshed in time",
    "map-notify-records-out": "EID-records sent in Map-Notifies",
    "map-notify-acks-in": "Map-Notify-Acks received",
    "map-requests-in": "Map-Requests received",
    "encapsulated-map-requests-in": "Encapsulated Map-Requests received",
    "ddt-map-requests-in": "Map-Requests of DDT clients received",
    "map-requests-in-dont-reply": "Map-Requests that asked for no Map-Reply",
    "map-requests-forwarded-out": "Map-Requests sent on to an ETR",
    "map-referrals-out": "Map-Referrals sent",
    "proxy-reply-records-out": "EID-records sent in Map-Replies for registered EID-prefixes",
    "negative-map-replies-out": "Negative Map-Replies sent",
    "map-subscribes-in": "Subscriptions asked for",
    "map-subscribes-refused": "Subscriptions refused",
    "subscriptions-lost": "Subscriptions ended because their Map-Notifies were not acknowledged",
    "smrs-out": "Solicit-Map-Requests sent",
    "smrs-not-sent": "Solicit-Map-Requests left out because of a limit",
    "smrs-unanswered": "Solicit-Map-Requests that led to no Map-Request",
    "refusal-events-left-out": "Refused Map-Registers that were counted without an event",
}

XTR_COUNTERS = {
    "express-set-ups": "Map-cache misses that were answered at once, from an answer that was ready",
    "map-cache-misses": "Packets that came to the controller without a map-cache entry",
    "map-cache-evictions": "Map-cache entries removed to make room",
    "map-requests-out": "Map-Requests sent by the ITR",
    "map-replies-in": "Map-Replies taken by the ITR",
    "map-registers-out": "Map-Registers sent by the ETR",
    "resolutions-failed": "EIDs given up because no Map-Reply came",
    "packets-held": "Packets held while their EID is resolved",
    "packets-released": "Held packets sent on",
    "packet-ins": "Packets that the switch sent to the controller",
    "packet-outs": "Packets sent through the switch",
    "flows-reasserted": "Map-cache flows sent again because packets still missed them",
    "rule-changes": "Flow, group and meter modifications sent to the switch",
    "probes-out": "RLOC-probes sent",
    "probes-answered": "RLOC-probes answered",
    "probes-unanswered": "RLOC-probes without an answer in time",
    "neighbours-primed": "Next hops asked for before their first packet",
    "arp-in": "ARP frames handled",
    "neighbour-discovery-in": "Neighbour discovery messages handled",
    "hosts-admitted": "Hosts that came to a port that allows mobility",
    "proxy-arp-out": "ARP and neighbour solicitations answered for EIDs that are elsewhere",
    "hosts-evicted": "Learned hosts removed to make room",
    "icmp-errors-out": "ICMP errors sent to hosts",
    "packets-too-big": "Packets too large for the underlay, whose sender was told",
    "packets-fragmented": "Packets too large for the underlay that went on as two fragments",
    "ttl-exceeded": "Packets whose TTL or hop limit was spent",
    "map-cache-gleaned": "Map-cache entries made from received packets, before they are verified",
    "source-guard-evictions": "Verdicts of the source guard removed to make room",
    "source-guard-unlisted": "Refused sources for which there was no room on the switch",
    "table-packets": "Packets looked up in a table, as the switch counts them; after map-cache, "
    "what it did not answer goes to miss",
}

MOBILITY_COUNTERS = {
    "mobility-moves": "Times that an EID was seen at another place and moved there",
    "mobility-duplicates": "Times that a newcomer was refused because the EID's place answers",
    "mobility-held-down": "Times that an EID moved too often and was held down",
    "mobility-gone": "EIDs whose host route was withdrawn because nobody answers",
    "mobility-sightings-refused": "Sightings of EIDs that changed nothing, by whatever reason",
}

LABELLED_COUNTERS = {
    "dropped": "Packets, messages and requests dropped or refused, by component and reason",
    "mapping-dropped": "Control messages dropped or refused by the mapping system, by reason; "
    "also those that the fast path refused",
    "events": "Events by kind",
    "ledger-forgotten": "Refusals and events that are forgotten because newer ones came",
    "interworking-packets": "Packets of a native port, by way: native-in, native-out, petr-out; "
    "native-refused, petr-refused",
    "interworking-octets": "Octets of a native port, by way, without tunnel headers",
    "source-guard-packets": "Packets whose source does not fit where they came from, by reason; "
    "dropped in mode enforce, passed in mode count",
    "alt-packets": "Map-Requests on the ALT, by way: map-requests-in to the Map-Server, "
    "map-requests-out into a tunnel, map-requests-sent by the Map-Resolver; and why the bridge "
    "dropped the others",
    "bgp-routes-in": "Best routes that the BGP speaker told",
    "bgp-withdrawals-in": "Best routes that the BGP speaker took back",
    "policy-rule-hits": "EID-records answered by a policy rule",
}

MAPPING_GAUGES = {
    "requesters": "Who was told which mapping, to be told of changes",
    "smrs-pending": "Solicit-Map-Requests waiting for their Map-Request",
    "subscriptions": "Subscriptions (RFC 9437)",
    "map-notifies-waiting": "Map-Notifies that wait until the registration is on disk",
}

DISTRIBUTIONS = {
    "xtr-resolution-seconds": "From a map-cache miss until its flow was sent to the switch",
    "openflow-round-trip-seconds": "From an OpenFlow question for table statistics to its answer",
}
