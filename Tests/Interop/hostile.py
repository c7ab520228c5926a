"""Strangers at the swarm port: bytes that no peer sends, connections that say nothing, and many of them."""

import random
import socket
import time

from peer import wait

TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + random.randbytes(32) + b"\x00" * 160
MEMORY_GROWTH = 64  # MiB

SPEECHES = {
    "nothing": b"",
    "a byte": b"\x00",
    "a nonce cut short": random.randbytes(23),
    "a nonce and no more": random.randbytes(24),
    "HTTP": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "TLS": TLS_HELLO,
    "multistream without a private network": b"\x13/multistream/1.0.0\n\x07/noise\n",
    "random bytes": random.randbytes(1000),
    "a megabyte of random bytes": random.randbytes(1 << 20),
}


def dial(port):
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def speak(port, speech, hears_end):
    """Says its piece. If `hears_end`, the peer must hang up by itself."""
    with dial(port) as connection:
        try:
            connection.sendall(speech)
            if hears_end:
                while connection.recv(65536):
                    pass
        except ConnectionError:
            pass  # Cut off in the middle: as good an end.


def run(peer, friend, step):
    """`friend` is a Kubo that must be able to connect whatever strangers do."""
    memory, files = peer.memory(), peer.open_files()
    step(f"strangers: {', '.join(SPEECHES)} (before: {memory:.0f} MiB, {files} files)")
    for name, speech in SPEECHES.items():
        for _ in range(20):
            # With less than a nonce there is nothing to judge yet: that ends with the time for a handshake.
            speak(peer.port, speech, hears_end=len(speech) > 24)
    assert peer.is_healthy(), "the peer is well after foreign bytes"

    step("strangers: a thousand slow ones, that stay and say a byte now and then, while a friend connects")
    slow = []
    for _ in range(1000):
        try:
            slow.append(dial(peer.port))
        except OSError:
            break
    for connection in slow[::3]:
        try:
            connection.send(b"\x01")
        except OSError:
            pass
    assert peer.is_healthy(), "the peer is well with slow strangers"
    friend.call("stop")
    friend.call("run")
    assert friend.call("connect", peer.address), "a friend cannot connect while strangers occupy the port"
    for connection in slow:
        connection.close()

    step("strangers: three thousand connections, one after another")
    for number in range(3000):
        speak(peer.port, random.randbytes(number % 100), hears_end=False)
    wait("the peer is well", peer.is_healthy)
    wait("it has closed what strangers opened", lambda: peer.open_files() <= files + 8, 30)
    grown = peer.memory() - memory
    assert grown < MEMORY_GROWTH, f"memory has grown by {grown:.0f} MiB"
    # At the level that is shown without being asked for.
    lines = [line for line in peer.log().splitlines() if "inbound connection" in line and "DEBUG" not in line]
    assert 1 <= len(lines) < 20, f"{len(lines)} lines of log about strangers: {lines[:3]}"
    assert peer.id in friend.call("peers"), "a friend has been cut off"
