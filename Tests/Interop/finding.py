"""The DHT: peers that know one other find the rest through it, Kubo through ours and ours through Kubo.

The DHT of a local network forgets loopback addresses that it is told (DHT-14; that of Kubo 0.22 does not yet), so this needs a
private address of the machine's own.
"""

import ipaddress
import os
import random
import subprocess

from kubo import Kubo
from peer import Peer, free_ports, wait

PRIVATE = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")]


def private_host():
    """The first part of a multiaddress, or None."""
    done = subprocess.run(["hostname", "-I"], capture_output=True, text=True)
    for text in done.stdout.split():
        address = ipaddress.ip_address(text)
        if any(address in network for network in PRIVATE if network.version == address.version):
            return f"/ip{address.version}/{address}"
    return None


def run(programs, folder, step, running):
    host = private_host()
    if host is None:
        return step("the DHT is left out: this machine has no private address but loopback")
    secret = "%064x" % random.getrandbits(256)
    ports = free_ports(8)

    def kubo(name):
        node = Kubo(folder, name, secret, ports.pop(), host=host, log_level="error,dht=debug,dht/RtRefreshManager=debug")
        running.append(node)
        return node

    def ours(name, *known):
        peer = Peer(programs, os.path.join(folder, name), secret, ports.pop(), ports.pop(), "info,dht:debug", host)
        running.append(peer)
        peer.environment["CLUSTER_MDNSINTERVAL"] = "0s"  # they would find each other without the DHT
        peer.start(*known)
        return peer

    step("the DHT: two Kubo nodes know our peer alone")
    hub = ours("hub")
    one, two = kubo("one"), kubo("two")
    for node in (one, two):
        if not node.call("connect", hub.address):
            raise AssertionError(f"Kubo did not connect to {hub.address}")
    step("the DHT: one finds the other through us, and is connected to it")

    def finds():
        return f"{host}/tcp/{two.port}" in str(one.call("find", two.id))
    wait("Kubo finds the other through our DHT", finds, 30)
    wait("the two Kubo nodes are connected", lambda: two.id in one.call("peers"), 30)
    step("the DHT: a peer of ours that knows Kubo alone finds everyone through it")
    newcomer = ours("newcomer", one.address)
    wait("our newcomer is connected to everyone", lambda: all(newcomer.id in each.call("peers") for each in (one, two)), 30)
    for each in (hub, newcomer):
        if each.stop() != 0:
            raise AssertionError("ipfs-cluster-service did not end with 0 after SIGTERM")
    for each in (one, two):
        each.end()
