"""Holds a peer of this project against py-libp2p, an implementation that has nothing in common with it, both ways.

    python.py PROGRAMS FOLDER

Without a cluster secret: py-libp2p's private networks are its own, made of Salsa20 with nonces of 8 bytes, where libp2p's are made
of XSalsa20 with nonces of 24 (PNET-04), and reach nobody else.
"""

import contextlib
import os
import sys
import time
import traceback

import messagepack
import multiaddr
import tlsclients
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.identity.identify.identify import parse_identify_response
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.security.tls.transport import PROTOCOL_ID as TLS, TLSTransport
from libp2p.tools.anyio_service import background_trio_service
from libp2p.utils.varint import read_length_prefixed_protobuf

from peer import Peer, free_ports

TOPIC = "monitor.metrics"
PING = TProtocol("/ipfs/ping/1.0.0")
IDENTIFY = TProtocol("/ipfs/id/1.0.0")
RPC = TProtocol("/ipfscluster/1.0/rpc")
MESH = [TProtocol("/meshsub/1.2.0"), TProtocol("/meshsub/1.1.0"), TProtocol("/meshsub/1.0.0")]

began = time.monotonic()


def step(what):
    print(f"[{time.monotonic() - began:5.1f} s] {what}", flush=True)


def check(condition, what):
    if not condition:
        raise AssertionError(what)


async def soon(what, condition, limit=20.0):
    """What `condition` returns once that is not empty or false, while the other tasks go on."""
    with trio.move_on_after(limit):
        while True:
            value = await trio.to_thread.run_sync(condition)
            if value:
                return value
            await trio.sleep(0.1)
    raise AssertionError(f"not within {limit:g} s: {what}")


async def read_exactly(stream, count):
    data = b""
    while len(data) < count:
        more = await stream.read(count - len(data))
        check(more, f"the stream ended after {len(data)} of {count} bytes")
        data += more
    return data


async def talk(host, peer, peer_id):
    """What goes over one connection, whoever dialled."""
    step("identify")
    stream = await host.new_stream(peer_id, [IDENTIFY])
    identity = parse_identify_response(await read_length_prefixed_protobuf(stream, use_varint_format=True))
    for name in ("/ipfs/id/1.0.0", "/ipfs/ping/1.0.0", "/ipfscluster/1.0/rpc", "/meshsub/1.2.0"):
        check(name in identity.protocols, f"{name} is not among {list(identity.protocols)}")
    check(identity.agent_version, "no agent")

    step("ping: 20 in a row")
    stream = await host.new_stream(peer_id, [PING])
    for _ in range(20):
        sent = os.urandom(32)
        await stream.write(sent)
        check(await read_exactly(stream, 32) == sent, "another pong")
    await stream.close()

    step("an RPC: the other side's ID, in many streams at once")

    async def call(answers):
        stream = await host.new_stream(peer_id, [RPC])
        await stream.write(messagepack.encode({"Name": "Cluster", "Method": "ID"}) + b"\xc0")
        data = b""
        while peer.id_bytes not in data:
            more = await stream.read(65536)
            check(more, f"the answer ended: {data!r}")
            data += more
        answers.append(data)
        await stream.reset()

    answers = []
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(call, answers)
    check(len(answers) == 20, f"{len(answers)} answers")

    step("a refusal: a method that is for nobody")
    stream = await host.new_stream(peer_id, [RPC])
    await stream.write(messagepack.encode({"Name": "Cluster", "Method": "Pins"}) + b"\xc0")
    data = b""
    while b"permission" not in data and b"denied" not in data and b"not allowed" not in data:
        more = await stream.read(65536)
        check(more, f"no refusal: {data!r}")
        data += more
    await stream.reset()


async def gossip(host, peer, pubsub, subscription):
    step("pubsub: we are heard, our signatures hold")
    heard = set()
    with trio.move_on_after(20):
        while not {"ping", "freespace"} & heard:
            message = await subscription.get()
            if message.from_id == peer.id_bytes:
                metric = messagepack.decode(message.data)
                check(metric["p"] == peer.id_bytes, f"a metric of somebody else: {metric}")
                heard.add(metric["n"].decode())
    check(heard, "no metric was heard")

    step("pubsub: we hear, and take their signatures for good")
    me = host.get_id()
    metric = {"n": "from-python", "p": me.to_bytes(), "v": "17", "e": time.time_ns() + 600 * 10**9, "d": True}

    def is_shown():
        shown = peer.get("/monitor/metrics/from-python")
        return [each for each in (shown if isinstance(shown, list) else [shown]) if each and each.get("value") == "17"]

    for _ in range(10):
        await pubsub.publish(TOPIC, messagepack.encode(metric))
        await trio.sleep(1)
        if await trio.to_thread.run_sync(is_shown):
            break
    shown = (await soon("the metric is shown", is_shown, 1))[0]
    check(shown["peer"] == str(me), f"the metric of {shown['peer']}")


@contextlib.asynccontextmanager
async def python_host(port, is_tls=False):
    """A host with gossipsub, its address, and what it hears of the topic. Noise is its first choice, unless it has TLS alone."""
    key = create_new_key_pair()
    host = new_host(key_pair=key, sec_opt={TLS: TLSTransport(key)} if is_tls else None)
    router = GossipSub(protocols=MESH, degree=3, degree_low=2, degree_high=4, heartbeat_interval=1, time_to_live=60)
    pubsub = Pubsub(host, router)
    listen = multiaddr.Multiaddr(f"/ip4/127.0.0.1/tcp/{port}")
    async with host.run(listen_addrs=[listen]), background_trio_service(pubsub), background_trio_service(router):
        await pubsub.wait_until_ready()
        subscription = await pubsub.subscribe(TOPIC)
        yield host, f"{listen}/p2p/{host.get_id()}", pubsub, subscription


async def main(programs, folder):
    swarm, api = free_ports(2)
    peer = Peer(programs, os.path.join(folder, "peer"), "", swarm, api, "info,p2p:debug,pubsub:debug")
    peer.id_bytes = info_from_p2p_addr(multiaddr.Multiaddr(peer.address)).peer_id.to_bytes()
    peer_id = info_from_p2p_addr(multiaddr.Multiaddr(peer.address)).peer_id
    try:
        # A host each: one that had met the peer before it went sent nothing on the topic when it came again.
        for is_tls in (False, True):
            name = "TLS alone, the muxer by multistream" if is_tls else "Noise"
            async with python_host(free_ports(1)[0], is_tls) as (host, _, pubsub, subscription):
                step(f"py-libp2p dials: {name}, yamux")
                await trio.to_thread.run_sync(peer.start)
                await host.connect(info_from_p2p_addr(multiaddr.Multiaddr(peer.address)))
                await talk(host, peer, peer_id)
                await gossip(host, peer, pubsub, subscription)
                check(await trio.to_thread.run_sync(peer.stop) == 0, "the peer did not end well")
                await soon("py-libp2p sees us go", lambda: peer_id not in host.get_connected_peers())
            async with python_host(free_ports(1)[0], is_tls) as (host, address, pubsub, subscription):
                step(f"we dial, after a restart: {name}")
                await trio.to_thread.run_sync(peer.start, address)
                await soon("we have dialled", lambda: peer_id in host.get_connected_peers())
                await talk(host, peer, peer_id)
                await gossip(host, peer, pubsub, subscription)
                check(await trio.to_thread.run_sync(peer.stop) == 0, "the peer did not end well")
        await trio.to_thread.run_sync(peer.start)
        await trio.to_thread.run_sync(tlsclients.run, peer, folder, step)
        check(await trio.to_thread.run_sync(peer.stop) == 0, "the peer did not end well")
        step("done")
    except BaseException:
        print("--- the end of our log", peer.log()[-4000:] if os.path.exists(peer.log_path) else "", sep="\n")
        raise
    finally:
        peer.end()


if __name__ == "__main__":
    try:
        trio.run(main, sys.argv[1], sys.argv[2])
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
