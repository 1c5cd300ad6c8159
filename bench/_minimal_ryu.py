"""The yardstick: a Ryu application that answers a packet-in with one flow-mod and one packet-out.

It decides nothing: every destination goes to port 100. It uses Ryu as Ryu's own examples do, and
leaves out their decoding of the packet into objects.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from ryu.base import app_manager
from ryu.controller import ofp_event
from ryu.controller.handler import MAIN_DISPATCHER, set_ev_cls
from ryu.ofproto import ofproto_v1_3


class Minimal(app_manager.RyuApp):
    """One flow-mod and one packet-out."""

    OFP_VERSIONS = (ofproto_v1_3.OFP_VERSION,)

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def packet_in(self, event: Any) -> None:
        """Forward the destination of this packet, and the packet."""
        message = event.msg
        datapath = message.datapath
        ofproto, parser = datapath.ofproto, datapath.ofproto_parser
        destination = str(IPv4Address(message.data[30:34]))
        actions = [parser.OFPActionOutput(100)]
        datapath.send_msg(
            parser.OFPFlowMod(
                datapath=datapath,
                table_id=3,
                priority=100,
                idle_timeout=300,
                match=parser.OFPMatch(eth_type=0x0800, ipv4_dst=destination),
                instructions=[parser.OFPInstructionActions(ofproto.OFPIT_APPLY_ACTIONS, actions)],
            )
        )
        datapath.send_msg(
            parser.OFPPacketOut(
                datapath=datapath,
                buffer_id=ofproto.OFP_NO_BUFFER,
                in_port=message.match["in_port"],
                actions=actions,
                data=message.data,
            )
        )
