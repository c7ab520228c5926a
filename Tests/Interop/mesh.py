"""Gossipsub in a line: three peers of ours, one after the other, and a Kubo at each.

    k1   k2   k3
    |    |    |
    s1 - s2 - s3

A message of one end gets to the other only if ours pass it on, up to three times. Nobody finds anybody else: multicast is off, the
Kubos avoid all but one of ours, and the ends of the line announce an address at which nobody is.
"""

import base64
import hashlib
import os
import random
import time

import messagepack
from ids import base58_decode, base58_encode
from kubo import Kubo
from peer import Peer, free_ports, wait

METRICS = "monitor.metrics"
# Of a CRDT cluster: the multihash by MD5 of its name (CRDT-110).
PINS = base58_encode(b"\xd5\x01\x10" + hashlib.md5(b"ipfs-cluster").digest())
HOSTS = {1: "127.0.0.11", 2: "127.0.0.12", 3: "127.0.0.13"}
KUBO_HOSTS = {1: "127.0.0.21", 2: "127.0.0.22", 3: "127.0.0.23"}


class Ear:
    """What a Kubo has heard of a topic."""

    def __init__(self, node, topic):
        self.node = node
        self.topic = topic
        self.subscription = node.call("subscribe", topic)
        self.messages = []

    def hear(self):
        while message := self.node.call("next", self.subscription):
            self.messages.append((message["from"], base64.b64decode(message["data"])))
        return self.messages

    def has(self, sender, data):
        return (sender, data) in self.hear()

    def metrics(self):
        """(who sent it, name) of those that say whose they are."""
        found = set()
        for sender, data in self.hear():
            metric = decoded(data)
            if metric and base58_encode(metric["p"]) == sender:
                found.add((sender, metric["n"].decode()))
        return found


def decoded(data):
    try:
        metric = messagepack.decode(data)
        return metric if isinstance(metric, dict) else None
    except (ValueError, IndexError, KeyError):
        return None  # noise


def shown(peer, name):
    """{whose: value} of the valid metrics of this name that the peer shows."""
    metrics = peer.get(f"/monitor/metrics/{name}")
    metrics = metrics if isinstance(metrics, list) else [metrics]
    return {each["peer"]: each["value"] for each in metrics if each and each["valid"]}


def start(programs, folder, running):
    secret = "%064x" % random.getrandbits(256)
    ports = free_ports(9)
    ours, kubos = [], []
    for number in (1, 2, 3):
        peer = Peer(
            programs, os.path.join(folder, f"s{number}"), secret, ports.pop(), ports.pop(), "info,p2p:debug,pubsub:debug",
            f"/ip4/{HOSTS[number]}")
        peer.environment.update(CLUSTER_MDNSINTERVAL="0s", CLUSTER_PEERNAME=f"s{number}")
        if number != 2:
            peer.environment["CLUSTER_ANNOUNCEMULTIADDRESS"] = "/ip4/127.0.0.1/tcp/1"
        running.append(peer)
        ours.append(peer)
    ours[1].start()
    for peer in (ours[0], ours[2]):
        peer.start(ours[1].address)
    for number, peer in enumerate(ours, 1):
        avoids = {"127.0.0.1", *HOSTS.values(), *KUBO_HOSTS.values()} - {HOSTS[number], KUBO_HOSTS[number]}
        node = Kubo(
            folder, f"k{number}", secret, ports.pop(), log_level="error,pubsub=debug", host=f"/ip4/{KUBO_HOSTS[number]}",
            avoids=sorted(avoids))
        running.append(node)
        kubos.append(node)
        assert node.call("connect", peer.address), f"Kubo did not connect to {peer.address}"
    return ours, kubos


def check_line(ours, kubos):
    for node, peer in zip(kubos, ours):
        assert node.call("peers") == [peer.id], f"{node.name} is connected to {node.call('peers')}"
    for one, other in ((ours[0], ours[2]), (ours[2], ours[0])):
        assert f"identified {other.id}" not in one.log(), "the ends of the line are connected"


def run(programs, folder, step, running):
    folder = os.path.join(folder, "mesh")
    os.mkdir(folder)
    step("a line of three of ours, with a Kubo at each")
    ours, kubos = start(programs, folder, running)
    metrics = {node: Ear(node, METRICS) for node in kubos}
    pins = {node: Ear(node, PINS) for node in kubos}

    step("our pings get to every Kubo, and to every one of ours")
    names = {(peer.id, name) for peer in ours for name in ("ping", "freespace")}
    for node in kubos:
        wait(f"{node.name} hears the metrics of all three", lambda: names <= metrics[node].metrics(), 30)
    for peer in ours:
        wait("we show the pings of all three", lambda: {each.id for each in ours} <= shown(peer, "ping").keys(), 30)
    check_line(ours, kubos)

    step("a metric of each Kubo gets to the two others, and to all of ours")
    sent = {}
    for number, node in enumerate(kubos):
        until = time.time_ns() + 600 * 10**9
        metric = {"n": f"from-{node.name}", "p": base58_decode(node.id), "v": str(number), "e": until, "d": True}
        sent[node] = messagepack.encode(metric)
        node.call("publish", METRICS, base64.b64encode(sent[node]).decode())
    for number, node in enumerate(kubos):
        for other in kubos:
            if other is not node:
                wait(f"{other.name} hears {node.name}", lambda: metrics[other].has(node.id, sent[node]))
        for peer in ours:
            wait(f"we show the metric of {node.name}", lambda: shown(peer, f"from-{node.name}") == {node.id: str(number)})

    step("what is no metric, of an end of the line, gets to the other end")
    for noise in (b"\xff", random.randbytes(1000), random.randbytes(900_000)):
        kubos[0].call("publish", METRICS, base64.b64encode(noise).decode())
        for other in kubos[1:]:
            wait(f"{other.name} hears {len(noise)} bytes", lambda: metrics[other].has(kubos[0].id, noise))

    step("the topic of the pins: news of each of ours gets to every Kubo, and noise of a Kubo harms nobody")
    noise = random.randbytes(300)
    kubos[2].call("publish", PINS, base64.b64encode(noise).decode())
    for other in kubos[:2]:
        wait(f"{other.name} hears noise", lambda: pins[other].has(kubos[2].id, noise))
    for peer in ours:
        path = os.path.join(folder, "file-of-" + peer.id)
        with open(path, "wb") as file:
            file.write(random.randbytes(1000))
        cid = peer.ctl("add", "-Q", path).strip()
        for node in kubos:
            wait(f"{node.name} hears news of ours", lambda: any(sender == peer.id for sender, _ in pins[node].hear()))
        for other in ours:
            wait("every one of ours has it", lambda: other.pin_status(cid) == "pinned", 30)

    step("a hundred messages of each Kubo arrive everywhere")
    burst = {node: [b"burst " + random.randbytes(200) for _ in range(100)] for node in kubos}
    for index in range(100):
        for node in kubos:
            node.call("publish", METRICS, base64.b64encode(burst[node][index]).decode())
    for node in kubos:
        for other in kubos:
            if other is not node:
                sent = {(node.id, data) for data in burst[node]}
                wait(f"{other.name} hears all of {node.name}", lambda: sent <= set(metrics[other].hear()), 30)
    check_line(ours, kubos)

    step("the middle goes: the ends hear nothing of each other; it comes back, and they do again")
    middle = ours[1]
    assert middle.stop() == 0, "ipfs-cluster-service did not end with 0 after SIGTERM"
    lost = b"lost " + random.randbytes(100)
    kubos[0].call("publish", METRICS, base64.b64encode(lost).decode())
    time.sleep(3)
    assert not metrics[kubos[2]].has(kubos[0].id, lost), "a message went where no line is"
    middle.start()

    def again():
        data = b"again " + random.randbytes(100)
        kubos[0].call("publish", METRICS, base64.b64encode(data).decode())
        time.sleep(0.5)
        return metrics[kubos[2]].has(kubos[0].id, data)
    wait("the ends hear each other", again, 40)
    for peer in ours:
        assert peer.stop() == 0, "ipfs-cluster-service did not end with 0 after SIGTERM"
