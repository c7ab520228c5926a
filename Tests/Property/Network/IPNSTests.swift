// What the DHT keeps by value: public keys and IPNS records. DHT-10.

import DHT
import Encoding
import Kernel
import Multiformats
import Seams
import TestSupport
import Testing

/// A record of both versions, signed.
struct NameRecord {
    var sequence: UInt64 = 1
    var ends = WallTime(seconds: 2_000_000_000)
    var value = "/ipfs/bafkqaaa"
    var bothVersions = true

    static func key(_ number: UInt8) -> IdentityKey {
        do { return try IdentityKey(seed: Bytes(repeating: number, count: 32)) } catch { unreachable("\(error)") }
    }
    static func name(_ number: UInt8) -> Bytes { Bytes("/ipns/".utf8) + key(number).peerID.bytes }

    func signed(by number: UInt8) -> Bytes {
        let key = NameRecord.key(number)
        func text(_ major: UInt8, _ text: String) -> Bytes { [major << 5 | 24, UInt8(text.utf8.count)] + Bytes(text.utf8) }
        func integer(_ value: UInt64) -> Bytes { [0x1b] + (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * $0)) } }
        let data = [0xa5] + text(3, "TTL") + integer(7) + text(3, "Value") + text(2, value) + text(3, "Sequence") + integer(sequence)
            + text(3, "Validity") + text(2, ends.rfc3339) + text(3, "ValidityType") + integer(0)
        var writer = ProtobufWriter()
        if bothVersions {
            writer.string(1, value)
            writer.bytes(2, key.sign(Bytes((value + ends.rfc3339 + "0").utf8)))
            writer.explicit(3, varint: 0)
            writer.string(4, ends.rfc3339)
            writer.uint64(5, sequence)
            writer.uint64(6, 7)
        }
        writer.bytes(8, key.sign(Bytes("ipns-signature:".utf8) + data))
        writer.bytes(9, data)
        return writer.bytes
    }
    func put(by number: UInt8) -> DHTMessage {
        var message = DHTMessage(.putValue, key: NameRecord.name(number))
        message.record = DHTMessage.Record(key: message.key, value: signed(by: number))
        return message
    }
}

@Suite struct IPNSTests {
    private static let now = Now(monotonic: .origin, wall: WallTime(seconds: 1_795_000_000))
    /// Read by upstream, and refused here: an hour of one digit, and CBOR without a length.
    private static let stricter: Set = ["ipns-098", "ipns-133"]

    @Test func recordsAreJudgedAsUpstreamDoes() throws {
        var (accepted, refused) = (0, 0)
        for vector in try Golden.lines("vectors/ipns.ndjson") {
            let note = "\(vector["id"]?.text ?? "") \(vector["note"]?.text ?? "")"
            guard let name = vector["key"]?.text.flatMap({ bytes(hex: $0) }), let id = vector["id"]?.text else { Issue.record("\(note)"); continue }
            if let verdict = vector["accepted"]?.flag, let value = vector["value"]?.text.flatMap({ bytes(hex: $0) }) {
                let server = DHTServer()
                server.now = IPNSTests.now
                var message = DHTMessage(.putValue, key: name)
                message.record = DHTMessage.Record(key: name, value: value)
                #expect(server.ask(1, message).isEmpty == (!verdict || IPNSTests.stricter.contains(id)), "\(note)")
                #expect(server.machine.recordCount == (verdict && !IPNSTests.stricter.contains(id) ? 1 : 0), "\(note)")
                accepted += verdict ? 1 : 0
                refused += verdict ? 0 : 1
            } else if let verdict = vector["replaces"]?.flag {
                let (new, old) = (bytes(hex: vector["new"]?.text ?? "") ?? [], bytes(hex: vector["old"]?.text ?? "") ?? [])
                if name.starts(with: Bytes("/ipns/".utf8)) { #expect(IPNSRecord.replaces(new, old) == verdict, "\(note)") }
            }
        }
        #expect(accepted == 55 && refused == 82)
    }

    @Test func theRecordsOfTheseTestsAreSound() throws {
        for bothVersions in [true, false] {
            let record = try IPNSRecord(NameRecord(bothVersions: bothVersions).signed(by: 3))
            try record.check(name: NameRecord.key(3).peerID, now: WallTime(seconds: 2_000_000_000))
            #expect(throws: DHTFault.self) { try record.check(name: NameRecord.key(4).peerID, now: WallTime(seconds: 1)) }
            #expect(throws: DHTFault.self) { try record.check(name: NameRecord.key(3).peerID, now: WallTime(seconds: 2_000_000_001)) }
        }
    }

    /// No bit of it can be another but in the signature of the first version, which nobody looks at.
    @Test func noBitOfARecordCanBeAnother() throws {
        let sound = NameRecord().signed(by: 3)
        let name = NameRecord.key(3).peerID
        var taken = 0
        for bit in 0..<8 * sound.count {
            var record = sound
            record[bit / 8] ^= 1 << UInt8(bit % 8)
            do { try IPNSRecord(record).check(name: name, now: .epoch); taken += 1 } catch {}
        }
        // Of the first version: 64 bytes of signature, and the tags of fields that then nobody knows.
        #expect((64 * 8...64 * 8 + 60).contains(taken), "\(taken)")
        for count in 0..<sound.count {
            #expect(throws: DHTFault.self) { try IPNSRecord(Bytes(sound.prefix(count))).check(name: name, now: .epoch) }
        }
    }

    /// Whoever sends an old record again undoes nothing.
    @Test func onlyABetterRecordTakesThePlaceOfAnother() throws {
        let server = DHTServer()
        func stored() -> Bytes? { server.ask(9, DHTMessage(.getValue, key: NameRecord.name(3))).first?.record?.value }
        let second = NameRecord(sequence: 2)
        let answer = try #require(server.ask(1, second.put(by: 3)).first)
        #expect(answer.kind == .putValue && answer.key == NameRecord.name(3))
        #expect(answer.record == DHTMessage.Record(key: NameRecord.name(3), value: second.signed(by: 3), received: "2023-11-14T22:13:20Z"))
        for old in [NameRecord(sequence: 1), NameRecord(sequence: 1, ends: WallTime(seconds: 2_100_000_000)), NameRecord(sequence: 2, ends: WallTime(seconds: 1_999_999_999))] {
            let stream = server.open(from: 2)
            #expect(server.feed(.received(stream, old.put(by: 3).frame)).contains(.stream(.reset(stream))))
            #expect(stored() == second.signed(by: 3))
        }
        for new in [NameRecord(sequence: 2, ends: WallTime(seconds: 2_100_000_000)), NameRecord(sequence: 3)] {
            #expect(server.ask(2, new.put(by: 3)).count == 1 && stored() == new.signed(by: 3))
        }
        #expect(server.machine.recordCount == 1)
    }

    @Test func aRecordThatHasExpiredProtectsNothing() {
        let server = DHTServer()
        let short = NameRecord(sequence: 9, ends: WallTime(seconds: server.now.wall.seconds + 60))
        #expect(server.ask(1, short.put(by: 3)).count == 1)
        #expect(server.ask(1, NameRecord(sequence: 1).put(by: 3)).isEmpty)
        server.now.wall = server.now.wall + .minutes(2)
        #expect(server.ask(1, NameRecord(sequence: 1).put(by: 3)).count == 1)
        #expect(server.ask(1, short.put(by: 3)).isEmpty)
    }

    @Test func recordsLiveForTwoDays() {
        let server = DHTServer()
        #expect(server.ask(1, NameRecord().put(by: 3)).count == 1)
        server.now.monotonic = server.now.monotonic + .hours(47)
        #expect(server.ask(9, DHTMessage(.getValue, key: NameRecord.name(3))).first?.record != nil)
        server.now.monotonic = server.now.monotonic + .hours(1)
        #expect(server.ask(9, DHTMessage(.getValue, key: NameRecord.name(3))).first?.record == nil)
        #expect(server.machine.recordCount == 0)
    }

    /// Names cost nothing: whoever makes thousands of them drives out his own first.
    @Test func whoPutsMuchDrivesOutHisOwn() {
        var settings = DHTSettings()
        (settings.valuesMax, settings.valuesPerPeerMax) = (12, 5)
        let server = DHTServer(settings)
        #expect(server.ask(1, NameRecord().put(by: 200)).count == 1)
        for number in 1...40 as ClosedRange<UInt8> { #expect(server.ask(2, NameRecord().put(by: number)).count == 1) }
        #expect(server.machine.recordCount == 6)
        #expect(server.ask(9, DHTMessage(.getValue, key: NameRecord.name(200))).first?.record != nil)
        for number in 41...60 as ClosedRange<UInt8> { _ = server.ask(Int(number), NameRecord().put(by: number)) }
        #expect(server.machine.recordCount == 12)
    }
}
