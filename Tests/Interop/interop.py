"""Holds a peer of this project against the libp2p of Kubo, both ways, over a private network.

    interop.py PROGRAMS FOLDER [PART...]

PROGRAMS has ipfs-cluster-service and ipfs-cluster-ctl; everything that is made goes into FOLDER. Without a PART all of them run;
each has nodes of its own.

The part `talk` is here. Three Kubo nodes: `rsa` is dialled by our peer, `ed25519` dials it, and `stranger` has another secret. The
first two avoid each other, so that whatever one has of the other came through our peer.
"""

import base64
import os
import random
import re
import signal
import socket
import sys
import threading
import time
import traceback

import bulk
import churn
import finding
import hostile
import mesh
import messagepack
import secured
import websocket
from ids import base58_decode, base58_encode
from kubo import Kubo
from peer import Peer, free_ports, read_file, read_identity, wait, write_file

TOPIC = "monitor.metrics"
SECRET = "%064x" % random.getrandbits(256)
OTHER_SECRET = "%064x" % random.getrandbits(256)
LOG_LEVELS = "info,p2p:debug,pubsub:debug,bitswap:debug"

began = time.monotonic()
running = []


def step(what):
    print(f"[{time.monotonic() - began:5.1f} s] {what}", flush=True)


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def kubo(folder, name, secret, port, host, avoids, identity=None):
    levels = "error,net/identify=debug,ping=debug,pubsub=debug"
    node = Kubo(folder, name, secret, port, identity, levels, f"/ip4/{host}", avoids)
    running.append(node)
    return node


def main(programs, folder, *parts):
    for part in parts or PARTS:
        PARTS[part](programs, folder, step, running)
        for each in running:
            each.end()
        running.clear()


def talk(programs, folder, *_):
    swarm, api, *ports = free_ports(5)
    peer = Peer(programs, os.path.join(folder, "peer"), SECRET, swarm, api, LOG_LEVELS)
    running.append(peer)
    other = Peer(programs, os.path.join(folder, "identity"), SECRET, 1, 2)
    # The same form of identity as ours: type and key in a protobuf, in base64 (KEY-08).
    ours = read_identity(other.folder)
    ed25519 = {"PeerID": ours["id"], "PrivKey": ours["private_key"]}

    step("start three Kubo nodes: one with an RSA key, one with an Ed25519 key, one with another secret")
    one, two, three = "127.0.0.2", "127.0.0.3", "127.0.0.4"
    rsa = kubo(folder, "rsa", SECRET, ports[0], one, [two])
    ed = kubo(folder, "ed25519", SECRET, ports[1], two, [one], ed25519)
    stranger = kubo(folder, "stranger", OTHER_SECRET, ports[2], three, [])
    check(rsa.id.startswith("Qm"), f"Kubo's own key is RSA, its ID is {rsa.id}")
    check(ed.id == ours["id"], f"Kubo takes the identity that our init makes: {ours['id']}, and says {ed.id}")

    step("start our peer, with the addresses of the first and of the stranger in its peerstore")
    peer.start(rsa.address, stranger.address)
    connections(peer, rsa, ed)
    secrets(peer, stranger)
    pubsub(peer, rsa, ed)
    blocks_from_us(peer, rsa, ed, folder)
    blocks_to_us(peer, rsa, ed, folder)
    restarts(peer, rsa, ed, folder)
    hostile.run(peer, ed, step)

    step("ours ends in order")
    check(peer.stop() == 0, "ipfs-cluster-service did not end with 0 after SIGTERM")
    wait("Kubo sees us gone", lambda: ed.call("peers") == [])
    log = peer.log()
    for bad in ("Fatal error", "malformed"):
        check(bad not in log, f"the peer's log has {bad!r}")


def connections(peer, rsa, ed):
    step("we dial Kubo: private network, Noise, yamux; its key is RSA")
    wait("our peer is connected to Kubo", lambda: peer.id in rsa.call("peers"))
    step("Kubo dials us")
    check(ed.call("connect", peer.address), f"Kubo did not connect to {peer.address}, see {ed.folder}/kubo.log")
    check(ed.call("peers") == [peer.id], "Kubo is connected to our peer alone")
    step("identify, Kubo's side: our addresses and our protocols")
    # It was dialled, so that it can have our listening port from identify alone.
    wait("Kubo knows our address", lambda: f"/ip4/127.0.0.1/tcp/{peer.port}" in rsa.call("find", peer.id))
    step("identify, our side: Kubo's agent and protocols")
    for node in (rsa, ed):
        line = wait("we log what Kubo is", lambda: re.search(f"identified {node.id}: (.*)", peer.log())).group(1)
        for part in ("kubo/0.22.0", "/ipfs/bitswap/1.2.0", "/meshsub/1.1.0", "/ipfs/ping/1.0.0"):
            check(part in line, f"{part} is missing in what we heard of Kubo: {line}")
    step("a protocol that we do not speak is refused")
    port, = free_ports(1)
    rsa.call("forward", "/x/unspoken", peer.id, port)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as tunnel:
        check(tunnel.recv(1) == b"", "Kubo has a stream for a protocol that we do not speak")


def secrets(peer, stranger):
    step("two secrets: neither side gets through, and our log says why")
    hint = "do both peers have the same cluster secret"

    def is_told():
        # Now and then it hangs up before it has said anything: then there is nothing to tell it by.
        check(not stranger.call("connect", peer.address), "a Kubo with another secret has connected")
        return re.search(f"INFO.*inbound connection .*{hint}", peer.log())
    wait("we log why a stranger cannot dial us", is_told)
    check(stranger.call("peers") == [], "a Kubo with another secret is connected")
    wait("we log why we cannot dial a stranger", lambda: re.search(f"WARN.*{stranger.id}.*{hint}", peer.log()))
    check(peer.is_healthy(), "our peer is well")


def pubsub(peer, rsa, ed):
    step("pubsub: Kubo hears our metrics")
    ears = {node: node.call("subscribe", TOPIC) for node in (rsa, ed)}
    for node in (rsa, ed):
        wait("Kubo knows that we listen to the topic", lambda: node.call("topic peers", TOPIC) == [peer.id])
        heard = set()

        def hear():
            message = node.call("next", ears[node])
            if message and message["from"] == peer.id:
                metric = messagepack.decode(base64.b64decode(message["data"]))
                check(base58_encode(metric["p"]) == peer.id, f"a metric of somebody else: {metric}")
                check(metric["d"] and metric["e"] > time.time_ns(), f"a metric that is not valid: {metric}")
                heard.add(metric["n"])
            return {b"ping", b"freespace"} <= heard
        wait("Kubo hears our ping and our free space", hear)
    step("pubsub: we hear Kubo, whose key is RSA, and pass its message on to the other Kubo")
    for noise in (b"", b"\xff" * 10, random.randbytes(900_000)):
        rsa.call("publish", TOPIC, base64.b64encode(noise).decode())
    for node, other in ((rsa, ed), (ed, rsa)):
        metric = {"n": f"from-{node.name}", "p": base58_decode(node.id), "v": "17", "e": time.time_ns() + 600 * 10**9, "d": True}
        data = base64.b64encode(messagepack.encode(metric)).decode()
        node.call("publish", TOPIC, data)
        shown = wait("we show the metric of Kubo", lambda: peer.get(f"/monitor/metrics/from-{node.name}"))[0]
        check(shown["peer"] == node.id and shown["value"] == "17" and shown["valid"], f"not what Kubo published: {shown}")

        def hears():
            message = other.call("next", ears[other])
            return message and message["from"] == node.id and message["data"] == data
        wait("the other Kubo hears it through us", hears)


def blocks_from_us(peer, rsa, ed, folder):
    step("blocks: files that were added to our cluster are pinned and read by Kubo")
    for options in ([], ["--cid-version", "1"], ["--layout", "trickle"]):
        path = os.path.join(folder, "ours")
        data = write_file(path, 5_000_000)
        cid = peer.ctl("add", "-Q", *options, path).strip()
        if not options:
            check(rsa.call("add", path, True) == cid, f"Kubo gives the same file another CID than {cid}")
        for node in (rsa, ed):
            node.patiently(peer, "pin", cid)
            check(cid in node.call("pins"), "Kubo lists the pin")
            node.patiently(peer, "download", cid, path + ".back")
            check(read_file(path + ".back") == data, f"Kubo reads {cid} otherwise than it was added")
            os.remove(path + ".back")
    step("blocks: a folder of many files")
    path = os.path.join(folder, "many")
    os.mkdir(path)
    for number in range(1500):
        write_file(os.path.join(path, f"file-{number}"), number)
    cid = peer.ctl("add", "-Q", "-r", path).strip()
    ed.patiently(peer, "pin", cid)
    ed.patiently(peer, "download", cid, path + ".back")
    for name in os.listdir(path):
        check(read_file(os.path.join(path, name)) == read_file(os.path.join(path + ".back", name)), f"{name} is another file")
    step("blocks: Kubo wants one that we only get later")
    path = os.path.join(folder, "late")
    write_file(path, 300_000)
    cid = ed.call("add", path, True)
    pinning = threading.Thread(target=lambda: ed.call("pin", cid))
    pinning.start()
    time.sleep(2)
    check(pinning.is_alive(), "Kubo has what nobody has")
    peer.ctl("add", path)
    pinning.join(timeout=20)
    check(not pinning.is_alive(), "Kubo did not get a block that came later")


def blocks_to_us(peer, rsa, ed, folder):
    step("blocks: a file that was added to Kubo is pinned by our cluster, and read through us by the other Kubo")
    path = os.path.join(folder, "theirs")
    data = write_file(path, 6_000_000)
    cid = rsa.call("add", path)
    peer.ctl("pin", "add", "--wait", "--wait-timeout", "30s", cid, limit=40)
    status = peer.pin_status(cid)
    check(status == "pinned", f"our cluster says of it: {status}")
    ed.patiently(peer, "download", cid, path + ".back")
    check(read_file(path + ".back") == data, f"{cid} went wrong on its way through us")
    many = os.path.join(folder, "many-of-theirs")
    os.mkdir(many)
    for number in range(300):  # Kubo syncs each of them
        write_file(os.path.join(many, f"file-{number}"), number)
    cid = rsa.call("add", many)
    peer.ctl("pin", "add", "--wait", "--wait-timeout", "30s", cid, limit=40)
    step("blocks: we want one that Kubo only gets later")
    path = os.path.join(folder, "later")
    write_file(path, 300_000)
    cid = ed.call("add", path, True)
    peer.ctl("pin", "add", cid)
    time.sleep(2)
    ed.call("add", path)
    wait("our cluster has it", lambda: peer.pin_status(cid) == "pinned", 20)


def restarts(peer, rsa, ed, folder):
    step("restart: Kubo goes and comes back, and we find it by ourselves")
    rsa.call("stop")
    wait("we see Kubo gone", lambda: re.search(f"connection to {rsa.id} .*ended", peer.log()))
    rsa.call("run")
    wait("we are connected again", lambda: peer.id in rsa.call("peers"), 20)
    step("restart: our peer is killed and comes back, with everything that it had")
    pins = {pin["cid"] for pin in peer.get("/allocations")}
    peer.process.send_signal(signal.SIGKILL)
    peer.process.wait()
    wait("Kubo sees us gone", lambda: ed.call("peers") == [])
    peer.start(rsa.address, ed.address)
    check({pin["cid"] for pin in peer.get("/allocations")} == pins, "pins were lost")
    for node in (rsa, ed):
        wait("Kubo is connected to us again", lambda: node.call("peers") == [peer.id])
        wait("Kubo knows that we listen to the topic", lambda: node.call("topic peers", TOPIC) == [peer.id])
    path = os.path.join(folder, "again")
    data = write_file(path, 1_000_000)
    cid = rsa.call("add", path)
    peer.ctl("pin", "add", "--wait", "--wait-timeout", "30s", cid, limit=40)
    ed.patiently(peer, "download", cid, path + ".back")
    check(read_file(path + ".back") == data, f"{cid} went wrong on its way through us")


PARTS = {"talk": talk, "finding": finding.run, "bulk": bulk.run, "tls": secured.run, "websocket": websocket.run, "mesh": mesh.run, "churn": churn.run}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("out of time"))
    try:
        main(*sys.argv[1:])
        step("all well")
    except Exception as failure:
        print(f"[{time.monotonic() - began:5.1f} s] FAILED: {failure}", flush=True)
        if not isinstance(failure, AssertionError):
            traceback.print_exc(file=sys.stdout)
        for each in running:
            print(f"--- the last lines of {each.log_path}:\n{each.log()[-4000:]}", flush=True)
        sys.exit(1)
    finally:
        for each in running:
            each.end()
