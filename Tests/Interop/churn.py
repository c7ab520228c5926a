"""A minute in which Kubos connect, end in order, are killed, and come back, while two peers of ours go on pinning."""

import base64
import os
import random
import threading
import time
import traceback

from kubo import Kubo
from peer import Peer, free_ports, wait

SECONDS = 60
MEMORY_GROWTH = 48  # MiB
TOPIC = "monitor.metrics"


class Rover(threading.Thread):
    """A Kubo that comes and goes, and asks for blocks in between. It is ours again after `join`."""

    def __init__(self, node, peers, until):
        super().__init__(daemon=True)  # a failure elsewhere ends the run
        self.node, self.peers, self.until = node, peers, until
        self.visits = self.pins = self.kills = 0
        self.failure = None
        self.wanted = []  # appended to by the main thread

    def run(self):
        try:
            while time.monotonic() < self.until:
                self.visit()
                self.leave()
        except Exception:  # Told at the end.
            self.failure = traceback.format_exc()

    def visit(self):
        for peer in random.sample(self.peers, random.randint(1, len(self.peers))):
            # It may be the moment in which the other side dials: what counts is that we get through in the end.
            self.visits += self.node.call("connect", peer.address)
        self.node.call("publish", TOPIC, base64.b64encode(random.randbytes(100)).decode())
        if self.wanted and self.node.call("peers"):
            self.node.patiently(self.peers[0], "pin", self.wanted[-1])
            self.pins += 1
        time.sleep(random.random())

    def leave(self):
        if random.random() < 0.5:
            self.node.kill()
            self.kills += 1
            self.node.restart()
        else:
            self.node.call("stop")
            self.node.call("run")


def start(programs, folder, running):
    secret = "%064x" % random.getrandbits(256)
    ports = free_ports(7)
    kubos = [Kubo(folder, name, secret, ports.pop()) for name in ("one", "two", "three")]
    running.extend(kubos)
    ours = []
    for name in ("left", "right"):
        peer = Peer(programs, os.path.join(folder, name), secret, ports.pop(), ports.pop())
        peer.environment.update(CLUSTER_MDNSINTERVAL="0s", CLUSTER_PEERNAME=name)
        running.append(peer)
        # It dials, too: the first of them whenever it is gone.
        peer.start(kubos[0].address, *(each.address for each in ours))
        ours.append(peer)
    return ours, kubos


def add(peer, path):
    with open(path, "wb") as file:
        file.write(random.randbytes(random.randrange(600_000)))
    return peer.ctl("add", "-Q", path).strip()


def run(programs, folder, step, running):
    folder = os.path.join(folder, "churn")
    os.mkdir(folder)
    ours, kubos = start(programs, folder, running)
    for node in kubos:
        for peer in ours:
            wait("Kubo connects", lambda: node.call("connect", peer.address))
    before = [(peer.memory(), peer.open_files()) for peer in ours]
    told = ", ".join(f"{memory:.0f} MiB and {files} files" for memory, files in before)
    step(f"{SECONDS} s in which three Kubos come and go, while two of ours pin (before: {told})")
    rovers = [Rover(node, ours, time.monotonic() + SECONDS) for node in kubos]
    for rover in rovers:
        rover.start()
    cids = []
    while any(rover.is_alive() for rover in rovers):
        peer = random.choice(ours)
        cids.append(add(peer, os.path.join(folder, "file")))
        for other in ours:
            wait("every one of ours has it", lambda: other.pin_status(cids[-1]) == "pinned", 30)
        for rover in rovers:
            rover.wanted.append(cids[-1])
        time.sleep(0.3)
    for rover in rovers:
        rover.join()
        assert rover.failure is None, f"{rover.node.name}: {rover.failure}"
        step(f"  {rover.node.name}: {rover.visits} connections, {rover.pins} pins, {rover.kills} times killed")
        assert rover.visits > 5, "it has hardly been there"

    step("afterwards everybody is reachable: connections, pings, and blocks both ways")
    for node in kubos:
        for peer in ours:
            wait("Kubo connects", lambda: node.call("connect", peer.address))
        ear, heard = node.call("subscribe", TOPIC), set()

        def hear():
            while message := node.call("next", ear):
                heard.add(message["from"])
            return {peer.id for peer in ours} <= heard
        wait(f"{node.name} hears both of ours", hear, 30)
        node.patiently(ours[0], "pin", cids[0])
        path = os.path.join(folder, node.name + "-file")
        with open(path, "wb") as file:
            file.write(random.randbytes(500_000))
        cid = node.call("add", path)
        ours[0].ctl("pin", "add", "--wait", "--wait-timeout", "30s", cid, limit=40)
        wait("both of ours have it", lambda: all(peer.pin_status(cid) == "pinned" for peer in ours), 30)
    for cid in cids:
        for peer in ours:
            assert peer.pin_status(cid) == "pinned", f"{cid} is {peer.pin_status(cid)}"

    for peer, (memory, files) in zip(ours, before):
        # Connections may be doubled when both sides dial at once.
        wait("connections are closed", lambda: peer.open_files() <= files + len(kubos), 30)
        grown = peer.memory() - memory
        step(f"  {len(cids)} pins: {grown:.0f} MiB more, {peer.open_files()} files")
        assert grown < MEMORY_GROWTH, f"memory has grown by {grown:.0f} MiB"
    for node in kubos:
        node.end()
    for peer, (_, files) in zip(ours, before):
        # One file came: the log of what the DHT keeps for others.
        wait("connections to who is gone are closed", lambda: peer.open_files() <= files - len(kubos) + 1, 30)
    for peer in ours:
        assert peer.stop() == 0, "ipfs-cluster-service did not end with 0 after SIGTERM"
        for bad in ("Fatal error", "malformed"):
            assert bad not in peer.log(), f"the peer's log has {bad!r}"
