// A pinset's summary in its two forms, alone and as part of a peer.

import Encoding
import Kernel
import Multiformats
import Pinset
import TestSupport
import Testing

@Suite struct PinsetSummaryTests {
    private let summary = PinsetSummary(
        digest: "00112233445566778899aabbccddeeff", pins: 12, lastChange: WallTime(seconds: 1_700_000_000, nanoseconds: 5))
    private let started = PinsetSummary(digest: "00000000000000000000000000000000", pins: 0, lastChange: .unset)

    @Test func comesBackFromBothForms() throws {
        for one in [summary, started] {
            #expect(try PinsetSummary(json: one.json) == one)
            #expect(try PinsetSummary(messagePack: one.messagePack) == one)
        }
        let text = #"{"digest":"00112233445566778899aabbccddeeff","pins":12,"last_change":"2023-11-14T22:13:20.000000005Z"}"#
        #expect(summary.json.encoded() == text)
        #expect(started.json.encoded().hasSuffix(#""pins":0,"last_change":"0001-01-01T00:00:00Z"}"#))
        #expect(throws: FormError.self) { try PinsetSummary(jsonText: #"{"pins":1}"#.utf8) }
        #expect(throws: FormError.self) { try PinsetSummary(jsonText: #"{"digest":"a","pins":"1"}"#.utf8) }
    }

    /// Without one, a peer's forms are upstream's; with one, they have a member more at the end.
    @Test func aPeerMayHaveOne() throws {
        var peer = PeerInfo(id: PeerID(.sha2_256(of: [1])))
        peer.peerName = "one"
        let (json, packed) = (peer.json.encoded(), peer.messagePack)
        peer.pinset = summary
        #expect(try PeerInfo(json: peer.json) == peer)
        #expect(try PeerInfo(messagePack: peer.messagePack) == peer)
        #expect(peer.json.encoded() == json.dropLast() + ",\"pinset\":\(summary.json.encoded())}")
        var member = MessagePackWriter()
        member.string("pinset")
        var longer = packed
        longer[0] += 1  // members of the map
        longer += member.bytes
        #expect(peer.messagePack == longer + summary.messagePack)
        longer.append(0xc0)
        #expect(try PeerInfo(messagePack: longer).pinset == nil)
    }
}
