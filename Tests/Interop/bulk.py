"""A file of 100 MB both ways: added to our cluster and pinned by Kubo, added to Kubo and pinned by our cluster."""

import os
import random
import time

from kubo import Kubo
from peer import Peer, free_ports, wait

SIZE = 100_000_000
LIMIT = 60  # seconds; with two cores that do nothing else it takes 1 to 4
MEMORY_GROWTH = 160  # MiB


def write(path):
    data = random.randbytes(SIZE)
    with open(path, "wb") as file:
        file.write(data)
    return data


def is_same(path, data):
    with open(path, "rb") as file:
        return file.read() == data


class Stopwatch:
    """Runs what it is given, and says how long it took."""

    def __init__(self, step):
        self.step = step

    def __call__(self, what, body):
        began = time.monotonic()
        value = body()
        took = time.monotonic() - began
        self.step(f"  {what}: {took:.1f} s, {SIZE / took / 1e6:.0f} MB/s")
        return value


def run(programs, folder, step, running):
    secret = "%064x" % random.getrandbits(256)
    folder = os.path.join(folder, "bulk")
    os.mkdir(folder)
    swarm, api, *ports = free_ports(4)
    peer = Peer(programs, os.path.join(folder, "peer"), secret, swarm, api)
    running.append(peer)
    peer.start()
    one, two = (Kubo(folder, name, secret, port) for name, port in zip(("one", "two"), ports))
    running.extend((one, two))
    for node in (one, two):
        if not node.call("connect", peer.address):
            raise AssertionError(f"Kubo did not connect to {peer.address}")
    timed = Stopwatch(step)
    memory = peer.memory()

    step("100 MB from us: Kubo pins what was added to our cluster")
    path = os.path.join(folder, "ours")
    back = path + ".back"
    data = write(path)
    cid = timed("added to our cluster", lambda: peer.ctl("add", "-Q", path, limit=LIMIT).strip())
    assert one.call("add", path, True) == cid, f"Kubo gives the same file another CID than {cid}"
    timed("pinned by Kubo", lambda: one.patiently(peer, "pin", cid))
    assert cid in one.call("pins"), "Kubo lists the pin"
    one.call("download", cid, back)
    assert is_same(back, data), f"Kubo reads {cid} otherwise than it was added"

    step("100 MB to us: our cluster pins what was added to Kubo, and the other Kubo reads it from us")
    data = write(path)
    cid = timed("added to Kubo", lambda: one.call("add", path, limit=LIMIT))
    timed("pinned by our cluster", lambda: peer.ctl("pin", "add", "--wait", "--wait-timeout", f"{LIMIT}s", cid, limit=LIMIT + 5))
    status = peer.pin_status(cid)
    assert status == "pinned", f"our cluster says of it: {status}"
    one.end()
    timed("read from us", lambda: two.patiently(peer, "download", cid, back))
    assert is_same(back, data), f"{cid} went wrong on its way through us"
    grown = peer.memory() - memory
    step(f"  memory of our peer: {memory:.0f} MiB before, {grown:.0f} MiB more after")
    assert grown < MEMORY_GROWTH, f"memory has grown by {grown:.0f} MiB"
    for name in (path, back):
        os.remove(name)
    assert peer.stop() == 0, "ipfs-cluster-service did not end with 0 after SIGTERM"
    two.end()
