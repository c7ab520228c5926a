// Content that is added, and blocks that the embedded node fetches.

import IPFSConnector
import Kernel
import Multiformats
import Pinset
import Seams
import Storage
import TestSupport
import UnixFS

extension Target {
    static let content: [Target] = [
        Target("import", upTo: 1024, seeds: {
            [[0, 0, 1, 97] + Script.step(3, Bytes(repeating: 1, count: 300)) + [4, 1, 1, 98, 2, 1, 99, 1, 97, 5], [13, 0, 3, 100, 47, 101, 3, 2, 1, 2, 4, 5],
             [22, 0, 1, 97] + Script.step(3, Bytes(0..<250)) + [4, 5]]
        }) { bytes in
            var script = Script(bytes)
            let flags = script.byte()
            var parameters = AddParameters()
            parameters.layout = flags & 1 == 0 ? .balanced : .trickle
            parameters.chunker = ["size-64", "rabin-16-32-64", "buzhash", "size-262144"][Int(flags >> 1 & 3)]
            parameters.rawLeaves = flags & 8 != 0
            parameters.cidVersion = Int(flags >> 4 & 1)
            parameters.wrapWithDirectory = flags & 32 != 0
            if flags & 64 != 0, parameters.cidVersion == 1 { parameters.hash = "blake2b-256" }
            Target.add(parameters, &script)
        },
        Target("car", upTo: 2048, seeds: { Seeds.cars().map { [0, 1, 99] + Script.step(3, $0) + [4, 5] } }) { bytes in
            var script = Script(bytes)
            var parameters = AddParameters()
            parameters.format = .car
            Target.add(parameters, &script)
        },
        Target("embedded", upTo: 1024, seeds: { Seeds.blocks().prefix(30).map { Script.step(0, $0) + Script.step(1, Bytes("a/b".utf8)) + [2, 0, 5, 7, 4, 0, 4, 6] } }) { bytes in
            var script = Script(bytes)
            let disk = MemoryDisk()
            var effects: [IPFSEffect] = []
            var settings = EmbeddedSettings()
            settings.log.segmentBytes = 1 << 14
            guard var node = try? EmbeddedNode(settings: settings, me: Here.peer(1), owner: 6, reader: disk, now: Now(monotonic: .origin, wall: .epoch), effects: &effects) else { return }
            var open: Set<IPFSCallID> = []
            var (number, now): (UInt64, Int64) = (0, 0)
            var last = Here.cid
            func carryOut() {
                while !effects.isEmpty {
                    let round = effects
                    effects = []
                    for effect in round {
                        switch effect {
                        case .disk(let effect): if let event = disk.carryOut(effect) { node.onDisk(event, effects: &effects) }
                        case .finished(let call, _): require(open.remove(call) != nil, "a call ended twice")
                        default: break
                        }
                    }
                }
            }
            func start(_ operation: IPFSOperation) {
                number += 1
                open.insert(IPFSCallID(number))
                node.start(operation, IPFSCallID(number), now: Here.at(now), effects: &effects)
            }
            carryOut()
            while !script.isOver {
                switch script.below(8) {
                case 0:
                    // A pin of what then comes.
                    let block = script.piece()
                    last = CID(v1: [Codec.dagPB, Codec.dagCBOR, Codec.raw][script.below(3)], .sha2_256(of: block))
                    start(.pin(Pin(cid: last)))
                    carryOut()
                    node.onBlock(last, block, now: Here.at(now), effects: &effects)
                case 1: start(.resolve("/ipfs/\(last)/\(script.text())"))
                case 2:
                    let block = script.piece()
                    node.onBlock(CID(v1: Codec.dagPB, .sha2_256(of: block)), block, now: Here.at(now), effects: &effects)
                case 3:
                    let block = script.piece()
                    start(.blockPut)
                    node.put(IPFSCallID(number), NodeWithMeta(data: block, cid: CID(v1: Codec.dagPB, .sha2_256(of: block)), cumulativeSize: 1), now: Here.at(now), effects: &effects)
                    node.endPut(IPFSCallID(number), effects: &effects)
                case 4: start(.unpin(last))
                case 5:
                    now += Int64(script.byte()) * 1000
                    node.onTime(now: Here.at(now), effects: &effects)
                case 6: start(.repoGC)
                default: start(Target.operation(&script))
                }
                carryOut()
            }
            var again: [IPFSEffect] = []
            let reopened = try? EmbeddedNode(settings: settings, me: Here.peer(1), owner: 6, reader: disk, now: Now(monotonic: .origin, wall: .epoch), effects: &again)
            require(reopened?.pins == node.pins && reopened?.storedBytes == node.storedBytes, "another node after opening it anew")
        },
    ]

    private static func add(_ parameters: AddParameters, _ script: inout Script) {
        guard var importer = try? ContentImporter(parameters) else { return require(false, "\(parameters) is refused") }
        var effects: [ImportEffect] = []
        while !script.isOver {
            let input: ClientInput
            switch script.below(6) {
            case 0: input = .file(name: EntryName(script.piece()))
            case 1: input = .directory(name: EntryName(script.piece()))
            case 2: input = .symlink(name: EntryName(script.piece()), target: EntryName(script.piece()))
            case 3: input = .data(script.piece())
            case 4: input = .endOfFile
            default: input = .end
            }
            guard let root = try? importer.on(input, effects: &effects) else { continue }
            _ = root
            break
        }
        for case .block(let node) in effects { require(node.cid.multihash.matches(node.data) == true, "\(node.cid) is other bytes") }
    }
}
