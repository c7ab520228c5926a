// What a peer keeps for others in the DHT survives its crashes, and what rots of it costs nothing else. DHT-17.

import Cluster
import Crypto
import DHT
import Encoding
import Kernel
import Multiformats
import Seams
@testable import SimNet
import Testing

@Suite struct KeptForOthersTests {
    private static func stream(_ number: Int) -> StreamID { StreamID(owner: World.hostileOwner, number: 1 << 40 + UInt64(number)) }

    @Test(arguments: UInt64(1)...4) func whatIsKeptForOthersOutlivesACrash(seed: UInt64) throws {
        let stage = Stage(peers: 2, seed: seed)
        let world = stage.world
        var (answers, warnings): ([DHTMessage], [String]) = ([], [])
        world.afterStep = { _, index, _, effects in
            guard index == 0 else { return }
            for effect in effects {
                switch effect {
                case .stream(.send(_, let bytes)):
                    var reader = FrameReader(limitBytes: 1 << 20)
                    reader.append(bytes)
                    guard let frame = try? reader.next(), let answer = try? DHTMessage(decoding: frame), [.getValue, .getProviders].contains(answer.kind) else { continue }
                    answers.append(answer)
                case .log(let line) where line.level >= .warning && line.component == "dht": warnings.append(line.message)
                default: break
                }
            }
        }
        var number = 0
        func say(_ messages: [DHTMessage]) {
            number += 1
            answers = []
            world.carryOut(1, StreamEffect.open(Self.stream(number), to: world.peers[0].id, protocols: DHT.protocols))
            world.carryOut(1, StreamEffect.send(Self.stream(number), messages.flatMap(\.frame)))
            stage.run(.seconds(2))
            world.carryOut(1, StreamEffect.closeWrite(Self.stream(number)))
        }
        func restart() {
            world.crash(0)
            world.start(0)
            stage.run(.seconds(30))
        }
        let key = try IdentityKey(seed: Bytes(repeating: 5, count: 32)).publicKey, name = Bytes("/pk/".utf8) + key.peerID.bytes
        var put = DHTMessage(.putValue, key: name)
        put.record = DHTMessage.Record(key: name, value: key.protobuf)
        let contents = (0..<5).map { Multihash.sha2_256(of: [UInt8($0)]).bytes }
        say([put] + contents.map {
            var message = DHTMessage(.addProvider, key: $0)
            message.providers = [DHTMessage.Peer(world.peers[1].id, [.simulated(1)])]
            return message
        })
        stage.run(.seconds(15))  // synced by then
        restart()
        let questions = [DHTMessage(.getValue, key: name)] + contents.map { DHTMessage(.getProviders, key: $0) }
        say(questions)
        #expect(answers.count == 6 && answers.first?.record?.value == key.protobuf && warnings.isEmpty)
        #expect(answers.dropFirst().allSatisfy { $0.providers.map(\.id) == [world.peers[1].id] })

        // A bit rots; a record more, so that what was there is known to have been durable.
        say([put])
        stage.run(.seconds(15))
        world.peers[0].disk.flipBit("dht/00000001/00000001.log", at: 200)
        restart()
        #expect(!warnings.isEmpty && warnings.allSatisfy { $0.contains("dht/00000001") && $0.contains("nothing else") }, "\(warnings)")
        say(questions)
        #expect(answers.count == 6 && answers.count { !$0.providers.isEmpty } == 4 && answers.first?.record != nil)
        // By now all is written anew. The old file may come back with the crash, as removals have no sync: it does no harm.
        restart()
        say(questions)
        #expect(answers.count == 6 && answers.count { !$0.providers.isEmpty } == 4 && answers.first?.record != nil)
        #expect(world.peers[0].machine?.isReady == true)
    }
}
