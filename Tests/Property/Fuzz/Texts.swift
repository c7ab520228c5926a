// Text that users and configuration files write: times, numbers, URLs, queries, paths, documents.

import API
import Configuration
import Encoding
import Kernel
import Multiformats
import Pinset
import UnixFS

extension Target {
    static let texts: [Target] = [
        Target("time", upTo: 128, seeds: {
            ["2026-11-26T20:00:00Z", "0001-01-01T00:00:00Z", "2026-02-29T23:59:60.123456789+05:30", "9999-12-31T23:59:59.5-12:00"].map { Bytes($0.utf8) }
        }) { bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            let plain = bytes.withUnsafeBytes { PlainTime.read($0) }
            _ = RFC3339Fault.describe(text)
            guard let time = WallTime(rfc3339: text) else { return require(plain == nil, "\(text) is a time in one way only") }
            require(plain == nil || WallTime(seconds: plain ?? 0) == time, "\(text) is two times")
            guard time.rfc3339.utf8.count(where: { $0 == UInt8(ascii: "-") }) == 2, time < WallTime(seconds: 253_402_300_800) else { return }  // the year 0 to 9999
            require(WallTime(rfc3339: time.rfc3339) == time, "\(text) does not come back from \(time.rfc3339)")
        },
        Target("duration", upTo: 128, seeds: { ["1h2m3.5s", "-1.5us", "0", "292y", "1ns", "9223372036854775807ns", ".5h"].map { Bytes($0.utf8) } }) { bytes in
            guard let span = try? Span(goText: String(decoding: bytes, as: UTF8.self)) else { return }
            require((try? Span(goText: span.goText)) == span, "\(span) does not come back from \(span.goText)")
        },
        Target("number", upTo: 128, seeds: { ["0x1f", "-12", "1_000", "true", "0b11", "1e300", "10GB", "5 MiB", "sha2-256"].map { Bytes($0.utf8) } }) { bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            _ = (boolean(goText: text), byteCount(text), TrackerStatus(text: text), PinType(text: text), PinMode(text: text))
            _ = (IPFSPinStatus(text: text), commaSeparated(text), HashCode.named(text), quoted(text), try? decodeClusterSecret(text))
            if let value = try? float(goText: text) { require(goText(value).isEmpty == false, "no text of \(value)") }
        },
        Target("url", upTo: 1024, seeds: { Seeds.requests().map { Bytes($0.target.utf8) } }) { bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            for isQuery in [false, true] { _ = URLText.unescaped(bytes, isQuery: isQuery) }
            require(URLText.unescaped(URLText.queryEscaped(text).utf8, isQuery: true) == text, "\(text) does not come back")
            for isConnect in [false, true] {
                guard let target = RequestTarget(text, isConnect: isConnect) else { continue }
                let cleaned = target.cleaned
                require(cleaned.path.utf8.first == UInt8(ascii: "/"), "\(target) has no path")
                require(cleaned.cleaned == cleaned && !cleaned.location.hasPrefix("//"), "\(text) cleaned is \(cleaned)")
                for item in URLQuery(target.query).items { _ = (item.name, item.value) }
            }
        },
        Target("query", upTo: 1280, seeds: {
            Seeds.texts("pins.ndjson", "query") + Seeds.requests().compactMap { request in
                request.target.split(separator: "?", maxSplits: 1).dropFirst().first.map { Bytes($0.utf8) }
            }
        }) { bytes in
            let query = URLQuery(String(decoding: bytes, as: UTF8.self))
            let now = WallTime(seconds: 1_700_000_000)
            if let options = try? PinOptions(query: query, now: now) { _ = options.json.encoded() }
            guard let parameters = try? AddParameters(query: query, now: now) else { return }
            _ = try? ContentImporter(parameters)
            _ = try? ChunkerSpec(parameters.chunker)
        },
        Target("path", upTo: 512, seeds: { ["/ipfs/\(Here.cid)/a/b/", "\(Here.cid)", "/ipns/example.org/x", "/ipld/\(Here.cid)/../y"].map { Bytes($0.utf8) } }) { bytes in
            let cleaned = [EntryName](path: EntryName(bytes)).joined
            require([EntryName](path: cleaned).joined == cleaned, "\(cleaned) is not clean")
            let text = String(decoding: bytes, as: UTF8.self)
            guard let path = try? ContentPath(text) else { return }
            _ = path.description
        },
        Target("configuration", upTo: 8192, seeds: {
            ["crdt", "raft", "crdt-badger", "crdt-leveldb"].map { Seeds.file("config/\($0)/service.json") }
        }) { bytes in
            guard let read = try? ServiceConfiguration(document: bytes, hostName: "host", fetch: { _ in nil }) else { return }
            let written = read.encoded()
            guard let again = try? ServiceConfiguration(document: Bytes(written.utf8), hostName: "host", fetch: { _ in nil }) else {
                return require(false, "a configuration was written that cannot be read")
            }
            require(again.encoded() == written, "a configuration does not come back")
            _ = (read.encodedForDisplay(), read.secret, read.settingsWithoutEffect)
            _ = try? peerSettings(from: read, identity: Identity(key: Here.key(1)))
        },
        Target("identity", upTo: 2048, seeds: { Seeds.texts("identity/keys.ndjson", "identity_json") }) { bytes in
            guard let identity = try? Identity(document: bytes) else { return }
            require((try? Identity(document: Bytes(identity.encoded().utf8)))?.id == identity.id, "an identity does not come back")
        },
        Target("peerstore", upTo: 1024, seeds: {
            [Bytes("# peers\n/ip4/1.2.3.4/tcp/9096/p2p/\(Here.peer(1))\n/dns4/a.example/tcp/1/p2p/\(Here.peer(2))\n\n".utf8)]
        }) { bytes in
            let read = Peerstore(text: String(decoding: bytes, as: UTF8.self))
            let again = Peerstore(text: read.encoded())
            require(again.problems.isEmpty && again.peers.map(\.id) == read.peers.filter { !$0.addresses.isEmpty }.map(\.id), "\(read) and \(again)")
        },
    ]
}
