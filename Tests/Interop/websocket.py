"""A Kubo and a peer that speak to each other over WebSocket alone: both ways, over a private network, and clients of it by libp2p."""

import os
import random
import re
import socket
import subprocess

from kubo import Kubo
from peer import Peer, free_ports, read_identity, wait

SIZE = 20_000_000


def run(programs, folder, step, running):
    secret = "%064x" % random.getrandbits(256)
    folder = os.path.join(folder, "websocket")
    os.mkdir(folder)
    swarm, api, port, other = free_ports(4)
    peer = Peer(programs, os.path.join(folder, "peer"), secret, swarm, api, "info,p2p:debug", top="/ws")
    running.append(peer)
    step("start two Kubos that speak WebSocket and no plain TCP: we dial one, the other dials us")
    dialled = Kubo(folder, "dialled", secret, port, top="/ws")
    dials = Kubo(folder, "dials", secret, other, top="/ws")
    running.extend((dialled, dials))
    peer.start(dialled.address)
    wait("our peer is connected to Kubo", lambda: peer.id in dialled.call("peers"))
    assert dials.call("connect", peer.address), f"Kubo did not connect to {peer.address}, see {dials.folder}"
    assert peer.id in dials.call("peers"), "Kubo is not connected"
    for node in (dialled, dials):
        wait("we know what Kubo is", lambda: re.search(f"identified {node.id}: .*kubo/0.22.0", peer.log()))
        assert re.search(f"connection to {node.id} at /ip4/127.0.0.1/tcp/[0-9]+/ws secured by ", peer.log()), f"{node.name} came otherwise"
    wait("Kubo knows our address", lambda: f"/ip4/127.0.0.1/tcp/{swarm}/ws" in dialled.call("find", peer.id))

    step(f"{SIZE // 1_000_000} MB from us to each, and from each to us")
    for node in (dialled, dials):
        peer.trade(node, SIZE)

    step("whoever asks that port for a page is told what it is; foreign bytes end their connection")
    for said in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x13/multistream/1.0.0\n"):
        with socket.create_connection(("127.0.0.1", swarm), timeout=10) as stranger:
            stranger.sendall(said)
            answer = b""
            while chunk := stranger.recv(4096):
                answer += chunk
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n"), answer

    step("a client of the REST API over libp2p and WebSocket")
    server(programs, folder, running)

    step("Kubo goes and comes back, and we find it by ourselves")
    peer.finds_again(dialled)

    step("ours ends in order, and Kubo hears it")
    assert peer.stop() == 0, "ipfs-cluster-service did not end with 0 after SIGTERM"
    for node in (dialled, dials):
        wait("Kubo sees us gone", lambda: peer.id not in node.call("peers"))
        node.end()


def server(programs, folder, running):
    swarm, api, http = free_ports(3)
    secret = "%064x" % random.getrandbits(256)
    peer = Peer(programs, os.path.join(folder, "server"), secret, swarm, api)
    host = Peer(programs, os.path.join(folder, "host"), secret, 1, 2)
    running.append(peer)
    identity = read_identity(host.folder)
    peer.environment.update({
        "CLUSTER_RESTAPI_LIBP2PLISTENMULTIADDRESS": f"/ip4/127.0.0.1/tcp/{http}/ws", "CLUSTER_RESTAPI_ID": identity["id"],
        "CLUSTER_RESTAPI_PRIVATEKEY": identity["private_key"],
    })
    peer.start()
    done = subprocess.run(
        [peer.ctl_path, "--host", f"/ip4/127.0.0.1/tcp/{http}/ws/p2p/{identity['id']}", "id"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and peer.id in done.stdout, f"code {done.returncode}: {done.stdout}{done.stderr}"
    assert peer.stop() == 0
