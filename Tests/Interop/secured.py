"""Kubos that speak TLS and no Noise, and one that would rather speak TLS: both ways, over a private network."""

import os
import random
import re

from kubo import Kubo
from peer import Peer, free_ports, read_identity, wait

TLS_ALONE = {"TLS": 100, "Noise": False}
TLS_FIRST = {"TLS": 100, "Noise": 200}
SIZE = 20_000_000


def run(programs, folder, step, running):
    secret = "%064x" % random.getrandbits(256)
    folder = os.path.join(folder, "tls")
    os.mkdir(folder)
    swarm, api, *ports = free_ports(5)
    peer = Peer(programs, os.path.join(folder, "peer"), secret, swarm, api, "info,p2p:debug")
    running.append(peer)
    ours = read_identity(Peer(programs, os.path.join(folder, "identity"), secret, 1, 2).folder)
    ed25519 = {"PeerID": ours["id"], "PrivKey": ours["private_key"]}

    step("start three Kubos: two with TLS and no Noise, of which one has an RSA key, and one that would rather have TLS")
    rsa = Kubo(folder, "rsa", secret, ports[0], security=TLS_ALONE)
    ed = Kubo(folder, "ed25519", secret, ports[1], ed25519, security=TLS_ALONE)
    both = Kubo(folder, "both", secret, ports[2], security=TLS_FIRST)
    running.extend((rsa, ed, both))

    step("we dial one with TLS alone: it refuses Noise, and takes what we propose then")
    peer.start(rsa.address)
    wait("our peer is connected to Kubo", lambda: peer.id in rsa.call("peers"))
    step("two dial us")
    for node in (ed, both):
        if not node.call("connect", peer.address):
            raise AssertionError(f"Kubo did not connect to {peer.address}, see {node.folder}")
        assert peer.id in node.call("peers"), f"{node.name} is not connected"
    for node in (rsa, ed, both):
        wait("we know what Kubo is", lambda: re.search(f"identified {node.id}: .*kubo/0.22.0", peer.log()))
        assert re.search(f"connection to {node.id} at .* secured by /tls/1.0.0", peer.log()), f"{node.name} has no TLS"

    step(f"{SIZE // 1_000_000} MB from us to each, and from each to us")
    for node in (rsa, ed, both):
        peer.trade(node, SIZE)

    step("Kubo goes and comes back, and we find it by ourselves")
    peer.finds_again(rsa)

    step("ours ends in order, and Kubo hears it")
    assert peer.stop() == 0, "ipfs-cluster-service did not end with 0 after SIGTERM"
    for node in (rsa, ed, both):
        wait("Kubo sees us gone", lambda: peer.id not in node.call("peers"))
        node.end()
