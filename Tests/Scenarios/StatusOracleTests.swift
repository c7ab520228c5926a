// What is judged of statuses, of metrics and of what a peer makes good by itself can be wrong: each in one thing, and the oracle says so.

import Cluster
import Kernel
import MerkleCRDT
import Monitoring
import Multiformats
import Pinset
import Seams
import Storage
@testable import SimNet
import Testing

@Suite struct StatusOracleTests {
    /// What p0 has answered, and what it was asked.
    private func answer(_ rest: Rest, _ request: ClientRequest) throws -> (info: GlobalPinInfo, asked: Asked) {
        var (info, asked): (GlobalPinInfo?, Asked?)
        var client = ClientID(0)
        client = rest.run.ask(0, Operation(number: 1, at: .zero, peers: [0], kind: .status), request) { [run = rest.run] reply in
            guard case .item(.info(let found)) = reply else { return }
            (info, asked) = (found, run.oracles.asked[client])
        }
        rest.world.run(for: .seconds(2))
        return (try #require(info), try #require(asked))
    }
    private func change(_ info: inout GlobalPinInfo, _ peer: PeerID, _ body: (inout PinInfoShort) -> Void) {
        var short = info.peers[peer] ?? PinInfoShort()
        body(&short)
        info.peers[peer] = short
    }

    /// What could not be written is not found damaged; where bits have rotted, or reads fail, it is.
    @Test(arguments: ["disk-full", "rot", "read-error"]) func damageThatNothingDid(fault: String) throws {
        let rest = try Rest("at 5s p0 pin c1 name=n1 min=-1 max=-1\nat 6s fault 1 \(fault) p0\(fault == "rot" ? "" : " for 2s") amount=\(fault == "disk-full" ? 50_000 : 0)")
        rest.run.judge(LogLine(.error, "crdt", "crdt/00000001.log could not be written: the disk is full"), of: 0)
        #expect(rest.world.failure == nil)
        rest.run.judge(LogLine(.error, "crdt", "crdt/00000001.log is damaged at byte 7: checksum does not match"), of: 0)
        if fault == "disk-full" { rest.expect(.start, "is damaged at byte 7") } else { #expect(rest.world.failure == nil) }
    }
    @Test(arguments: [true, false]) func queuedWithoutAQueue(isLocal: Bool) throws {
        let rest = try Rest("at 5s p0 pin c1 name=n1 min=-1 max=-1")
        let (info, asked) = try answer(rest, .status(try #require(rest.run.content(1)), isLocal: isLocal))
        var said = try #require(info.peers[rest.world.peers[0].id])
        said.status = .pinQueued
        rest.run.judgeQueued(said, info.cid, 0, asked)
        if isLocal { rest.expect(.truth) } else { #expect(rest.world.failure == nil) }
    }
    @Test(arguments: [
        "nothing", "why", "no reason", "peer", "daemon", "no daemon", "addresses", "attempts", "urgent", "time", "two statuses", "remote", "sharded", "unpinned", "stranger",
        "name", "allocations", "metadata", "origins", "created", "none",
    ])
    func eachFieldOfAStatus(what: String) throws {
        let rest = try Rest("at 5s p0 pin c1 name=n1 min=-1 max=-1 meta=key1:value1\nat 8s p1 pin c2 name=n2")
        var (info, asked) = try answer(rest, .status(try #require(rest.run.content(1)), isLocal: false))
        #expect(rest.world.failure == nil && info.peers.count == 3 && info.peers.allSatisfy { $0.value.status == .pinned })
        let peer = rest.world.peers[1].id
        switch what {
        case "why": change(&info, peer) { $0.error = "something" }
        case "no reason": change(&info, peer) { $0.status = .clusterError }
        case "peer": change(&info, peer) { $0.peerName = "p2" }
        case "daemon": change(&info, peer) { $0.ipfsPeer = rest.world.peers[0].ipfs.id }
        case "no daemon": change(&info, peer) { $0.ipfsPeer = nil }
        case "addresses": change(&info, peer) { $0.ipfsAddresses = [] }
        case "attempts": change(&info, peer) { $0.attemptCount = 1 }
        case "urgent": change(&info, peer) { $0.isPriority = true }
        case "time": change(&info, peer) { $0.timestamp = $0.timestamp + .seconds(1) }
        case "two statuses": change(&info, peer) { $0.status = [.pinned, .remote] }
        case "remote": change(&info, peer) { $0.status = .remote }
        case "sharded": change(&info, peer) { $0.status = .sharded }
        case "unpinned": change(&info, peer) { ($0.status, $0.timestamp) = (.unpinned, rest.world.peers[0].clock.reading(rest.world.now).wall) }
        case "stranger": change(&info, SimPeer.identity(77, rest.world.tape)) { $0.status = .remote }
        case "name": info.name = "another"
        case "allocations": info.allocations = [peer]
        case "metadata": info.metadata = nil
        case "origins": info.origins = [try Multiaddr(text: "/ip4/192.0.2.1/tcp/1")]
        case "created": info.created = info.created + .seconds(1)
        case "none": (info.name, info.metadata, info.allocations, info.created) = ("", nil, [], .unset)
        default: break
        }
        rest.run.judgeFields(info, asked)
        if what == "nothing" { return #expect(rest.world.failure == nil) }
        rest.expect(.answer)
    }

    @Test(arguments: ["never tried", "not urgent", "urgent for long", "from the future"]) func eachFieldOfAFailure(what: String) throws {
        let rest = try Rest()
        rest.world.peers[0].ipfs.isDown = true
        rest.pin(3, ["min=-1", "max=-1"])
        rest.world.run(for: .seconds(10))
        var (info, asked) = try answer(rest, .status(try #require(rest.run.content(3)), isLocal: true))
        let peer = rest.world.peers[0].id
        #expect(rest.world.failure == nil && info.peers[peer]?.status == .pinError)
        switch what {
        case "never tried": change(&info, peer) { $0.attemptCount = 0 }
        case "not urgent": change(&info, peer) { $0.isPriority = false }
        case "urgent for long": change(&info, peer) { $0.attemptCount = 7 }
        default: change(&info, peer) { $0.timestamp = $0.timestamp + .minutes(1) }
        }
        rest.run.judgeFields(info, asked)
        rest.expect(.answer)
    }

    /// What it works on comes before what IPFS says.
    @Test func aStatusThatOverlooksWork() throws {
        let rest = try Rest()
        rest.world.peers[0].ipfs.isDown = true
        rest.pin(3, ["min=-1", "max=-1"])
        rest.world.run(for: .seconds(10))
        var (info, asked) = try answer(rest, .status(try #require(rest.run.content(3)), isLocal: true))
        let created = info.created
        change(&info, rest.world.peers[0].id) { ($0.status, $0.error, $0.attemptCount, $0.isPriority, $0.timestamp) = (.unexpectedlyUnpinned, "it is not there", 0, false, created) }
        rest.run.judgeFields(info, asked)
        rest.expect(.answer)
    }

    @Test(arguments: [TrackerStatus.pinError, .unexpectedlyUnpinned]) func aRecoveryThatTellsOfBefore(status: TrackerStatus) throws {
        let rest = try Rest()
        var (info, asked) = try answer(rest, .recover(try #require(rest.run.content(1)), isLocal: true))
        #expect(rest.world.failure == nil)
        change(&info, rest.world.peers[0].id) { ($0.status, $0.error) = (status, "it failed") }
        if status == .pinError { change(&info, rest.world.peers[0].id) { ($0.attemptCount, $0.isPriority) = (1, true) } }
        rest.run.judgeFields(info, asked)
        rest.expect(.answer)
    }

    @Test func aFailureThatIsOlderThanTheAttempt() throws {
        let rest = try Rest()
        let cid = try #require(rest.run.content(3)), now = rest.world.peers[0].clock.reading(rest.world.now).wall
        var info = PinInfo(cid: cid, peer: rest.world.peers[0].id)
        (info.short.status, info.short.attemptCount) = (.pinning, 1)
        rest.run.judgeFailureTime(info, 0, now)
        (info.short.status, info.short.timestamp) = (.pinError, now)
        rest.run.judgeFailureTime(info, 0, now + .seconds(1))
        #expect(rest.world.failure == nil)
        info.short.status = .pinning
        rest.run.judgeFailureTime(info, 0, now)
        (info.short.status, info.short.timestamp) = (.pinError, WallTime(unixNanoseconds: now.unixNanoseconds - 1))
        rest.run.judgeFailureTime(info, 0, now + .seconds(1))
        rest.expect(.count)
    }

    // MARK: By itself

    @Test(arguments: ["nothing", "weight", "parts", "invalid", "time", "name", "forgotten"]) func aMetricThatIsWrong(what: String) throws {
        let rest = try Rest()
        let monitor = try #require(rest.world.peers[1].machine).monitor, id = rest.world.peers[1].id
        var ping = try #require(monitor.latest("ping", of: id)), space = try #require(monitor.latest("freespace", of: id))
        #expect(rest.run.fault(of: ping, .seconds(30), 1) == nil && rest.run.fault(of: space, .seconds(30), 1) == nil)
        switch what {
        case "weight": space.weight = 0
        case "parts": space.isPartitionable = true
        case "invalid": space.isValid = false
        case "time": space.expire -= 1_000_000_000
        case "name": ping.value = ping.value.replacing("p1", with: "p2")
        case "forgotten": ping.value = "{\"peer_name\":\"p1\"}"
        default: break
        }
        let isRight = rest.run.fault(of: ping, .seconds(30), 1) == nil && rest.run.fault(of: space, .seconds(30), 1) == nil
        #expect(isRight == (what == "nothing"))
    }

    @Test func aPeerThatTellsNothing() throws {
        let rest = try Rest()
        let process = try #require(rest.world.peers[1].process)
        rest.run.checkOwnMetrics(1, process)
        #expect(rest.world.failure == nil)
        rest.world.suspend(1)
        rest.world.run(for: .minutes(1))
        rest.run.checkOwnMetrics(1, process)
        rest.expect(.live)
    }

    @Test func whatIsTrueOfNoPeer() throws {
        let rest = try Rest()
        rest.world.peers[1].settings.informers.pingInterval = .seconds(20)
        rest.run.oracles.health[1]?.judged = [:]
        rest.run.checkOwnMetrics(1, try #require(rest.world.peers[1].process))
        rest.expect(.truth)
    }

    @Test func metricsThatHaveRunOut() throws {
        let rest = try Rest()
        rest.run.checkHeard()
        #expect(rest.world.failure == nil)
        rest.world.partition([0], from: [1, 2])
        rest.world.run(for: .seconds(40))
        rest.run.checkHeard()
        rest.expect(.live)
    }

    @Test func aDaemonThatNobodyAsks() throws {
        let rest = try Rest()
        let process = try #require(rest.world.peers[1].process)
        rest.run.checkListing(1, process)
        #expect(rest.world.failure == nil)
        rest.world.suspend(1)
        rest.world.run(for: .minutes(6))
        rest.run.checkListing(1, process)
        rest.expect(.live)
    }

    @Test func aDaemonThatIsWaitedForWithoutEnd() throws {
        let rest = try Rest()
        let process = try #require(rest.world.peers[1].process)
        rest.run.oracles.health[1]?.asked[ExchangeID(9_999_999)] = ("/api/v0/pin/rm?arg=c", rest.world.now, 0)
        rest.world.run(for: .seconds(25))
        rest.run.checkPatience(1, process)
        #expect(rest.world.failure == nil)
        rest.world.run(for: .seconds(10))
        rest.run.checkPatience(1, process)
        rest.expect(.live)
    }

    @Test func whatHasFailedAndIsNotTriedAgain() throws {
        let rest = try Rest()
        rest.world.peers[0].ipfs.isDown = true
        rest.pin(3, ["min=-1", "max=-1"])
        rest.world.run(for: .seconds(10))
        rest.run.checkRecovered()
        rest.expect(.settle)
    }

    @Test func whoComesIsToldNothing() throws {
        let rest = try Rest()
        rest.run.expectGreeting(1)
        rest.world.run(for: .seconds(13))
        #expect(rest.world.failure == nil)
        // Only what it does every quarter of a minute.
        let told = { try #require(rest.world.peers[1].machine).monitor.latest("tag:group", of: rest.world.peers[1].id)?.receivedAt ?? 0 }
        let last = try told()
        _ = rest.world.run(until: { _ in (try? told()) != last }, within: .seconds(16), every: .milliseconds(100))
        rest.run.expectGreeting(1)
        rest.world.run(for: .seconds(13))
        rest.expect(.live)
    }

    @Test func daemonsThatDoNotKnowEachOther() throws {
        let rest = try Rest()
        rest.run.checkIntroduced()
        #expect(rest.world.failure == nil)
        rest.world.peers[2].ipfs.neighbours.remove(rest.world.peers[0].ipfs.id)
        rest.run.checkIntroduced()
        rest.expect(.live)
    }

    /// Those that are left do not see each other: nobody can take what p2 had.
    @Test func whatALostPeerHadIsNobodys() throws {
        let rest = try Rest("at 5s p0 pin c1 name=n1 min=2 max=2\nat 6s p0 pin c2 name=n2 min=2 max=2\nat 7s p0 pin c3 name=n3 min=2 max=2\nat 8s p0 pin c4 name=n4 min=2 max=2")
        rest.world.partition([0], from: [1])
        rest.world.lose(2)
        rest.run.awaitRepins(of: 2)
        rest.expect(.repin)
    }

    // MARK: Disks

    @Test func aLogThatIsDamagedByNothing() throws {
        let rest = try Rest()
        rest.run.judge(LogLine(.warning, "crdt", "an announcement cannot be read; ignored"), of: 0)
        rest.run.judge(LogLine(.warning, "crdt", "the index cannot be used: crdt/00000001.manifest is damaged at byte 0: the manifest does not match its checksum"), of: 0)
        #expect(rest.world.failure == nil)
        rest.run.judge(LogLine(.error, "crdt", "crdt/00000001.log is damaged at byte 7: checksum does not match"), of: 0)
        rest.expect(.start)
    }

    @Test func anIndexThatIsGone() throws {
        let rest = try Rest()
        rest.run.oracles.manifests[0] = Manifests(durable: "crdt/00000099.manifest")
        rest.run.checkManifest(0)
        rest.expect(.start)
    }

    private func mark(_ count: UInt32) -> Bytes {
        var frame = Bytes(repeating: 0, count: Log.frameBytes)
        append(count, to: &frame)
        return frame
    }
    private func manifest(_ address: LogAddress) -> Bytes {
        var bytes = Bytes(repeating: 0, count: 8)
        append(address.raw, to: &bytes)
        return bytes
    }

    @Test(arguments: [true, false]) func aMarkOfWhatIsNotDurable(isTrue: Bool) throws {
        let rest = try Rest(), durable = rest.world.peers[0].disk.durableCount("crdt/00000001.log")
        #expect(durable > 0)
        rest.run.noteWritten(.append("crdt/00000001.log", mark(UInt32(durable + (isTrue ? 0 : 1)))), by: 0)
        if isTrue { #expect(rest.world.failure == nil) } else { rest.expect(.start) }
    }

    @Test(arguments: [true, false]) func aCheckpointOfWhatIsNotDurable(isTrue: Bool) throws {
        let rest = try Rest(), durable = rest.world.peers[0].disk.durableCount("crdt/00000001.log")
        let address = isTrue ? LogAddress(segment: 1, offset: durable) : LogAddress(segment: 1, offset: durable + 1)
        rest.run.noteWritten(.append("crdt/00000009.manifest", manifest(address)), by: 0)
        if isTrue { #expect(rest.world.failure == nil) } else { rest.expect(.start) }
    }

    @Test(arguments: [true, false]) func aManifestRemovedTooEarly(isSynced: Bool) throws {
        let rest = try Rest(), disk = rest.world.peers[0].disk
        disk.apply(.append("crdt/00000099.manifest", manifest(LogAddress(raw: 0))))
        if isSynced { #expect(disk.endSync(disk.beginSync("crdt/00000099.manifest")) == nil) }
        for name in try disk.list("crdt/") where name.hasSuffix(".manifest") && name != "crdt/00000099.manifest" { disk.apply(.remove(name)) }
        rest.run.noteWritten(.remove("crdt/00000098.manifest"), by: 0)
        if isSynced { #expect(rest.world.failure == nil) } else { rest.expect(.start) }
    }

    @Test(arguments: [true, false]) func tooManyUnpinsAtOnce(isOne: Bool) throws {
        let rest = try Rest(), process = try #require(rest.world.peers[0].process)
        var log = CallLog()
        for number in 0..<UInt64(isOne ? 1 : 2) { log.requests[ExchangeID(number)] = CallLog.Request(target: "/api/v0/pin/rm?arg=a", since: Instant(nanoseconds: 0), limit: nil) }
        rest.run.judgeUnderWay(0, "/api/v0/pin/rm?arg=b", process, log)
        if isOne { #expect(rest.world.failure == nil) } else { rest.expect(.bound) }
    }

    /// Two that announce at once both leave out their next turn: two turns and their jitter are the most.
    @Test(arguments: [true, false]) func headsThatNobodyAnnounces(isInTime: Bool) throws {
        let rest = try Rest(), every = try #require(rest.world.peers[0].process).peer.settings.replica.rebroadcastInterval
        rest.run.oracles.announcedAt = rest.world.now - (every * (isInTime ? 2 : 3)).nanoseconds
        rest.run.checkAnnounced()
        if isInTime { #expect(rest.world.failure == nil) } else { rest.expect(.live) }
    }

    /// It is as open as it will be, follows nobody, and its disk is well.
    @Test(arguments: [
        "the pinset is being read from the log (40 %). Try again in a moment", "the peer is shutting down", "crdt/00000001.log could not be written: input/output error. Nothing was changed; try again",
        "this peer is configured to be in follower mode. Write operations are disabled", "Post http://127.0.0.1:5001/api/v0/pin/ls: dial tcp 127.0.0.1:5001: connect: connection refused", "gone fishing", "the upload held no blocks",
    ]) func aReasonThatIsNone(_ text: String) throws {
        let rest = try Rest()
        rest.run.judgeReason(ClientFailure("pin is not part of the pinset"), Asked(peer: 0, at: 0, request: .unpin(OracleTests.blockCID)))
        #expect(rest.world.failure == nil)
        rest.run.judgeReason(ClientFailure(text), Asked(peer: 0, at: 0, request: .unpin(OracleTests.blockCID)))
        rest.expect(.answer)
    }

    @Test(arguments: [(15 as Int64, ClientRequest.peers), (30, .status(OracleTests.blockCID, isLocal: false)), (60, .recover(OracleTests.blockCID, isLocal: false))] as [(Int64, ClientRequest)])
    func whatTakesTooLong(most: Int64, request: ClientRequest) throws {
        let rest = try Rest()
        rest.run.judgeHaste(Asked(peer: 0, at: rest.world.now - Span.seconds(most).nanoseconds, request: request))
        #expect(rest.world.failure == nil)
        rest.run.judgeHaste(Asked(peer: 0, at: rest.world.now - Span.seconds(most + 2).nanoseconds, request: request))
        rest.expect(.answer)
    }

    /// What the embedded node holds all the time is told.
    @Test func anEmbeddedPinThatIsToldOtherwise() throws {
        let rest = try Rest(options: " embedded=yes factor-min=1 factor-max=1")
        let cid = OracleTests.blockCID
        rest.run.oracles.embedded[0] = (SortedMap([(cid, -1)]), SortedMap())
        #expect(rest.run.holds(cid, at: 0, since: 0) == true)
        rest.run.oracles.embedded[0]?.changed[cid] = rest.world.now
        #expect(rest.run.holds(cid, at: 0, since: rest.world.now - 1) == nil)
        rest.run.oracles.embedded[0]?.changed[cid] = nil
        var info = GlobalPinInfo(cid: cid), said = PinInfo(cid: cid, peer: rest.world.peers[0].id)
        said.short.status = .unexpectedlyUnpinned
        info.add(said)
        rest.run.judge(info, Asked(peer: 0, at: rest.world.now, request: .status(cid, isLocal: true)))
        rest.expect(.truth)
    }

    @Test func askedForTooOften() throws {
        let rest = try Rest(), hash = OracleTests.blockCID.multihash
        var partner = ExchangeLog.Partner()
        for _ in 0..<8 { rest.run.judgeTries(0, 1, hash, &partner) }
        #expect(rest.world.failure == nil)
        rest.world.run(for: .seconds(3))
        rest.run.judgeTries(0, 1, hash, &partner)
        #expect(rest.world.failure == nil)
        rest.run.judgeTries(0, 1, hash, &partner)
        rest.expect(.min)
    }

    @Test(arguments: [true, false]) func whatIsPublishedTwice(isAskedTwice: Bool) throws {
        let rest = try Rest(), block = try #require(rest.run.history(try rest.replica()).first { !$0.delta.elements.isEmpty })
        let value = block.delta.elements[0].value, cid = try #require(CID(stateKey: block.delta.elements[0].key)), pin = try Pin(protobuf: value, cid: cid)
        let writer = try #require(rest.run.oracles.askedWrites.first { $0.cid == cid })
        if isAskedTwice { rest.run.oracles.askedWrites.append(writer) }
        #expect(rest.run.judgePublished(pin, value, in: OracleTests.blockCID, writer.at) == isAskedTwice)
        if isAskedTwice { #expect(rest.world.failure == nil) } else { rest.expect(.min) }
    }

    @Test func lessThanBefore() throws {
        let rest = try Rest()
        rest.run.oracles.mergedBefore[0] = (2, 0)
        rest.run.checkRestart(0, try #require(rest.world.peers[0].process))
        #expect(rest.world.failure == nil)
        rest.run.oracles.mergedBefore[0] = (99, 0)
        rest.run.checkRestart(0, try #require(rest.world.peers[0].process))
        rest.expect(.start)
    }
}
