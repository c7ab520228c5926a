// The two ends of a peer.

import Cluster
import Kernel
import Seams
import Storage

extension PeerInput: Journaled {
    package func write(to writer: inout JournalWriter) {
        switch self {
        case .start: writer.byte(0)
        case .wake: writer.byte(1)
        case .connection(let event): writer.head(2, event)
        case .stream(let event): writer.head(3, event)
        case .disk(let event): writer.head(4, event)
        case .job(let number, let outcome):
            writer.head(5, number)
            writer.put(outcome)
        case .exchange(let event): writer.head(6, event)
        case .client(let client, let request):
            writer.head(7, client)
            writer.put(request)
        case .clientInput(let client, let input):
            writer.head(8, client)
            writer.put(input)
        case .clientGone(let client): writer.head(9, client)
        case .shutdown: writer.byte(10)
        }
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        switch try reader.byte() {
        case 0: self = .start
        case 1: self = .wake
        case 2: self = .connection(try reader.get())
        case 3: self = .stream(try reader.get())
        case 4: self = .disk(try reader.get())
        case 5: self = .job(try reader.get(), try reader.get())
        case 6: self = .exchange(try reader.get())
        case 7: self = .client(try reader.get(), try reader.get())
        case 8: self = .clientInput(try reader.get(), try reader.get())
        case 9: self = .clientGone(try reader.get())
        case 10: self = .shutdown
        case let tag: throw reader.unknown(tag, "input")
        }
    }
}

extension PeerEffect: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        switch self {
        case .wake(let at): writer.head(0, at)
        case .connection(let effect): writer.head(1, effect)
        case .stream(let effect): writer.head(2, effect)
        case .disk(let effect): writer.head(3, effect)
        case .job(let job): writer.head(4, job)
        case .exchange(let effect): writer.head(5, effect)
        case .reply(let client, let reply):
            writer.head(6, client)
            writer.put(reply)
        case .log(let line):
            writer.head(7, line.level.rawValue)
            writer.put(line.component)
            writer.put(line.message)
        case .ready: writer.byte(8)
        case .stopped: writer.byte(9)
        case .fatal(let reason): writer.head(10, reason)
        }
    }
}

extension ConnectionEffect: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        switch self {
        case .dial(let peer, let addresses):
            writer.head(0, peer)
            writer.put(addresses)
        case .disconnect(let peer): writer.head(1, peer)
        case .trim(let worths):
            writer.head(2, worths.map(\.peer))
            writer.put(worths.map { Int64($0.value) })
        case .serve(let protocols): writer.head(3, protocols)
        case .dialBack(let number, let peer, let addresses):
            writer.head(4, number)
            writer.put(peer)
            writer.put(addresses)
        }
    }
}

extension StreamEffect: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        switch self {
        case .open(let id, let peer, let protocols):
            writer.head(0, id)
            writer.put(peer)
            writer.put(protocols)
        case .send(let id, let bytes):
            writer.head(1, id)
            writer.put(bytes)
        case .closeWrite(let id): writer.head(2, id)
        case .reset(let id): writer.head(3, id)
        case .hold(let id, let isHeld):
            writer.head(4, id)
            writer.put(isHeld)
        }
    }
}

extension DiskEffect: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        switch self {
        case .append(let file, let bytes):
            writer.head(0, file)
            writer.put(bytes)
        case .sync(let file, let ticket):
            writer.head(1, file)
            writer.put(ticket)
        case .truncate(let file, let count):
            writer.head(2, file)
            writer.put(count)
        case .rename(let file, let new):
            writer.head(3, file)
            writer.put(new)
        case .remove(let file): writer.head(4, file)
        }
    }
}

extension ExchangeEffect: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        switch self {
        case .start(let id, let request):
            writer.head(0, id)
            writer.put(request.target)
            writer.put(request.headers.flatMap { [$0.name, $0.value] })
            writer.put(request.body)
        case .body(let id, let bytes):
            writer.head(1, id)
            writer.put(bytes)
        case .endOfBody(let id): writer.head(2, id)
        case .cancel(let id): writer.head(3, id)
        }
    }
}
