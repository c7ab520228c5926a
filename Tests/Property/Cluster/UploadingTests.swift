// An upload in tiny chunks: few bytes are many blocks, and nobody else waits for all of them.

import Cluster
import Kernel
import Multiformats
import Pinset
import Seams
import TestSupport
import Testing

/// A peer whose Kubo has answered who it is.
private struct Uploaded {
    static let blocksPerStep = 10
    let client = ClientID(1)
    var peer: ClusterPeer
    private var now = Now(monotonic: .origin, wall: WallTime(seconds: 1_700_000_000))
    private var choices = Choices(seed: 1)
    private let disk = MemoryDisk()
    private var effects: [PeerEffect] = []
    private(set) var wakeAt: Instant?
    /// Blocks in each step that had some.
    private(set) var blocks: [Int] = []
    private(set) var replies: [ClientReply] = []
    private(set) var names: [String] = []

    init() throws {
        let key = try IdentityKey(seed: Bytes(repeating: 1, count: 32))
        var settings = PeerSettings(me: key.peerID)
        settings.uploadBlocksPerStep = Self.blocksPerStep
        peer = try ClusterPeer(settings: settings, disk: disk, signer: IdentitySigner(key: key), at: now, choices: &choices, effects: &effects)
        take(effects)
        step(.start)
    }

    mutating func step(_ input: PeerInput) {
        effects = []
        peer.step(input, at: now, choices: &choices, effects: &effects)
        take(effects)
    }
    private mutating func take(_ effects: [PeerEffect]) {
        var count = 0
        for effect in effects {
            switch effect {
            case .disk(let effect): if let event = disk.carryOut(effect) { step(.disk(event)) }
            case .wake(let at): wakeAt = at
            case .exchange(.body(_, let bytes)):
                let text = String(decoding: bytes, as: UTF8.self)
                guard let name = text.split(separator: "filename=\"").dropFirst().first?.prefix(while: { $0 != "\"" }) else { continue }
                names.append(String(name))
                count += 1
            case .reply(_, let reply): replies.append(reply)
            default: break
            }
        }
        if count > 0 { blocks.append(count) }
    }

    mutating func add(_ shape: (inout AddParameters) -> Void = { _ in }) {
        var parameters = AddParameters()
        (parameters.chunker, parameters.isLocal, parameters.noPin) = ("size-1", true, true)
        shape(&parameters)
        step(.client(client, .add(parameters)))
        step(.clientInput(client, .file(name: "file")))
    }
    mutating func send(_ input: ClientInput) { step(.clientInput(client, input)) }
    var isDue: Bool { wakeAt.map { $0 <= now.monotonic } ?? false }
    mutating func wakeWhileDue() { while isDue { step(.wake) } }
}

@Suite struct UploadingTests {
    /// ADD-40. All that was read at once comes in one piece.
    @Test func aStepSendsSoManyBlocks() throws {
        var choices = Choices(seed: 3)
        let data = choices.bytes(700)
        var whole = try Uploaded(), cut = try Uploaded()
        for byte in data.indices { if byte == 0 { cut.add() }; cut.send(.data([data[byte]])); cut.wakeWhileDue() }
        whole.add()
        whole.send(.data(data))
        #expect(whole.blocks == [10] && whole.replies == [.pause] && whole.isDue)
        // Others are heard in between, and what comes meanwhile waits.
        whole.step(.client(ClientID(2), .version))
        #expect(whole.replies.contains(.end) && whole.blocks == [10])
        for stage in [ClientInput.endOfFile, .end] {
            whole.send(stage)
            cut.send(stage)
        }
        #expect(whole.blocks == [10])
        whole.wakeWhileDue()
        cut.wakeWhileDue()
        #expect(whole.blocks.allSatisfy { $0 <= Uploaded.blocksPerStep } && whole.blocks.count > 70)
        #expect(whole.names == cut.names && whole.names.count > 700)
        #expect(whole.replies.filter { $0 == .resume }.count == 1 && !whole.isDue)
        #expect(cut.replies.count { if case .item = $0 { true } else { false } } == 1)
    }

    /// Each of several uploads has its turn.
    @Test func uploadsTakeTurns() throws {
        var stage = try Uploaded()
        for client in [ClientID(1), ClientID(5)] {
            var parameters = AddParameters()
            (parameters.chunker, parameters.isLocal, parameters.noPin) = ("size-1", true, true)
            stage.step(.client(client, .add(parameters)))
            stage.step(.clientInput(client, .file(name: "file")))
            stage.step(.clientInput(client, .data(Bytes((0..<200).map { UInt8($0) }))))
        }
        #expect(stage.blocks == [10, 10])
        stage.step(.wake)
        stage.step(.wake)
        #expect(stage.names.count == 40 && Set(stage.names).count == 20)
        // Who has gone has no turn, and keeps nobody from his.
        stage.step(.clientGone(ClientID(1)))
        stage.wakeWhileDue()
        #expect(stage.peer.uploadCount == 1 && stage.names.count > 40 + 150)
    }

    /// What was made before something went wrong is sent, and then the client is told.
    @Test func whatGoesWrongIsToldWhenItsTurnHasCome() throws {
        var stage = try Uploaded()
        stage.add()
        stage.send(.data(Bytes((0..<200).map { UInt8($0) })))
        stage.send(.failed("the client went away"))
        #expect(stage.replies == [.pause])
        stage.wakeWhileDue()
        #expect(stage.replies == [.pause, .failed(ClientFailure("the client went away"))] && stage.peer.uploadCount == 0)
        #expect(stage.names.count > 150)
    }
}
