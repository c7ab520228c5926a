// Whether all peers hold the same pinset, as anyone can see it.

import Cluster
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams
import SimNet
import Testing

@Suite struct AgreementTests {
    private func summaries(_ stage: Stage, seenBy peer: Int) throws -> [PinsetSummary?] {
        try stage.ask(peer, .peers).map { item in
            guard case .peer(let info) = item else { throw ClientFailure("no peer: \(item)") }
            return info.pinset
        }
    }

    @Test func peersAgreeOnceTheyHaveHeardOfEachOther() throws {
        let stage = Stage()
        #expect(try summaries(stage, seenBy: 0).allSatisfy { $0?.pins == 0 && $0?.lastChange == .unset })
        for number in 0..<5 { try stage.pin(number % 3, number) }
        stage.run(.seconds(30))
        for peer in 0..<3 {
            let seen = try summaries(stage, seenBy: peer)
            #expect(seen.count == 3)
            let digest = try stage.machine(0).replica.digest.description
            #expect(digest.count == 32)
            #expect(seen.allSatisfy { $0?.digest == digest && $0?.pins == 5 && $0?.lastChange.isUnset == false })
            // And without a question: each ping says so.
            let monitor = try stage.machine(peer).monitor
            for other in stage.world.peers {
                let ping = try #require(monitor.latest("ping", of: other.id))
                #expect(Informers.readPing(ping.value).pinset?.digest == digest)
            }
        }
    }

    @Test func whoIsCutOffDiffersUntilItIsBack() throws {
        let stage = Stage()
        try stage.pin(0, 1)
        stage.run(.seconds(5))
        stage.world.partition([2], from: [0, 1])
        try stage.pin(2, 2)
        stage.run(.seconds(5))
        let own = { (peer: Int) throws -> PinsetSummary in
            guard case .peer(let info)? = try stage.ask(peer, .id).first else { throw ClientFailure("no peer") }
            return try #require(info.pinset)
        }
        let (here, there) = (try own(0), try own(2))
        #expect(here.pins == 1 && there.pins == 2 && here.digest != there.digest && here.lastChange < there.lastChange)
        stage.world.heal()
        stage.run(.minutes(2))
        #expect(try own(0).digest == there.digest)
        let seen = try summaries(stage, seenBy: 1)
        #expect(seen.count == 3 && Set(seen.map { $0?.digest }) == [there.digest])
    }

    /// Run 950807: what had expired, and could not be unpinned while somebody was away, was re-pinned in vain every half a minute.
    @Test func whatHasExpiredIsNotRepinned() throws {
        let stage = Stage(peers: 3) { $0.stateSyncInterval = .hours(24) }
        var pin = Pin(cid: Stage.content(1))
        pin.options.expireAt = SimClock().reading(stage.world.now).wall + .seconds(30)
        try stage.ask(0, .pin(pin))
        stage.run(.seconds(5))
        var repins = 0
        stage.world.afterStep = { _, _, _, effects in
            for case .log(let line) in effects where line.message.contains("repin") { repins += 1 }
        }
        stage.run(.seconds(30))
        let holder = try #require(stage.holders(1).first)
        stage.world.lose(holder)
        stage.run(.minutes(5))
        #expect(repins == 0)
    }
}
