// Whom a peer dials and keeps in mind, whatever it is told. DIAL-03, DIAL-04.

import Cluster
import Kernel
import Multiformats
import Seams
import Testing

@Suite struct BookTests {
    private static func peer(_ number: Int) -> PeerID {
        PeerID(Multihash(code: HashCode.identity, digest: [8, 1, 18, 32] + Bytes(repeating: 0, count: 28) + (0..<4).map { UInt8(truncatingIfNeeded: number >> (24 - 8 * $0)) }))
    }
    private static let somewhere = Multiaddr(unchecked: [4, 10, 9, 9, 9, 6, 0x23, 0x88])
    private static func at(_ seconds: Int64) -> Now { Now(monotonic: .origin + .seconds(seconds), wall: .epoch) }
    private static func dialled(_ book: inout PeerBook, _ now: Now) -> [PeerID] {
        var effects: [ConnectionEffect] = []
        book.onTime(now: now, effects: &effects)
        return effects.compactMap { if case .dial(let peer, _) = $0 { peer } else { nil } }
    }

    @Test func onlySoManyAreDialledAtATime() {
        var book = PeerBook(settings: PeerBookSettings(), me: Self.peer(0))
        for number in 1...1000 { book.learn(Self.peer(number), [Self.somewhere], now: Self.at(0)) }
        var underWay = Self.dialled(&book, Self.at(0))
        #expect(underWay.count == 160)
        #expect(Self.dialled(&book, Self.at(1)).isEmpty)
        // It does not ask to be woken for those who must wait.
        #expect(book.nextDeadline.map { $0 > Self.at(60).monotonic } ?? true)
        // Who is configured does not wait.
        book.learn(Self.peer(5000), [Self.somewhere], isPermanent: true, now: Self.at(1))
        #expect(Self.dialled(&book, Self.at(1)) == [Self.peer(5000)])
        var all = Set(underWay)
        for _ in 0..<20 {
            for peer in underWay { book.onDialFailed(peer, now: Self.at(2)) }
            underWay = Self.dialled(&book, Self.at(2))
            #expect(underWay.count <= 160)
            all.formUnion(underWay)
        }
        #expect(all.count == 1000, "everybody has had a turn")
        // Whoever connects makes room as well, and so does one who hangs up before that is told.
        book.onConnected(Self.peer(5000), address: Self.somewhere, outbound: true, now: Self.at(3))
        var choices = Choices(seed: 1)
        book.onDisconnected(Self.peer(5000), now: Self.at(3), choices: &choices)
        #expect(Self.dialled(&book, Self.at(1000)).count == 160 + 1)
    }

    /// PST-02: as they were named, then who was learnt; whom nobody reaches comes last, until somebody does.
    @Test func thePeerstoreKeepsItsOrder() {
        var book = PeerBook(settings: PeerBookSettings(), me: Self.peer(0))
        for (place, number) in [7, 3, 9].enumerated() { book.learn(Self.peer(number), [Self.somewhere], priority: 1 + place, now: Self.at(0)) }
        book.learn(Self.peer(1), [Self.somewhere], now: Self.at(0))
        func order() -> [PeerID] { book.known.map(\.peer) }
        #expect(order() == [7, 3, 9, 1].map(Self.peer))
        #expect(Self.dialled(&book, Self.at(0)).count == 4)
        book.onDialFailed(Self.peer(7), now: Self.at(1))
        #expect(order() == [3, 9, 1, 7].map(Self.peer))
        book.onConnected(Self.peer(7), address: Self.somewhere, outbound: false, now: Self.at(2))
        #expect(order() == [7, 3, 9, 1].map(Self.peer))
    }

    /// Whoever was away is told to be back when we have found them, and nobody else.
    @Test func whoIsBackIsKnown() {
        var book = PeerBook(settings: PeerBookSettings(), me: Self.peer(0)), choices = Choices(seed: 1)
        func connects(_ number: Int, at seconds: Int64, outbound: Bool = true) -> Bool {
            book.onConnected(Self.peer(number), address: Self.somewhere, outbound: outbound, now: Self.at(seconds))
        }
        func loses(_ number: Int, at seconds: Int64) { book.onDisconnected(Self.peer(number), now: Self.at(seconds), choices: &choices) }
        for number in 1...2 { book.learn(Self.peer(number), [Self.somewhere], now: Self.at(0)) }
        #expect(Self.dialled(&book, Self.at(0)).count == 2)
        #expect(!connects(1, at: 1) && !connects(1, at: 1), "found at once, and twice")
        book.onDialFailed(Self.peer(2), now: Self.at(1))
        loses(1, at: 2)
        #expect(Self.dialled(&book, Self.at(100)).count == 2)
        #expect(connects(1, at: 101) && connects(2, at: 101))
        loses(1, at: 102)
        #expect(!connects(1, at: 103, outbound: false), "it has found us")
        loses(1, at: 104)
        #expect(Self.dialled(&book, Self.at(200)) == [Self.peer(1)] && !connects(1, at: 201, outbound: false))
    }

    /// Thousands whom nobody can reach do not keep out one who can be.
    @Test func aFloodKeepsNobodyOut() {
        var settings = PeerBookSettings()
        settings.peersLimit = 200
        var book = PeerBook(settings: settings, me: Self.peer(0))
        book.learn(Self.peer(7000), [Self.somewhere], isPermanent: true, now: Self.at(0))
        for number in 1...1000 { book.learn(Self.peer(number), [Self.somewhere], now: Self.at(0)) }
        #expect(book.count == 200)
        for time in 0..<100 as Range<Int64> {
            for peer in Self.dialled(&book, Self.at(time)) { book.onDialFailed(peer, now: Self.at(time)) }
        }
        book.learn(Self.peer(8000), [Self.somewhere], now: Self.at(100))
        #expect(book.count == 2 && Self.dialled(&book, Self.at(100)).contains(Self.peer(8000)))
        // New strangers take the room, and are looked through once in a while, not each time.
        for number in 1...1000 { book.learn(Self.peer(10_000 + number), [Self.somewhere], now: Self.at(101)) }
        #expect(book.count == 200)
        book.learn(Self.peer(8001), [Self.somewhere], now: Self.at(102))
        #expect(book.count == 200)
    }
}
