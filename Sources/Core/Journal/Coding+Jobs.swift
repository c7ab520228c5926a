// Long work: how it ended, and what was asked for.

import Kernel
import Seams
import Storage

extension LogAddress: Journaled {
    package func write(to writer: inout JournalWriter) { writer.put(raw) }
    package init(reading reader: inout JournalReader) throws(JournalError) { self.init(raw: try reader.get()) }
}

extension IndexWord: Journaled {
    package func write(to writer: inout JournalWriter) { writer.put(raw) }
    package init(reading reader: inout JournalReader) throws(JournalError) { self.init(recorded: try reader.get()) }
}

extension Candidate: Journaled {
    package func write(to writer: inout JournalWriter) {
        writer.put(address)
        writer.put(block)
        writer.put(value)
        writer.put(mixed)
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        self.init(address: try reader.get(), block: try reader.get(), value: try reader.get(), mixed: try reader.get())
    }
}

extension KnownKey: Journaled {
    package func write(to writer: inout JournalWriter) {
        writer.put(generation)
        writer.put(words)
        writer.put(elements)
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        self.init(generation: try reader.get(), words: try reader.get())
        elements = try reader.get()
    }
}

extension Looked.Found: Journaled {
    package func write(to writer: inout JournalWriter) {
        writer.put(number)
        writer.put(key)
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        self.init(number: try reader.get(), key: try reader.get())
    }
}

extension Looked: Journaled {
    package func write(to writer: inout JournalWriter) {
        writer.put(generation)
        writer.put(hashes)
        writer.put(found)
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        self.init(generation: try reader.get())
        hashes = try reader.get()
        found = try reader.get()
    }
}

extension IndexRun: Journaled {
    package func write(to writer: inout JournalWriter) {
        let parts = self.parts
        writer.put(parts.number)
        writer.put(parts.file)
        writer.put(parts.count)
        writer.put(parts.filter)
        writer.put(parts.fences)
        writer.put(parts.sizeBytes)
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        self.init(parts: Parts(
            number: try reader.get(), file: try reader.get(), count: try reader.get(), filter: try reader.get(),
            fences: try reader.get(), sizeBytes: try reader.get()))
    }
}

extension LogDamage: Journaled {
    package func write(to writer: inout JournalWriter) {
        writer.put(file)
        writer.put(offset)
        writer.put(count)
        writer.put(reason)
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        let (file, offset, count): (FileName, Int, Int) = (try reader.get(), try reader.get(), try reader.get())
        self.init(recorded: file, offset: offset, count: count, reason: try reader.get())
    }
}

extension LogError: Journaled {
    package func write(to writer: inout JournalWriter) {
        switch self {
        case .disk(let error): writer.head(0, error)
        case .damaged(let damage): writer.head(1, damage)
        case .index(let damage): writer.head(2, damage)
        case .notALog(let file): writer.head(3, file)
        case .tooLarge(let count): writer.head(4, count)
        }
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        switch try reader.byte() {
        case 0: self = .disk(try reader.get())
        case 1: self = .damaged(try reader.get())
        case 2: self = .index(try reader.get())
        case 3: self = .notALog(try reader.get())
        case 4: self = .tooLarge(try reader.get())
        case let tag: throw reader.unknown(tag, "error of the log")
        }
    }
}

extension JobOutcome: Journaled {
    package func write(to writer: inout JournalWriter) {
        switch self {
        case .done(let run): writer.head(0, run)
        case .found(let looked): writer.head(1, looked)
        case .failed(let error): writer.head(2, error)
        }
    }
    package init(reading reader: inout JournalReader) throws(JournalError) {
        switch try reader.byte() {
        case 0: self = .done(try reader.get())
        case 1: self = .found(try reader.get())
        case 2: self = .failed(try reader.get())
        case let tag: throw reader.unknown(tag, "end of a job")
        }
    }
}

extension Job: JournalWritable {
    package func write(to writer: inout JournalWriter) {
        writer.put(number)
        writer.put(isLookup)
        writer.put(isUrgent)
        writer.put(keyCount)
        writer.put(files)
    }
}
