// What clients ask.

import Kernel
import Multiformats
import Pinset
import Seams

extension ClientID: Journaled {
    package func write(to writer: inout JournalWriter) { writer.put(number) }
    package init(reading reader: inout JournalReader) throws(JournalError) { self.init(try reader.get()) }
}

extension ClientRequest: Journaled {
    package func write(to writer: inout JournalWriter) {
        switch self {
        case .id: writer.byte(0)
        case .version: writer.byte(1)
        case .peers: writer.byte(2)
        case .peerAdd(let peer): writer.head(3, peer)
        case .peerRemove(let peer): writer.head(4, peer)
        case .pin(let pin): writer.head(5, pin)
        case .pinAll(let batch): writer.head(6, batch)
        case .unpinAll(let cids): writer.head(7, cids)
        case .pinPath(let path): writer.head(8, path)
        case .unpin(let cid): writer.head(9, cid)
        case .unpinPath(let path): writer.head(10, path)
        case .pinGet(let cid): writer.head(11, cid)
        case .pins(let types): writer.head(12, PinType.allCases.filter { types.contains($0) })
        case .status(let cid, let isLocal):
            writer.head(13, cid)
            writer.put(isLocal)
        case .statuses(let cids, let isLocal):
            writer.head(14, cids)
            writer.put(isLocal)
        case .statusAll(let filter, let isLocal):
            writer.head(15, filter)
            writer.put(isLocal)
        case .recover(let cid, let isLocal):
            writer.head(16, cid)
            writer.put(isLocal)
        case .recoverAll(let isLocal): writer.head(17, isLocal)
        case .metrics(let name): writer.head(18, name)
        case .metricNames: writer.byte(19)
        case .alerts: writer.byte(20)
        case .connectGraph: writer.byte(21)
        case .bandwidth: writer.byte(22)
        case .repoGC(let isLocal): writer.head(23, isLocal)
        case .add(let parameters): writer.head(24, parameters)
        }
    }

    package init(reading reader: inout JournalReader) throws(JournalError) {
        switch try reader.byte() {
        case 0: self = .id
        case 1: self = .version
        case 2: self = .peers
        case 3: self = .peerAdd(try reader.get())
        case 4: self = .peerRemove(try reader.get())
        case 5: self = .pin(try reader.get())
        case 6: self = .pinAll(try reader.get())
        case 7: self = .unpinAll(try reader.get())
        case 8: self = .pinPath(try reader.get())
        case 9: self = .unpin(try reader.get())
        case 10: self = .unpinPath(try reader.get())
        case 11: self = .pinGet(try reader.get())
        case 12: self = .pins(Set(try reader.get([PinType].self)))
        case 13: self = .status(try reader.get(), isLocal: try reader.get())
        case 14: self = .statuses(try reader.get(), isLocal: try reader.get())
        case 15: self = .statusAll(try reader.get(), isLocal: try reader.get())
        case 16: self = .recover(try reader.get(), isLocal: try reader.get())
        case 17: self = .recoverAll(isLocal: try reader.get())
        case 18: self = .metrics(name: try reader.get())
        case 19: self = .metricNames
        case 20: self = .alerts
        case 21: self = .connectGraph
        case 22: self = .bandwidth
        case 23: self = .repoGC(isLocal: try reader.get())
        case 24: self = .add(try reader.get())
        case let tag: throw reader.unknown(tag, "request of a client")
        }
    }
}

extension ClientInput: Journaled {
    package func write(to writer: inout JournalWriter) {
        switch self {
        case .file(let name): writer.head(0, name)
        case .directory(let name): writer.head(1, name)
        case .symlink(let name, let target):
            writer.head(2, name)
            writer.put(target)
        case .data(let bytes): writer.head(3, bytes)
        case .endOfFile: writer.byte(4)
        case .end: writer.byte(5)
        case .failed(let reason): writer.head(6, reason)
        case .more: writer.byte(7)
        }
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        switch try reader.byte() {
        case 0: self = .file(name: try reader.get())
        case 1: self = .directory(name: try reader.get())
        case 2: self = .symlink(name: try reader.get(), target: try reader.get())
        case 3: self = .data(try reader.get())
        case 4: self = .endOfFile
        case 5: self = .end
        case 6: self = .failed(try reader.get())
        case 7: self = .more
        case let tag: throw reader.unknown(tag, "input of a client")
        }
    }
}
