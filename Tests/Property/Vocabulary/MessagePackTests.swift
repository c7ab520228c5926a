// RPC values against what upstream's codec wrote: read, and written again byte for byte.

import Encoding
import Kernel
import Multiformats
import Pinset
import TestSupport
import Testing

@Suite struct MessagePackTests {
    /// Reads and writes a value of upstream's type.
    private static let codecs: [String: @Sendable (Bytes) throws -> Bytes] = [
        "api.Pin": { try Pin(messagePack: $0).messagePack },
        "api.PinPath": { try PinPath(messagePack: $0).messagePack },
        "api.PinInfo": { try PinInfo(messagePack: $0).messagePack },
        "api.PinInfoShort": { try PinInfoShort(messagePack: $0).messagePack },
        "api.GlobalPinInfo": { try GlobalPinInfo(messagePack: $0).messagePack },
        "api.ID": { try PeerInfo(messagePack: $0).messagePack },
        "api.IPFSID": { try IPFSID(messagePack: $0).messagePack },
        "api.Version": { try VersionReply(messagePack: $0).messagePack },
        "api.NodeWithMeta": { try NodeWithMeta(messagePack: $0).messagePack },
        "api.Metric": { try Metric(messagePack: $0).messagePack },
        "api.IPFSRepoStat": { try IPFSRepoStat(messagePack: $0).messagePack },
        "api.RepoGC": { try RepoGC(messagePack: $0).messagePack },
        "api.TrackerStatus": { try TrackerStatus(messagePack: $0).messagePack },
        "api.Cid": { try CID(messagePack: $0).messagePack },
        "api.Multiaddr": { try Multiaddr(messagePack: $0).messagePack },
        "peer.ID": { try PeerID(messagePack: $0).messagePack },
        "[]peer.ID": { try [PeerID](messagePack: $0).messagePack },
        "[]string": { try [String](messagePack: $0).messagePack },
        "[]api.Metric": { try [Metric](messagePack: $0).messagePack },
        "string": { try String(messagePack: $0).messagePack },
        "int64": { try Int64(messagePack: $0).messagePack },
        "time.Time": { bytes in
            var reader = MessagePackReader(bytes)
            var writer = MessagePackWriter()
            writer.time(try reader.time())
            return writer.bytes
        },
    ]

    @Test func valuesOfEveryTypeComeBackByteForByte() throws {
        var checked = 0, refused = 0
        for vector in try Golden.lines("vectors/msgpack.ndjson") {
            let id = vector["id"]?.text ?? "", note = vector["note"]?.text ?? ""
            guard let type = vector["type"]?.text, let codec = Self.codecs[type], let raw = bytes(hex: vector["msgpack"]?.text ?? "") else { continue }
            if note.hasPrefix("decode only") {
                // Nothing, an array, a key in capitals: upstream reads a pin without CID from these, which is of no use.
                if ["mp-208", "mp-210", "mp-214"].contains(id) { #expect(throws: (any Error).self) { try codec(raw) }; continue }
                let isGood = (try? codec(raw)) != nil
                #expect(isGood == (vector["decode_error"] == nil), "\(id) \(type) \(note)")
                continue
            }
            // Zero values hold what no peer may send: an undefined CID, an empty ID, a nil list (MSG-06, TRAP-05).
            if note == "zero value" { continue }
            let again: Bytes
            do { again = try codec(raw) } catch is TypeError {
                // A value without its peer or CID says nothing of anyone: refused, where upstream takes it.
                refused += 1
                continue
            } catch { Issue.record("\(id) \(type) \(note): \(error)"); continue }
            // MSG-05: readers treat absent, nil and empty alike, and so does what is kept here.
            if type == "api.GlobalPinInfo" || type == "api.RepoGC" { #expect(try codec(again) == again, "\(id)"); continue }
            if vector["map_order"] == nil { #expect(hex(again) == hex(raw), "\(id) \(type) \(note)") }
            checked += 1
        }
        #expect(checked > 50 && refused < 8, "\(checked) checked, \(refused) refused")
    }

    /// MP-03, MP-04, MP-08: the examples of the sheet.
    @Test func numbersAndTimesHaveGosForms() {
        let ints: [(Int64, String)] = [
            (128, "d10080"), (32768, "d200008000"), (2_147_483_648, "d30000000080000000"), (-33, "d0df"), (127, "7f"), (-32, "e0"),
        ]
        for (value, text) in ints { #expect(hex(value.messagePack) == text) }
        var writer = MessagePackWriter()
        writer.uint(128)
        writer.uint(10_000_000_000)
        #expect(hex(writer.bytes) == "cc80cf00000002540be400")
        let times: [(WallTime, String)] = [
            (WallTime(seconds: 1_700_000_000), "a46553f100"), (WallTime(seconds: 1_700_000_000, nanoseconds: 123_456_789), "a81d6f34546553f100"),
            (.epoch, "a400000000"), (WallTime(seconds: -1), "ac00000000ffffffffffffffff"), (.unset, "c0"),
        ]
        for (time, text) in times {
            var writer = MessagePackWriter()
            writer.time(time)
            #expect(hex(writer.bytes) == text)
        }
    }

    @Test func durationsAndTimesReadAndPrintAsGos() throws {
        for (text, span) in [("1h0m0s", Span.hours(1)), ("200ms", .milliseconds(200)), ("15s", .seconds(15)), ("2m0s", .minutes(2)), ("0s", .zero), ("1.5s", .milliseconds(1500))] {
            #expect(span.goText == text)
            #expect(try Span(goText: text) == span)
        }
        #expect(try Span(goText: "2h45m") == .minutes(165))
        #expect(throws: DurationError.self) { try Span(goText: "5") }
        let time = try #require(WallTime(rfc3339: "2026-01-02T03:04:05.123+01:00"))
        #expect(time.rfc3339 == "2026-01-02T02:04:05.123Z")
        #expect(WallTime.unset.rfc3339 == "0001-01-01T00:00:00Z")
        #expect(WallTime(rfc3339: "2026-02-30T00:00:00Z") == nil)
    }

    /// Stored pins and RPC carry any 64 bits; they are printed whatever they are.
    @Test func theFirstAndTheLastSecondArePrinted() {
        #expect(WallTime(seconds: .max).rfc3339 == "292277026596-12-04T15:30:07Z")
        #expect(WallTime(seconds: .min).rfc3339.hasSuffix("-01-27T08:29:52Z"))
        let quotients: [(Int64, Int64)] = [(.min, -106_751_991_167_301), (.min + 1, -106_751_991_167_301), (-86_400, -1), (-86_401, -2), (-1, -1), (0, 0)]
        for (a, quotient) in quotients {
            #expect(floorDivide(a, 86_400) == quotient, "\(a)")
        }
    }

    /// Cut anywhere, a time is too short and nothing worse.
    @Test func aTimeThatIsCutOffIsRefused() throws {
        for whole: Bytes in [[0xd6, 0xff, 0, 0, 0, 9], [0xd7, 0xff, 0, 0, 0, 0, 0, 0, 0, 9], [0xc7, 12, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9]] {
            var reader = MessagePackReader(whole)
            let seconds = try reader.time().seconds
            #expect(seconds == 9)
            for count in 0..<whole.count {
                var reader = MessagePackReader(Bytes(whole[..<count]))
                #expect(throws: MessagePackError.truncated, "\(hex(whole[..<count]))") { try reader.time() }
            }
        }
    }

    @Test(arguments: 0..<20) func theOrderedMapIsAMap(_ seed: Int) {
        var choices = Choices(seed: UInt64(seed))
        var map = SortedMap<Int, Int>()
        var model: [Int: Int] = [:]
        for _ in 0..<3000 {
            let key = choices.below(900)
            if choices.chance(1, in: 3) {
                #expect(map.remove(key) == model.removeValue(forKey: key))
            } else {
                map[key] = key * 2
                model[key] = key * 2
            }
        }
        #expect(map.count == model.count && map.keys == model.keys.sorted())
        for probe in 0..<900 { #expect(map.first(after: probe)?.key == model.keys.filter { $0 > probe }.min()) }
    }
}
